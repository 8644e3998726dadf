"""What users are told about GPUs: all messages in one place, in one or two lines each.

These are functions of facts alone; `devices` and `cards` find the facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MINIMUM_DRIVERS = {13: 580, 12: 525, 11: 450}
"""The oldest driver on Linux, by its major version, that runs programs built for a major version of CUDA.

NVIDIA, CUDA Toolkit Release Notes, table "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version
Compatibility": CUDA 13.x >= 580, 12.x >= 525, 11.x >= 450.80.02
(https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/).
"""

WHEELS = {13: "cu130", 12: "cu126"}
"""PyTorch's builds for each major version of CUDA that the oldest drivers and GPUs can run; newest first."""

ON_CPUS = "To compute on CPUs, say so: snakemake --resources gpu=0, or WITHSTAND_DEVICE=cpu in front of any command."


@dataclass(frozen=True)
class Setup:
    """The driver of a machine, and the torch that is installed there.

    Attributes:
        driver: version of NVIDIA's driver, such as ``550.54.15``; None without one.
        torch: torch's version.
        cuda: version of CUDA that torch is built for, such as ``13.0``; None for other builds.
        rocm: version of ROCm that it is built for.
        hidden_by: the setting of CUDA_VISIBLE_DEVICES, where that names no GPU.
    """

    driver: str | None
    torch: str
    cuda: str | None = None
    rocm: str | None = None
    hidden_by: str | None = None


def unusable(why: str, setup: Setup, torch_says: str = "") -> str:
    """That torch cannot use a GPU, which part is at fault, and what to install.

    Args:
        why: why a GPU is expected, as a clause.
        torch_says: the error with which torch refuses.
    """
    cause, remedy = _cause(setup, torch_says)
    return f"{why}, but torch cannot use one: {cause}.\n{remedy} {ON_CPUS}"


def _cause(setup: Setup, torch_says: str) -> tuple[str, str]:
    build, driver = f"torch {setup.torch}", f"NVIDIA driver {setup.driver}"
    if setup.hidden_by is not None:
        return f"CUDA_VISIBLE_DEVICES='{setup.hidden_by}' hides all GPUs", "Unset it, or ask the scheduler for a GPU."
    if setup.cuda is None:
        made_for = f"AMD's ROCm {setup.rocm}" if setup.rocm else "CPUs only"
        found = driver if setup.driver else "no NVIDIA driver was found"
        return f"{build} is built for {made_for} ({found})", _install(setup.driver)
    needed = MINIMUM_DRIVERS.get(_major(setup.cuda))
    newer = f"driver {needed} or newer" if needed else "a newer driver"
    if setup.driver is None:
        return (
            f"no NVIDIA driver was found ({build} is built for CUDA {setup.cuda})",
            f"Install {newer}, or go to a machine that has one.",
        )
    if needed and _major(setup.driver) < needed:
        cause = f"{driver} is too old for {build}, which is built for CUDA {setup.cuda} and needs {newer}"
        return cause, _install(setup.driver, "Update the driver, or install")
    told = f"; torch says: {torch_says}" if torch_says else ""
    return (
        f"{driver} is there, and {build} is built for CUDA {setup.cuda}{told}",
        "Run nvidia-smi: if it fails too, the driver needs a restart, or this job may not open /dev/nvidia*.",
    )


def _install(driver: str | None, install: str = "Install") -> str:
    """Which torch to install for a driver: the newest that it can run."""
    runs = [cuda for cuda in WHEELS if driver is None or _major(driver) >= MINIMUM_DRIVERS[cuda]]
    if not runs:
        oldest = min(MINIMUM_DRIVERS[cuda] for cuda in WHEELS)
        return f"Update the driver to {oldest} or newer: no torch that withstand supports runs on this one."
    wheel = WHEELS[runs[0]]
    return (
        f"{install} torch and torchvision for CUDA {runs[0]} ({wheel}): https://pytorch.org/get-started/locally"
        " has the command."
    )


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def unsupported(name: str, capability: tuple[int, int], architectures: Sequence[str], setup: Setup) -> str:
    """That torch's build has no code for a GPU."""
    return (
        f"torch {setup.torch} has no code for {name} (compute capability {_dotted(capability)}; it has"
        f" {', '.join(architectures)}).\nInstall a build that has: {WHEELS[12]} has the most"
        f" (https://pytorch.org/get-started/locally). {ON_CPUS}"
    )


def taken(where: str) -> str:
    """That another process keeps a GPU for itself."""
    return (
        f"{where} is in use by a process that shares it with nobody (nvidia-smi shows which, and its compute mode).\n"
        f"Wait for it, or name other GPUs by CUDA_VISIBLE_DEVICES. {ON_CPUS}"
    )


def waiting(count: int, folder: object) -> str:
    """That all GPUs are taken by other jobs, and this one waits."""
    return f"waiting for a GPU: other jobs have all {count} (locks in {folder})"


def no_room(where: str, what: str = "") -> str:
    """That memory does not suffice even for the smallest part of the work.

    Args:
        where: the device, with what is known of its memory.
        what: what did not fit, as the end of a clause.
    """
    remedy = (
        "Free its memory (nvidia-smi shows who has it), or take a larger GPU."
        if where.startswith("cuda")
        else "Ask for more of it (resources: mem_mb), or run fewer jobs at once."
    )
    return f"out of memory on {f'{where} {what}'.strip()}.\n{remedy}"


def no_bfloat16(name: str, capability: tuple[int, int]) -> str:
    """That a GPU cannot compute in the precision that the config asks for."""
    return (
        f"inference.precision: bfloat16 needs a GPU of compute capability 8.0 (Ampere) or newer; {name} has"
        f" {_dotted(capability)}.\nSet inference.precision to float32, or take a newer GPU."
    )


def failed(where: str, error: str) -> str:
    """That a GPU, and not the model, failed."""
    return (
        f"{where} failed: {error}.\nStart the job again; if others fail too, look at nvidia-smi and the system's log."
    )


def no_such_gpu(device: str, count: int) -> str:
    """That a GPU was asked for by a number that none has."""
    return f"--device {device}: there {'is' if count == 1 else 'are'} {count}, numbered from 0"


def no_such_device(device: str) -> str:
    """That a device is none."""
    return f"--device {device}: not one of auto, cpu, gpu, cuda or cuda:<number>"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
