"""Lesions, limits of attention, and attention distance of one model: tidy rows with 95% intervals.

Where images come under several conditions, corruptions and severities, rows without both are pooled over all of them:
each condition counts the same, and copies of one image are not independent.

A value over several draws has two sources of error, the images and the draws, and its interval counts both
(:func:`withstand.metrics.intervals.crossed_wilson`). Few draws do not show how far draws may differ: then there is no
interval, but their range. Where the draws are all there are, only the images count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from withstand.metrics.intervals import NONE, clustered_wilson, crossed_wilson, mean_interval
from withstand.parquet import read_frame, read_table
from withstand.predictions import LABEL_MODES, read_facts

CONDITION = ["corruption", "severity"]
METRICS = {"euclidean": "distance_pixels", "chebyshev": "distance_share", "prefix_share": "prefix_share"}
DISTANCES = tuple(METRICS)

FEWEST_MASKS = 5
"""Random masks, which are all alike, for a mean over them to have an interval."""

FEWEST_CHOICES = 10
"""Random choices of blocks, of which some hurt far more than the others and may be missing among few."""


def lesion_rows(path: Path) -> pd.DataFrame:
    """Accuracy without some parts of a model.

    Returns columns corruption, severity, label_mode, part, design, removed, block (the one removed alone), draw,
    metric, value, low, high, n, images, draws, standard_error, lowest, highest and depth. A row of the design
    ``several`` without a draw is the mean over draws, with the standard error of that mean over draws, and their range;
    one with a draw is that draw alone.
    """
    table, facts = _read_lesions(path), read_facts(path)
    candidates, draws = sum(block > 0 for block in facts["removable"]), facts["protocol"]["draws"]
    rows = []
    for keys, trials in _trials(table, ["part", "design", "removed"]):
        for mode, correct in _correct(trials, "block" if keys["design"] == "single" else "draw"):
            about = keys | {"label_mode": mode, "metric": "accuracy"}
            if keys["design"] == "single":
                rows += [about | {"block": int(block)} | proportion(one) for block, one in correct.items()]
                continue
            all_there_are = keys["design"] == "intact" or math.comb(candidates, keys["removed"]) <= draws
            drawn = np.stack(list(correct.values()))
            rows.append(about | over_draws(drawn, complete=all_there_are, fewest=FEWEST_CHOICES))
            if keys["design"] == "several":
                rows += [about | {"draw": int(draw)} | proportion(one) for draw, one in correct.items()]
    return pd.DataFrame(rows).assign(depth=facts["depth"])


def attention_limit_rows(path: Path) -> pd.DataFrame:
    """Accuracy under limits of attention.

    Returns columns corruption, severity, label_mode, arm, distance, masked, blocks, same_as, draw, metric, value, low,
    high, n, images, draws, standard_error, lowest, highest. A row of the arm ``random`` without a draw is the mean over
    masks. ``same_as`` names the arm whose mask is the same one, so that there is nothing to compare: ``none`` where
    nothing is masked, ``local`` for random masks of all pairs of patches, ``first`` for all of the last blocks.
    """
    facts, rows = read_facts(path), []
    for keys, trials in _trials(_read(path), ["arm", "distance", "masked", "blocks"]):
        keys |= {"same_as": _same_mask(**keys, patches=math.prod(facts["grid"]), depth=facts["depth"])}
        drawn = keys["arm"] == "random" and keys["same_as"] is None
        for mode, correct in _correct(trials, "draw"):
            about = keys | {"label_mode": mode, "metric": "accuracy"}
            rows.append(about | over_draws(np.stack(list(correct.values())), complete=not drawn))
            if keys["arm"] == "random":
                rows += [about | {"draw": int(draw)} | proportion(one) for draw, one in correct.items()]
    return pd.DataFrame(rows)


def _same_mask(arm: str, masked: float | None, blocks: int | None, patches: int, depth: int, **_: object) -> str | None:
    """The arm that masks the same pairs of patches; of two that do, the control, or the later one, is named so."""
    if arm in ("local", "random") and masked == 0:
        return "none"
    if arm == "random" and masked > 1 - 1.5 / patches:  # each patch attends to itself, and to no other
        return "local"
    return "first" if arm == "last" and blocks == depth else None


def attention_distance_rows(path: Path) -> pd.DataFrame:
    """How far heads look, each, and on the average of a block's heads.

    Returns columns corruption, severity, block, head (none for the average), metric, value, low, high, n, images, depth
    and uniform, the value of a head that attends to all tokens alike.
    Metrics are ``distance_pixels`` (Euclidean, in pixels of the model's input), ``distance_share`` (Chebyshev, as a
    share of the grid, which is how limits of attention are given) and ``prefix_share``. Intervals are Student's, over
    images.
    """
    facts = read_facts(path)
    table = _read(path)
    if table.empty:
        return pd.DataFrame()
    scale = {"euclidean": facts["patch_pixels"], "chebyshev": 1 / max(facts["grid"]), "prefix_share": 1.0}
    uniform = _uniform(facts["grid"], facts["prefix_tokens"])
    several = len(table[CONDITION].drop_duplicates()) > 1
    rows = []
    for condition, heads in product([CONDITION, *([[]] if several else [])], (["head"], [])):
        names = [*condition, "block", *heads]
        part = table.groupby([*names, "sample_id"], observed=True)[list(DISTANCES)].mean().reset_index()
        for key, group in part.groupby(names, observed=True):
            keys = dict.fromkeys(CONDITION) | dict(zip(names, key, strict=True))
            for column in DISTANCES:
                values = group[column].dropna().to_numpy(np.float64) * scale[column]
                if len(values):
                    about = {"metric": METRICS[column], "uniform": uniform[column] * scale[column]}
                    rows.append(keys | about | mean(values))
    return pd.DataFrame(rows).assign(depth=facts["depth"])


def _uniform(grid: list[int], prefix: int) -> dict[str, float]:
    """Distances, in patches, and share of prefix tokens of a head that attends to all tokens alike."""
    places = np.indices(grid).reshape(2, -1)
    apart = np.abs(places[:, :, None] - places[:, None])
    share = prefix / (prefix + math.prod(grid))
    euclidean = float(np.hypot(*apart).mean())
    return {"euclidean": euclidean, "chebyshev": float(apart.max(0).mean()), "prefix_share": share}


def over_draws(correct: np.ndarray, *, complete: bool, fewest: int = FEWEST_MASKS) -> dict:
    """The mean over draws of the same images: value, low, high, n, images, draws, standard_error, lowest, highest.

    Args:
        correct: bool (draws, images) or (draws, conditions, images).
        complete: whether the draws are all there are, not a sample of them.
        fewest: draws of a sample for the mean to have an interval.
    """
    found, draws = proportion(correct), correct.reshape(len(correct), -1).mean(1)
    if not complete:
        cells = correct.reshape(len(draws), -1, correct.shape[-1]).mean(1)
        low, high = crossed_wilson(cells) if len(draws) >= fewest and cells.shape[1] > 1 else NONE
        found |= {"low": low, "high": high}
    error = draws.std(ddof=1) / math.sqrt(len(draws)) if len(draws) > 1 and not complete else None
    return found | {"draws": len(draws), "standard_error": error, "lowest": draws.min(), "highest": draws.max()}


def proportion(correct: np.ndarray) -> dict:
    """A share of bool (draws, images), or (draws, conditions, images), with the interval over images: value, low, high,
    n, images."""
    images = correct.shape[-1]
    trials = correct.size // images
    low, high = clustered_wilson(correct.reshape(trials, images).sum(0, dtype=np.float64), trials)
    return {"value": float(correct.mean()), "low": low, "high": high, "n": correct.size, "images": images}


def mean(values: np.ndarray) -> dict:
    """A mean of independent values with Student's interval: value, low, high, n and images."""
    low, high = mean_interval(values)
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values), "images": len(values)}


