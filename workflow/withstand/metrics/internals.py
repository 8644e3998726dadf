"""Lesions, limits of attention, and attention distance of one model: tidy rows with 95% intervals.

A value over several draws has two sources of error, the images and the draws. Its interval is Wilson's with the
effective sample size of the variance clustered both ways (Cameron, Gelbach & Miller, JBES 2011). Where the draws are
all there are, only the images count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy import stats

from withstand.metrics.intervals import LEVEL, wilson
from withstand.predictions import LABEL_MODES, read_facts

CONDITION = ["corruption", "severity"]
DISTANCES = ("euclidean", "chebyshev", "prefix_share")


def lesion_rows(path: Path) -> pd.DataFrame:
    """Accuracy without some parts of a model.

    Returns columns corruption, severity, label_mode, part, design, removed, block (the one removed alone), draw,
    metric, value, low, high, n, images, draws, standard_error, lowest, highest and depth. A row of the design
    ``several`` without a draw is the mean over draws, with the standard error of that mean over draws, and their range;
    one with a draw is that draw alone.
    """
    table, facts = _read(path), read_facts(path)
    candidates, draws = sum(block > 0 for block in facts["removable"]), facts["protocol"]["draws"]
    rows = []
    for keys, trials in _trials(table, ["part", "design", "removed"]):
        for mode, correct in _correct(trials, ["draw", "blocks"] if keys["design"] == "single" else ["draw"]):
            about = keys | {"label_mode": mode, "metric": "accuracy"}
            if keys["design"] == "single":
                rows += [
                    about | {"block": int(blocks[0])} | proportion(one[None]) for (_, blocks), one in correct.items()
                ]
                continue
            all_there_are = keys["design"] == "intact" or math.comb(candidates, keys["removed"]) <= draws
            rows.append(about | over_draws(np.stack(list(correct.values())), complete=all_there_are))
            if keys["design"] == "several":
                rows += [about | {"draw": int(draw)} | proportion(one[None]) for (draw,), one in correct.items()]
    return pd.DataFrame(rows).assign(depth=facts["depth"])


def attention_limit_rows(path: Path) -> pd.DataFrame:
    """Accuracy under limits of attention.

    Returns columns corruption, severity, label_mode, arm, distance, masked, blocks, draw, metric, value, low, high, n,
    images, draws, standard_error, lowest, highest. A row of the arm ``random`` without a draw is the mean over masks.
    """
    rows = []
    for keys, trials in _trials(_read(path), ["arm", "distance", "masked", "blocks"]):
        for mode, correct in _correct(trials, ["draw"]):
            about = keys | {"label_mode": mode, "metric": "accuracy"}
            rows.append(about | over_draws(np.stack(list(correct.values())), complete=keys["arm"] != "random"))
            if keys["arm"] == "random":
                rows += [about | {"draw": int(draw)} | proportion(one[None]) for (draw,), one in correct.items()]
    return pd.DataFrame(rows)


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
    names = {"euclidean": "distance_pixels", "chebyshev": "distance_share", "prefix_share": "prefix_share"}
    averages = table.groupby([*CONDITION, "block", "sample_id"], observed=True)[list(DISTANCES)].mean().reset_index()
    rows = []
    for heads, part in ((["head"], table), ([], averages)):
        for key, group in part.groupby([*CONDITION, "block", *heads], observed=True):
            keys = dict(zip([*CONDITION, "block", *heads], key, strict=True))
            for column in DISTANCES:
                values = group[column].dropna().to_numpy(np.float64) * scale[column]
                if len(values):
                    about = {"metric": names[column], "uniform": uniform[column] * scale[column]}
                    rows.append(keys | about | mean(values))
    return pd.DataFrame(rows).assign(depth=facts["depth"])


def _uniform(grid: list[int], prefix: int) -> dict[str, float]:
    """Distances, in patches, and share of prefix tokens of a head that attends to all tokens alike."""
    places = np.indices(grid).reshape(2, -1)
    apart = np.abs(places[:, :, None] - places[:, None])
    share = prefix / (prefix + math.prod(grid))
    euclidean = float(np.hypot(*apart).mean())
    return {"euclidean": euclidean, "chebyshev": float(apart.max(0).mean()), "prefix_share": share}


def over_draws(correct: np.ndarray, *, complete: bool) -> dict:
    """The mean over draws of the same images: value, low, high, n, images, draws, standard_error, lowest, highest.

    Args:
        correct: bool (draws, images).
        complete: whether the draws are all there are, not a sample of them.
    """
    draws = correct.mean(1)
    error = draws.std(ddof=1) / math.sqrt(len(draws)) if len(draws) > 1 and not complete else None
    return proportion(correct, complete=complete) | {
        **{"draws": len(draws), "standard_error": error, "lowest": draws.min(), "highest": draws.max()}
    }


def proportion(correct: np.ndarray, *, complete: bool = True) -> dict:
    """A share of bool (draws, images) with its interval: value, low, high, n and images.

    Args:
        complete: whether draws are no source of error.
    """
    share, size = float(correct.mean()), _effective(correct, complete)
    low, high = wilson(share * size, size)
    return {"value": share, "low": low, "high": high, "n": correct.size, "images": correct.shape[1]}


def _effective(correct: np.ndarray, complete: bool) -> float:
    """The number of independent trials of the same variance; at most all of them."""
    draws, images = correct.shape
    share = correct.mean()
    if draws == 1 or images == 1 or share in (0, 1):
        return images
    by_image = correct.mean(0).var(ddof=1) / images
    variance = by_image
    if not complete and draws > 1:
        alone = share * (1 - share) / correct.size  # counted in both
        variance = max(by_image + correct.mean(1).var(ddof=1) / draws - alone, by_image)
    if variance == 0:
        return images
    return min(share * (1 - share) / variance, correct.size)


def mean(values: np.ndarray) -> dict:
    """A mean of independent values with Student's interval: value, low, high, n and images."""
    n, value = len(values), float(values.mean())
    half = stats.t.ppf(0.5 + LEVEL / 2, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return {"value": value, "low": value - half, "high": value + half, "n": n, "images": n}


def _read(path: Path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def _trials(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Rows of trials that share a condition and what was done, but for draws."""
    keys = [*CONDITION, *by]
    for key, trials in table.groupby(keys, observed=True, dropna=False, sort=False):
        yield {name: None if pd.isna(value) else value for name, value in zip(keys, key, strict=True)}, trials


def _correct(trials: pd.DataFrame, by: list[str]) -> Iterator[tuple[str, Mapping[tuple, np.ndarray]]]:
    """For each label mode whether each image was right, bool (images), by trial, images in one order."""
    if "blocks" in by:
        trials = trials.assign(blocks=[tuple(blocks) for blocks in trials["blocks"]])
    for mode in (mode for mode in LABEL_MODES if f"correct_{mode}" in trials):
        groups = trials.groupby(by, sort=True)
        yield mode, {key: group.sort_values("sample_id")[f"correct_{mode}"].to_numpy() for key, group in groups}
