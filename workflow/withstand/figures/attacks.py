"""Accuracy under each attack beside that on the same images without: a row a model, a panel an attack."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from withstand.figures.published import KEYS, beside, mark, name_first, note
from withstand.figures.style import (
    CHOICES,
    MUTED,
    Style,
    choices,
    footnote,
    in_families,
    interval_point,
    label_rows,
    words,
)

METRICS = ("clean_accuracy", "accuracy")
MOST_IN_A_ROW = 5


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows drawn: accuracy over all outputs, with and without perturbations, and by step."""
    rows = table[(table["label_mode"] == "all") & table["metric"].isin([*METRICS, "surviving"])]
    about = ["dataset", "attack", "norm", "eps", "target", "model", "metric", "step"]
    return in_families(rows[[*about, "value", "low", "high", "n", *CHOICES]], models)


def with_published(data: pd.DataFrame, reproduction: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows with published accuracies under attack, where there are some."""
    return beside(data, reproduction[reproduction["attack"].notna()], [*KEYS, "attack"])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A panel an attack, hollow without perturbations, filled with them; beside attacks of several steps, how many
    images stand after each."""
    models, attacks = list(data["model"].unique()), _in_order(data)
    colors = style.model_colors(models)
    panels = [(attack, kind) for attack in attacks for kind in _panels(data[data["attack"] == attack])]
    columns = min(len(panels), MOST_IN_A_ROW)
    lines = -(-len(panels) // columns)
    size = (1.3 + 2.3 * columns, max(2.3, 1.1 + 0.36 * len(models)) * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for number, (axis, (attack, kind)) in enumerate(zip(axes.flat, panels, strict=False)):
        rows = data[data["attack"] == attack]
        if kind == "accuracy":
            _accuracies(axis, rows, models, colors, style)
            axis.set_title(f"{words(attack)}\n", loc="left", fontweight="bold")
            axis.text(0, 1.02, _about(rows), transform=axis.transAxes, fontsize=7.5, color=MUTED)
        else:
            _steps(axis, rows, models, colors)
            axis.set_title(f"{words(attack)}, step by step", loc="left", fontsize=8.5, color=MUTED)
        if number % columns and kind == "accuracy":
            axis.set_yticklabels([])
    figure.tight_layout(w_pad=1.5)
    text = f"Hollow: the same images without perturbations; filled: with them; {choices(data)}."
    if len(panels) > len(attacks):
        text += " Step by step: images that the attack has not succeeded on so far."
    footnote(figure, f"{text} Bars and bands are 95% Wilson intervals.{note(data)}")
    return figure


def _panels(rows: pd.DataFrame) -> tuple[str, ...]:
    return ("accuracy", "steps") if rows["step"].max() > 1 else ("accuracy",)


def _in_order(data: pd.DataFrame) -> list[str]:
    """Weaker attacks first, by what they leave."""
    left = data[data["metric"] == "accuracy"].groupby("attack")["value"].mean()
    return list(left.sort_values(ascending=False).index)


def _about(rows: pd.DataFrame) -> str:
    norm = {"linf": r"$L_\infty$", "l2": r"$L_2$"}[rows["norm"].iloc[0]]
    images = int(rows.loc[rows["metric"] == "accuracy", "n"].max())
    return f"{norm} ≤ {rows['eps'].iloc[0]}, {images:,} images"


def _accuracies(axis: Axes, rows: pd.DataFrame, models: list[str], colors: dict, style: Style) -> None:
    label_rows(axis, models, colors, style)
    for height, model in enumerate(models):
        values = rows[rows["model"] == model].set_index("metric")
        if "accuracy" not in values.index:
            continue
        axis.plot(values.loc[list(METRICS), "value"], [height] * 2, color=colors[model], linewidth=0.9, alpha=0.5)
        for metric in METRICS:
            interval_point(axis, height, values.loc[metric], colors[model], filled=metric == "accuracy")
        mark(axis, height, values.loc["accuracy"], along="x")
    name_first(axis, rows[rows["metric"] == "accuracy"], models)
    axis.set_xticks([0, 0.5, 1])
    axis.set_xlabel("accuracy")


def _steps(axis: Axes, rows: pd.DataFrame, models: list[str], colors: dict) -> None:
    for model in models:
        curve = rows[(rows["model"] == model) & (rows["metric"] == "surviving")].sort_values("step")
        axis.plot(curve["step"], curve["value"], color=colors[model])
        axis.fill_between(curve["step"], curve["low"], curve["high"], color=colors[model], alpha=0.12, linewidth=0)
    targeted = rows["target"].iloc[0] in ("random", "least_likely")
    standing = "target not reached so far" if targeted else "never wrong so far"
    axis.set(ylim=(0, 1), xlabel="gradient steps", ylabel=standing)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xticks(range(0, int(rows["step"].max()) + 1, max(1, int(rows["step"].max()) // 4)))
    axis.grid()
