"""Which tables the report shows, and in what form: rows of cells that sort by number and keep their interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from withstand import published
from withstand.metrics.trends import FEWEST_MODELS
from withstand.report.formats import (
    MISSING,
    Names,
    basis,
    choice,
    counted,
    given,
    interval,
    listed,
    magnitude,
    named,
    number,
    p_value,
    share,
    signed,
    words,
)
from withstand.report.sentences import (
    CHANCE,
    MOST_NAMED,
    UNTESTED,
    Tables,
    attack_in_words,
    claimed_models,
    claimed_set,
    claimed_subject,
    criterion,
    one_answer,
    pretraining,
)

MOST_ROWS = 1000
"""Rows of a table in the page; the files have them all."""

NOT_STATED = "not stated"
INFERRED = "*"
"""What is said where the config does not tell what a model was pre-trained on."""


@dataclass(frozen=True)
class Cell:
    """Text, the number that it sorts by where it is one, the interval (and p) below it, and what is told about it."""

    text: str
    order: float | str = ""
    interval: str = ""
    about: str = ""
    strong: bool = False
    color: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page: its first column names the rows; ``source`` is the table that it was made of."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    source: str
    note: str = ""
    left: int = 0
    dense: bool = False

    @cached_property
    def numeric(self) -> frozenset[int]:
        """Columns that sort by a number."""
        columns = range(len(self.columns))
        return frozenset(index for index in columns if any(isinstance(row[index].order, float) for row in self.rows))

    @property
    def has_intervals(self) -> bool:
        return any(cell.interval for row in self.rows for cell in row)


def glance(tables: Tables, names: Names, colors: Mapping[str, str]) -> Table | None:
    """Models at a glance: what they are, and each of the study's main values."""
    models = tables.get("models")
    if models is None or models.empty:
        return None
    columns = list(_glance_columns(tables, names))
    facts = models.set_index("model")
    rows = []
    for model in names.in_order(models):
        about = facts.loc[model]
        rows.append(
            (
                _model(model, names, colors.get(model, "")),
                Cell(str(about["family"]) + _mark(about, "family")),
                Cell(magnitude(about["parameters"]), _order(about["parameters"])),
                _text(about["pretraining_dataset"], NOT_STATED, _mark(about, "pretraining")),
                Cell(magnitude(about["pretraining_images"]), _order(about["pretraining_images"])),
                *(cells.get(model, EMPTY) for _, cells in columns),
            )
        )
    head = ("model", "family", "parameters", "trained on", "images", *(heading for heading, _ in columns))
    note = "Accuracy is top-1, in percent; small print is the 95% interval."
    if models["inferred"].notna().any():
        note += f" {INFERRED} marks what the config does not say: inferred from the architecture, or from timm's tag."
    return _table("glance", "Models at a glance", head, rows, "accuracy", note)


def by_corruption(tables: Tables, names: Names, colors: Mapping[str, str]) -> list[Table]:
    """Accuracy under each corruption, averaged over severities: a table for each set and protocol."""
    accuracy = tables.get("accuracy")
    if accuracy is None:
        return []
    rows = accuracy[accuracy["severity"].isna() & (accuracy["family"].notna() == accuracy["corruption"].notna())]
    made = []
    for key, group in rows.groupby(["dataset", "label_mode", "policy"], sort=False):
        clean = accuracy[(accuracy["family"] == "clean") & (accuracy["dataset"] == key[0])]
        clean = clean[clean["label_mode"] == key[1]]
        columns = [("clean", _values(clean, share)), ("mean", _values(group[group["corruption"].isna()], share))]
        columns += [(words(name), _values(group[group["corruption"] == name], share)) for name in _corruptions(group)]
        title = f"Accuracy by corruption: {named(names.dataset(key[0]), *key[1:])}"
        note = "Top-1 accuracy, each corruption averaged over its severities."
        made.append(_by_model(f"corruptions-{len(made)}", title, group, columns, names, colors, "accuracy", note))
    return made