def _read(path: Path) -> pd.DataFrame:
    return read_frame(path)


def _read_lesions(path: Path) -> pd.DataFrame:
    """Rows with the ``block`` that is removed alone, -1 for none or several, in place of lists of blocks."""
    table = read_table(path)
    counts, numbers = (function(table["blocks"]).to_numpy() for function in (pc.list_value_length, pc.list_flatten))
    alone = counts == 1
    block = np.full(len(counts), -1)
    block[alone] = numbers[(counts.cumsum() - counts)[alone]]
    return table.drop_columns("blocks").to_pandas().assign(block=block)


def _trials(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Rows of trials that share a condition and what was done, but for draws; where there are several conditions, also
    those that share what was done under every one."""
    conditions = len(table[CONDITION].drop_duplicates())
    for keys in [[*CONDITION, *by], *([by] if conditions > 1 else [])]:
        for key, trials in table.groupby(keys, observed=True, dropna=False, sort=False):
            if keys == by and len(trials[CONDITION].drop_duplicates()) < conditions:
                continue  # a curve that ended earlier under one of them
            named = {name: None if pd.isna(value) else value for name, value in zip(keys, key, strict=True)}
            yield dict.fromkeys(CONDITION) | named, trials


def _correct(trials: pd.DataFrame, by: str) -> Iterator[tuple[str, Mapping[int, np.ndarray]]]:
    """For each label mode whether each image was right, bool (conditions, images), by trial, images in one order."""
    for mode in (mode for mode in LABEL_MODES if f"correct_{mode}" in trials):
        groups = trials.groupby(by, sort=True)
        yield mode, {key: _by_condition(group, f"correct_{mode}") for key, group in groups}


def _by_condition(rows: pd.DataFrame, column: str) -> np.ndarray:
    parts = rows.groupby(CONDITION, observed=True, sort=False)
    return np.stack([part.sort_values("sample_id")[column].to_numpy() for _, part in parts])


def lesion_answers(path: Path) -> Iterator[tuple[dict, list[str], np.ndarray, bool]]:
    """What single images were answered under the lesions of a file, under one condition: for each label mode and row of
    :func:`lesion_rows` without a draw its names, the ids of the images, whether they were right, bool (draws, images),
    and whether the draws are all there are."""
    table, facts = _read_lesions(path), read_facts(path)
    candidates, draws = sum(block > 0 for block in facts["removable"]), facts["protocol"]["draws"]
    ids = sorted(set(table["sample_id"]))
    for keys, trials in _trials(table, ["part", "design", "removed"]):
        single = keys["design"] == "single"
        for mode, correct in _correct(trials, "block" if single else "draw"):
            named, right = keys | {"label_mode": mode}, {key: rows[0] for key, rows in correct.items()}
            if single:
                yield from ((named | {"block": int(block)}, ids, one[None], True) for block, one in right.items())
            else:
                complete = keys["design"] == "intact" or math.comb(candidates, keys["removed"]) <= draws
                yield named, ids, np.stack(list(right.values())), complete


def limit_answers(path: Path) -> Iterator[tuple[dict, list[str], np.ndarray, bool]]:
    """The same of limits of attention, for each row of :func:`attention_limit_rows` without a draw."""
    table, facts = _read(path), read_facts(path)
    ids = sorted(set(table["sample_id"]))
    for keys, trials in _trials(table, ["arm", "distance", "masked", "blocks"]):
        same = _same_mask(**keys, patches=math.prod(facts["grid"]), depth=facts["depth"])
        for mode, correct in _correct(trials, "draw"):
            right = np.stack([rows[0] for rows in correct.values()])
            yield keys | {"label_mode": mode}, ids, right, keys["arm"] != "random" or same is not None
