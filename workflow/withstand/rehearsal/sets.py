"""Image sets of a rehearsal: its own first images where archives are at hand, made-up archives where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from withstand.config import Study, canonical
from withstand.datasets.registry import FILE_KINDS, open_source
from withstand.files import sha256
from withstand.rehearsal import images, shrink
from withstand.rehearsal.outcome import Outcome
from withstand.rehearsal.server import Server
from withstand.subsets import Subset

ALL_COPIES = 2000
"""Samples of a clean set up to which a made-up corrupted set has a copy of each; beyond, of those that are taken."""


def fill(
    outcome: Outcome, study: Study, small: dict, missing: Sequence[str], folder: Path, server: Server
) -> dict[str, dict]:
    """Put made-up archives in the place of all that are not at hand; returns the catalogue's entries for them."""
    place = folder.absolute() / "made_up/downloads"
    counts: dict[str, int] = {}
    archives: dict[str, Path] = {}
    at_hand: set[str] = set()
    needed = [name for name in study.datasets if study.datasets[name].role == "evaluation" or study.recipes]
    for name in needed:
        entry, spec = study.datasets[name], study.source_spec(name)
        if entry.source.kind not in FILE_KINDS:
            outcome.datasets[name] = "generated, as in the study"
            outcome.real.add(name)
            continue
        key = {"cifar": "cifar_"}.get(entry.source.kind, entry.source.kind)
        gone = any(line.startswith(f"datasets.{name}.") for line in missing)
        if spec.get("path") is None and not _link_downloads(spec, folder):
            archives |= {path.name: path for path in images.archives(entry.source.kind, spec, (), place / key)}
            gone = True
        if gone:
            counts |= images.samples(entry.source.kind, spec)
        else:
            at_hand.add(key)
            outcome.real.add(name)
        outcome.datasets[name] = "made-up images" if gone else "its own first images"
    for name, spec, clean in _corrupted(study):
        label = f"{name} ({spec['kind']})"
        if spec.get("path") is not None or _link_downloads(spec, folder):
            outcome.datasets[label] = "its own first images"
            outcome.real.add(label)
            continue
        archives |= {path.name: path for path in images.archives(spec["kind"], spec, clean, place / spec["kind"])}
        outcome.datasets[label] = "made-up images"
    # a set that is at hand in part has its own number of samples
    counts = {key: count for key, count in counts.items() if not any(key.startswith(kind) for kind in at_hand)}
    served = {
        name: {
            "urls": [server.give(f"archives/{name}", path)],
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for name, path in archives.items()
    }
    return {"samples": counts, "archives": served}


def _corrupted(study: Study) -> Iterator[tuple[str, dict, list[tuple[str, int]]]]:
    """The corrupted sets as published that a study reads: their names, options, and the samples that they show.

    Groups of corruptions of one set are read from the same archives, so they are one here.
    """
    merged: dict[str, tuple[list[str], dict, dict[str, int]]] = {}
    for dataset in study.evaluated():
        for name in study.datasets[dataset].families:
            spec = study.families[name].source_spec
            if spec is None:
                continue
            key = canonical({**spec, "corruptions": None, "severities": None})
            names, whole, clean = merged.setdefault(key, ([], {**spec, "corruptions": [], "severities": []}, {}))
            names += [name] if name not in names else []
            for option in ("corruptions", "severities"):
                whole[option] = sorted({*whole[option], *spec[option]})
            if study.datasets[dataset].source.kind == "imagenet":
                clean.update(_samples_of(study.source_spec(dataset), study.choice_seed(dataset)))
    for names, spec, clean in merged.values():
        yield ", ".join(names), spec, list(clean.items())


def _samples_of(spec: Mapping, seed: int | None) -> Iterable[tuple[str, int]]:
    """Ids and labels of all samples, of large sets only those that the small study takes."""
    found = [(entry.sample_id, entry.label) for entry in open_source(spec).scan()]
    if len(found) <= ALL_COPIES:
        return found
    if seed is None:
        return found[: shrink.SAMPLES]
    return [found[place] for place in Subset(shrink.SAMPLES, seed).shuffled([sample_id for sample_id, _ in found])]


def _link_downloads(spec: Mapping, folder: Path) -> bool:
    """Use archives that were downloaded before, if all of a source are there."""
    files = [Path(path) for path in open_source(spec).inputs()]
    if not files or not all(path.exists() for path in files):
        return False
    for file in files:
        link(file, folder / file)
    return True


def link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(file.absolute())
