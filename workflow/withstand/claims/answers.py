"""The single answers behind the rows of a study's tables, as errors of estimates.

Models are shown the same images, attacked, transformed or as they are, so what they get right is paired by image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from withstand.claims.estimates import Draws, Errors, Images
from withstand.metrics.answers import SCHEMA as COUNTED
from withstand.metrics.answers import read_answers
from withstand.metrics.conditions import CLEAN
from withstand.metrics.internals import lesion_answers, limit_answers
from withstand.parquet import read_schema, read_table
from withstand.predictions import LABEL_MODES, read_facts

_SET = ("model", "dataset", "label_mode", "policy")
KEYS = {
    "accuracy": (*_SET, "family"),
    "attacks": (*_SET, "attack", "metric"),
    "transfer": (*_SET, "source", "attack", "metric"),
    "spatial": (*_SET, "metric"),
    "shape_bias": (*_SET, "metric"),
    "lesions": (*_SET, "family", "part", "design", "removed", "block"),
    "attention_limit": (*_SET, "family", "arm", "distance", "blocks"),
}
"""What tells the rows of a table apart whose answers are known."""


def key(table: str, row: Mapping) -> tuple:
    """The name of a row."""
    return table, *(_plain(row.get(name)) for name in KEYS[table])


def _plain(value: object) -> object:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    return value if isinstance(value, str) else float(value)


def read_errors(files: Iterable[Path]) -> dict[tuple, Errors]:
    """The errors of all rows that are means of the answers in some files: predictions under attacks, on the same images
    without, and on cue conflicts; transfer; rotation and translation; lesions and limits of attention; and how often
    each image was right (``tables/images/{model}.parquet``), of accuracies on clean images and means over corruptions.

    What failed has no answers.
    """
    paths = list(files)
    counted = {path.stem: path for path in paths if set(COUNTED.names) <= set(read_schema(path).names)}
    facts = {path: read_facts(path) for path in paths if path not in counted.values()}
    answered = {path: about for path, about in facts.items() if "failure" not in about}
    clean = {(about["model"], about["dataset"]): path for path, about in answered.items() if _is_clean(path, about)}
    found = {
        key(table, about | row): errors
        for path, about in answered.items()
        for table, row, errors in _rows(path, about, clean)
    }
    return found | dict(_accuracies(counted))


def _accuracies(files: Mapping[str, Path]) -> Iterator[tuple[tuple, Errors]]:
    """Of the accuracy of each model on each set, from images that all were shown."""
    for answers in read_answers(files) if files else ():
        sample = _sample(answers.ids)
        for model, shares in zip(answers.models, answers.shares(), strict=True):
            about = {"model": model, "family": CLEAN if answers.is_clean else None, **answers.keys}
            yield key("accuracy", about), {sample: shares - shares.mean()}


def _is_clean(path: Path, facts: Mapping) -> bool:
    return facts.get("family") == CLEAN and "loss" in (names := read_schema(path).names) and "top5_all" in names


def _rows(path: Path, facts: Mapping, clean: Mapping) -> Iterator[tuple[str, dict, Errors]]:
    """The table, the names and the errors of the rows that a file has the answers of."""
    names = read_schema(path).names
    if "design" in names:
        yield from (("lesions", *row) for row in _lesions(path, facts))
    elif "arm" in names:
        yield from (("attention_limit", *row) for row in _limits(path))
    elif "attack" in facts:
        for mode, table in _by_mode(path, "correct_"):
            about = {"label_mode": mode, "attack": facts["attack"]["name"], "metric": "accuracy"}
            yield "attacks", about, _of_images(table["correct_"], table["sample_id"])
    elif "transformations" in facts:
        for mode, table in _by_mode(path, "correct_"):
            right = np.stack(table["correct_"].to_list()).all(1)
            yield "spatial", {"label_mode": mode, "metric": "worst"}, _of_images(right, table["sample_id"])
    elif "attacks" in facts:
        before = clean.get((facts["model"], facts["dataset"]))
        yield from (("transfer", *row) for row in (_transfer(path, before) if before else ()))
    elif any(f"texture_correct_{mode}" in names for mode in LABEL_MODES):
        for mode, table in _by_mode(path, "correct_"):
            about = {"label_mode": mode, "metric": "shape_accuracy"}
            yield "shape_bias", about, _of_images(table["correct_"], table["sample_id"])


def _by_mode(path: Path, column: str, *more: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Answers in each label mode, in a column without its name, in the order of the samples' ids."""
    there = read_schema(path).names
    for mode in (mode for mode in LABEL_MODES if f"{column}{mode}" in there):
        table = read_table(path, columns=["sample_id", f"{column}{mode}", *more]).to_pandas()
        ordered = table.assign(sample_id=table["sample_id"].astype(str)).sort_values("sample_id", kind="stable")
        yield mode, ordered.rename(columns={f"{column}{mode}": column})


def _of_images(values: Iterable, ids: Iterable[str]) -> Errors:
    """Of a mean over images."""
    found = np.asarray(values, dtype=np.float64)
    return {_sample(ids): found - found.mean()}


def _sample(ids: Iterable[str]) -> Images:
    return Images(hashlib.blake2b("\n".join(ids).encode(), digest_size=8).hexdigest())


def _transfer(path: Path, clean: Path) -> Iterator[tuple[dict, Errors]]:
    """Of the share of images right before that are wrong after, a ratio of two means."""
    before = dict(_by_mode(clean, "correct_"))
    for mode, table in _by_mode(path, "correct_", "source", "attack"):
        right = before[mode].set_index("sample_id")["correct_"]
        for (source, attack), shown in table.groupby(["source", "attack"], observed=True):
            was_right = right[shown["sample_id"]].to_numpy(dtype=np.float64)
            if not was_right.any():
                continue
            fooled = was_right * ~shown["correct_"].to_numpy(dtype=bool)
            errors = (fooled - was_right * fooled.sum() / was_right.sum()) / was_right.mean()
            about = {"label_mode": mode, "source": source, "attack": attack, "metric": "fooled"}
            yield about, {_sample(shown["sample_id"]): errors}


def _lesions(path: Path, facts: Mapping) -> Iterator[tuple[dict, Errors]]:
    """Models of one depth lose the same blocks, whatever the part."""
    for row, ids, right, complete in lesion_answers(path):
        yield row, _of_draws(right, ids, None if complete else ("lesions", facts["depth"], row["removed"]))


def _limits(path: Path) -> Iterator[tuple[dict, Errors]]:
    """Models of one grid have the same random masks."""
    for row, ids, right, complete in limit_answers(path):
        grid = tuple(read_facts(path)["grid"])
        yield row, _of_draws(right, ids, None if complete else ("masks", grid, row["distance"]))


def _of_draws(right: np.ndarray, ids: Iterable[str], draws: tuple | None) -> Errors:
    """Of a mean over draws and images, bool (draws, images); draws without a name are all there are."""
    value = right.mean()
    errors: dict = {_sample(ids): right.mean(0) - value}
    return errors if draws is None else errors | {Draws(draws): right.mean(1) - value}
