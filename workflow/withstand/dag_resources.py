"""What the rules ask of a study about resources: memory and minutes of each job, which nothing is run again for.

They are functions of Snakemake's wildcards, threads and attempt, and are asked again when a job is ready, so that the
card of its model is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from withstand import resources
from withstand.config import CLEAN
from withstand.resources import ModelSize

if TYPE_CHECKING:
    from withstand.dag import Dag


class ResourcesDag:
    """Memory and minutes of the jobs that a cluster runs."""

    def __init__(self, dag: Dag, results: str) -> None:
        self._dag, self._study, self._results = dag, dag.study, results

    # Images

    def image_memory(self, wildcards, threads: int, attempt: int) -> int:
        """Of a job that scans a source, or makes images."""
        return resources.image_memory(self._dag.image_size(wildcards), threads, attempt)

    def scan_minutes(self, wildcards, attempt: int) -> int:
        """Of a job that scans a source."""
        return resources.SCAN_MINUTES * attempt

    def image_minutes(self, wildcards, attempt: int) -> int:
        """Of a job that makes a shard."""
        shard = self._study.images.shard_size
        samples = min(shard, self._study.sample_count(wildcards.dataset)) if wildcards.get("dataset") else shard
        return resources.minutes(samples * self._conditions(wildcards.get("family", CLEAN)), 0, attempt)

    # Models

    def model_memory(self, wildcards, attempt: int) -> int:
        """Of a job with a model."""
        return resources.model_memory(self._size(wildcards), resources.BLOCK, attempt)

    def prediction_minutes(self, wildcards, attempt: int) -> int:
        """Of a job that predicts one image set, or all stored clean ones."""
        sets = [wildcards.dataset] if wildcards.get("dataset") else self._study.stored_sets()
        images = sum(self._study.sample_count(name) for name in sets)
        return self._minutes(wildcards, images * self._conditions(wildcards.get("family", CLEAN)), 1, attempt)

    def gate_minutes(self, wildcards, attempt: int) -> int:
        """Of a job that predicts the images of a gate."""
        dataset = self._study.gate_dataset(wildcards.model)
        return self._minutes(wildcards, self._study.gate_subset(dataset)["count"], 1, attempt)

    def search_minutes(self, wildcards, attempt: int) -> int:
        """Of a job that looks for natural adversarial examples."""
        return self._minutes(wildcards, self._study.pool_size(wildcards.dataset), 1, attempt)

    def attack_minutes(self, wildcards, attempt: int) -> int:
        """Of all attacks on a model."""
        attacks = [attack.spec for attack in self._study.attacks.perturbations.values()]
        return self._minutes(wildcards, self._attacked(), resources.attack_passes(attacks), attempt)

    def transfer_minutes(self, wildcards, attempt: int) -> int:
        """Of showing a model the perturbations made for all."""
        perturbed = len(self._study.attacked()) * len(self._study.attacks.perturbations)
        return self._minutes(wildcards, self._attacked() * perturbed, 1, attempt)

    def spatial_minutes(self, wildcards, attempt: int) -> int:
        """Of rotations and translations."""
        passes = resources.spatial_passes(self._study.attacks.spatial.spec)
        return self._minutes(wildcards, self._attacked(), passes, attempt)

    def internals_minutes(self, wildcards, attempt: int) -> int:
        """Of all experiments on the inside of a model; images are read again for each pass, at worst."""
        depth = self._size(wildcards).depth
        experiments = self._study.experiments().items()
        passes = sum(resources.experiment_passes(kind, protocol, depth) for kind, protocol in experiments)
        shown = self._study.examined_subset()["count"] * sum(map(self._conditions, self._study.examined_families()))
        return self._minutes(wildcards, shown * passes, 1, attempt)

    def training_minutes(self, wildcards, attempt: int) -> int:
        """Of a training."""
        recipe = self._dag.recipe(wildcards.weights)
        shown = recipe.epochs * self._study.sample_count(recipe.dataset)
        return self._minutes(wildcards, shown, resources.BACKWARD, attempt)

    def _minutes(self, wildcards, images: int, passes: int, attempt: int) -> int:
        """Of a job that makes so many passes with each of so many images."""
        return resources.minutes(images, images * passes * self._size(wildcards).flops, attempt)

    def _attacked(self) -> int:
        return self._study.attacked_subset()["count"]

    def _conditions(self, family: str) -> int:
        """Copies of each image in a family."""
        if family == CLEAN:
            return 1
        entry = self._study.families[family]
        return len(entry.corruptions) * len(entry.severities)

    def _size(self, wildcards) -> ModelSize:
        """The size of a job's model, by its card where there is one."""
        path = Path(self._dag.gates.description(wildcards.get("model", "")))
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            card = {}
        return ModelSize.of(card, self._study.images.size)
