"""``kill -9`` of Snakemake and of its steps, at random moments, until the study is done."""

import random
import re
import shutil
import subprocess
import time
from collections import Counter

from contents import differences, of_study
from processes import descendants, living, steps

from workflow_project import LONGEST_RUN, Project

OF_SNAKEMAKE, OF_STEPS = 8, 12
SEED = 20260


def test_after_twenty_kills_the_results_are_those_of_an_undisturbed_run(finished, tmp_path):
    """Threads and batches are fixed, so equal means to the last bit."""
    project, choose = Project.fresh(tmp_path / "project"), random.Random(SEED)
    tables = sorted(f"results/small/tables/{path.name}" for path in finished.folder.glob("results/small/tables/*.*"))
    victims = ["snakemake"] * OF_SNAKEMAKE + ["step"] * OF_STEPS
    choose.shuffle(victims)
    whole = sum(project.planned(*tables).values())
    killed: Counter[str] = Counter()
    while victims:
        run = project.start("--cores", "2", *tables)
        try:
            disturb(run, project, whole, victims, choose, killed)
        finally:
            run.kill()
        if run.wait() == 0:  # done before the list was
            shutil.rmtree(project.folder / "results/small")
    project.complete(*tables)

    print(f"killed: {dict(killed)}")
    assert (killed["snakemake"], killed.total()) == (OF_SNAKEMAKE, OF_SNAKEMAKE + OF_STEPS)
    assert len(killed) > 5, f"few kinds of jobs were hit: {killed}"
    assert list(project.folder.rglob(".*.tmp")) == []
    assert project.planned(*tables) == {}
    found, expected = of_study(project.folder), of_study(finished.folder)
    assert differences(found, {name: expected[name] for name in found}) == []
    assert {f"results/small/{name}" for name in found} >= set(tables)


def disturb(
    run: subprocess.Popen,
    project: Project,
    whole: int,
    victims: list[str],
    choose: random.Random,
    killed: Counter,
) -> None:
    """Kill steps of a run, and at last the run itself, as the list says, or let it end.

    The moments are spread evenly over the ``whole`` of the study's jobs, so that all stages are hit, and all kills
    take place, on however fast a machine. Some runs are killed while they still read the Snakefile, or plan.
    """
    while victims:
        due = whole * (1 - killed.total() / (OF_SNAKEMAKE + OF_STEPS + 5))
        is_early = victims[0] == "snakemake" and choose.random() < 0.3
        while not is_early and run.poll() is None and left(project) > due:
            time.sleep(0.05)
        time.sleep(choose.uniform(0, 3 if is_early else 1.5))
        if run.poll() is not None:
            return
        if victims[0] == "snakemake":
            everything = descendants(run.pid)
            run.kill()
            # steps end with the run that started them
            assert living(everything, 20) == []
            killed[victims.pop(0)] += 1
            return
        if running := steps(run.pid):
            step, name = choose.choice(running)
            step.kill()
            killed[name] += 1
            victims.pop(0)
    run.wait(timeout=LONGEST_RUN)


def left(project: Project) -> float:
    """Jobs of the present run that are still to be done; infinitely many before it has planned them."""
    output = project.output.read_text()
    planned = re.search(r"^total +(\d+)$", output, re.MULTILINE)
    return int(planned[1]) - output.count("Finished jobid") if planned else float("inf")
