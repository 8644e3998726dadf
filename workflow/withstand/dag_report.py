"""What the rules ask of a study's report: one page of all tables and figures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from withstand import rehearsed
from withstand.config import canonical
from withstand.gates import without_gate
from withstand.provenance import code_digest

if TYPE_CHECKING:
    from withstand.dag import Dag

PAGE = Path(__file__).parent / "report"
"""The folder of the page's template, styles and scripts."""


class ReportDag:
    """Params of the job that writes the report."""

    def __init__(self, dag: Dag, results: str) -> None:
        self._dag, self._study, self._results = dag, dag.study, results

    def path(self) -> str:
        return f"{self._results}/report.html"

    def figure_options(self, wildcards) -> list[str]:
        """The study's figures in their order, as options."""
        return [f"--figure={path}" for path in self._dag.figures() if path.endswith(".svg")]

    def spec(self, wildcards) -> str:
        """What the page says of the study besides its results."""
        study = self._study
        return canonical(
            {
                **{"study": study.study, "seed": study.seed, "config": study.model_dump(mode="json", by_alias=True)},
                "models": {
                    name: entry.model_dump(mode="json", include={"label", "color"})
                    for name, entry in study.models.items()
                },
                "datasets": {
                    name: {
                        "label": study.datasets[name].label,
                        "kind": study.datasets[name].source.kind,
                        "samples": study.sample_count(name),
                        "size": study.image_size(name),
                        "policy": study.datasets[name].policy,
                        "families": list(study.datasets[name].families),
                    }
                    for name in study.evaluated()
                },
                "gates": {model: str(gate) for model, gate in self._dag.gates.by_model.items()},
                "without_gate": without_gate(study),
                "reference": study.reference(),
                "baseline": study.statistics.baseline,
                **rehearsed.mark(),
                "margin": study.statistics.margin,
            }
        )

    def code(self) -> str:
        """Digest of the code that writes the page, and of its template, styles and scripts."""
        parts = sorted(path for path in PAGE.iterdir() if path.suffix in (".css", ".jinja", ".js"))
        page = hashlib.blake2b(b"".join(path.read_bytes() for path in parts), digest_size=8).hexdigest()
        return f"{code_digest('withstand.steps.report:write_report')} {page}"
