"""Where jobs compute: a GPU that is granted or there is used, or the job fails and says what to do. Drivers and GPUs
are made up; torch is real where it says what it does without a driver."""

import os
import re
import time
from dataclasses import replace

import click
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import in_process
from withstand import cards, devices, gpu_messages
from withstand.cli import main
from withstand.computing import Computing
from withstand.devices import DeviceError, choose_device
from withstand.gpu_messages import Setup
from withstand.inference import Passes
from withstand.planning import costs
from workflow_project import PROJECT, Project

PROC = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Sat Aug 19 01:15:15 UTC 2023\nGCC version: gcc 12.2.0\n"
PROC_OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder)\n"


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """A machine without a driver, on which nobody asked for anything."""
    for variable in (devices.VARIABLE, cards.VISIBLE, "SLURM_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cards, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(cards, "_HELD", {})
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi


@pytest.fixture
def blind(monkeypatch):
    """A torch that sees no GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def driver(version: str, count: int = 1, text: str = PROC) -> None:
    """Make up a driver with GPUs."""
    for number in range(count):
        (cards.DRIVER / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    (cards.DRIVER / "version").write_text(text.format(version))


def build(monkeypatch, version: str, cuda: str | None, hip: str | None = None) -> None:
    """Make up the build of torch."""
    for name, value in (("__version__", version), ("version.cuda", cuda), ("version.hip", hip)):
        monkeypatch.setattr(f"torch.{name}", value)


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Two made-up GPUs of compute capability 8.0 that torch sees, and what a first sum on them does."""
    facts = {"capability": (8, 0), "sum": lambda: None}

    class Ones:
        def add(self, _):
            facts["sum"]()
            return self

        def item(self):
            return 2.0

    driver("580.65.06", 2)
    build(monkeypatch, "2.14.1+cu130", "13.0")
    for name, stand_in in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_properties": lambda number: type("Properties", (), {"uuid": "ab"[number]}),
        "get_device_name": lambda device=0: "NVIDIA Test",
        "get_device_capability": lambda device=0: facts["capability"],
        "get_arch_list": lambda: ["sm_75", "sm_80"],
        "mem_get_info": lambda device=0: (2**30, 8 * 2**30),
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", stand_in)
    monkeypatch.setattr("torch.ones", lambda *_, device: Ones())
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return facts


# Which device


def test_a_free_gpu_is_taken_and_cpus_are_for_those_who_ask(gpus, monkeypatch):
    assert choose_device("auto") == choose_device("gpu") == "cuda:0", "one process, one GPU"
    assert choose_device("cuda:1") == "cuda:1", "a GPU that is named is not leased"
    assert choose_device("cpu") == "cpu"
    for wrong, said in {"cuda:2": "there are 2, numbered from 0", "tpu": "not one of auto, cpu, gpu"}.items():
        with pytest.raises(DeviceError, match=f"--device {wrong}: {said}"):
            choose_device(wrong)


def test_auto_means_cpus_where_there_is_no_sign_of_a_gpu(blind, monkeypatch):
    assert choose_device("auto") == "cpu"
    driver("550.54.15")
    for hidden in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv(cards.VISIBLE, hidden)
        assert choose_device("auto") == "cpu"


def granted(monkeypatch):
    monkeypatch.setenv(devices.VARIABLE, "gpu")
    return "gpu"


def named(monkeypatch):
    monkeypatch.setenv(cards.VISIBLE, "0")
    return "auto"


def listed(_):
    driver("550.54.15", 2)
    return "auto"


def asked(_):
    return "cuda"


@pytest.mark.parametrize(
    ("sign", "why"),
    [
        (granted, "this job was granted a GPU, but torch cannot use one: "),
        (named, "CUDA_VISIBLE_DEVICES=0 names a GPU, but torch cannot use one: "),
        (listed, "this machine has 2 NVIDIA GPUs, but torch cannot use one: "),
        (asked, "--device cuda asks for a GPU, but torch cannot use one: "),
    ],
)
def test_a_gpu_that_should_be_there_is_never_replaced_by_cpus(blind, monkeypatch, sign, why):
    with pytest.raises(DeviceError) as error:
        choose_device(sign(monkeypatch))
    lines = str(error.value).splitlines()
    assert lines[0].startswith(why) and len(lines) == 2
    assert lines[1].endswith(gpu_messages.ON_CPUS)


# What is at fault, and what to install


FINE = Setup(driver="580.65.06", torch="2.14.1+cu130", cuda="13.0")


@pytest.mark.parametrize(
    ("setup", "cause", "remedy"),
    [
        (
            replace(FINE, driver="550.54.15"),
            r"550\.54\.15 is too old for torch 2\.14\.1\+cu130, which .* CUDA 13\.0 and needs driver 580 or newer\.",
            "Update the driver, or install torch and torchvision for CUDA 12 .cu126.: https",
        ),
        (
            replace(FINE, driver="470.82.01"),
            "driver 470.82.01 is too old",
            "Update the driver to 525 or newer: no torch that withstand supports runs on this one",
        ),
        (
            replace(FINE, torch="2.13.0+cpu", cuda=None),
            r"torch 2.13.0\+cpu is built for CPUs only \(NVIDIA driver 580.65.06\)",
            "Install torch and torchvision for CUDA 13 .cu130.: https",
        ),
        (replace(FINE, driver="525.60.13", cuda=None), "CPUs only", "CUDA 12 .cu126.: https"),
        (replace(FINE, cuda=None, rocm="7.0"), "is built for AMD's ROCm 7.0", "CUDA 13"),
        (replace(FINE, driver=None), "no NVIDIA driver was found", "Install driver 580 or newer"),
        (replace(FINE, driver=None, cuda="14.1"), "no NVIDIA driver was found", "Install a newer driver"),
        (replace(FINE, hidden_by="NoDevFiles"), "CUDA_VISIBLE_DEVICES='NoDevFiles' hides all GPUs", "Unset it"),
        (FINE, "driver 580.65.06 is there, .*; torch says: no permission", "Run nvidia-smi"),
    ],
)
def test_messages_name_driver_build_and_remedy(setup, cause, remedy):
    text = gpu_messages.unusable("this machine has a GPU", setup, "no permission")
    first, second = text.splitlines()
    assert re.search(cause, first), first
    assert re.search(remedy, second), second


@pytest.mark.parametrize(
    ("version", "cuda", "is_enough"),
    [
        ("580.65.06", "13.0", True),
        ("575.57.08", "13.0", False),
        ("525.60.13", "12.9", True),
        ("520.61.05", "12.6", False),
    ],
)
def test_drivers_are_judged_by_nvidias_table(version, cuda, is_enough):
    """CUDA Toolkit Release Notes: 13.x needs 580 or newer, 12.x 525 or newer."""
    text = gpu_messages.unusable("why", Setup(driver=version, torch="2.14.1", cuda=cuda))
    assert ("is too old" not in text) == is_enough


def test_the_documentation_has_the_same_table():
    rows = re.findall(
        r"^\| CUDA (\d+) \| (\d+) or newer \|$", (PROJECT / "docs/inference.md").read_text(), re.MULTILINE
    )
    found = {int(cuda): int(driver) for cuda, driver in rows}
    assert found == {cuda: gpu_messages.MINIMUM_DRIVERS[cuda] for cuda in gpu_messages.WHEELS}


@pytest.mark.parametrize("text", [PROC, PROC_OPEN])
def test_the_driver_tells_its_version(text):
    assert devices.driver_version() is None
    driver("535.104.05", text=text)
    assert devices.driver_version() == "535.104.05"


def test_nvidia_smi_is_asked_where_the_module_says_nothing(tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 560.35.03\necho 560.35.03\n")
    tool.chmod(0o755)
    assert devices.driver_version() == "560.35.03"
    tool.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    assert devices.driver_version() is None


def test_facts_of_this_machine_reach_the_message(blind, monkeypatch):
    driver("550.54.15")
    build(monkeypatch, "2.13.0+cpu", None)
    with pytest.raises(DeviceError, match=r"torch 2.13.0\+cpu is built for CPUs only \(NVIDIA driver 550.54.15\)"):
        choose_device("auto")


# A GPU that fails


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (
            "CUDA error: all CUDA-capable devices are busy or unavailable\nmore",
            "cuda:0 is in use by a process that shares",
        ),
        (
            "CUDA error: no kernel image is available for execution on the device",
            r"torch 2.14.1\+cu130 has no code for NVIDIA Test \(compute capability 8.0; it has sm_75, sm_80\)",
        ),
        ("CUDA error: uncorrectable ECC error encountered\nmore", "cuda:0 failed: CUDA error: uncorrectable ECC error"),
        ("something else", "cuda:0 failed: something else"),
    ],
)
def test_a_gpu_that_cannot_add_is_told_before_the_work(gpus, says, told):
    def fail():
        raise torch.AcceleratorError(says)

    gpus["sum"] = fail
    with pytest.raises(DeviceError, match=told) as error:
        choose_device("gpu")
    assert len(str(error.value).splitlines()) == 2
    with pytest.raises(DeviceError, match=told.replace("cuda:0", "cuda:1")):
        choose_device("cuda:1")


