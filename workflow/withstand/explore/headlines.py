"""The rows of a study's tables that sum it up: one value for each model, dataset, condition and metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

KEYS = ("dataset", "condition", "label_mode", "policy", "metric")
"""What values of different models, or of different studies, have in common when they are compared."""

COLUMNS = ("model", *KEYS, "value", "low", "high", "n")

ALL_CORRUPTIONS = "all corruptions"
"""The condition of a mean over all corruptions and severities."""

SHARES = frozenset(
    (
        *("accuracy", "fooled", "mean", "worst", "worst_of_draws", "shape_accuracy", "texture_accuracy", "shape_bias"),
        *("ece", "effective_robustness"),
    )
)
"""Metrics between 0 and 1, told in percent."""

PERCENT = frozenset(("ce", "relative_ce", "mce", "relative_mce"))
"""Metrics that are percentages as they are."""


@dataclass(frozen=True)
class Summary:
    """How a table is summed up.

    Attributes:
        title: what its values are.
        metrics: those of its metrics that count.
        condition: of a row; None where the row is a detail.
    """

    title: str
    metrics: tuple[str, ...]
    condition: Callable[[object], str | None]


def headlines(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The headlines of a table, with the columns ``COLUMNS``; no rows for a table that is not summed up."""
    return _rows(SUMMARIES[name], table) if name in SUMMARIES else pd.DataFrame(columns=COLUMNS)


def by_corruption(accuracy: pd.DataFrame) -> pd.DataFrame:
    """The headlines of the table of accuracies, and besides the mean over severities of each corruption."""
    return _rows(Summary("", ("accuracy",), lambda row: _images(row) or _corruption(row)), accuracy)


def told(metric: str, value: float, *, signed: bool = False) -> str:
    """A value as people read it; shares are told in percent."""
    shown = value * 100 if metric in SHARES else value
    digits = 1 if metric in SHARES | PERCENT else 3
    return "" if pd.isna(value) else format(round(shown, digits) + 0.0, f"{'+' if signed else ''}.{digits}f")


def with_interval(metric: str, value: float, low: float, high: float, *, signed: bool = False) -> str:
    """A value with its interval, where it has one: ``82.3 [80.1, 84.2]``."""
    value, *ends = (told(metric, number, signed=signed) for number in (value, low, high))
    return f"{value} [{', '.join(ends)}]" if all(ends) else value


def _rows(summary: Summary, table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["metric"].isin(summary.metrics) & table["value"].notna()]
    rows = rows.assign(condition=[summary.condition(row) for row in rows.itertuples()])
    return rows[rows["condition"].notna()].reindex(columns=COLUMNS).reset_index(drop=True)


def _images(row) -> str | None:
    """Clean images, and the mean over all corruptions."""
    if row.corruption == "clean":
        return "clean"
    return ALL_CORRUPTIONS if pd.isna(row.family) and pd.isna(row.corruption) and pd.isna(row.severity) else None


def _corruption(row) -> str | None:
    return row.corruption if pd.notna(row.corruption) and pd.isna(row.severity) else None


def _lesions(row) -> str | None:
    if row.design != "several" or pd.notna(row.draw):
        return None
    parts = {"block": "blocks", "mlp": "MLPs", "attention": "attentions"}
    return _under_family(row, f"without {row.removed} {parts[row.part]}")


def _attention(row) -> str | None:
    if row.arm == "none" or pd.notna(row.draw) or pd.notna(row.same_as):
        return None
    if row.arm in ("first", "last"):
        return _under_family(row, f"patches apart in the {row.arm} {row.blocks:.0f}")
    return _under_family(row, f"{'attention within' if row.arm == 'local' else 'random masks for'} {row.distance:g}")


def _under_family(row, condition: str) -> str | None:
    if row.family == "clean":
        return condition
    return f"{condition}, {row.family}" if pd.isna(row.corruption) else None


SUMMARIES = {
    "accuracy": Summary("Accuracy", ("accuracy",), _images),
    "corruption_error": Summary(
        "Corruption error",
        ("mce", "relative_mce"),
        lambda row: f"against {row.reference}" if pd.isna(row.corruption) else None,
    ),
    "effective_robustness": Summary(
        "Effective robustness",
        ("effective_robustness",),
        lambda row: f"{row.family if pd.notna(row.family) else ALL_CORRUPTIONS} given {row.reference}",
    ),
    "calibration": Summary("Calibration", ("ece", "brier", "nll"), _images),
    "shape_bias": Summary(
        "Shape and texture", ("shape_accuracy", "texture_accuracy", "shape_bias"), lambda row: "cue conflict"
    ),
    "attacks": Summary(
        "Adversarial perturbations",
        ("accuracy", "fooled"),
        lambda row: row.attack if pd.isna(row.step) else None,
    ),
    "transfer": Summary(
        "Perturbations made for other models",
        ("accuracy",),
        lambda row: f"{row.attack} for {row.source}" if row.source != row.model else None,
    ),
    "spatial": Summary(
        "Rotation and translation",
        ("mean", "worst_of_draws", "worst"),
        lambda row: "rotation, translation" if pd.isna(row.angle) else None,
    ),
    "patch_alignment": Summary(
        "Perturbations at the borders of patches",
        ("border_ratio", "edge_ratio"),
        lambda row: row.attack if row.own is True else None,
    ),
    "lesions": Summary("Without parts of the model", ("accuracy",), _lesions),
    "attention_limit": Summary("Limited attention", ("accuracy",), _attention),
}
"""The tables that are summed up."""
