"""Real runs: what they leave, their end with Ctrl-C, steps that end with them, and models that break."""

import copy
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pandas as pd
import pyarrow.parquet as pq
import pytest

from withstand.images import ImageFile
from withstand.predictions import read_facts
from withstand.random import GENERATOR
from withstand.run import Run, RunningError
from workflow_project import STUDY, WHOLE, Project

CORES = ("--cores", "2")


def tables(project: Project) -> dict[str, pd.DataFrame]:
    return {path.name: pd.read_parquet(path) for path in project.folder.glob("results/small/tables/*.parquet")}


def leftovers(project: Project) -> list:
    return list(project.folder.rglob(".*.tmp"))


def wait_for(condition, seconds: float = 60.0):
    """Wait until a condition holds; return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_a_run_leaves_what_the_readme_says(finished):
    results = finished.folder / "results"
    expected = [
        "weights/zoo-vit_p8_base.safetensors",
        "small/models/vit.json",
        "small/images/test/clean/0000.h5",
        "small/images/test/digital/0000.h5",
        "small/predictions/vit/test/digital.parquet",
        "small/tables/accuracy.parquet",
        "small/tables/models.parquet",
        "small/tables/failures.parquet",
        "small/figures/accuracy_by_severity-test.svg",
        "small/figures/accuracy_by_severity-test.csv",
        "small/figures/corruptions-test.png",
        "small/internals/vit/grams.h5",
        "small/internals/resnet/lesions.parquet",
        "small/tables/attention_limit.parquet",
        "small/figures/lesion_several.svg",
        "small/run.json",
        "small/logs/predict/vit.test.digital.log",
        "small/benchmarks/predict/vit.test.digital.jsonl",
    ]
    assert [name for name in expected if not (results / name).is_file()] == []
    record = json.loads((results / "small/run.json").read_text())
    assert (record["study"], record["status"]) == ("small", "complete")
    assert record["seconds_by_rule"]["predict"] > 0
    assert record["versions"]["torch"]


def test_every_result_says_which_generator_made_random_numbers(finished):
    results = finished.folder / "results/small"
    told = {
        path.relative_to(results).as_posix(): facts_in(path)
        for part in ("images", "predictions", "attacks", "spatial", "internals", "run.json")
        for path in sorted((results / part).rglob("*") if (results / part).is_dir() else [results / part])
        if path.suffix in (".h5", ".parquet", ".json")
    }
    assert len(told) > 20
    assert [path for path, facts in told.items() if f'"generator": "{GENERATOR}"' not in facts] == []


def facts_in(path: Path) -> str:
    """What a file says of itself: the attributes of HDF5, the metadata of Parquet."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return " ".join(str(value) for value in file.attrs.values())
    if path.suffix == ".parquet":
        return str(pq.read_schema(path).metadata)
    return path.read_text()


def test_trained_models_recognise_clean_images(finished):
    accuracy = tables(finished)["accuracy.parquet"]
    clean = accuracy[accuracy["family"] == "clean"]
    assert len(clean) == 2 * 4
    assert ((clean["low"] <= clean["value"]) & (clean["value"] <= clean["high"])).all()
    assert clean.groupby("dataset")["n"].first().to_dict() == {
        "conflict": 90,
        "missed": 5,
        "test": 40,
        "validation": 40,
    }
    assert (clean.loc[clean["n"] == 40, "value"] > 0.87).all()


def test_the_second_run_does_nothing_and_says_so(finished):
    assert "Nothing to be done" in finished.complete()


def test_ctrl_c_leaves_nothing_half_written(finished, tmp_path):
    project = finished.clone(tmp_path / "project")
    datasets = copy.deepcopy(STUDY["datasets"])
    datasets["test"]["samples"] = 4000
    project.configure(copy.deepcopy(STUDY) | {"datasets": datasets})
    corrupted = project.folder / "results/small/images/test/digital"
    process = project.start(*CORES, "results/small/images/test/digital/0000.h5")
    wait_for(lambda: list(corrupted.glob(".*.tmp")))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert leftovers(project) == []
    # on a busy machine the step may have ended just before the signal came
    if not (whole := corrupted / "0000.h5").exists():
        assert project.planned()["corrupt_images"] == 1
        project.complete(str(whole.relative_to(project.folder)))
    with ImageFile(whole) as file:
        assert len(file) == 4000
        assert file.read("jpeg_compression", 2, slice(3990, 4000)).std(axis=(1, 2, 3)).min() > 0


def test_a_lock_file_of_a_dead_run_is_no_lock(finished, tmp_path):
    project = finished.clone(tmp_path / "project")
    assert (project.folder / "results/small/.lock").read_text().startswith("process ")
    assert "Nothing to be done" in project.complete()


def test_a_run_goes_on_where_the_file_system_has_no_locks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WITHSTAND_RUN", "")
    monkeypatch.setenv("WITHSTAND_LOCK", "")

    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    Run("small", tmp_path).start()
    assert (tmp_path / "small/.lock").read_text().startswith("process ")
    assert f"{tmp_path}/small/.lock: no locks on this file system" in capsys.readouterr().err