def corruption_errors(tables: Tables, names: Names, colors: Mapping[str, str]) -> list[Table]:
    """Corruption errors in percent of those of a reference: a table for each reference, set and protocol."""
    table = tables.get("corruption_error")
    if table is None:
        return []
    made = []
    for key, group in table.groupby(["reference", "dataset", "label_mode", "policy"], sort=False):
        columns = [
            (heading, _values(group[group["metric"] == metric], _percent, 1))
            for heading, metric in (("mCE", "mce"), ("relative mCE", "relative_mce"))
        ]
        single = group[group["metric"] == "ce"]
        columns += [
            (words(name), _values(single[single["corruption"] == name], _percent, 1)) for name in _corruptions(single)
        ]
        title = f"Corruption errors against {names.model(key[0])}: {named(names.dataset(key[1]), *key[2:])}"
        note = (
            "Error over severities in percent of the reference's; the columns of corruptions are CE. Lower is better."
        )
        note += "".join(f" No value, or no interval: {reason}." for reason in _of_means(group))
        source = "corruption_error"
        made.append(_by_model(f"errors-{len(made)}", title, group, columns, names, colors, source, note))
    return made


def _of_means(rows: pd.DataFrame) -> list[str]:
    return list(rows.loc[rows["corruption"].isna(), "reason"].dropna().unique())


def effective_robustness(tables: Tables, names: Names, colors: Mapping[str, str]) -> Table | None:
    """Accuracy beyond what clean accuracy predicts, in points: a column for each set."""
    table = tables.get("effective_robustness")
    if table is None or table.empty:
        return None
    columns = [
        (_set(key, names), _values(group, signed))
        for key, group in table.groupby(["dataset", "family", "label_mode", "policy"], sort=False, dropna=False)
    ]
    references = listed(names.dataset(name) for name in table["reference"].unique())
    note = f"Points above or below the line through the other models' accuracies on {references} and on each set."
    note += "".join(f" No value: {reason}." for reason in table["reason"].dropna().unique())
    return _by_model(
        "effective", "Effective robustness", table, columns, names, colors, "effective_robustness", note, dense=False
    )


def attacks(tables: Tables, names: Names, colors: Mapping[str, str]) -> Table | None:
    """Accuracy under each attack, and of the same images as they are."""
    columns = _attack_columns(tables)
    return _under_attack("attacks", "Accuracy under attack", columns, tables, names, colors)


def spatial(tables: Tables, names: Names, colors: Mapping[str, str]) -> Table | None:
    """Accuracy under rotation and translation, and of the same images as they are."""
    columns = _spatial_columns(tables, ("mean", "worst_of_draws", "worst"))
    return _under_attack("spatial", "Accuracy under rotation and translation", columns, tables, names, colors)


def _under_attack(
    name: str,
    title: str,
    columns: list[tuple[str, dict[str, Cell]]],
    tables: Tables,
    names: Names,
    colors: Mapping[str, str],
) -> Table | None:
    if not columns:
        return None
    table = tables[name]
    before = ("as they are", _values(table[table["metric"] == "clean_accuracy"], share))
    note = "Top-1 accuracy on the images, and on the same images as they are."
    return _by_model(name, title, table, [before, *columns], names, colors, name, note, dense=False)


def texture(tables: Tables, names: Names, colors: Mapping[str, str]) -> Table | None:
    """Shape accuracy, texture accuracy and shape bias, which have denominators of their own."""
    table = tables.get("shape_bias")
    if table is None or table.empty:
        return None
    columns = []
    for key, group in table.groupby(["dataset", "label_mode", "policy"], sort=False):
        place = "" if table["dataset"].nunique() == 1 else f", {named(names.dataset(key[0]), *key[1:])}"
        place = place or (f", {choice(*key[1:])}" if choice(*key[1:]) else "")
        for metric in ("shape_accuracy", "texture_accuracy", "shape_bias"):
            columns.append((words(metric) + place, _values(group[group["metric"] == metric], share)))
    note = (
        "Accuracies are shares of all images; the shape bias is that of shape among answers that are shape or texture."
    )
    return _by_model("texture", "Shape and texture", table, columns, names, colors, "shape_bias", note, dense=False)


