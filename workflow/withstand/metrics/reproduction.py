"""Measured values beside published ones: which belong together, how protocols differ, and whether the values agree.

Values belong together where model, image set, experiment, metric, label mode and setting are the same: accuracy over
all outputs is never set beside one over a set's classes, nor a mean over 14 corruptions beside one over 15. What may
differ, and is named, is the rest of the protocol: how images are resized, the input size, the number of images, the
training of the weights. Where a source has several input sizes, only that of the model counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from withstand import published
from withstand.metrics.attacks import FGSM, PGD, protocols
from withstand.published.match import ALL_15

KEYS = ["weights", "set", "experiment", "metric", "label_mode", "setting"]
"""What names a value, measured or published."""

CLEAN = "clean"
SIZE_OF_IMAGENET_C = 224
ROUNDING = 1e-9
"""Of decimal numbers, where intervals only just meet."""

ATTENTION_LIMIT, UNLIMITED = "attention_limit", "d=none"

RESIZED = {
    "plain": "published with the whole image resized",
    "swapped": "published with images resized to 224 px and cropped to 248",
}
"""How sources resized clean images, where no study does it so."""


def reproduction_rows(
    tables: Mapping[str, pd.DataFrame | None], models: pd.DataFrame, identities: Mapping
) -> pd.DataFrame:
    """Every published value that a study has measured.

    Args:
        tables: tables of the study by name: accuracy, corruption_error, attacks, spatial, shape_bias, lesions,
            attention_limit; None, or no key, for those that a study has not.
        models: its table of models, for their input sizes and grids of patches.
        identities: which public weights and image sets it has (see :func:`withstand.published.match.identities`).

    Returns columns model, dataset, experiment, metric, label_mode, policy, setting, attack, value, low, high, n,
    published, reading_error, source, source_model, protocol (how the two are known to differ, and what the source does
    not say), same_protocol (no difference is known), difference and agrees (the published value, give or take its
    reading error, meets the measured interval).
    """
    found = measured_values(tables, models, identities)
    if found.empty:
        return pd.DataFrame()
    pairs = found.merge(published_values(), on=KEYS, suffixes=("", "_published"))
    pairs = pairs[_is_comparable(pairs)]
    if pairs.empty:
        return pd.DataFrame()
    order = {name: number for number, name in enumerate(published.sources())}
    pairs = _of_the_right_size(pairs.assign(order=pairs["source"].map(order)))
    differences = [_differences(pair, identities) for pair in pairs.to_dict("records")]
    unknown = [_unknown(pair) for pair in pairs.to_dict("records")]
    pairs = pairs.assign(
        protocol=["; ".join([*known, *silent]) for known, silent in zip(differences, unknown, strict=True)],
        same_protocol=[not known for known in differences],
        difference=pairs["value"] - pairs["published"],
        agrees=agree(pairs["published"], pairs["reading_error"].fillna(0), pairs["low"], pairs["high"]),
        setting=pairs["setting"].replace("", None),
    )
    return pairs.sort_values(["order", "experiment", "dataset", "setting", "model", "metric"], ignore_index=True)


def agree(value: pd.Series, error: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    """Whether ``value`` give or take ``error`` meets the closed intervals from ``low`` to ``high``."""
    return (value - error <= high + ROUNDING) & (value + error >= low - ROUNDING)


def published_values() -> pd.DataFrame:
    """Published values of models that public weights are, or stand for; a row for each of these weights."""
    values = pd.DataFrame(published.values()).rename(columns={"value": "published"})
    for column in ("published", "reading_error", "input_size", "images"):
        values[column] = pd.to_numeric(values[column])
    weights = pd.DataFrame(published.models())
    weights = weights.assign(same_weights=weights["same_weights"] == "true")
    return values.merge(weights, on=["source", "source_model", "pretraining_dataset"])


def measured_values(
    tables: Mapping[str, pd.DataFrame | None], models: pd.DataFrame, identities: Mapping
) -> pd.DataFrame:
    """What a study has measured of public weights on published sets, named as published values are."""
    sizes = models.set_index("model")
    parts = [
        rows.assign(experiment=rows["experiment"].astype(object))
        for name, read in _READERS.items()
        if tables.get(name) is not None
        for rows in read(tables[name], sizes)
        if len(rows)
    ]
    if not parts:
        return pd.DataFrame()
    columns = ["model", "dataset", "policy", "label_mode", "experiment", "metric", "setting", "attack"]
    rows = pd.concat([part.reindex(columns=[*columns, "value", "low", "high", "n", "images"]) for part in parts])
    rows = rows.assign(
        weights=rows["model"].map({name: about["weights"] for name, about in identities["models"].items()}),
        input_size=rows["model"].map(sizes["input_size"]),
    )
    named = [_set_and_setting(row, identities["datasets"]) for row in rows.to_dict("records")]
    rows["set"], rows["setting"] = ([pair[number] for pair in named] for number in (0, 1))
    return rows[rows[["weights", "set", "value"]].notna().all(axis=1)].reset_index(drop=True)


def _set_and_setting(row: Mapping, datasets: Mapping) -> tuple[str | None, str]:
    about = datasets.get(row["dataset"], {"set": None, "setting": "", "corrupted": {}})
    if row["experiment"] == "corruptions":
        corrupted = about["corrupted"].get(row["policy"], {"set": None, "setting": ""})
        return corrupted["set"], row["setting"] or corrupted["setting"]
    return about["set"], row["setting"] or about["setting"]


def _accuracy(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    yield table[table["family"] == CLEAN].assign(experiment="clean", setting="")
    yield table[table[["family", "corruption", "severity"]].isna().all(axis=1)].assign(
        experiment="corruptions", setting=""
    )


def _corruption_error(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Errors against AlexNet count just the fifteen corruptions, whatever others a study has."""
    against_alexnet = table["corruption"].isna() & (table["metric"] == "mce") & (table["reference"] == "AlexNet")
    yield table[against_alexnet].assign(experiment="corruptions", setting=ALL_15)


