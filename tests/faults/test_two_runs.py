"""Two runs of one study at once: one wins, and the other says so and leaves everything alone."""

import copy
import fcntl

from contents import differences, of_study
from studies import TABLES, TINY

from workflow_project import LONGEST_RUN, Project


def test_of_two_runs_that_race_one_is_refused(tiny, tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.configure(copy.deepcopy(TINY))
    rival = Project(project.folder)
    rival.output = project.folder / "rival.out"
    processes = [each.start("--cores", "1", *TABLES) for each in (project, rival)]
    codes = [process.wait(timeout=LONGEST_RUN) for process in processes]
    assert sorted(codes) == [0, 1]
    outputs = [each.output.read_text() for each in (project, rival)]
    winner, refused = processes[codes.index(0)], outputs[codes.index(1)]
    assert f"study 'small' is being run already (process {winner.pid} on " in refused
    assert "wait for that run or stop it" in refused
    assert "Traceback" not in refused and "localrule" not in refused, "it starts no job"
    assert list(project.folder.rglob(".*.tmp")) == []
    assert project.planned(*TABLES) == {}
    assert differences(of_study(project.folder), of_study(tiny.folder)) == []


def test_while_a_study_is_run_looking_is_allowed_and_running_is_not(finished, tmp_path):
    project = finished.clone(tmp_path / "project")
    project.edit("config.yaml", "label: ViT", "label: Another label")
    with (project.folder / "results/small/.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, output = project.run("--cores", "2")
        assert code != 0
        assert "study 'small' is being run already (process" in output
        assert "draw_accuracy" in project.planned()
    assert "draw_accuracy" in project.planned()