def calibration(tables: Tables, names: Names, colors: Mapping[str, str]) -> Table | None:
    """Expected calibration error, Brier score and negative log-likelihood: a row for each model and set."""
    table = one_answer(tables.get("calibration", pd.DataFrame()), tables)
    if table.empty:
        return None
    table = table[table["severity"].isna() & table["family"].isna() | (table["family"] == "clean")]
    metrics = (("ECE", "ece", share, 100, 1), ("Brier score", "brier", _three, 1, 3), ("NLL", "nll", _three, 1, 3))
    rows = []
    for key, group in table.groupby(["model", "dataset", "family", "label_mode", "policy"], sort=False, dropna=False):
        cells = [
            _values(group[group["metric"] == metric], text, scale, digits).get(key[0], EMPTY)
            for _, metric, text, scale, digits in metrics
        ]
        rows.append((_model(key[0], names, colors.get(key[0], "")), Cell(_set(key[1:], names)), *cells))
    head = ("model", "images", *(heading for heading, *_ in metrics))
    note = "Lower is better."
    return _table("calibration", "Calibration", head, _by_place(rows), "calibration", note)


def comparisons(tables: Tables, names: Names) -> Table | None:
    """Differences in accuracy of all pairs of models, in points: a column for each set."""
    table = one_answer(tables.get("comparisons", pd.DataFrame()), tables)
    if table.empty:
        return None
    keys = ["dataset", "family", "label_mode", "policy"]
    sets = list(table.groupby(keys, sort=False, dropna=False))
    cells = [{(row["model"], row["other_model"]): _difference(row) for row in _records(group)} for _, group in sets]
    pairs = list(dict.fromkeys(zip(table["model"], table["other_model"], strict=True)))
    rows = [
        (
            Cell(names.model(one)),
            Cell(names.model(other)),
            *(column.get((one, other), EMPTY) for column in cells),
        )
        for one, other in pairs
    ]
    note = (
        "Accuracy of the first model minus that of the second, in points; small print is the 95% interval, and p after"
        f" Holm's correction. Bold: beyond chance (p < {CHANCE:g})."
    )
    counts = [counted(group["images"].min(), "image") for _, group in sets]
    head = ("model", "other model", *(f"{_set(key, names)}: {n}" for (key, _), n in zip(sets, counts, strict=True)))
    return _table("comparisons", "All pairs of models", head, rows, "comparisons", note)


def trends(tables: Tables, names: Names) -> Table | None:
    """Rank correlations and slopes, as they are."""
    table = tables.get("trends")
    if table is None or table.empty:
        return None
    rows = [
        (
            Cell(_TRENDS.get(row["metric"], words(row["metric"]))),
            _text(row["group"], "all models"),
            _text(row["pretraining_dataset"], NOT_STATED if given(row["group"]) else "any"),
            Cell(_set([row[key] for key in ("dataset", "family", "label_mode", "policy")], names)),
            Cell(number(row["value"]), _order(row["value"]), interval(row, 1, 2) or _text(row["reason"], "").text),
            Cell(f"{row['n']:.0f}", _order(row["n"])),
            Cell(p_value(row["p"]).removeprefix("p ").removeprefix("= ") or MISSING, _order(row["p"])),
        )
        for row in _records(table)
    ]
    head = ("what", "models of", "pre-training", "images", "value", "models", "p")
    note = f"Over fewer than {FEWEST_MODELS} models, a slope describes the line through them, and is no statistic."
    return _table("trends", "Trends over models", head, rows, "trends", note)


