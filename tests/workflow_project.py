"""A copy of the project with a small study, run by Snakemake as a user would."""

from __future__ import annotations

import atexit
import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import yaml

from withstand.environment import COMMANDS_VARIABLE
from withstand.rehearsal.warm import warm

PROJECT = Path(__file__).resolve().parents[1]

STUDY = {
    "study": "small",
    "models": {"resnet": {"zoo": "resnet_gn_base", "family": "ResNet"}, "vit": {"zoo": "vit_p8_base", "label": "ViT"}},
    "datasets": {
        "test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 40, "families": ["digital"]},
        "validation": {"source": {"kind": "shapetex", "split": "validation"}, "samples": 40},
        "conflict": {"source": {"kind": "shapetex_cue_conflict"}, "samples": 90},
        "missed": {
            "source": {"kind": "shapetex", "split": "pool"},
            "samples": 5,
            "missed_by": {"zoo": "reference"},
            "pool": 2000,
        },
    },
    "families": {"digital": {"corruptions": ["contrast", "jpeg_compression"], "severities": [1, 3, 5]}},
    "attacks": {
        "dataset": "test",
        "samples": 20,
        "patch_sizes": [16],
        "perturbations": {"pgd": {"kind": "pgd", "steps": 2}},
        "spatial": {"angles": 3, "shifts": 1, "draws": 2},
    },
    "internals": {
        "dataset": "test",
        "samples": 12,
        "similarity": {"minibatch": 6},
        "lesions": {"counts": [2], "draws": 2},
        "attention_limit": {"distances": [0.25], "draws": 2, "class_only": [1]},
        "attention_distance": {},
    },
    "statistics": {"baseline": "resnet"},
    "images": {"size": 64},
}

LONGEST_RUN = 900.0
"""Seconds after which a run has got stuck, on however busy a machine."""

WHOLE = {
    "fetch_weights": 3,
    "describe_model": 2,
    "find_missed": 1,
    "prepare_images": 4,
    "corrupt_images": 1,
    "predict": 2,
    "predict_clean": 2,
    "attack_model": 2,
    "transfer_perturbations": 2,
    "attack_spatial": 2,
    "measure_internals": 2,
    "summarise_model": 2,
    "join_summaries": 2,
    "tabulate_failures": 1,
    "tabulate_shape_bias": 1,
    "tabulate_attacks": 1,
    "tabulate_transfer": 1,
    "tabulate_patch_alignment": 1,
    "tabulate_spatial": 1,
    "tabulate_similarity": 1,
    "tabulate_internals": 3,
    "tabulate_models": 1,
    "tabulate_comparisons": 1,
    "tabulate_corruption_error": 1,
    "tabulate_trends": 1,
    "tabulate_claims": 1,
    "draw_study": 3,
    "draw_compared": 5,
    "draw_disagreements": 4,
    "draw_internals": 7,
    "draw_attacks": 4,
    "draw_transfer": 1,
    "draw_perturbations": 1,
    "draw_accuracy": 2,
    "draw_held_out": 1,
    "draw_shape_bias": 1,
    "draw_samples": 4,
    "draw_corruptions": 1,
    "write_report": 1,
    "all": 1,
}
"""Jobs of the whole small study."""


@cache
def warm_commands() -> Path:
    """The folder of a `withstand` that starts from a process of these tests, which has imported torch."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return stack.enter_context(warm(folder, os.environ))


class Project:
    """A folder with the project's files, its own results, and ways to change and run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "snakemake.out"

    @classmethod
    def fresh(cls, folder: Path) -> Project:
        """The project as committed or about to be, with the small study as its config."""
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        files = subprocess.run(listed, cwd=PROJECT, capture_output=True, check=True).stdout.decode().split("\0")
        for name in filter(None, files):
            if (PROJECT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, folder / name)
        project = cls(folder)
        project.configure(copy.deepcopy(STUDY))
        return project

    def clone(self, folder: Path) -> Project:
        """A copy with results, metadata and file times."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def configure(self, study: dict, name: str = "config.yaml") -> None:
        (self.folder / name).write_text(yaml.safe_dump(study, sort_keys=False))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands in a file."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} does not contain {old!r}"
        path.write_text(text.replace(old, new))

    snakemake = ("-m", "snakemake")
    """What Python runs."""

    environment: ClassVar[dict[str, str]] = {}
    """What differs from the environment of the tests."""

    def start(self, *arguments: str, changed: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen:
        """Start snakemake in a session of its own, with the project's package, from a venv that is not activated."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "workflow"), "PATH": "/usr/bin:/bin"}
        environment.pop("VIRTUAL_ENV", None)
        environment |= {**changed, **self.environment}
        # a shell that runs the tests in the background makes its children deaf to Ctrl-C
        command = ["env", "--default-signal=INT", sys.executable, *self.snakemake, *arguments]
        with self.output.open("w") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run snakemake to its end: exit code and output."""
        code = self.start(*arguments).wait(timeout=LONGEST_RUN)
        return code, self.output.read_text()

    def complete(self, *arguments: str) -> str:
        """Run the study on two cores, its steps from a process that has imported torch; it must succeed."""
        warm = {COMMANDS_VARIABLE: str(warm_commands())}
        code = self.start("--cores", "2", *arguments, changed=warm).wait(timeout=LONGEST_RUN)
        output = self.output.read_text()
        assert code == 0, output
        return output

    def planned(self, *arguments: str) -> dict[str, int]:
        """What a dry-run would do: jobs by rule."""
        code, output = self.run("--dry-run", *arguments)
        assert code == 0, output
        if "Nothing to be done" in output:
            return {}
        table = output.split("Job stats:")[1].split("total")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)\s*$", table, re.MULTILINE)}


@cache
def rules() -> dict[str, str]:
    """The text of each rule, with the name of the one that it is made of, if there is one, in its first line."""
    text = "\n".join(path.read_text() for path in sorted((PROJECT / "rules").glob("*.smk")))
    blocks = re.split(r"^ *(?=(?:use )?rule )", text, flags=re.MULTILINE)[1:]
    return {re.match(r"(?:use rule \w+ as|rule) (\w+)", block)[1]: block for block in blocks}


def whole_rule(name: str) -> str:
    """The text of a rule, and of those that it is made of."""
    base = re.match(r"use rule (\w+) as", rules()[name])
    return rules()[name] + (whole_rule(base[1]) if base else "")