def test_memory_that_others_have_is_told(gpus):
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB. ...")

    gpus["sum"] = fail
    with pytest.raises(DeviceError, match=r"out of memory on cuda:0 \(NVIDIA Test, 1.0 of 8.0 GiB free\)\.\nFree its"):
        choose_device("auto")


def test_a_batch_that_does_not_fit_at_its_smallest(gpus):
    def starving(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    text = r"out of memory on cuda:1 \(NVIDIA Test, 1.0 of 8.0 GiB free\) with a single image\.\n.* take a larger GPU"
    with pytest.raises(DeviceError, match=text):
        Passes(1, "cuda:1")(starving, 1, 1)
    with pytest.raises(DeviceError, match=r"out of memory on cpu with a single image\.\nAsk for more of it"):
        Passes(1, "cpu")(starving, 1, 1)


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)])
def test_a_gpu_without_bfloat16_refuses_it_and_has_no_tf32(gpus, kept_settings, monkeypatch, capability, has):
    gpus["capability"] = capability
    network = nn.Conv2d(3, 3, 1)
    monkeypatch.setattr(network, "to", lambda *_, **__: network)
    assert Computing("tf32").numbers("cuda") == ("tf32" if has else "float32")
    if has:
        Computing("bfloat16").prepare(network, "cuda")
        return
    with pytest.raises(DeviceError, match=r"bfloat16 needs a GPU of compute capability 8\.0 .*; NVIDIA Test has 7\.5"):
        Computing("bfloat16").prepare(network, "cuda")
    Computing("bfloat16").prepare(network, "cpu")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried"),
            "Error: out of memory on cuda:0 (NVIDIA Test, 1.0 of 8.0",
        ),
        (
            torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA"),
            "Error: cuda:0 failed: CUDA error: unsp",
        ),
    ],
)
def test_every_step_tells_of_a_gpu_that_fails_without_a_traceback(gpus, error, told):
    """Wherever it fails: while weights are loaded, in training, in corruptions."""

    @main.command("fail-for-a-test")
    def fail():
        raise error

    choose_device("gpu")
    try:
        result = CliRunner().invoke(main, ["fail-for-a-test"])
    finally:
        main.commands.pop("fail-for-a-test")
    assert result.exit_code == 1 and result.output.startswith(told)