def reproduction(tables: Tables, names: Names) -> Table | None:
    """Measured beside published values."""
    table = tables.get("reproduction")
    if table is None or table.empty:
        return None
    rows = [_reproduced(row, names) for row in _records(table)]
    head = (
        "model",
        "images",
        "experiment",
        "metric",
        "measured",
        "published",
        "difference",
        "agrees",
        "protocol",
        "source",
    )
    note = "Agrees: the published value, with the error of reading it off a figure, meets the measured interval."
    return _table("reproduction", "Measured and published", head, rows, "reproduction", note)


def claims(tables: Tables, names: Names, margin: float | None = None) -> Table | None:
    """Every test of a claim; ``margin`` is what its criterion may speak of."""
    table = tables.get("claims")
    if table is None or table.empty:
        return None
    rows = [
        (
            Cell(row["statement"], about=criterion(row, margin)),
            _text(row["section"]),
            Cell(claimed_set(row, names) if given(row["dataset"]) else MISSING),
            _text(claimed_subject(row, names) if given(row["subject"]) else None),
            _text(pretraining(row) or None),
            Cell(row["outcome"] if given(row["effect"]) else UNTESTED, strong=row["outcome"] == "refuted"),
            _claim_effect(row),
            _text(row["unit"]),
            Cell(f"{row['n']:.0f}" if given(row["n"]) else MISSING, _order(row["n"])),
            _claimed(claimed_models(row, names)),
            _text(row["reason"], ""),
        )
        for row in _records(table)
    ]
    head = ("claim", "section", "images", "subject", "pre-training", "outcome", "effect", "unit", "n", "models")
    return _table("claims", "Every test of a claim", (*head, "note"), rows, "claims")


def weights(tables: Tables, names: Names) -> Table | None:
    """What models are: architecture, and the file and digest of their weights."""
    table = tables.get("models")
    if table is None or table.empty:
        return None
    rows = [
        (
            Cell(names.model(row["model"])),
            Cell(row["model"]),
            _text(row["architecture"]),
            Cell(magnitude(row["parameters"]), _order(row["parameters"])),
            Cell(magnitude(row["flops"]), _order(row["flops"])),
            Cell(f"{row['input_size']:.0f} px" if given(row["input_size"]) else MISSING, _order(row["input_size"])),
            _text(row.get("weights")),
            _text(row["weights_sha256"]),
        )
        for row in _records(table.set_index("model", drop=False).loc[names.in_order(table)])
    ]
    head = ("model", "id", "architecture", "parameters", "FLOPs", "input", "weights", "SHA-256 of the weights")
    return _table("weights", "Models and weights", head, rows, "models")


# ---- columns


def _glance_columns(tables: Tables, names: Names) -> Iterator[tuple[str, dict[str, Cell]]]:
    accuracy = tables.get("accuracy")
    if accuracy is not None:
        two_answers = set(tables["shape_bias"]["dataset"]) if "shape_bias" in tables else set()
        rows = accuracy[(accuracy["metric"] == "accuracy") & accuracy["severity"].isna() & accuracy["family"].isna()]
        corrupted = set(rows["dataset"])
        clean = accuracy[(accuracy["family"] == "clean") & ~accuracy["dataset"].isin(two_answers)]
        shifted = clean[~clean["dataset"].isin(corrupted)]
        for group in (clean[clean["dataset"].isin(corrupted)], rows, shifted):
            for key, found in group.groupby(["dataset", "label_mode", "policy"], sort=False):
                family = "clean" if group is not rows else None
                heading = _set((key[0], family, *key[1:]), names) if group is not shifted else _set_name(key, names)
                yield heading, _values(found, share)
    yield from _attack_columns(tables)
    for heading, cells in _spatial_columns(tables, ("worst",)):
        yield f"rotated and shifted, {heading}", cells
    yield from _metric_columns(tables, names, "shape_bias", "shape_bias", "shape bias")
    calibrated = tables.get("calibration")
    if calibrated is not None and accuracy is not None:
        clean = calibrated[(calibrated["family"] == "clean") & calibrated["dataset"].isin(corrupted)]
        yield from _metric_columns({"calibration": clean}, names, "calibration", "ece", "ECE, clean")
    errors = tables.get("corruption_error")
    if errors is not None:
        for key, group in errors[errors["metric"] == "mce"].groupby(
            ["reference", "dataset", "label_mode", "policy"], sort=False
        ):
            place = "" if errors["dataset"].nunique() == 1 else f", {named(names.dataset(key[1]), *key[2:])}"
            yield f"mCE against {names.model(key[0])}{place}", _values(group, _percent, 1)


