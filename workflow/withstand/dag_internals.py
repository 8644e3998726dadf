"""What the rules ask of a study about the inside of models: one job a model, then tables and figures of all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from withstand.config import CLEAN, canonical
from withstand.provenance import code_digest

if TYPE_CHECKING:
    from withstand.dag import Dag

GRAMS, SIMILARITY = "grams", "similarity"
"""The kind of experiment whose table has a name of its own, and that name."""

ANSWERED = ("lesions", "attention_limit")
"""Experiments that leave answers."""

FIGURES = {
    SIMILARITY: ("layer_correlation", "layer_similarity", "model_similarity"),
    "lesions": ("lesion_single", "lesion_several"),
}
"""The figures of tables that have not just one of their own name."""


class InternalsDag:
    """Targets, inputs and params of the jobs that look into models."""

    def __init__(self, dag: Dag, results: str) -> None:
        self._dag, self._study, self._results = dag, dag.study, results

    # Targets

    def tables(self) -> list[str]:
        """Names of the tables."""
        return [_table(kind) for kind in self._study.experiments()]

    def single_tables(self) -> list[str]:
        """Those of them that are made of one file a model and family, without a look at other models."""
        return [table for table in self.tables() if table != SIMILARITY]

    def figures(self) -> list[str]:
        """Names of the figures; of corrupted images ``<figure>-<family>``."""
        names = []
        for table in self.tables():
            kinds = [kind for kind in _figures(table) if self._is_drawn(kind)]
            # similarity cannot be pooled over corruptions, and there would be a figure for each
            families = [CLEAN] if table == SIMILARITY else self._study.examined_families()
            names += [kind if family == CLEAN else f"{kind}-{family}" for family in families for kind in kinds]
        return names

    def kinds(self) -> list[str]:
        """The kinds of figures that there are."""
        return [kind for table in self.tables() for kind in _figures(table)]

    def _is_drawn(self, figure: str) -> bool:
        given = self._study.internals
        if figure == "model_similarity":
            return given.similarity.between_models and len(self._study.examined()) > 1
        if figure == "lesion_single":
            return given.lesions.single
        return figure != "lesion_several" or given.lesions.counts != ()

    # Inputs

    def images(self, wildcards) -> list[str]:
        """The images that models are looked into with: of the store, or what a job makes or reads them by."""
        return self._of_families(self._dag.image_set_inputs)

    def files(self, wildcards) -> list[str]:
        """The files of sources that a job reads."""
        return self._of_families(self._dag.image_set_files)

    def _of_families(self, paths) -> list[str]:
        dataset = self._study.internals.dataset
        found = (path for family in self._study.examined_families() for path in paths(dataset, family))
        return list(dict.fromkeys(found))

    def measured(self, wildcards) -> list[str]:
        """What was measured for a table: the files of all models."""
        kind = wildcards.get("table", GRAMS)
        models, families = self._study.examined(), self._study.examined_families()
        return [self._file(model, kind, family) for family in families for model in models]

    def figure_table(self, wildcards) -> str:
        """The table that a figure shows."""
        table = next(table for table in self.tables() if wildcards.figure in _figures(table))
        return f"{self._results}/tables/{table}.parquet"

    def answers(self) -> list[str]:
        """What every model answered under lesions and limits of attention, of the images as they are."""
        kinds = [kind for kind in self._study.experiments() if kind in ANSWERED]
        return [self._file(model, kind, CLEAN) for kind in kinds for model in self._study.examined()]

    # Outputs

    def outputs(self) -> list[str]:
        """What is measured of one model, a wildcard."""
        kinds, families = self._study.experiments(), self._study.examined_families()
        folder = "results/{study}/internals/{model}"
        return [f"{folder}/{_name(kind, family)}" for family in families for kind in kinds]

    # Params

    def experiments(self, wildcards) -> str:
        """What is done to a model, as `withstand measure-internals` takes it."""
        dataset, found = self._study.internals.dataset, []
        for family in self._study.examined_families():
            images = self._dag.image_set(dataset, family) | {"subset": self._study.examined_subset()}
            found += [
                images
                | {"kind": kind, "protocol": protocol, "code": self._code(wildcards.model, kind, family)}
                | {"seed": self._study.seed, "output": self._file(wildcards.model, kind, family)}
                for kind, protocol in self._study.experiments().items()
            ]
        return canonical(found)

    def reading_threads(self, wildcards) -> int:
        """Threads of a job, some of whose images may have to be decoded."""
        dataset, families = self._study.internals.dataset, self._study.examined_families()
        return max(self._dag.image_set_threads(dataset, family) for family in families)

    def similarity_options(self, wildcards) -> list[str]:
        """Which similarities are tabulated, as options."""
        given = self._study.internals.similarity
        between = "--between-models" if given.between_models else "--within-models"
        return [between, *(f"--flattening={name}" for name in given.flattening)]

    def figure_options(self, wildcards) -> list[str]:
        """Which rows of a table a figure shows, as options."""
        return [f"--dataset={self._study.internals.dataset}", f"--family={wildcards.get('family', CLEAN)}"]

    # Digests of the code that shapes a result

    def _code(self, model: str, kind: str, family: str) -> str:
        functions = ["withstand.steps.internals:measure_internals", f"withstand.internals:measure_{kind}"]
        images = self._dag.image_set_code(self._study.internals.dataset, family)
        return code_digest(*functions, *images, *self._dag.model_code(model))

    def table_code(self, wildcards) -> str:
        """Digest of the code that makes a table."""
        table = wildcards.get("table", SIMILARITY)
        return code_digest(f"withstand.steps.tabulate_internals:tabulate_{table}")

    def _file(self, model: str, kind: str, family: str) -> str:
        return f"{self._results}/internals/{model}/{_name(kind, family)}"


def _table(kind: str) -> str:
    return SIMILARITY if kind == GRAMS else kind


def _figures(table: str) -> tuple[str, ...]:
    return FIGURES.get(table, (table,))


def _name(kind: str, family: str) -> str:
    """The file of an experiment in a model's folder; of corrupted images in a folder of its family."""
    name = f"{kind}.h5" if kind == GRAMS else f"{kind}.parquet"
    return name if family == CLEAN else str(Path(family) / name)
