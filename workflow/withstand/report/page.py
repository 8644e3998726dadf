"""The page: what there is, in the order in which a person reads it."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import itables.options
import jinja2
import pandas as pd
import yaml

from withstand.report import protocol, sentences, tables
from withstand.report.figures import Picture
from withstand.report.formats import Names, counted, listed
from withstand.report.sentences import Sentence, Tables
from withstand.report.tables import Table

PAPER = "Understanding Robustness of Transformers for Image Classification"
CITED = "Bhojanapalli et al., ICCV 2021"


@dataclass(frozen=True)
class Part:
    """A part of the page, with what was found, its figures and tables."""

    name: str
    title: str
    findings: Sequence[Sentence]
    figures: Sequence[Picture]
    tables: Sequence[Table]


@dataclass(frozen=True)
class Outline:
    """What a part is made of; ``asks`` is what it adds to the question of the study."""

    name: str
    title: str
    findings: Callable[[Tables, Names], list[Sentence]] | None = None
    tables: Callable[[Tables, Names, Mapping[str, str]], Iterable[Table | None]] | None = None
    asks: str = ""


PARTS = (
    Outline("images", "The images"),
    Outline("corruptions", "Natural corruptions", sentences.corruptions, tables.by_corruption, "natural corruptions"),
    Outline("errors", "Corruption errors", sentences.corruption_errors, tables.corruption_errors),
    Outline(
        "shift",
        "Distribution shift",
        sentences.shift,
        lambda *given: [tables.effective_robustness(*given)],
        "shifts of distribution",
    ),
    Outline("sizes", "Size and data", sentences.sizes, lambda found, names, _: [tables.trends(found, names)]),
    Outline(
        "attacks",
        "Adversarial perturbations",
        sentences.attacks,
        lambda *given: [tables.attacks(*given)],
        "adversarial perturbations",
    ),
    Outline(
        "spatial",
        "Rotation and translation",
        sentences.spatial,
        lambda *given: [tables.spatial(*given)],
        "rotation and translation",
    ),
    Outline(
        "texture",
        "Shape and texture",
        sentences.texture,
        lambda *given: [tables.texture(*given)],
        "misleading texture",
    ),
    Outline("inside", "The inside of models", sentences.inside, asks="the loss of parts of themselves"),
    Outline("calibration", "Calibration", sentences.calibration, lambda *given: [tables.calibration(*given)]),
    Outline(
        "comparisons", "Comparisons", sentences.comparisons, lambda found, names, _: [tables.comparisons(found, names)]
    ),
    Outline("disagreements", "Where models disagree"),
    Outline(
        "reproduction",
        "Measured and published",
        sentences.reproduction,
        lambda found, names, _: [tables.reproduction(found, names)],
    ),
    Outline("other", "More figures"),
)


def render(
    spec: Mapping,
    found: Tables,
    notes: Mapping[str, Mapping],
    pictures: Sequence[Picture],
    empty: Sequence[str],
    seconds: Mapping[str, float],
) -> str:
    """The page as HTML.

    Args:
        spec: what the config says of the study (see :func:`withstand.steps.report.write_report`).
        found: the tables of the study by name.
        notes: the metadata of these tables, by name.
        pictures: its figures in the order of the page.
        empty: figures that have nothing to show, by name.
        seconds: seconds spent by rule.
    """
    names = names_of(spec, found.get("models"))
    colors = {model: about["color"] for model, about in spec.get("models", {}).items() if about.get("color")}
    doubts = {"attacks": sentences.doubts(found, notes, names)}
    parts = [_part(outline, found, names, colors, pictures, doubts.get(outline.name, ())) for outline in PARTS]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("withstand.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,.0f}"
    glue = _resource("glue.js")
    return environment.get_template("page.html.jinja").render(
        study=spec["study"],
        title=title(found),
        rehearsal=spec.get("rehearsal"),
        question=question(found, spec),
        paper=PAPER,
        cited=CITED,
        verdict=sentences.verdict(found.get("claims")),
        claims=sentences.claims(found.get("claims"), names, spec.get("margin")),
        claims_table=tables.claims(found, names, spec.get("margin")),
        overview=sentences.overview(found, names),
        overview_figures=[picture for picture in pictures if picture.part == "overview"],
        claims_figures=[picture for picture in pictures if picture.part == "claims"],
        glance=tables.glance(found, names, colors),
        parts=[part for part in parts if part.findings or part.figures or part.tables],
        protocol=protocol.capitalised(protocol.protocol(spec, found, names)),
        config=yaml.safe_dump(_without_nulls(spec.get("config", {})), sort_keys=False, allow_unicode=True, width=100),
        failures=sentences.failures(found, names),
        missing=protocol.missing(spec, found, names, notes),
        empty=empty,
        licences=protocol.licences(spec, names),
        versions=protocol.versions(notes),
        weights=tables.weights(found, names),
        seconds=seconds,
        files=[name for name in found if not found[name].empty],
        style=_resource("style.css"),
        glue=glue,
        digest=b64encode(hashlib.sha256(glue.encode()).digest()).decode(),
        datatables=_datatables(),
    )


def names_of(spec: Mapping, models: pd.DataFrame | None) -> Names:
    """The names of models and datasets that a spec gives; models in the order of family, size and training images."""
    given = spec.get("models", {})
    if models is not None:
        ranked = models.sort_values(["family", "parameters", "pretraining_images"], kind="stable")
        given = {name: given.get(name, {}) for name in dict.fromkeys([*ranked["model"], *given])}
    labels = (
        {name: about.get("label") or name for name, about in section.items()}
        for section in (given, spec.get("datasets", {}))
    )
    return Names(*labels)


def with_results(found: Tables) -> set[str]:
    """The models whose answers some table has a value of; not those that failed, even if blocks of theirs were seen."""
    of_answers = (table for table in found.values() if {"model", "label_mode", "value"} <= set(table.columns))
    return {model for table in of_answers for model in table.loc[table["value"].notna(), "model"]}


def title(found: Tables) -> str:
    """What the page is about, in a line: how many models have results."""
    count = len(with_results(found))
    if not count:
        return "No image classifier has results"
    return f"What {counted(count, 'image classifier')} {'withstands' if count == 1 else 'withstand'}"


def question(found: Tables, spec: Mapping) -> str:
    """What the study asks, from the models and experiments that have results."""
    models, measured = found.get("models"), with_results(found)
    rows = pd.DataFrame({"model": [], "family": []}) if models is None else models[models["model"].isin(measured)]
    families, count = rows["family"].value_counts(sort=False).to_dict(), len(measured)
    kinds = listed(f"{number} {family}" for family, number in families.items())
    of = f" ({kinds})" if len(families) > 1 else ""
    against = [part.asks for part in PARTS if part.asks and part.findings(found, names_of(spec, models))]
    asked = "How well does this model withstand" if count <= 1 else f"Which of these {count} models{of} withstand"
    return f"{asked} {listed(against) or 'what'}, and how sure is that?"


def _without_nulls(value: object) -> object:
    """A config without the keys that nothing was given for."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, (list, tuple)) else value


def _part(
    outline: Outline,
    found: Tables,
    names: Names,
    colors: Mapping[str, str],
    pictures: Sequence[Picture],
    doubts: Sequence[Sentence],
) -> Part:
    made = outline.tables(found, names, colors) if outline.tables else ()
    return Part(
        outline.name,
        outline.title,
        [*doubts, *(outline.findings(found, names) if outline.findings else ())],
        [picture for picture in pictures if picture.part == outline.name],
        [table for table in made if table is not None],
    )


def _resource(name: str) -> str:
    return resources.files("withstand.report").joinpath(name).read_text(encoding="utf-8")


def _datatables() -> str:
    """DataTables as itables bundles it, a module, as JSON that may stand in a script element."""
    return json.dumps(Path(itables.options.dt_bundle).read_text(encoding="utf-8")).replace("<", "\\u003c")