def _metric_columns(
    tables: Tables, names: Names, table: str, metric: str, heading: str
) -> Iterator[tuple[str, dict[str, Cell]]]:
    """A column for each set and label mode on which a metric was measured."""
    rows = tables.get(table)
    if rows is None:
        return
    rows = rows[rows["metric"] == metric]
    several = rows["dataset"].nunique() > 1
    for key, group in rows.groupby(["dataset", "label_mode", "policy"], sort=False):
        place = named(names.dataset(key[0]), *key[1:]) if several else choice(*key[1:])
        yield f"{heading}, {place}" if place else heading, _values(group, share)


def _attack_columns(tables: Tables) -> list[tuple[str, dict[str, Cell]]]:
    table = tables.get("attacks")
    if table is None:
        return []
    rows = table[table["metric"] == "accuracy"]
    found = []
    for (attack, mode), group in rows.groupby(["attack", "label_mode"], sort=False):
        heading = f"{words(attack)}, {group.iloc[0]['eps']}"
        found.append((named(heading, mode), _values(group, share, about=attack_in_words)))
    return found


def _spatial_columns(tables: Tables, metrics: Sequence[str]) -> list[tuple[str, dict[str, Cell]]]:
    table = tables.get("spatial")
    if table is None:
        return []
    found = []
    for metric in metrics:
        for mode, group in table[table["metric"] == metric].groupby("label_mode", sort=False):
            found.append((named(_SPATIAL[metric], mode), _values(group, share)))
    return found


_SPATIAL = {
    "mean": "mean over the grid",
    "worst_of_draws": "worst at random",
    "worst": "worst of the grid",
}
_TRENDS = {"spearman": "rank correlation with clean accuracy", "slope": "slope of error with size, log-log"}


# ---- cells

EMPTY = Cell(MISSING)


def _values(
    rows: pd.DataFrame,
    text: Callable[[float], str],
    scale: float = 100,
    digits: int = 1,
    about: Callable[[Mapping], str] | None = None,
) -> dict[str, Cell]:
    """The cell of each model: its value, interval, and what it rests on."""
    cells = {}
    for row in _records(rows):
        reason = row["reason"] if given(row.get("reason")) else ""
        told = "; ".join(part for part in (basis(row), about(row) if about else "", reason) if part)
        if not given(row["value"]) and reason:
            cells[row["model"]] = Cell(MISSING, about=reason)
        elif given(row["value"]):
            cells[row["model"]] = Cell(text(row["value"]), _order(row["value"]), interval(row, scale, digits), told)
    return cells


def _model(model: str, names: Names, color: str = "") -> Cell:
    return Cell(names.model(model), color=color)


def _difference(row: Mapping) -> Cell:
    strong = given(row["p_holm"]) and row["p_holm"] < CHANCE
    small = ", ".join(part for part in (interval(row), p_value(row["p_holm"])) if part)
    return Cell(signed(row["value"]), _order(row["value"]), small, strong=strong)


def _claimed(models: Sequence[str]) -> Cell:
    return Cell("; ".join(models) or MISSING if len(models) <= MOST_NAMED else counted(len(models), "model"))


def _claim_effect(row: Mapping) -> Cell:
    if not given(row["effect"]):
        return EMPTY
    points = row["unit"] == "points"
    text = signed(row["effect"]) if points else number(row["effect"])
    return Cell(text, _order(row["effect"]), interval(row) if points else interval(row, 1, 2))


