"""What studies found, and their figures, as a page of Markdown with pictures beside it."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path

from withstand.config import ConfigError, load_study
from withstand.dag import Dag
from withstand.errors import WithstandError
from withstand.files import atomic_output, write_text
from withstand.report import sentences
from withstand.report.figures import Picture, kind_of, pictures
from withstand.report.formats import Names
from withstand.report.page import PARTS, names_of, question, title
from withstand.report.sentences import Tables
from withstand.results import Results, ResultsError, load

SUFFIXES = {"image/svg+xml": "svg", "image/webp": "webp", "image/png": "png"}
WIDTH = 900
"""Pixels that a picture is shown in at most."""

COMPARISONS = ("overview", "claims", "shift", "sizes", "texture")
"""Parts of the report that tell models apart as a whole, which every study of a gallery has."""

FINDINGS = 2
"""Sentences of a part; the report has them all."""


def write_gallery(folders: Sequence[Path], output: Path) -> list[Path]:
    """Write a page of what studies found, and their figures, and return all files written.

    Of a kind of figure, a study has one. Those that do not tell models apart as a whole
    are only of the first study that has them. What was written here before is replaced.

    Args:
        folders: those of the studies' results, in the order of the page.
        output: the page; pictures go to a folder of its name beside it.

    Raises:
        WithstandError: if a folder has no results of a whole run of this version.
    """
    beside = output.with_suffix("")
    written, seen, lines = [], set(), ["# Gallery", "", _introduction(folders)]
    for folder in folders:
        study = load(folder)
        spec = _spec(study)
        found = dict(study.tables)
        names = names_of(spec, found.get("models"))
        drawn, _ = pictures(list(study.figures.values()), names, output)
        chosen = [picture for picture in _once(drawn) if _is_new(picture, seen)]
        seen.update(kind_of(picture.name)[0] for picture in chosen)
        files = {picture.name: _save(picture, beside / spec["study"]) for picture in chosen}
        written += files.values()
        shown = [_figure(picture, files[picture.name].relative_to(output.parent)) for picture in chosen]
        lines += ["", f"## {title(found)}: the study `{spec['study']}`", "", question(found, spec)]
        lines += _parts(chosen, shown, found, names)
    for stale in set(beside.glob("*/*")) - set(written):
        if stale.suffix.removeprefix(".") in SUFFIXES.values():
            stale.unlink()
    write_text(output, "\n".join(lines) + "\n")
    return [output, *written]


def _introduction(folders: Sequence[Path]) -> str:
    of = " ".join(f"results/{folder.name}" for folder in folders)
    return (
        f"Written by `withstand gallery {of}` from the tables and figures of finished studies. Brackets are 95%"
        " intervals. The report of a study has all of it, with tables to sort and every choice of the protocol."
    )


def _spec(study: Results) -> dict:
    """What the report says of a study besides its results."""
    if not study.run:
        raise ResultsError(f"{study.folder}: no run has ended here")
    try:
        return json.loads(Dag(load_study(study.run["config"])).report.spec(None))
    except (ConfigError, KeyError) as error:
        raise WithstandError(f"{study.folder}: its config is of another version, run it again ({error})") from None


def _once(drawn: Sequence[Picture]) -> list[Picture]:
    """One of each kind: of the first dataset, or of the last attack, since one of a single step shows least."""
    chosen: dict[str, Picture] = {}
    for picture in drawn:
        kind = kind_of(picture.name)[0]
        if kind not in chosen or picture.part == "attacks":
            chosen[kind] = picture
    return list(chosen.values())


def _is_new(picture: Picture, seen: set[str]) -> bool:
    return picture.part in COMPARISONS or kind_of(picture.name)[0] not in seen


def _parts(chosen: Sequence[Picture], shown: Sequence[str], found: Tables, names: Names) -> Iterator[str]:
    """The lines of a study: each part of the report that has a figure, with its first findings."""
    titles = {"claims": "The paper's claims", "overview": "At a glance"} | {part.name: part.title for part in PARTS}
    findings = {part.name: part.findings for part in PARTS if part.findings}
    findings |= {"overview": sentences.overview, "claims": lambda tables, _: [sentences.verdict(tables.get("claims"))]}
    for name, heading in titles.items():
        figures = [text for picture, text in zip(chosen, shown, strict=True) if picture.part == name]
        if not figures:
            continue
        said = [sentence for sentence in findings[name](found, names) if sentence] if name in findings else []
        yield from ["", f"### {heading}", ""]
        yield from [f"- {_escaped(sentence.text)}" for sentence in said[:FINDINGS]]
        yield from ["", *figures] if said else figures


def _figure(picture: Picture, path: Path) -> str:
    size = f' width="{min(WIDTH, picture.width)}"'
    return (
        f'<img src="{path.as_posix()}" alt="{_attribute(picture.alternative)}"{size}>\n\n'
        f"**{_escaped(picture.title)}.** {_escaped(picture.caption)}\n"
    )


def _save(picture: Picture, folder: Path) -> Path:
    """Write what a data URI holds."""
    kind, content = re.fullmatch(r"data:([^;]+);base64,(.*)", picture.uri).groups()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{picture.name}.{SUFFIXES[kind]}"
    with atomic_output(path) as temporary:
        temporary.write_bytes(b64decode(content))
    return path


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped(text: str) -> str:
    """Text without what Markdown would take for its own."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