def test_errors_of_other_kinds_stay_what_they_are(gpus):
    for error in (ValueError("busy"), RuntimeError("shapes differ"), click.Abort(), DeviceError("CUDA error: said")):
        assert devices.told(error) is None


# How steps learn it


def test_every_step_takes_its_device_from_the_environment():
    found = [param for command in main.commands.values() for param in command.params if "--device" in param.opts]
    assert len(found) > 6 and all(param.envvar == devices.VARIABLE for param in found)


@pytest.mark.parametrize(("limit", "told"), [(None, "auto"), (0, "cpu"), (2, "gpu")])
def test_a_run_tells_its_steps(monkeypatch, limit, told):
    monkeypatch.setattr("os.environ", dict(devices.os.environ))
    devices.use_limit(limit)
    assert devices.asked() == told


@pytest.mark.parametrize(
    ("gpus_asked_for", "environment", "told"),
    [
        (1, {}, "gpu"),
        (0, {}, "cpu"),
        (0, {"SLURM_JOB_ID": "7", cards.VISIBLE: "0"}, "gpu"),  # --gres, past Snakemake
        (0, {"SLURM_JOB_ID": "7", cards.VISIBLE: "NoDevFiles"}, "cpu"),
        (0, {cards.VISIBLE: "0"}, "cpu"),  # from the environment of the login node
        (1, {devices.VARIABLE: "cpu"}, "cpu"),  # whoever asks for CPUs gets them
    ],
)
def test_a_job_of_a_cluster_tells_its_step(monkeypatch, gpus_asked_for, environment, told):
    monkeypatch.setattr("os.environ", dict(devices.os.environ) | environment)
    devices.use_grant(gpus_asked_for)
    assert devices.asked() == told