def _reproduced(row: Mapping, names: Names) -> tuple[Cell, ...]:
    in_percent = row["metric"] in ("mce", "relative_mce", "ce")
    text, points, factor = (_percent, _percent, 1) if in_percent else (share, signed, 100)
    error = f" ± {number(factor * row['reading_error'], 1)}" if given(row["reading_error"]) else ""
    agrees = MISSING if not given(row["agrees"]) else "yes" if row["agrees"] else "no"
    what = ", ".join(words(str(row[key])) for key in ("experiment", "setting") if given(row[key]))
    source = published.sources().get(row["source"], {}).get("citation", row["source"])
    return (
        _model(row["model"], names),
        Cell(named(names.dataset(row["dataset"]) if given(row["dataset"]) else MISSING, row["label_mode"])),
        Cell(what),
        Cell(words(row["metric"])),
        Cell(text(row["value"]), _order(row["value"]), interval(row, factor), counted(row["n"], "image")),
        Cell(text(row["published"]) + error, _order(row["published"])),
        Cell(points(row["difference"]), _order(row["difference"])),
        Cell(agrees, strong=agrees == "no"),
        Cell("the same" if row["same_protocol"] else str(row["protocol"])),
        Cell(f"{source}, {row['source_model']}" if given(row["source_model"]) else str(source)),
    )


def _text(value: object, missing: str = MISSING, mark: str = "") -> Cell:
    return Cell(f"{value}{mark}" if given(value) else missing)


def _mark(about: Mapping, what: str) -> str:
    """A mark where a fact of a model (``family`` or ``pretraining``) is inferred."""
    inferred = about["inferred"]
    return INFERRED if given(inferred) and what in inferred.split(", ") else ""


def _order(value: object) -> float | str:
    """What a number sorts by: seven digits are enough to tell cells apart."""
    return float(f"{value:.7g}") if given(value) else ""


def _percent(value: float) -> str:
    return number(value, 1)


def _three(value: float) -> str:
    return number(value, 3)


def _set(key: Sequence, names: Names) -> str:
    """The images of a dataset, family, label mode and policy, as a heading."""
    dataset, family, mode, policy = key
    images = "corrupted" if not given(family) else words(family)
    return f"{named(names.dataset(dataset), mode, policy)}, {images}"


def _set_name(key: Sequence, names: Names) -> str:
    return named(names.dataset(key[0]), *key[1:])


def _corruptions(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows["corruption"].dropna().unique() if name != "clean"]


def _by_place(rows: list[tuple[Cell, ...]]) -> list[tuple[Cell, ...]]:
    """Rows with those of the same images together, in the order in which images first come."""
    places = list(dict.fromkeys(row[1].text for row in rows))
    return sorted(rows, key=lambda row: places.index(row[1].text))


def _by_model(
    name: str,
    title: str,
    rows: pd.DataFrame,
    columns: Sequence[tuple[str, Mapping[str, Cell]]],
    names: Names,
    colors: Mapping[str, str],
    source: str,
    note: str,
    *,
    dense: bool = True,
) -> Table:
    """A table with a row for each model of some rows, and columns of cells by model."""
    filled = [(heading, cells) for heading, cells in columns if cells]
    lines = [
        (_model(model, names, colors.get(model, "")), *(cells.get(model, EMPTY) for _, cells in filled))
        for model in names.in_order(rows)
    ]
    return _table(name, title, ("model", *(heading for heading, _ in filled)), lines, source, note, dense=dense)


def _table(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    source: str,
    note: str = "",
    *,
    dense: bool = False,
) -> Table:
    left = max(0, len(rows) - MOST_ROWS)
    return Table(name, title, columns, rows[:MOST_ROWS], source, note, left, dense)


def _records(rows: pd.DataFrame) -> list[dict]:
    return rows.to_dict("records")
