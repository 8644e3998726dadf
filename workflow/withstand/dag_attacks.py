"""What the rules ask of a study about attacks: perturbations, transfer, rotation and translation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from withstand.config import CLEAN, canonical
from withstand.datasets.registry import GENERATED_KINDS
from withstand.provenance import code_digest

if TYPE_CHECKING:
    from withstand.dag import Dag

PERTURBATION_TABLES = ("attacks", "transfer", "patch_alignment")
SPATIAL = "spatial"
"""A table, and two figures."""


class AttacksDag:
    """Targets, inputs and params of the jobs that attack models."""

    def __init__(self, dag: Dag, results: str) -> None:
        self._dag, self._study, self._results = dag, dag.study, results

    # Targets

    def tables(self) -> list[str]:
        """Names of the tables."""
        return [*(PERTURBATION_TABLES if self.perturbations() else ()), *([SPATIAL] if self._has_spatial() else [])]

    def figures(self) -> list[str]:
        """Names of the figures; of one attack ``<figure>-<attack>``."""
        names = ["attacks", "patch_alignment"] if self.perturbations() else []
        names += [f"{kind}-{attack}" for kind in ("transfer", "perturbations") for attack in self.perturbations()]
        return names + ([SPATIAL, "spatial_landscape"] if self._has_spatial() else [])

    def perturbations(self) -> list[str]:
        """The adversarial perturbations by name."""
        return [] if self._study.attacks is None else sorted(self._study.attacks.perturbations)

    def _has_spatial(self) -> bool:
        return self._study.attacks is not None and self._study.attacks.spatial is not None

    # Inputs and outputs

    def images(self, wildcards) -> list[str]:
        """The clean images that are attacked: of the store, or what an attack reads them by."""
        return self._dag.image_set_inputs(self._dataset, CLEAN)

    def files(self, wildcards) -> list[str]:
        """The files of the source that an attack reads."""
        return self._dag.image_set_files(self._dataset, CLEAN)

    def outputs(self) -> list[str]:
        """What the attacks on one model, a wildcard, make."""
        files = [f"results/{{study}}/attacks/{{model}}/{attack}.h5" for attack in self.perturbations()]
        folder = "results/{study}/predictions/{model}"
        return files + [f"{folder}/{self._dataset}/{attack}.parquet" for attack in self.perturbations()]

    def all_perturbations(self, wildcards) -> list[str]:
        """The perturbations of every model by every attack, or by the one that a figure shows."""
        attacks = [wildcards.attack] if wildcards.get("attack") else self.perturbations()
        return [self._perturbations(model, attack) for model in self._study.attacked() for attack in attacks]

    def predictions(self, wildcards) -> list[str]:
        """What every model makes of the perturbations that were made for it, and of the same images without."""
        families = [CLEAN, *self.perturbations()]
        return [
            self._dag.predictions(model, self._dataset, name) for model in self._study.attacked() for name in families
        ]

    def clean_predictions(self, wildcards) -> list[str]:
        """What every model makes of the images that are attacked."""
        return [self._dag.predictions(model, self._dataset, CLEAN) for model in self._study.attacked()]

    def clean_options(self, wildcards) -> list[str]:
        """The same as options."""
        return [f"--clean={path}" for path in self.clean_predictions(wildcards)]

    def cards(self, wildcards) -> list[str]:
        """The cards of the models that are attacked."""
        return [f"{self._results}/models/{model}.json" for model in self._study.attacked()]

    def card_options(self, wildcards) -> list[str]:
        """The same as options."""
        return [f"--card={path}" for path in self.cards(wildcards)]

    def transfers(self, wildcards) -> list[str]:
        """What every model makes of the perturbations of every other."""
        return [f"{self._results}/transfer/{model}.parquet" for model in self._study.attacked()]

    def spatial_answers(self, wildcards) -> list[str]:
        """What every model makes of rotations and translations."""
        return [f"{self._results}/spatial/{model}.parquet" for model in self._study.attacked()]

    def answers(self) -> list[str]:
        """What every model makes of attacked and of transformed images, and of the same images as they are."""
        perturbed = [*self.predictions(None), *self.transfers(None)] if self.perturbations() else []
        return perturbed + (self.spatial_answers(None) if self._has_spatial() else [])

    def table(self, wildcards) -> str:
        """The table that a figure shows."""
        table = SPATIAL if wildcards.figure.startswith(SPATIAL) else wildcards.figure
        return f"{self._results}/tables/{table}.parquet"

    # Params

    def reading_threads(self, wildcards) -> int:
        """Threads of a job that reads the images."""
        return self._dag.image_set_threads(self._dataset, CLEAN)

    def runs(self, wildcards) -> str:
        """The attacks on a model as `withstand attack` takes them."""
        return canonical([self._run(wildcards.model, name) for name in self.perturbations()])

    def transfer_set(self, wildcards) -> str:
        """The images that perturbations are shown on, as `withstand transfer` takes them."""
        return canonical(self._image_set(f"{self._results}/transfer/{wildcards.model}.parquet"))

    def transfer_sources(self, wildcards) -> str:
        """The perturbations of every model, as `withstand transfer` takes them."""
        pairs = [(model, attack) for model in self._study.attacked() for attack in self.perturbations()]
        return canonical([[model, attack, self._perturbations(model, attack)] for model, attack in pairs])

    def spatial_set(self, wildcards) -> str:
        """The images that are rotated and translated, as `withstand attack-spatial` takes them."""
        return canonical(self._image_set(f"{self._results}/spatial/{wildcards.model}.parquet"))

    def spatial_grid(self, wildcards) -> str:
        """The rotations and translations."""
        return canonical(self._study.attacks.spatial.spec | {"seed": self._study.seed})

    def patch_sizes(self, wildcards) -> str:
        """Squares whose borders perturbations are compared with, besides models' own patches."""
        return canonical(sorted(self._study.attacks.patch_sizes))

    def source(self, wildcards) -> str:
        """The source of the images that are attacked."""
        return canonical(self._study.source_spec(self._dataset))

    def figure_options(self, wildcards) -> list[str]:
        """Which rows of a table a figure shows, as options."""
        attack = [f"--attack={wildcards.attack}"] if wildcards.get("attack") else []
        return [f"--dataset={self._dataset}", *attack]

    def attack_code(self, wildcards) -> str:
        return self._code("withstand.steps.attack:attack", wildcards.model)

    def transfer_code(self, wildcards) -> str:
        return self._code("withstand.steps.transfer:transfer", wildcards.model)

    def spatial_code(self, wildcards) -> str:
        return self._code("withstand.steps.attack_spatial:attack_spatial", wildcards.model)

    def alignment_code(self, wildcards) -> str:
        kind = self._study.datasets[self._dataset].source.kind
        source = [f"withstand.datasets.{kind}:Source"] if kind in GENERATED_KINDS else []
        return code_digest("withstand.steps.tabulate_attacks:tabulate_patch_alignment", *source)

    @property
    def _dataset(self) -> str:
        return self._study.attacks.dataset

    def _image_set(self, output: str) -> dict:
        """The clean images that are attacked, as steps take them."""
        chosen = {"output": output, "subset": self._study.attacked_subset()}
        return self._dag.image_set(self._dataset, CLEAN) | chosen

    def _run(self, model: str, name: str) -> dict:
        about = {"name": name, "seed": self._study.seed}
        return {
            **self._image_set(self._dag.predictions(model, self._dataset, name)),
            "family": name,
            "attack": self._study.attacks.perturbations[name].spec | about,
            "perturbations": self._perturbations(model, name),
        }

    def _perturbations(self, model: str, attack: str) -> str:
        return f"{self._results}/attacks/{model}/{attack}.h5"

    def _code(self, step: str, model: str) -> str:
        """Digest of a step, of a model's own code, and of the code that reads images from a source."""
        return code_digest(step, *self._dag.image_set_code(self._dataset, CLEAN), *self._dag.model_code(model))
