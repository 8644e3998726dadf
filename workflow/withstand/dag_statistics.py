"""What the rules ask of a study's statistics: tables of tables, and the paper's claims."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from withstand import published
from withstand.config import CLEAN, canonical
from withstand.published.match import has_published, identities

if TYPE_CHECKING:
    from withstand.dag import Dag

SUMMARIES = ("accuracy", "calibration")
"""Tables that join one table a model."""

TRENDS = ("trends", "effective_robustness")
"""Tables over models, which need clean images to compare with."""

NOT_EVIDENCE = (
    *("failures", *SUMMARIES, "corruption_error", "effective_robustness", "attention_distance"),
    *("claims", "reproduction"),
)
"""Tables that no claim rests on."""

REPRODUCED = ("accuracy", "corruption_error", "attacks", "spatial", "shape_bias", "lesions", "attention_limit")
"""Tables whose values may have been published."""


class StatisticsDag:
    """Targets, inputs and params of the jobs that compare models."""

    def __init__(self, dag: Dag, results: str) -> None:
        self._dag, self._study, self._results = dag, dag.study, results

    # Targets

    def tables(self) -> list[str]:
        """Names of the tables."""
        corrupted = any(self._study.datasets[name].families for name in self._study.evaluated())
        errors = ["corruption_error"] if corrupted and self.reference_options(None) else []
        reproduction = ["reproduction"] if self.has_published() else []
        return ["comparisons", *errors, *(TRENDS if self._study.reference() else ()), "claims", *reproduction]

    def figures(self) -> list[str]:
        """Names of the figures."""
        study = self._study
        judged, several = study.judged_by_accuracy(), len(study.models) > 1
        names = ["claims", *(("overview", "scaling") if judged else ())]
        names += ["reproduction"] if self.has_published() else []
        for dataset in study.evaluated():
            policies = study.policies(dataset) or [study.datasets[dataset].policy]
            suffixes = ["" if policy == study.datasets[dataset].policy else f".{policy}" for policy in policies]
            names += [f"comparisons-{dataset}{suffix}" for suffix in suffixes if several]
            corrupted = study.datasets[dataset].families and dataset not in study.cue_conflict_sets()
            names += [f"calibration-{dataset}{suffix}" for suffix in suffixes if corrupted]
        names += [f"disagreements-{dataset}" for dataset in study.stored_sets() if self.pair()]
        return names

    @lru_cache  # noqa: B019 - one instance a process
    def has_published(self) -> bool:
        """Whether there are published values of the study's models on its images."""
        return has_published(self._study)

    # Inputs

    def summaries(self, wildcards) -> list[str]:
        """A summary of each model."""
        return [f"{self._results}/tables/{wildcards.summary}/{model}.parquet" for model in self._study.models]

    def images(self, wildcards) -> list[str]:
        """How often each model was right on each image."""
        return [f"{self._results}/tables/images/{model}.parquet" for model in self._study.models]

    def evidence(self, wildcards) -> list[str]:
        """The tables that claims are tested on."""
        return [path for path in self._dag.tables() if Path(path).stem not in NOT_EVIDENCE]

    def answers(self, wildcards) -> list[str]:
        """The answers behind those tables that differences are paired by."""
        predicted = [*self._dag.cue_conflict_predictions(wildcards), *self._dag.attacks.answers()]
        return sorted({*self.images(wildcards), *predicted, *self._dag.internals.answers()})

    def figure_table(self, wildcards) -> str:
        """The table that a figure of the whole study is drawn from."""
        table = wildcards.figure if wildcards.figure in ("claims", "reproduction") else "accuracy"
        return f"{self._results}/tables/{table}.parquet"

    def reproduced(self, wildcards) -> list[str]:
        """The tables whose values may have been published."""
        return [path for path in self._dag.tables() if Path(path).stem in REPRODUCED]

    def published(self, wildcards) -> list[str]:
        """The table of published values, for figures that show some; nothing for others."""
        shown = wildcards.figure in published.FIGURES and self.has_published()
        return [f"{self._results}/tables/reproduction.parquet"] if shown else []

    def pair(self) -> tuple[str, str] | None:
        """The two models whose disagreements are shown: of different families where there are such, those that were
        pre-trained on most images, the first by name. None for a study of one model."""
        known = {name: self._study.about(name) for name in self._study.models}

        def rank(name: str) -> tuple:
            return -known[name].get("pretraining", {}).get("images", 0), name

        first, *others = sorted(known, key=rank)
        family = known[first].get("family")
        others.sort(key=lambda name: known[name].get("family") == family)  # keeps the order in each half
        return (first, others[0]) if others else None

    def answers_of_pair(self, wildcards) -> list[str]:
        """How often both were right on each image."""
        return [f"{self._results}/tables/images/{model}.parquet" for model in self.pair()]

    def predictions_of_pair(self, wildcards) -> list[str]:
        """Their predictions on a dataset's clean images."""
        return [self._dag.predictions(model, wildcards.dataset, CLEAN) for model in self.pair()]

    def shards(self, wildcards) -> list[str]:
        """A dataset's clean images."""
        return self._dag.image_set(wildcards.dataset, CLEAN)["images"]

    # Params

    def figure_datasets(self, wildcards) -> list[str]:
        """The datasets that a figure of the whole study shows, as options; all where none is named."""
        if wildcards.figure in ("claims", "reproduction"):
            return []
        return [f"--dataset={name}" for name in self._study.judged_by_accuracy()]

    def reference_options(self, wildcards) -> list[str]:
        """What corruption errors are compared with, as options of `withstand tabulate-corruption-error`."""
        baseline = self._study.statistics.baseline
        datasets = self._study.datasets
        imagenet = [
            name
            for name in self._study.evaluated()
            if datasets[name].source.kind == "imagenet" and not datasets[name].missed_by
        ]
        return [f"--baseline={baseline}" for _ in [0] if baseline] + [f"--imagenet={name}" for name in imagenet]

    def judged(self, wildcards) -> list[str]:
        """The datasets with one right answer for each image, and those of the reference's images, as options."""
        conflicts = self._study.cue_conflict_sets()
        judged = [f"--dataset={name}" for name in self._study.evaluated() if name not in conflicts]
        return judged + [f"--unshifted={name}" for name in self._study.unshifted_sets()]

    def reproduced_options(self, wildcards) -> list[str]:
        """The tables whose values may have been published, as options."""
        return [f"--{Path(path).stem.replace('_', '-')}={path}" for path in self.reproduced(wildcards)]

    def published_options(self, wildcards) -> list[str]:
        """The table of published values as an option of `withstand draw`, for figures that show some."""
        return [f"--reproduction={path}" for path in self.published(wildcards)]

    def identities(self, wildcards) -> str:
        """Which public weights and image sets the study has."""
        return canonical(identities(self._study))

    def answers_options(self, wildcards) -> list[str]:
        """The answers behind the tables, as options of `withstand tabulate-claims`."""
        return [f"--answers={path}" for path in self.answers(wildcards)]

    def settings(self, wildcards) -> str:
        """How claims are tested."""
        return canonical(
            {
                "unshifted": self._study.unshifted_sets(),
                "conflicts": self._study.cue_conflict_sets(),
                "margin": self._study.statistics.margin,
            }
        )
