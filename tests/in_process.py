"""A study's jobs, one after the other in this process: the commands that Snakemake would run, without its processes."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator

import click
import matplotlib.pyplot as plt
import torch

from withstand.cli import main
from workflow_project import Project


def commands(project: Project) -> list[list[str]]:
    """The arguments of every `withstand` that the study needs, in an order in which they can run."""
    code, output = project.run("--dry-run", "--forceall", "--printshellcmds")
    assert code == 0, output
    found = [shlex.split(line) for line in re.findall(r"^Shell command: withstand (.*)$", output, re.MULTILINE)]
    assert found and all(">" in words for words in found), "every rule keeps a log"
    return [words[: words.index(">")] for words in found]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Networks as small as these wait for threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _with_few_corruptions(words: list[str]) -> list[str]:
    """The sheet of all corruptions shows two of them: it takes as long as half of a small study."""
    if words[0] != "draw-corruptions":
        return words
    place = words.index("--corruptions") + 1
    return [*words[:place], json.dumps(json.loads(words[place])[:2]), *words[place + 1 :]]


def run(project: Project, found: list[list[str]]) -> list[str]:
    """Run some of a study's commands, going on after failures; return what failed, and why."""
    failed = []
    with contextlib.chdir(project.folder), one_thread():
        for name, *arguments in map(_with_few_corruptions, found):
            try:
                main.commands[name].main(arguments, prog_name=f"withstand {name}", standalone_mode=False)
            except click.ClickException as error:
                failed.append(f"{name} {shlex.join(arguments)[:200]}: {error.format_message()}")
            except Exception as error:
                failed.append(f"{name} {shlex.join(arguments)[:200]}: {error!r}")
            plt.close("all")
    return failed
