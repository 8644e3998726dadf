"""What the rules ask of a study's gates: a few predictions of each model, by which its card says whether to go on."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from withstand.config import CLEAN, canonical
from withstand.gates import Gate, gates
from withstand.provenance import code_digest

if TYPE_CHECKING:
    from withstand.dag import Dag


class GatesDag:
    """Inputs and params of the jobs that judge models before all others."""

    def __init__(self, dag: Dag, results: str) -> None:
        self._dag, self._study, self._results = dag, dag.study, results

    @cached_property
    def by_model(self) -> dict[str, Gate]:
        """The gates by model."""
        return gates(self._study)

    def models(self) -> list[str]:
        """The models that have a gate."""
        return sorted(self.by_model)

    def others(self) -> list[str]:
        """The models that have none."""
        return sorted(self._study.models.keys() - self.by_model.keys())

    # Inputs

    def description(self, model: str) -> str:
        """The card of a model before its gate; its only one where it has none."""
        return f"{self._results}/{f'gates/{model}/card' if model in self.by_model else f'models/{model}'}.json"

    def images(self, wildcards) -> list[str]:
        """The images that a model predicts: of the store, or what it reads them by."""
        return self._dag.image_set_inputs(self._dataset(wildcards), CLEAN)

    def files(self, wildcards) -> list[str]:
        """The files of the source that it reads."""
        return self._dag.image_set_files(self._dataset(wildcards), CLEAN)

    # Params

    def reading_threads(self, wildcards) -> int:
        """Threads of a job that reads the images."""
        return self._dag.image_set_threads(self._dataset(wildcards), CLEAN)

    def image_set(self, wildcards) -> str:
        """The images as `withstand predict` takes them."""
        dataset = self._dataset(wildcards)
        chosen = {"subset": self._study.gate_subset(dataset)}
        output = {"output": f"{self._results}/gates/{wildcards.model}/predictions.parquet"}
        return canonical([self._dag.image_set(dataset, CLEAN) | chosen | output])

    def gate(self, wildcards, input) -> str:
        """What a model is held against. Snakemake runs nothing again for a param that depends on inputs."""
        return canonical(asdict(self.by_model[wildcards.model]))

    def judged_by(self, wildcards) -> str:
        """What a model is judged again for: its gate, or, as long as it would pass both, the gate that it passed."""
        gate = self.by_model[wildcards.model]
        return canonical(self._passed(wildcards.model, gate) or asdict(gate))

    def _passed(self, model: str, gate: Gate) -> dict | None:
        """The gate that a model passed, if its answers pass this one, too."""
        try:
            text = Path(f"{self._results}/gates/{model}/verdict.json").read_text(encoding="utf-8")
            last = json.loads(text)
            is_open = last["failure"] is None and last["gate"]["dataset"] == gate.dataset
            stops = is_open and gate.stops(last["correct"], last["images"], last["input_size"])
            return last["gate"] if is_open and not stops else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def prediction_code(self, wildcards) -> str:
        images = self._dag.image_set_code(self._dataset(wildcards), CLEAN)
        return code_digest("withstand.steps.predict:predict", *images, *self._dag.model_code(wildcards.model))

    def _dataset(self, wildcards) -> str:
        return self.by_model[wildcards.model].dataset
