"""What a study must say of itself for its results to be set beside published ones. Light: every cluster job asks."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import product
from typing import TYPE_CHECKING

from withstand import published, rehearsed
from withstand.corruptions.constants import IMAGENET_C, SEVERITIES
from withstand.datasets.registry import open_source

if TYPE_CHECKING:
    from withstand.config import DatasetEntry, ModelEntry, Study

MADE_OF = {"imagenet": "imagenet_c"}
"""The published corrupted set that a source is when it is corrupted here."""

ALL_15 = "15 corruptions"
CORRUPTION_SETS = {
    ALL_15: frozenset(IMAGENET_C),
    "14 corruptions, without glass_blur": frozenset(IMAGENET_C) - {"glass_blur"},
}
"""Sets of corruptions, at all severities, over which there are published means."""

OTHER_CORRUPTIONS = "other corruptions"


def identities(study: Study) -> dict:
    """Which public weights and which published image sets a study has.

    Returns:
        ``models``: by id ``weights``, a timm name with its tag or the address of a checkpoint, None for all others; and
        ``preprocessing``, what the config overrides of it besides the input size. ``datasets``: by name ``set``, a kind
        of source, None for a selection of samples; ``setting``, its variant; ``size``, height and width of the stored
        images where they are not those of the source; and ``corrupted``, by policy the ``set`` that its families are
        of and as ``setting`` which corruptions they have.
    """
    return {
        "models": {name: _model(name, entry) for name, entry in study.models.items()},
        "datasets": {name: _dataset(study, name) for name in study.evaluated()},
    }


def has_published(study: Study) -> bool:
    """Whether anything may have been published of a study's models on its image sets."""
    found = identities(study)
    weights = {about["weights"] for about in found["models"].values()}
    datasets = found["datasets"].values()
    sets = {about["set"] for dataset in datasets for about in (dataset, *dataset["corrupted"].values())}
    known = {(row["source"], row["source_model"]) for row in published.models() if row["weights"] in weights}
    return any(row["set"] in sets and (row["source"], row["source_model"]) in known for row in published.values())


def clean_accuracies(study: Study, dataset: str) -> dict[str, list[dict[str, str]]]:
    """What was published of exactly a study's models on the clean images of a dataset: over all outputs, by each
    model's own resize and crop.

    Returns rows of :func:`withstand.published.values` by the model's id, those of preferred sources first. A model may
    have several, of different input sizes; one whose preprocessing the config changes has none.
    """
    found = identities(study)
    about = found["datasets"][dataset]
    asked = {"experiment": "clean", "metric": "accuracy", "label_mode": "all", "policy": study.datasets[dataset].policy}
    asked |= {"set": about["set"], "setting": about["setting"]}
    rows = [row for row in published.values() if row["policy"] == "model" and asked.items() <= row.items()]
    known = [row for row in published.models() if row["same_weights"] == "true"]
    return {
        name: [row for row in rows if any(weights.items() >= _names(row).items() for weights in theirs)]
        for name, entry in study.models.items()
        if (theirs := [row for row in known if row["weights"] == found["models"][name]["weights"]])
        and not (entry.preprocessing and entry.preprocessing.model_fields_set)
    }


def _names(row: Mapping[str, str]) -> dict[str, str]:
    """What names a source's model."""
    return {key: row[key] for key in ("source", "source_model", "pretraining_dataset")}


def _model(name: str, entry: ModelEntry) -> dict:
    altered = entry.interventions or entry.kwargs
    weights = entry.address if entry.checkpoint else entry.timm
    stands_for = rehearsed.facts().get("weights", {}).get(name)
    given = entry.preprocessing.model_fields_set - {"input_size", "test_size"} if entry.preprocessing else ()
    return {"weights": stands_for or (None if altered else weights), "preprocessing": sorted(given)}


def _dataset(study: Study, name: str) -> dict:
    entry, source = study.datasets[name], study.source_spec(name)
    native = open_source(source).native_size()
    return {
        "set": None if entry.missed_by else entry.source.kind,
        "setting": source.get("variant") or "",
        "size": None if native is not None or entry.policy == "model" else study.image_size(name),
        "corrupted": {policy: _corrupted(study, entry, policy) for policy in study.policies(name)},
    }


def _corrupted(study: Study, entry: DatasetEntry, policy: str) -> dict:
    families = [family for family in map(study.families.get, entry.families) if family.named_policy == policy]
    kinds = {family.source.kind if family.source else MADE_OF.get(entry.source.kind) for family in families}
    conditions = {condition for family in families for condition in product(family.corruptions, family.severities)}
    one_set = len(kinds) == 1 and not entry.missed_by
    return {"set": kinds.pop() if one_set else None, "setting": _corruption_set(conditions)}


def _corruption_set(conditions: AbstractSet[tuple[str, int]]) -> str:
    known = (setting for setting, names in CORRUPTION_SETS.items() if conditions == set(product(names, SEVERITIES)))
    return next(known, OTHER_CORRUPTIONS)
