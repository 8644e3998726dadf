"""``kill -9`` of Snakemake and of its steps, at random moments, until the study is done."""

import random
import subprocess
import time
from collections import Counter

from contents import differences, of_study
from processes import descendants, living, steps

from workflow_project import Project

KILLS = 20
SEED = 20260
LONGEST_RUN = 240.0


def test_after_twenty_kills_the_results_are_those_of_an_undisturbed_run(finished, tmp_path):
    """Threads and batches are fixed, so equal means to the last bit."""
    project, choose = Project.fresh(tmp_path / "project"), random.Random(SEED)
    victims = ["snakemake"] * 8 + ["step"] * (KILLS - 8)
    choose.shuffle(victims)
    killed: Counter[str] = Counter()
    while victims:
        run = project.start("--cores", "2")
        code = disturb(run, victims, choose, killed)
        assert code != 0 or not victims, f"done after {killed.total()} kills: {project.output.read_text()}"
    project.complete()

    assert killed.total() == KILLS
    assert killed["snakemake"] == 8
    assert len(killed) > 5, f"few rules were hit: {killed}"
    assert list(project.folder.rglob(".*.tmp")) == []
    assert project.planned() == {}
    assert differences(of_study(project.folder), of_study(finished.folder)) == []


def disturb(run: subprocess.Popen, victims: list[str], choose: random.Random, killed: Counter) -> int:
    """Kill steps of a run, and at last the run itself, as the list says; the run's exit code."""
    while victims and run.poll() is None:
        time.sleep(choose.uniform(0, 6))
        if victims[0] == "snakemake":
            everything = descendants(run.pid)
            run.kill()
            run.wait()
            # steps end with the run that started them
            assert living(everything, 20) == []
            killed[victims.pop(0)] += 1
        elif running := steps(run.pid):
            step, name = choose.choice(running)
            step.kill()
            killed[name] += 1
            victims.pop(0)
    return run.wait(timeout=LONGEST_RUN)
