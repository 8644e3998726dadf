"""What figures of a whole study share: the sets that they have a panel for, and one look for each family of models."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pandas as pd

from withstand.figures.published import beside
from withstand.figures.style import PALETTE, Style
from withstand.predictions import MAIN_MODES

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
"""Of families of models, in their order."""

FACTS = ["family", "parameters", "pretraining_dataset", "pretraining_images"]
SET = ["dataset", "condition", "policy"]
NOT_STATED = "not stated"

POLICIES = {
    "model": "models' own crop",
    "published": "as published",
    "corrupt_after_resize": "corrupted after resize",
}
"""What is said of sets that are not the study's stored images, resized."""


def by_set(accuracy: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """One row a model and set, with the facts of the model.

    A set is the clean images of a dataset, or the mean over all its corruptions and severities (``condition`` is
    ``clean`` or ``corrupted``), under one policy. Datasets that were corrupted come first, then the others from the
    most accurate to the least; answers are over all outputs, or over categories.
    """
    rows = accuracy[accuracy["label_mode"].isin(MAIN_MODES)]
    pooled = rows[["family", "corruption", "severity"]].isna().all(axis=1)
    clean = rows["family"] == "clean"
    rows = rows.assign(condition=np.where(clean, "clean", "corrupted"))[clean | pooled]
    rows = rows[[*SET, "label_mode", "model", "value", "low", "high", "n", "images"]].merge(
        models[["model", *FACTS]], on="model"
    )
    rows["pretraining_dataset"] = rows["pretraining_dataset"].astype(object).fillna(NOT_STATED)
    corrupted = rows["dataset"].isin(rows.loc[rows["condition"] == "corrupted", "dataset"])
    mean = rows[rows["condition"] == "clean"].groupby("dataset")["value"].mean()
    rows = rows.assign(held_out=~corrupted, harder=-rows["dataset"].map(mean))
    order = ["held_out", "harder", *SET, "pretraining_images", "pretraining_dataset", "family", "parameters", "model"]
    return rows.sort_values(order, ignore_index=True).drop(columns=["held_out", "harder"])


def published_sets(data: pd.DataFrame, reproduction: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`by_set` with published accuracies, where there are some."""
    conditions = {"clean": "clean", "corruptions": "corrupted"}
    rows = reproduction[reproduction["experiment"].isin(conditions) & (reproduction["metric"] == "accuracy")]
    rows = rows.assign(condition=rows["experiment"].map(conditions))
    return beside(data, rows, ["model", "label_mode", *SET])


def sets_of(data: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The sets, in their order."""
    return list(dict.fromkeys(data[SET].itertuples(index=False, name=None)))


def rows_of(data: pd.DataFrame, drawn: tuple[str, str, str]) -> pd.DataFrame:
    """The rows of a set."""
    return data[(data[SET] == list(drawn)).all(axis=1)]


def set_name(drawn: tuple[str, str, str], style: Style) -> str:
    """What a set is called."""
    dataset, condition, _ = drawn
    return style.dataset(dataset) + (", corrupted" if condition == "corrupted" else "")


def about_set(rows: pd.DataFrame) -> str:
    """How many images a set has, and how they were shown unless as all are."""
    policy = POLICIES.get(rows["policy"].iloc[0])
    return f"{int(rows['images'].max()):,} images" + (f", {policy}" if policy else "")


def outputs(data: pd.DataFrame) -> str:
    """Which answers count."""
    modes = {"all": "top-1 over all outputs", "categories": "the category with the highest mean probability"}
    return "; ".join(modes[mode] for mode in data["label_mode"].unique())


def looks_of(data: pd.DataFrame, style: Style) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each model: the colour that it has in all figures, and its family's marker."""
    families = data.drop_duplicates("model").set_index("model")["family"].to_dict()
    colors = replace(style, families=families | style.families).model_colors(families)
    markers = {family: marker for family, (_, marker) in family_looks(data, style).items()}
    return {model: (colors[model], markers[family]) for model, family in families.items()}


def family_looks(data: pd.DataFrame, style: Style) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each family: the colour that the config gives to its model with most data, then most
    parameters, else the next of the palette."""
    latest = data.drop_duplicates("model").sort_values(["pretraining_images", "parameters"], na_position="first")
    given = {row.family: style.colors[row.model] for row in latest.itertuples() if row.model in style.colors}
    free = cycle([color for color in PALETTE if color not in given.values()] or PALETTE)
    return {
        family: (given.get(family) or next(free), marker)
        for family, marker in zip(sorted(data["family"].unique()), cycle(MARKERS), strict=False)
    }


def short(number: float) -> str:
    """A large number in few characters: 1.3M for 1281167."""
    for unit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            scaled = number / unit
            return f"{scaled:.1f}".removesuffix(".0") + suffix if scaled < 10 else f"{scaled:.0f}{suffix}"
    return f"{number:.0f}"


def pretraining_name(dataset: str, images: float) -> str:
    """A pre-training set and its size, in two lines."""
    dataset = "pre-training not stated" if dataset == NOT_STATED else dataset
    return dataset if pd.isna(images) else f"{dataset}\n{short(images)} images"
