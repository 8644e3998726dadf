"""How few samples, conditions, transformations and draws are enough to run every rule."""

from __future__ import annotations

import copy

from withstand.config import Study
from withstand.corruptions.constants import CORRUPTIONS
from withstand.gates import gates

SAMPLES = 8
"""Of a dataset: two minibatches of similarity, which needs four in each."""

MISCLASSIFIED = 3
SHARD = 5
"""Samples in a file, so that there are several files."""

EXPECTED = 0.5
"""At a gate of so few images, where none right is within three standard errors: random weights pass, too."""

TRAINED = {"epochs": 1, "batch_size": 8}
TRAINING_SAMPLES = 16


def shrink(config: dict, study: Study) -> dict:
    """A config with so few of everything that a CPU runs it in minutes; what kinds of things there are stays.

    Args:
        config: of a study, as YAML gives it.
        study: the same, checked.
    """
    small = copy.deepcopy(config)
    small.pop("limit", None)
    small.setdefault("images", {})["shard_size"] = SHARD
    for name, dataset in small["datasets"].items():
        dataset["samples"] = min(_enough(dataset), study.sample_count(name))
    for name, family in small.get("families", {}).items():
        family.update(_conditions(study, name))
    for name, gate in gates(study).items():
        small["models"][name]["expect"] = {gate.dataset: EXPECTED}
        small["gates"]["clean"] = min(SAMPLES, small["gates"]["clean"])
    for recipe in small.get("recipes", {}).values():
        recipe.update(TRAINED)
    if attacks := small.get("attacks"):
        attacks["samples"] = min(SAMPLES, study.attacked_subset()["count"])
        for attack in (attacks.get("perturbations") or {}).values():
            attack.update(_attack(attack))
        if attacks.get("spatial") is not None:
            attacks["spatial"] |= {"angles": 3, "shifts": 2, "draws": 2}
    if internals := small.get("internals"):
        internals["samples"] = min(SAMPLES, study.examined_subset()["count"])
        _experiments(internals)
    return small


def _enough(dataset: dict) -> int:
    if dataset.get("role") == "training":
        return TRAINING_SAMPLES
    return MISCLASSIFIED if dataset.get("missed_by") else SAMPLES


def _conditions(study: Study, family: str) -> dict:
    """The first corruption of each category, at the lowest and the highest severity."""
    given = study.families[family]
    first: dict[str, str] = {}
    for corruption in given.corruptions:
        first.setdefault(CORRUPTIONS[corruption].category, corruption)
    return {
        "corruptions": list(first.values()),
        "severities": sorted({min(given.severities), max(given.severities)}),
    }


def _attack(attack: dict) -> dict:
    if attack["kind"] == "pgd":
        return {"steps": min(2, attack.get("steps", 8)), "restarts": min(2, attack.get("restarts", 1))}
    return {"attacks": ["apgd-ce"]} if attack["kind"] == "autoattack" else {}


def _experiments(internals: dict) -> None:
    if internals.get("similarity") is not None:
        internals["similarity"] |= {
            "minibatch": 4,
            "activations": min(2, internals["similarity"].get("activations", 0)),
        }
    if internals.get("lesions") is not None:
        internals["lesions"] |= {"counts": [2], "draws": 2, "stop_after": 0}
    if (limit := internals.get("attention_limit")) is not None:
        limit |= {"draws": 2, "class_only": [1], "distances": ["1/2", "1/7"]}
