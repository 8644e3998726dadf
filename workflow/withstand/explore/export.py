"""Tables for spreadsheets and papers: tidy CSV, or models against conditions in LaTeX and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from withstand.errors import nearest
from withstand.explore.headlines import PERCENT, SHARES, SUMMARIES, headlines, with_interval
from withstand.files import write_text
from withstand.report.sentences import pretraining
from withstand.results import Results, ResultsError, models_of

LEVELS = ("dataset", "condition", "label_mode", "policy", "metric")
"""What tells the columns of a paper's table apart, the outermost first."""

KINDS = {"csv": "csv", "latex": "tex", "markdown": "md"}
"""What tables are exported as, with the suffixes of their files."""

MODELS, DATASETS, CLAIMS = "models", "datasets", "claims"

_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


@dataclass(frozen=True)
class Page:
    """A table as a paper shows it.

    Attributes:
        cells: texts, with the names of rows as the index; columns have one level or several.
        caption: what they are.
        columns: their LaTeX types, with that of the names of rows.
        long: whether they may be more than a page.
    """

    cells: pd.DataFrame
    caption: str
    columns: str
    long: bool = False


def export(study: Results, names: Sequence[str], kind: str, folder: Path) -> list[Path]:
    """Write tables of a study, each as a file of its name.

    Args:
        names: of the tables; where none is named, all, or all that have a form for papers.
        kind: csv, the tables as they are; latex or markdown, their form for papers.

    Raises:
        ResultsError: if there is no such table, or it has no form for papers.
    """
    for name in names:
        if name not in study.tables:
            there = ", ".join(study.tables)
            raise ResultsError(f"{study.folder} has no table '{name}'{nearest(name, study.tables)}; there are {there}")
    if kind == "csv":
        texts = {name: study.tables[name].to_csv(index=False) for name in names or study.tables}
    else:
        pages = {name: page(study, name) for name in names or study.tables}
        without = [name for name in names if pages[name] is None]
        if without:
            having = ", ".join(name for name in study.tables if page(study, name))
            raise ResultsError(f"'{without[0]}' has no form for papers, only csv; these have one: {having}")
        write = latex if kind == "latex" else markdown
        texts = {name: write(found, name) for name, found in pages.items() if found}
    paths = {folder / f"{name}.{KINDS[kind]}": text for name, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def page(study: Results, name: str) -> Page | None:
    """The form of a table for papers; None where it has none.

    A row is a model, its values with their intervals, shares in percent; the last row is n. Columns have as many levels
    as tell them apart, and the caption says the rest.
    """
    if name not in (MODELS, CLAIMS, *SUMMARIES):
        return None
    table = _labelled(study, name)
    if name == MODELS:
        return _models(table)
    if name == CLAIMS:
        return _claims(table)
    rows = headlines(name, table)
    if rows.empty:
        return None
    levels = [level for level in LEVELS if rows[level].nunique() > 1] or ["metric"]
    shown = pd.DataFrame({level: rows[level].fillna("").map(_words(level)) for level in levels})
    places = list(shown.itertuples(index=False, name=None))
    order = {first: number for number, first in enumerate(dict.fromkeys(place[0] for place in places))}
    columns = sorted(dict.fromkeys(places), key=lambda place: order[place[0]])
    texts = [with_interval(*row) for row in rows[["metric", "value", "low", "high"]].itertuples(index=False)]
    values = dict(zip(zip(rows["model"], places, strict=True), texts, strict=True))
    models = [label for label in _labels(study, MODELS).values() if label in set(rows["model"])]
    cells = [[values.get((model, place), "") for place in columns] for model in models]
    numbers = rows["n"].groupby(pd.Series(places, index=rows.index)).agg(["min", "max"])
    cells.append([_range(*numbers.loc[[place]].iloc[0]) for place in columns])
    header = pd.MultiIndex.from_tuples(columns) if len(levels) > 1 else pd.Index([place[0] for place in columns])
    texts = pd.DataFrame(cells, index=[*models, "n"], columns=header)
    return Page(texts, _caption(name, rows, levels), "l" + "r" * len(columns))


def latex(page: Page, name: str) -> str:
    """A LaTeX table, for the package booktabs, and longtable where it may be more than a page."""
    escaped = page.cells.style.format(escape="latex")
    for axis in (0, 1):
        escaped = escaped.format_index(escape="latex", axis=axis)
    text = escaped.to_latex(
        hrules=True,
        caption=page.caption.translate(_LATEX),
        label=f"tab:{name}",
        position=None if page.long else "tb",
        environment="longtable" if page.long else None,
        multicol_align="c",
        column_format=page.columns,
    )
    return f"% \\usepackage{{booktabs{',longtable' * page.long}}}\n{text}"


def markdown(page: Page, name: str) -> str:
    """A table in GitHub's Markdown, its caption below."""
    plain = page.cells.set_axis([_flat(column) for column in page.cells.columns], axis=1)
    plain = plain.rename(index=_cell, columns=_cell).map(_cell)
    return f"{plain.to_markdown(disable_numparse=True)}\n\n{page.caption}\n"


def _models(table: pd.DataFrame) -> Page:
    cells = {
        "architecture": table["architecture"],
        "parameters": [_count(number) for number in table["parameters"]],
        "FLOPs": [_count(number) for number in table["flops"]],
        "pre-training": table["pretraining_dataset"],
        "images": [_count(number) for number in table["pretraining_images"]],
    }
    return Page(pd.DataFrame(cells).fillna("").set_axis(list(table["model"])), "Models.", "llrrlr")


def _claims(table: pd.DataFrame) -> Page:
    # points are shares of images, told in percent
    metrics = table["unit"].map(lambda unit: "accuracy" if unit == "points" else unit)
    effects = zip(metrics, table["effect"], table["low"], table["high"], strict=True)
    cells = {
        "dataset": table["dataset"],
        "subject": table["subject"],
        "pre-training": [pretraining(row) for row in table.to_dict("records")],
        "outcome": table["outcome"],
        "effect": [with_interval(*effect) if pd.notna(effect[1]) else "" for effect in effects],
        "unit": table["unit"],
        "n": [_count(number) for number in table["n"]],
    }
    texts = pd.DataFrame(cells).fillna("").set_axis([f"{row.section}: {row.statement}" for row in table.itertuples()])
    caption = "Claims, tested on this study, with 95% intervals of their effects; points in percent."
    return Page(texts, caption, "p{6cm}llllrlr", long=True)  # a row is a sentence


def _labelled(study: Results, name: str) -> pd.DataFrame:
    """A table in which models and datasets have their labels for names."""
    table = study.tables[name]
    models, datasets = (_labels(study, kind) for kind in (MODELS, DATASETS))
    named = {"model": models, "source": models, "dataset": datasets}
    named["reference"] = datasets if name == "effective_robustness" else models
    columns = {
        column: table[column].map(lambda found, of=of: of.get(found, found))
        for column, of in named.items()
        if column in table
    }
    return table.assign(**columns)


def _labels(study: Results, kind: str) -> dict[str, str]:
    """The labels of models, or datasets, by their ids; or their ids, where labels do not tell them apart."""
    entries = study.run.get("config", {}).get(kind, {})
    names = models_of(study) if kind == MODELS else list(entries)
    labels = {name: entries.get(name, {}).get("label") or name for name in names}
    return labels if len(set(labels.values())) == len(labels) else dict(zip(names, names, strict=True))


def _caption(name: str, rows: pd.DataFrame, levels: Iterable[str]) -> str:
    fixed = [level for level in LEVELS if level not in levels and rows[level].notna().all()]
    facts = "; ".join(f"{_word(level)}: {_words(level)(rows[level].iloc[0])}" for level in fixed)
    return f"{SUMMARIES[name].title}, with 95% intervals{'. ' * bool(facts)}{facts}."


def _word(name: str) -> str:
    """A name as people read it; metrics with their unit."""
    return name.replace("_", " ") + (" (%)" if name in SHARES | PERCENT else "")


def _words(level: str) -> Callable[[str], str]:
    """How names of a level are told: datasets have labels, which stay as they are."""
    return str if level == "dataset" else _word


def _range(low: float, high: float) -> str:
    return _count(low) if low == high else f"{_count(low)} to {_count(high)}"


def _count(number: float) -> str:
    return "" if pd.isna(number) else f"{number:,.0f}"


def _flat(column: object) -> str:
    return ", ".join(filter(None, column)) if isinstance(column, tuple) else str(column)


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")