def _attacks(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """PGD has two names: of its budget alone, and with its number of steps."""
    rows = table[(table["norm"] == "linf") & (table["target"] == "none")]
    under, named = rows[rows["metric"] == "accuracy"], protocols(rows)
    for attack, steps in ((FGSM, False), (PGD, False), (PGD, True)):
        chosen = under[named[under.index] == attack]
        setting = "eps=" + chosen["eps"]
        if steps:
            setting += ", steps=" + chosen["steps"].astype("Int64").astype(str)
        yield chosen.assign(experiment=attack, setting=setting)
    before = rows[rows["metric"] == "clean_accuracy"].assign(experiment="before_attacks", setting="", attack=None)
    yield before.drop_duplicates(["model", "dataset", "label_mode", "policy"])


def _spatial(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    yield table[table["metric"] == "worst"].assign(experiment="spatial", setting="")


def _shape_bias(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The answer on categories is the one of the highest mean probability, which one source tells apart."""
    for setting in ("", "mean probability of each category"):
        yield table.assign(experiment="shape", setting=setting)


def _lesions(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    rows = table[table["draw"].isna() & (table["family"] == CLEAN)]
    yield rows.assign(experiment="lesions", setting=[lesion(**row) for row in _records(rows, "part removed block")])


def _attention_limit(table: pd.DataFrame, sizes: pd.DataFrame) -> Iterator[pd.DataFrame]:
    rows = table[table["draw"].isna() & (table["family"] == CLEAN)]
    side = rows["model"].map(sizes["grid"])
    settings = [
        attention_limit(**row, side=grid) for row, grid in zip(_records(rows, "arm distance blocks"), side, strict=True)
    ]
    yield rows.assign(experiment=ATTENTION_LIMIT, setting=settings)


_READERS = {
    "accuracy": _accuracy,
    "corruption_error": _corruption_error,
    "attacks": _attacks,
    "spatial": _spatial,
    "shape_bias": _shape_bias,
    "lesions": _lesions,
    "attention_limit": _attention_limit,
}


def lesion(part: str, removed: int, block: float) -> str:
    """The name of a lesion: ``block=3, mlp``, of blocks from 0, or ``removed=4, mlp`` for the mean over several."""
    if part == "none":
        return "intact"
    return f"removed={int(removed)}, {part}" if pd.isna(block) else f"block={int(block)}, {part}"


def attention_limit(arm: str, distance: float, blocks: float, side: float) -> str:
    """The name of a limit of attention: ``d=4, local`` in patches, or ``first=2`` for blocks.

    Args:
        distance: a share of the grid's side, in whole patches rounded down.
        side: patches along a side of the grid.
    """
    if arm == "none":
        return UNLIMITED
    if pd.notna(blocks):
        return f"{arm}={int(blocks)}"
    return "d=unknown" if pd.isna(side) else f"d={int(np.floor(distance * side + ROUNDING))}, {arm}"


def _records(rows: pd.DataFrame, columns: str) -> list[dict]:
    return rows[columns.split()].to_dict("records")


def _is_comparable(pairs: pd.DataFrame) -> pd.Series:
    """Images of ImageNet-C and images corrupted at the model's size are two sets, unless a source does not say which it
    took; and a distance in patches means another share of the image on another grid."""
    told = (pairs["experiment"] == "corruptions") & (pairs["policy_published"] != "")
    here, there = (pairs[name] == "corrupt_after_resize" for name in ("policy", "policy_published"))
    two_sets = told & (here != there)
    other_grid = (pairs["experiment"] == ATTENTION_LIMIT) & (pairs["input_size"] != pairs["input_size_published"])
    return ~two_sets & ~other_grid


def _of_the_right_size(pairs: pd.DataFrame) -> pd.DataFrame:
    """Without a source's values at other input sizes where it has one at the model's."""
    same = pairs["input_size"] == pairs["input_size_published"]
    has_one = same.groupby([pairs[name] for name in ("model", "dataset", "policy", "source", *KEYS)]).transform("any")
    return pairs[same | ~has_one]


def _differences(pair: Mapping, identities: Mapping) -> list[str]:
    """What is known to differ between a measured and a published value."""
    stored_size = identities["datasets"][pair["dataset"]]["size"]
    own = identities["models"][pair["model"]]["preprocessing"]
    source = published.sources()[pair["source"]]["differences"]
    size, count = pair["input_size_published"], pair["images_published"]
    found = [
        "" if pair["same_weights"] else f"other weights: {pair['note']}",
        f"published at {size:.0f} px, here {pair['input_size']:.0f}" if pair["input_size"] != size > 0 else "",
        _corrupted_otherwise(pair, stored_size)
        if pair["experiment"] == "corruptions"
        else _resized_otherwise(pair, stored_size),
        f"preprocessing of the study's own: {', '.join(own)}" if own else "",
        f"published on {count:,.0f} images, here {pair['images']:,.0f}" if pair["images"] != count > 0 else "",
        source.get(pair["metric"], ""),
    ]
    return [text for text in found if text]


def _resized_otherwise(pair: Mapping, stored_size: int | None) -> str:
    source, own = pair["policy_published"], pair["policy"]
    if source in RESIZED:
        return RESIZED[source]
    if source == "model" and own == "stored" and stored_size:
        return f"published by the model's own resize and crop, here stored at {stored_size} px and resized"
    if own == "stored" and stored_size not in (None, pair["input_size"]):
        return f"images stored at {stored_size} px and resized"
    return ""


def _corrupted_otherwise(pair: Mapping, stored_size: int | None) -> str:
    source, own = pair["policy_published"], pair["policy"]
    found = []
    if source == "cropped":
        found.append("published with images of 224 px resized and cropped again")
    if own == "stored" and (source or stored_size != SIZE_OF_IMAGENET_C):
        found.append(f"corrupted here, at {stored_size} px")
    if own == "corrupt_after_resize" and not source and pair["input_size"] != SIZE_OF_IMAGENET_C:
        found.append("corrupted here, at the model's size")
    return "; ".join(found)


def _unknown(pair: Mapping) -> list[str]:
    """What a source does not say."""
    about = published.sources()[pair["source"]]["not_stated"].get(pair["experiment"])
    found = [
        "how images were resized" if pair["policy_published"] == "" else "",
        "how many images" if pd.isna(pair["images_published"]) else "",
        "input size" if pd.isna(pair["input_size_published"]) else "",
        about or "",
    ]
    named = ", ".join(text for text in found if text)
    return [f"not stated: {named}"] if named else []
