"""On which device a job computes: a GPU where one is granted or there, CPUs where they are asked for.

A job that should have a GPU fails at once where torch cannot use it; on CPUs it would take years in silence. Snakemake
tells its steps by an environment variable, which is no reason to run anything again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Mapping

from withstand import cards, gpu_messages
from withstand.errors import WithstandError
from withstand.gpu_messages import Setup

VARIABLE = "WITHSTAND_DEVICE"
"""Environment variable for the device of all steps: what ``--device`` is where it is not given.

``gpu``: a GPU that no other job has, or an error; ``auto``: the same where there is a sign of a GPU, else ``cpu``;
``cuda`` or ``cuda:<number>``: that one, whoever else has it.
"""

AMPERE = (8, 0)
"""Compute capability of the first GPUs with bfloat16 and TF32."""


class DeviceError(WithstandError):
    """A device that a job cannot use."""


def asked() -> str:
    """The device that the environment asks for."""
    return os.environ.get(VARIABLE, "auto")


def choose_device(device: str) -> str:
    """Resolve a value of ``VARIABLE`` to ``cpu`` or ``cuda:<number>``; waits while other jobs have all GPUs.

    Raises:
        DeviceError: if there should be a GPU that torch cannot use, or a device is unknown.
    """
    if device == "cpu":
        return device
    if device not in ("auto", "gpu") and not re.fullmatch(r"cuda(:\d+)?", device):
        raise DeviceError(gpu_messages.no_such_device(device))
    if found := problem(device):
        raise DeviceError(found)
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    numbers = range(torch.cuda.device_count())
    if device in ("auto", "gpu"):
        device = f"cuda:{cards.lease([str(torch.cuda.get_device_properties(number).uuid) for number in numbers])}"
    elif int(device.partition(":")[2] or 0) not in numbers:
        raise DeviceError(gpu_messages.no_such_gpu(device, len(numbers)))
    _try(device)
    return device


def problem(device: str) -> str | None:
    """Why torch cannot use a GPU that there should be; None where it can, and where none is expected."""
    why = _expected(device)
    if why is None:
        return None
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of is told below
        if torch.cuda.is_available():
            return None
        try:
            torch.cuda.init()
            told = ""
        except Exception as error:  # torch has many types for this
            told = _first_line(error)
    return gpu_messages.unusable(why, setup(), told)


def problem_of_run() -> str | None:
    """What ``problem`` says of the device of this run's steps; torch is imported in a process of its own."""
    if _expected(asked()) is None:
        return None
    code = f"import sys; from withstand.devices import problem; sys.exit(problem({asked()!r}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return told.stderr.strip() if told.returncode else None


def use_limit(gpus: int | None) -> None:
    """Tell the steps of a run on this machine how many GPUs there are for it; None where nobody knows."""
    if gpus is not None:
        os.environ.setdefault(VARIABLE, "gpu" if gpus else "cpu")


def use_grant(gpus: int) -> None:
    """Tell the step of a cluster's job whether it was granted GPUs: by Snakemake, or past it by ``--gres``."""
    granted = gpus or _slurm_grants(os.environ)
    os.environ.setdefault(VARIABLE, "gpu" if granted else "cpu")


def _expected(device: str) -> str | None:
    """Why there should be a GPU, as a clause; None if it need not be there."""
    if device == "cpu":
        return None
    if device == asked() == "gpu":
        return "this job was granted a GPU"
    if device != "auto":
        return f"--device {device} asks for a GPU"
    if cards.is_hidden(os.environ):
        return None
    if cards.VISIBLE in os.environ:
        return f"{cards.VISIBLE}={os.environ[cards.VISIBLE]} names a GPU"
    count = cards.at_hand()
    return f"this machine has {count} NVIDIA GPU{'s' if count > 1 else ''}" if count else None


def _slurm_grants(environment: Mapping[str, str]) -> bool:
    """Whether SLURM gave GPUs to the job of this process."""
    return "SLURM_JOB_ID" in environment and cards.VISIBLE in environment and not cards.is_hidden(environment)


def setup() -> Setup:
    """The driver and torch of this machine."""
    import torch

    return Setup(
        driver=driver_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        rocm=torch.version.hip,
        hidden_by=os.environ[cards.VISIBLE] if cards.is_hidden(os.environ) else None,
    )


def driver_version() -> str | None:
    """The version of NVIDIA's driver: what the loaded module says of itself, or nvidia-smi; None without one."""
    try:
        told = (cards.DRIVER / "version").read_text(encoding="utf-8")
    except OSError:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", told)
    return found[0] if found else None


def check_bfloat16(device: object) -> None:
    """Refuse a GPU without bfloat16, which torch would imitate, slowly.

    Raises:
        DeviceError: if it is one.
    """
    if not has_ampere_formats(device):
        import torch

        capability = torch.cuda.get_device_capability(device)
        raise DeviceError(gpu_messages.no_bfloat16(torch.cuda.get_device_name(device), capability))


def has_ampere_formats(device: object) -> bool:
    """Whether a GPU computes in bfloat16 and TF32; of AMD's, which have other numbers, this is assumed."""
    import torch

    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= AMPERE


def told(error: BaseException, device: str | None = None) -> str | None:
    """What to tell a user of an error of a GPU, or of its memory; None for other errors.

    Args:
        device: the GPU; the one that this process has taken, where it is not given.
    """
    torch = sys.modules.get("torch")
    if torch is None or isinstance(error, WithstandError):
        return None
    line, number = _first_line(error), cards.leased()
    device = device or ("cuda" if number is None else f"cuda:{number}")
    if isinstance(error, torch.OutOfMemoryError):
        return no_room(device)
    if "busy or unavailable" in line:
        return gpu_messages.taken(device)
    if "no kernel image" in line:
        return _unsupported(device)
    if isinstance(error, torch.AcceleratorError) or line.startswith(("CUDA error", "cuDNN error")):
        return gpu_messages.failed(device, line)
    return None


def no_room(device: object, what: str = "") -> str:
    """That memory of a device does not suffice; how much there is, where that can be asked.

    Args:
        what: what did not fit, as the end of a clause.
    """
    where = str(device)
    if where.startswith("cuda:"):
        import torch

        try:
            free, total = (size / 2**30 for size in torch.cuda.mem_get_info(device))
            where += f" ({torch.cuda.get_device_name(device)}, {free:.1f} of {total:.1f} GiB free)"
        except Exception:  # a GPU that failed says nothing of itself
            pass
    return gpu_messages.no_room(where, what)


def _try(device: str) -> None:
    """Add two numbers on a GPU: another process may have it, and torch's build may lack code for it."""
    import torch

    try:
        torch.ones(1, device=device).add(1).item()
    except Exception as error:
        raise DeviceError(told(error, device) or gpu_messages.failed(device, _first_line(error))) from error


def _unsupported(device: str) -> str:
    import torch

    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    return gpu_messages.unsupported(name, capability, torch.cuda.get_arch_list(), setup())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