def test_plans_for_a_gpu_that_torch_does_not_see_are_none(blind, monkeypatch):
    assert costs.device_at_hand() == "cpu"
    driver("470.82.01")
    with pytest.raises(DeviceError, match=r"NVIDIA driver 470\.82\.01 is too old"):
        costs.device_at_hand()
    monkeypatch.setenv(devices.VARIABLE, "cpu")
    assert costs.device_at_hand() == "cpu"


# A real GPU


@pytest.mark.gpu
def test_a_real_gpu_is_found_and_described(monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    assert devices.problem("auto") is devices.problem("gpu") is devices.problem_of_run() is None
    assert choose_device("auto") == choose_device("gpu") == f"cuda:{cards.leased()}"
    if torch.version.cuda:
        needed = gpu_messages.MINIMUM_DRIVERS[int(torch.version.cuda.split(".")[0])]
        assert int(devices.driver_version().split(".")[0]) >= needed or "cuda-compat" in os.environ.get(
            "LD_LIBRARY_PATH", ""
        )
        assert cards.at_hand() >= 1
    assert torch.cuda.get_device_name() in devices.no_room("cuda:0")
    with pytest.raises(DeviceError, match=r"out of memory on cuda:0 \(.* GiB free\)") as error:
        Passes(1, "cuda:0")(lambda _: torch.empty(2**50, dtype=torch.uint8, device="cuda:0"), 1, 1)
    assert not re.search("Traceback|torch", str(error.value))


# Real jobs


STUDY = {
    "study": "small",
    "models": {"vit": {"zoo": "vit_p8_base"}},
    "datasets": {"test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 10}},
    "images": {"size": 64},
}
TARGET = "results/small/predictions/vit/test/clean.parquet"

PAST_THE_CHECK = """
import sys
from snakemake.cli import main
from withstand import devices
devices.problem_of_run = lambda: None
main(sys.argv[1:])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.undo()  # real drivers, if any, and real programs
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    project = Project.fresh(tmp_path / "project")
    project.configure(STUDY)
    return project


def outputs(project: Project) -> list[str]:
    return [str(path) for path in project.folder.glob("results/*/predictions/**/*") if path.is_file()]


needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch that sees no GPU")


@needs_no_gpu
def test_a_run_starts_no_job_on_a_gpu_that_torch_cannot_use(project):
    began = time.monotonic()
    code, output = project.run("--cores", "1", "--resources", "gpu=1", "--", TARGET)
    assert code == 1 and time.monotonic() - began < 60
    assert "this job was granted a GPU, but torch cannot use one: " in output, output
    assert gpu_messages.ON_CPUS in output and "Traceback" not in output
    assert not (project.folder / "results/small/models").exists(), "no job has begun"


@needs_no_gpu
def test_a_job_on_a_gpu_that_torch_cannot_use_fails_at_once_and_a_run_on_cpus_goes_on(project):
    project.snakemake = ("-c", PAST_THE_CHECK)
    code, output = project.run("--cores", "1", "--resources", "gpu=1", "--", TARGET)
    assert code == 1
    told = output.split("Error: this job was granted a GPU, but torch cannot use one: ")[1]
    assert "built for C" in told and gpu_messages.ON_CPUS in told and "Traceback" not in told
    assert not outputs(project)

    project.snakemake, project.environment = Project.snakemake, {cards.VISIBLE: "0"}
    output = project.complete("--resources", "gpu=0", "--", TARGET)
    assert outputs(project) == [str(project.folder / TARGET)]
    assert "Preparing the images" not in output, "only the job that failed runs again"
    assert project.planned("--resources", "gpu=1", "--", TARGET) == {}, "a device is no reason to run again"


@needs_no_gpu
def test_every_step_with_a_model_fails_in_under_a_minute_with_nothing_half_written(project, monkeypatch):

    commands = in_process.commands(project)
    monkeypatch.setenv(devices.VARIABLE, "gpu")
    began = time.monotonic()
    failed = in_process.run(project, [words for words in commands if not words[0].startswith(("tabulate", "draw"))])
    assert time.monotonic() - began < 60
    assert any(line.startswith("predict ") and "this job was granted a GPU" in line for line in failed), failed
    assert not outputs(project) and not list(project.folder.rglob("*.tmp"))
