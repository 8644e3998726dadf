"""``kill -9`` of Snakemake and of its steps, at random moments, until the study is done."""

import random
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
    killed: Counter[str] = Counter()
    while victims:
        run = project.start("--cores", "2", *tables)
        try:
            disturb(run, project, victims, choose, killed)
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
    run: subprocess.Popen, project: Project, victims: list[str], choose: random.Random, killed: Counter
) -> None:
    """Kill steps of a run, and at last the run itself, as the list says, at moments that are told in jobs and seconds,
    so that all stages are hit on however fast a machine; or let it end."""
    while victims:
        moment = done(project) + choose.randint(0, 3)
        while run.poll() is None and done(project) < moment:
            time.sleep(0.05)
        time.sleep(choose.uniform(0, 3))
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


def done(project: Project) -> int:
    """Jobs of the present run that have ended well."""
    return project.output.read_text().count("Finished jobid")
