"""Which parts of a study stand for all of it.

What can differ is a *case*: one class of model on one kind of images, under one experiment. Two cases that are equal
run the same code, so one of them is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath

from withstand import zoo
from withstand.config import CLEAN, ConfigError, ModelEntry, Study, canonical, load_study
from withstand.gates import gates
from withstand.published.match import has_published

OWN_KINDS = ("folder", "arrays", "parquet")
"""Kinds of sources whose files are a user's own."""

Case = tuple
"""What is run on what, as words."""


def cases(study: Study) -> set[Case]:
    """Every combination of class of model, kind of images, preprocessing and experiment that a study has."""
    found = {("models", "several" if len(study.models) > 1 else "one")}
    found |= {("published values",)} if has_published(study) else set()
    for name, entry in study.models.items():
        for case in _of_model(study, name):
            found.add((class_of(study, entry), *case))
    # a gate predicts as any other job does, whatever the class of the model
    found |= {("gate", *images_of(study, gate.dataset, CLEAN)) for gate in gates(study).values()}
    for name, reference in study.references().items():
        found.add((class_of(study, reference), "misclassified samples", study.datasets[name].source.kind))
    return found


def class_of(study: Study, entry: ModelEntry) -> str:
    """What code makes a model: the class of its network, where its weights come from, and what changes it."""
    if entry.zoo is not None:
        made = f"{_class(zoo.index()[entry.zoo]['recipe']['timm'])} of the zoo"
    elif entry.recipe is not None:
        made = f"{_class(study.recipes[entry.recipe].timm)} trained by the study"
    else:
        origin = "a function" if entry.function else _class(entry.timm)
        suffix = PurePosixPath(entry.checkpoint or "").suffix
        kind = "address" if entry.address else "file"
        weights = f"{suffix} from an {kind}" if entry.checkpoint else "no weights" if entry.function else "the hub"
        made = f"{origin}, {weights}"
    return f"{made}{', '.join(['', *sorted({each.kind for each in entry.interventions})])}"


@lru_cache
def _class(timm_name: str) -> str:
    import timm
    import torch

    with torch.device("meta"):
        return type(timm.create_model(timm_name.partition(".")[0])).__name__


def _of_model(study: Study, model: str) -> Iterator[Case]:
    computing = canonical(study.computing(model).choices())
    for dataset, family in study.evaluation_sets():
        yield ("predict", computing, *images_of(study, dataset, family))
    given = study.attacks
    if given is not None and model in study.attacked():
        shown = images_of(study, given.dataset, CLEAN)
        for attack in given.perturbations.values():
            keys = {"kind", "norm", "target", "random_start"}
            yield ("attack", canonical(attack.model_dump(mode="json", include=keys)), *shown)
        if given.spatial is not None:
            keys = {"padding", "interpolation"}
            yield ("spatial", canonical(given.spatial.model_dump(mode="json", include=keys)), *shown)
    if study.internals is not None and model in study.examined():
        for family in study.examined_families():
            for experiment in study.experiments():
                yield (experiment, *images_of(study, study.internals.dataset, family))


def images_of(study: Study, dataset: str, family: str) -> tuple[str, ...]:
    """The kind of an image set: its source, how it comes to a model, and what corrupts it."""
    entry = study.datasets[dataset]
    chosen = ("misclassified",) if entry.missed_by else ()
    # what lies in a user's own files differs from place to place
    chosen += tuple(
        getattr(entry.source, key)
        for key in ("path", "images_path")
        if entry.source.kind in OWN_KINDS and hasattr(entry.source, key)
    )
    if family == CLEAN:
        return (entry.source.kind, entry.policy, *chosen)
    given = study.families[family]
    made = given.source.kind if given.source else "corrupted here"
    return (entry.source.kind, entry.policy, *chosen, made, given.policy, "stored" if given.is_stored else "streamed")


def reduce(config: dict, wanted: set[Case]) -> dict:
    """A config with fewer models, datasets, groups of corruptions and experiments that still has the cases wanted.

    Parts are dropped one after the other, the last ones first, as long as nothing wanted is lost with them.
    """
    kept, study = copy.deepcopy(config), load_study(config)
    for section, named in (("attacks", study.attacked()), ("internals", study.examined())):
        if kept.get(section):
            kept[section]["models"] = named  # an empty list means all, of which none could be dropped
    for drop in _drops(kept):
        tried = copy.deepcopy(kept)
        try:
            drop(tried)
            if wanted <= cases(load_study(tried)):
                kept = tried
        except (ConfigError, KeyError, ValueError):  # something else needs it, or it went with another
            continue
    return kept


def _drops(config: dict) -> Iterable[Callable[[dict], None]]:
    """Functions that each take one part out of a config."""

    def without(*path: str) -> Callable[[dict], None]:
        def drop(given: dict) -> None:
            for key in path[:-1]:
                given = given[key]
            if isinstance(given, list):
                given.remove(path[-1])
                if not given:  # an empty list of models means all of them
                    raise ValueError(path)
            else:
                del given[path[-1]]

        return drop

    def without_model(name: str) -> Callable[[dict], None]:
        def drop(given: dict) -> None:
            del given["models"][name]
            for section in ("attacks", "internals"):
                listed = (given.get(section) or {}).get("models") or ()
                if name in listed:
                    without(section, "models", name)(given)

        return drop

    attacks, internals = config.get("attacks") or {}, config.get("internals") or {}
    yield from (without(section) for section in ("attacks", "internals"))
    yield from (without("attacks", "perturbations", name) for name in reversed(attacks.get("perturbations") or {}))
    yield without("attacks", "spatial")
    experiments = ("similarity", "lesions", "attention_limit", "attention_distance")
    yield from (without("internals", name) for name in experiments)
    yield from (without("internals", "families", name) for name in reversed(internals.get("families") or ()))
    yield from (
        without(section, "models", name)
        for section in ("attacks", "internals")
        for name in reversed((config.get(section) or {}).get("models") or ())
    )
    for name, dataset in reversed(config["datasets"].items()):
        yield from (without("datasets", name, "families", family) for family in reversed(dataset.get("families") or ()))
        yield without("datasets", name)
    yield from (without_model(name) for name in reversed(config["models"]))
