"""The paper's claims as this study finds them: a row a test, its effect with its interval, and what follows."""

from __future__ import annotations

from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from withstand.figures.sets import POLICIES, pretraining_name
from withstand.figures.style import GRID, INK, MUTED, Style, footnote, words

OUTCOMES = {
    "supported": ("#0072B2", "o", "#0072B2"),
    "refuted": ("#D55E00", "X", "#D55E00"),
    "undecided": ("#5A5A5A", "s", "white"),
}
"""Colour, marker and filling of each outcome."""

STATEMENT, LABEL, MIDDLE, NUMBERS, RIGHT = 0.05, 3.25, 5.6, 6.7, 8.7
"""Where columns stand, in inches: their left, the middle of the scale, and the right end of n."""

HALF = 0.95
"""Half the length of the scale, in inches."""

ROW, LINE, GAP, TOP = 0.175, 0.135, 0.12, 0.5
"""Height of a test and of a line of text, what is between claims, and what is above them, in inches."""

NARROW = 0.04
"""Intervals in points that are narrower have a digit more."""

CHARACTERS = {"statement": 50, "label": 26, "reason": 64}
"""That fit a line of each column."""

RATIOS = ((1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8), (2 / 3, 1, 3 / 2), (0.8, 1, 1.25), (0.9, 1, 1.1))
"""Ticks of the scale of ratios, which is logarithmic: the first of these of which three fit, else 1 alone."""

BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""Behind text that crosses a line."""

UNITS = {"points": "points", "correlation": "corr.", "slope": "slope", "ratio": ""}
"""What is written after an effect; a ratio has a sign before it."""


def select(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """All tests, those of a claim together, in the table's order."""
    columns = ["claim", "section", "statement", "dataset", "label_mode", "policy", "subject", "outcome"]
    columns += ["pretraining_dataset", "pretraining_images"]
    order = {claim: number for number, claim in enumerate(table["claim"].unique())}
    rows = table[[*columns, "effect", "low", "high", "unit", "n", "reason", "criterion", "models"]]
    return rows.sort_values("claim", key=lambda claims: claims.map(order), kind="stable", ignore_index=True)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Claims one below another, their tests beside them; all scales have no effect in the middle."""
    units = list(data.loc[data["effect"].notna(), "unit"].unique())
    heights = {claim: _heights(rows, style) for claim, rows in data.groupby("claim", sort=False)}
    bottom = TOP + sum(sum(rows) + GAP for rows in heights.values())
    height = bottom + 0.1 + 0.36 * len(units)
    figure = plt.figure(figsize=(RIGHT + 0.05, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, RIGHT + 0.05), ylim=(height, 0))
    axis.set_axis_off()
    reach = {unit: _reach(data[data["unit"] == unit], unit) for unit in units}
    _head(axis, data)
    axis.plot([MIDDLE, MIDDLE], [TOP - 0.08, bottom], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    top = TOP
    for claim, rows in data.groupby("claim", sort=False):
        axis.plot([STATEMENT, RIGHT], [top - GAP / 2] * 2, color=GRID, linewidth=0.7, zorder=0)
        for number, line in enumerate(wrap(rows["statement"].iloc[0], CHARACTERS["statement"])):
            axis.text(STATEMENT, top + LINE * (number + 0.5), line, va="center", fontsize=8)
        for (_, row), high in zip(rows.iterrows(), heights[claim], strict=False):
            _test(axis, top + min(high, ROW) / 2, row, reach, style)
            top += high
        top += sum(heights[claim][len(rows) :]) + GAP
    for number, unit in enumerate(units):
        _scale(axis, bottom + 0.1 + 0.36 * number, unit, reach[unit])
    footnote(
        figure,
        "A row is a test of the claim at its left. Bars are 95% intervals; every unit has a scale of its own, with no"
        " effect in the middle (dashed). n: images, or models where these are the sample.",
    )
    return figure


def _heights(rows: pd.DataFrame, style: Style) -> list[float]:
    """Height of each test of a claim, and what its statement needs below them."""
    lines = [max(len(_reason(row)), len(_label(row, style))) for _, row in rows.iterrows()]
    tests = [max(ROW, LINE * count + 0.05) for count in lines]
    statement = LINE * len(wrap(rows["statement"].iloc[0], CHARACTERS["statement"]))
    return [*tests, max(0.0, statement - sum(tests))]


def _reason(row: pd.Series) -> list[str]:
    """Why a test has no effect, in lines; none where it has one."""
    return (
        []
        if pd.notna(row["effect"])
        else wrap(f"not tested: {row['reason']}", CHARACTERS["reason"], break_on_hyphens=False)
    )


def _placed(value: float, unit: str) -> float:
    """A value on the scale of its unit, before it is shrunk to the reach."""
    if unit == "ratio":
        return float(np.log(max(value, 1e-9)))
    return value


def _reach(rows: pd.DataFrame, unit: str) -> float:
    """The largest distance from no effect that a scale has."""
    ends = [_placed(value, unit) for value in rows[["effect", "low", "high"]].to_numpy().ravel() if np.isfinite(value)]
    return max(1e-9, *np.abs(ends))


def _head(axis: Axes, data: pd.DataFrame) -> None:
    x = STATEMENT
    tested = data[data["effect"].notna()]
    for outcome, (color, marker, face) in OUTCOMES.items():
        count = int((tested["outcome"] == outcome).sum())
        axis.plot(x + 0.06, 0.14, marker=marker, color=color, markerfacecolor=face, markersize=6)
        axis.text(x + 0.18, 0.14, f"{outcome}: {count}", va="center", fontsize=8.5, color=color, fontweight="bold")
        x += 1.4
    untested = data["claim"].nunique() - tested["claim"].nunique()
    if untested:
        text = f"claims not tested: {untested}"
        axis.text(x, 0.14, text, va="center", fontsize=8.5, color=MUTED, fontweight="bold")
    for place, side, text in ((NUMBERS, "left", "effect [95% interval]"), (RIGHT, "right", "n")):
        axis.text(place, TOP - 0.2, text, ha=side, va="center", fontsize=7.5, color=MUTED)


def _test(axis: Axes, y: float, row: pd.Series, reach: dict[str, float], style: Style) -> None:
    for number, line in enumerate(_label(row, style)):
        axis.text(LABEL, y + LINE * number, line, va="center", fontsize=7.5)
    if pd.isna(row["effect"]):
        for number, line in enumerate(_reason(row)):
            axis.text(MIDDLE - HALF, y + LINE * number, line, va="center", fontsize=7, color=MUTED, bbox=BLANK)
        return
    color, marker, face = OUTCOMES[row["outcome"]]
    unit = row["unit"]
    ends = [_placed(row[name], unit) / reach[unit] * HALF for name in ("low", "effect", "high")]
    low, middle, high = MIDDLE + np.clip(ends, -HALF, HALF)
    axis.plot([low, high], [y, y], color=color, linewidth=1.3, solid_capstyle="butt", zorder=2)
    axis.plot(middle, y, marker=marker, color=color, markerfacecolor=face, markersize=5.5, zorder=3)
    axis.text(NUMBERS, y, _numbers(row), va="center", fontsize=7.5, color=INK)
    axis.text(RIGHT, y, f"{int(row['n']):,}", ha="right", va="center", fontsize=7.5, color=MUTED)


def _label(row: pd.Series, style: Style) -> list[str]:
    """What a test is on, in lines: the set, the attack or the images of it, how these were shown, unless as all, and
    what the models were pre-trained on."""
    parts = [style.dataset(row["dataset"])] if pd.notna(row["dataset"]) else []
    if pd.notna(row["subject"]):
        corrupted = row["subject"] == "mean over corruptions"
        parts.append("corrupted" if corrupted else style.labels.get(row["subject"], words(row["subject"])))
    parts += [POLICIES[row["policy"]]] if row["policy"] in POLICIES else []
    if pd.notna(row["pretraining_dataset"]):
        name = pretraining_name(row["pretraining_dataset"], row["pretraining_images"])
        parts.append(f"trained on {name}".replace("\n", ", "))
    return wrap(", ".join(parts), CHARACTERS["label"])


def _numbers(row: pd.Series) -> str:
    """An effect with its interval, in its unit."""
    unit, share = row["unit"], row["unit"] == "points"
    digits = 2 if not share else 0 if row["high"] - row["low"] > NARROW else 1
    effect, low, high = (
        _number(row[name] * (100 if share else 1), digits, signed=unit != "ratio") for name in ("effect", "low", "high")
    )
    times = "\N{MULTIPLICATION SIGN}" if unit == "ratio" else ""
    bounds = f" [{low}, {high}]" if pd.notna(row["low"]) else ""
    return f"{times}{effect}{bounds} {UNITS[unit]}".rstrip()


def _number(value: float, digits: int, *, signed: bool) -> str:
    rounded = round(value, digits) if np.isfinite(value) else value
    text = f"{rounded + 0.0:{'+' if signed and rounded else ''}.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}").replace("inf", "∞")


def _scale(axis: Axes, y: float, unit: str, reach: float) -> None:
    """The scale of a unit, with its name."""
    axis.plot([MIDDLE - HALF, MIDDLE + HALF], [y, y], color=MUTED, linewidth=0.8)
    if unit == "ratio":
        fitting = ([tick for tick in ticks if abs(np.log(tick)) <= reach] for ticks in RATIOS)
        ticks = next((ticks for ticks in fitting if len(ticks) > 2), [1])
    else:
        ticks = MaxNLocator(4, symmetric=True, steps=[1, 2, 5, 10]).tick_values(-reach, reach)
        ticks = [tick for tick in np.round(ticks, 9) if abs(tick) <= reach]
    for tick in ticks:
        x = MIDDLE + _placed(tick, unit) / reach * HALF
        axis.plot([x, x], [y, y + 0.04], color=MUTED, linewidth=0.8)
        text = f"{100 * tick:+.3g}" if unit == "points" else f"{tick:.2g}" if unit == "ratio" else f"{tick:+.2g}"
        text = text.replace("-", "\N{MINUS SIGN}") if tick else "0"
        axis.text(x, y + 0.07, text, ha="center", va="top", fontsize=7, color=MUTED)
    axis.text(MIDDLE - HALF - 0.12, y, unit, ha="right", va="center", fontsize=7.5, color=MUTED)