def test_a_broken_model_leaves_the_others_whole(finished, tmp_path, request):
    project = finished.clone(tmp_path / "project")
    shutil.copy2(request.path.parent / "helper_models.py", project.folder)
    own = {"preprocessing": {"input_size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]}, "label_space": "shapetex"}
    models = STUDY["models"] | {
        "breaks_late": {"function": "helper_models:broken", **own},
        "breaks_early": {"function": "helper_models:no_module", **own},
    }
    project.configure(copy.deepcopy(STUDY) | {"models": models})
    output = project.complete()
    assert "Note: breaks_late failed on 9 image sets and is missing there: the model fails: ValueError" in output
    found, before = tables(project), tables(finished)
    others = found["accuracy.parquet"][found["accuracy.parquet"]["model"].isin(STUDY["models"])]
    pd.testing.assert_frame_equal(
        others.reset_index(drop=True).sort_values(list(others.columns[:5]), ignore_index=True),
        before["accuracy.parquet"].sort_values(list(others.columns[:5]), ignore_index=True),
    )
    failures = found["failures.parquet"]
    # five image sets, an attack, its transfer, rotations and translations, lesions; a model that cannot even be built
    # fails at all four experiments, where the other has no blocks and no attention that could be looked at
    assert failures.groupby("model").size().to_dict() == {"breaks_early": 12, "breaks_late": 9}
    absent = read_facts(project.folder / "results/small/tables/similarity.parquet")["not_applicable"]
    assert [entry["model"] for entry in absent] == ["breaks_late"] and "no residual blocks" in absent[0]["reason"]
    reasons = failures.groupby("model")["reason"].first()
    assert "this model is broken" in reasons["breaks_late"]
    assert "returned a str, not a torch module" in reasons["breaks_early"]
    assert set(found["models.parquet"]["model"]) == set(models)

    # mended code runs that model again, and no other
    helper = project.folder / "helper_models.py"
    helper.write_text(helper.read_text().replace('raise ValueError("this model is broken")', "pass"))
    planned = project.planned()
    jobs = ("describe_model", "predict", "predict_clean", "summarise_model")
    assert [planned[job] for job in jobs] == [1, 1, 1, 1]


def test_a_wrong_config_stops_before_any_job(tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.edit("config.yaml", "zoo: vit_p8_base", "zoo: vit_p9_base")
    project.edit("config.yaml", "samples: 40", "sample: 40")
    code, output = project.run(*CORES)
    assert code != 0
    assert "config: models.vit: zoo: no model 'vit_p9_base' comes with withstand; did you mean 'vit_p8_base'?" in output
    assert "config: datasets.test.sample: unknown key; did you mean 'samples'?" in output
    assert "Traceback" not in output
    assert not (project.folder / "results").exists()


def test_config_values_can_be_given_on_the_command_line(tmp_path):
    project = Project.fresh(tmp_path / "project")
    assert project.planned("--config", "limit=20") == WHOLE
    code, output = project.run("--dry-run", "--config", "limit=0")
    assert code != 0
    assert "config: limit: Input should be greater than or equal to 1 (got 0)" in output


def test_a_step_ends_with_its_run():
    run = subprocess.Popen(["sleep", "60"])
    code = (
        "import time; from withstand.run import die_with_run; die_with_run(); print('up', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "WITHSTAND_RUN": f"{os.uname().nodename}:{run.pid}"}
    step = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert step.stdout.readline() == b"up\n"
    run.kill()
    run.wait()
    assert step.wait(timeout=10) != 0


def test_on_another_machine_a_step_ends_when_another_run_takes_over(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("process 7 on elsewhere since then")
    code = (
        "import time; from withstand.run import die_with_run; die_with_run(); print('up', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "WITHSTAND_RUN": "elsewhere:7", "WITHSTAND_LOCK": str(lock)}
    step = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert step.stdout.readline() == b"up\n"
    time.sleep(1)
    assert step.poll() is None
    lock.write_text("process 70 on elsewhere since now")
    assert step.wait(timeout=15) != 0


def test_a_job_that_waited_longer_than_its_run_lived_does_nothing(tmp_path, monkeypatch):
    lock = tmp_path / ".lock"
    monkeypatch.setenv("WITHSTAND_RUN", "login:7")
    monkeypatch.setenv("WITHSTAND_LOCK", str(lock))
    job = Run("small", tmp_path)
    for text in ("", "process 7 on login since then"):
        lock.write_text(text)
        job.check_job()
    lock.write_text("process 8 on login since now")
    with pytest.raises(RunningError, match="another run of 'small' has taken the place"):
        job.check_job()


def test_a_recipe_is_trained_once_for_all_studies(tmp_path):
    project = Project.fresh(tmp_path / "project")
    kwargs = {"norm_layer": "groupnorm", "channels": [32] * 4, "layers": [1] * 4, "num_classes": 10}
    recipe = {"timm": "resnet18", "kwargs": kwargs, "dataset": "train", "validation": "test", "epochs": 1}
    study = copy.deepcopy(STUDY) | {"models": {"small": {"recipe": "small"}}, "recipes": {"small": recipe}}
    del study["statistics"]
    train = {"source": {"kind": "shapetex", "split": "train"}, "samples": 200, "role": "training"}
    study["datasets"] = study["datasets"] | {"train": train}
    project.configure(study)
    planned = project.planned("weights")
    assert planned == {"fetch_weights": 1, "prepare_training_images": 2, "train_model": 1, "weights": 1}
    project.complete("weights")
    assert project.planned("weights") == {}
    project.configure(
        study | {"study": "another", "limit": 20, "models": study["models"] | {"vit": {"zoo": "vit_p8_base"}}}
    )
    assert project.planned("weights") == {"fetch_weights": 1, "weights": 1}
    project.configure(study | {"recipes": {"small": recipe | {"epochs": 2}}})
    assert project.planned("weights") == {"train_model": 1, "weights": 1}
