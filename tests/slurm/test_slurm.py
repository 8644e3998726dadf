"""A study on a real SLURM cluster of one node: what jobs ask for, and how it goes on after jobs that were ended."""

import json
import os
import re
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from withstand.devices import VARIABLE
from withstand.gpu_messages import ON_CPUS
from withstand.resources import BLOCK, ModelSize, model_memory
from workflow_project import Project

HERE = Path(__file__).parent

STUDY = {
    "study": "small",
    "models": {
        "vit": {"zoo": "vit_p8_base"},
        "slow": {
            "function": "slow:build",
            "label_space": "shapetex",
            "preprocessing": {"input_size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
        },
    },
    "datasets": {"test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 40}},
    "attacks": {"dataset": "test", "samples": 10, "models": ["vit"], "spatial": {"angles": 3, "shifts": 1, "draws": 2}},
    "images": {"size": 64},
}

SLOW = """
import os, time
from pathlib import Path
from torch import nn

def build():
    if "SLURM_JOB_ID" in os.environ and not Path("in-time").exists():
        time.sleep(600)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
"""

TABLES = [f"results/small/tables/{name}.parquet" for name in ("accuracy", "spatial")]


def unavailable(reason: str) -> None:
    """Skip, saying why; fail where SLURM is required."""
    (pytest.fail if os.environ.get("WITHSTAND_REQUIRE_SLURM") else pytest.skip)(f"no SLURM: {reason}")


@pytest.fixture
def slurm():
    """A cluster of this machine alone; without it, its configuration would slow Snakemake down, so it is taken down."""
    if find_spec("snakemake_executor_plugin_slurm") is None:
        unavailable("snakemake-executor-plugin-slurm is not installed")
    down = [HERE / "down.sh"]
    subprocess.run(down, check=True)  # what an interrupted test left
    try:
        up = subprocess.run([HERE / "up.sh"], capture_output=True, text=True, check=False)
        if up.returncode:
            unavailable(up.stderr.strip())
        yield
    finally:
        subprocess.run(down, check=True)


@pytest.fixture
def project(tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.configure(STUDY)
    (project.folder / "slow.py").write_text(SLOW)
    project.snakemake = ("tests/slurm/quickpoll.py",)
    project.environment = {VARIABLE: "cpu"}  # the cluster's GPUs are made up
    return project


@pytest.fixture
def start(project):
    """Starts a run, which does not outlive the test."""
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        started.append(project.start(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def jobs() -> list[dict[str, str]]:
    """All jobs of Snakemake, ended ones included, in the order of their submission."""
    shown = subprocess.run(["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True).stdout
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.splitlines() if " Comment=rule_" in line]
    return sorted(found, key=lambda job: int(job["JobId"]))


def of_rule(name: str) -> list[dict[str, str]]:
    return [job for job in jobs() if job["Comment"].startswith(f"rule_{name}_wildcards_")]


def states(name: str) -> list[str]:
    return [job["JobState"] for job in of_rule(name)]


def running_job(of: subprocess.Popen, rule: str, model: str) -> str:
    """Wait for a model's job of a rule to run; its id."""
    while of.poll() is None:
        for job in of_rule(rule):
            if job["JobState"] == "RUNNING" and model in job["Comment"]:
                return job["JobId"]
        time.sleep(0.5)
    raise AssertionError("the run ended before")


def test_a_study_on_a_cluster_goes_on_after_jobs_that_were_ended(slurm, project, start):
    call = ("--workflow-profile", "slurm", *TABLES)

    # one job is cancelled, one runs out of time, one out of memory, and none is tried again
    limits = ("--set-resources", "predict_clean:runtime=1", "attack_spatial:mem_mb=300")
    first = start(*call, "--retries", "0", *limits)
    subprocess.run(["scancel", running_job(first, "predict_clean", "vit")], check=True)
    assert first.wait(timeout=400) == 1
    assert states("prepare_images") == ["COMPLETED"]
    assert sorted(states("predict_clean")) == ["CANCELLED", "TIMEOUT"]
    assert states("attack_spatial") == ["FAILED"]
    log = Path("/var/lib/slurm-test/log/slurmd.log")
    assert "exceeded memory limit" in log.read_text()
    output = project.output.read_text()
    assert all(state in output for state in ("CANCELLED", "TIMEOUT", "FAILED"))
    assert json.loads((project.folder / "results/small/run.json").read_text())["status"] == "failed"
    assert not list(project.folder.glob("results/small/predictions/*/*/*"))
    assert not list(project.folder.glob("results/small/spatial/*"))

    # the second call finishes; a job that is killed again, for its memory, asks for more by itself
    (project.folder / "in-time").touch()
    code, output = project.run(*call, "--set-resources", "attack_spatial:mem_mb=300*attempt**4")
    assert code == 0, output
    assert states("prepare_images") == ["COMPLETED"]
    assert sorted(states("predict_clean")) == ["CANCELLED", "COMPLETED", "COMPLETED", "TIMEOUT"]
    assert states("attack_spatial") == ["FAILED", "FAILED", "COMPLETED"]
    accuracy = pd.read_parquet(project.folder / TABLES[0])
    assert set(accuracy["model"]) == {"vit", "slow"}
    assert accuracy.loc[accuracy["model"] == "vit", "value"].min() > 0.8

    # by sbatch, with what the rules ask for; what is fast ran here
    assert {job["Comment"].split("_wildcards_")[0] for job in jobs()} == {
        "rule_prepare_images",
        "rule_predict_clean",
        "rule_attack_spatial",
    }
    predicted = next(job for job in of_rule("predict_clean")[2:] if "vit" in job["Comment"])
    card = json.loads((project.folder / "results/small/models/vit.json").read_text())
    memory = model_memory(ModelSize.of(card, 64), BLOCK, 1)
    assert (predicted["TimeLimit"], predicted["NumCPUs"]) == ("00:16:00", "1")
    assert f"mem={memory}M," in predicted["TRES"] and "gpu:1" in predicted["TresPerJob"]
    assert "TresPerJob" not in of_rule("prepare_images")[0]
    assert [re.search("mem=([^,]+)", job["TRES"])[1] for job in of_rule("attack_spatial")] == ["300M", "300M", "4800M"]

    # a job that was granted a GPU computes on no CPU unless it is told to
    missing = project.folder / "results/small/predictions/vit/test/clean.parquet"
    missing.unlink()
    project.environment = {}
    began = time.monotonic()
    code, output = project.run(*call, str(missing.relative_to(project.folder)), "--retries", "0")
    assert code == 1 and time.monotonic() - began < 150, "a minute, on an idle machine, of which most is Snakemake"
    assert "Error: this job was granted a GPU, but torch cannot use one: " in output and ON_CPUS in output
    assert not list(missing.parent.glob("*"))
