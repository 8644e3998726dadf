"""The jobs of a study as Snakemake plans them: which there are, which files they make, and which are still to be done.

Snakemake tells files, not jobs (``--summary``), and no log of a job that has never ended. So ``python -m
withstand.planning.jobs`` runs it with a summary of jobs in that one's place.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from withstand.errors import WithstandError

STAGES = {
    "models": "weights, cards",
    "datasets": "images",
    "perturbations": "corruptions",
    "train": "training",
}
"""What a file of rules is called here, where its name does not say it."""


class PlanError(WithstandError):
    """Snakemake cannot plan a study."""


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        wildcards: all but the study's.
        outputs: the files that it makes.
        log, benchmark: where it says what it does, and what it took; None where it has none.
        pending: whether it is to be run: something is missing, or out of date.
    """

    rule: str
    wildcards: Mapping[str, str]
    outputs: tuple[Path, ...]
    log: Path | None
    benchmark: Path | None
    pending: bool

    @cached_property
    def key(self) -> tuple:
        """What tells it from other jobs of its study."""
        return key(self.rule, self.wildcards)

    @property
    def name(self) -> str:
        """The job as people read it."""
        return " ".join([self.rule, ", ".join(self.wildcards.values())]).strip()


def key(rule: str, wildcards: Mapping[str, str]) -> tuple:
    """A job's rule and wildcards, to look it up by."""
    return rule, frozenset(wildcards.items())


def plan(config: Path, **changed: object) -> list[Job]:
    """The jobs of a config's study, in the order of the flow.

    Args:
        changed: values of the config to plan with instead.

    Raises:
        PlanError: if there is no project here, or Snakemake cannot plan the study.
    """
    if not Path("Snakefile").is_file():
        raise PlanError("no Snakefile here: run this in the folder of the project")
    command = [sys.executable, "-m", __name__, "--summary", "--configfile", str(config)]
    command += ["--config", *(f"{name}={value}" for name, value in changed.items())] if changed else []
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in asked.stdout.splitlines() if line.startswith("{")]
    if asked.returncode:
        raise PlanError(f"{config} cannot be planned: {_reason(asked.stderr)}")
    jobs = [_job(json.loads(line)) for line in lines]
    order = {rule: number for number, rule in enumerate(stages())}
    return sorted(jobs, key=lambda job: order.get(job.rule, len(order)))


def stages() -> dict[str, str]:
    """The stage of every rule, in the order of the flow: that of the Snakefile's files of rules."""
    found = {}
    for file in re.findall(
        r'^include: "(rules/\w+\.smk)"', Path("Snakefile").read_text(encoding="utf-8"), re.MULTILINE
    ):
        text = Path(file).read_text(encoding="utf-8")
        for rule, variant in re.findall(r"^ *(?:use )?rule (\w+)(?: as (\w+) with)?:", text, re.MULTILINE):
            found[variant or rule] = STAGES.get(Path(file).stem, Path(file).stem)
    return found


def _job(told: Mapping) -> Job:
    wildcards = {name: value for name, value in told["wildcards"].items() if name != "study"}
    log, benchmark = (Path(told[name]) if told[name] else None for name in ("log", "benchmark"))
    return Job(told["rule"], wildcards, tuple(map(Path, told["outputs"])), log, benchmark, told["pending"])


def _reason(errors: str) -> str:
    chatter = ("Using ", "Building ", "File ", "WorkflowError in file")
    lines = [line.strip() for line in errors.splitlines()]
    return "\n".join([line for line in lines if line and not line.startswith(chatter)][:10]) or "Snakemake says nothing"


async def _summary(graph, detailed: bool = False):
    for job in graph.jobs:
        if job.output:
            yield json.dumps(
                {
                    "rule": job.rule.name,
                    "wildcards": dict(job.wildcards_dict),
                    "outputs": [str(path) for path in job.output],
                    "log": str(job.log[0]) if job.log else None,
                    "benchmark": str(job.benchmark) if job.benchmark else None,
                    "pending": bool(graph.reason(job)),
                }
            )


if __name__ == "__main__":
    import gc

    from snakemake import cli, dag

    gc.disable()  # a fifth of the time, for no memory: a graph has next to no garbage
    dag.DAG.summary = _summary
    cli.main()
