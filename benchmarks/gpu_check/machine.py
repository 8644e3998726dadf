"""The machine itself: what it has, memory that runs out, a GPU that two processes want, and the tests that need one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from benchmarks.gpu_check.networks import photographs, random_network
from benchmarks.gpu_check.setting import Setting, Verdict
from withstand.devices import driver_version
from withstand.errors import WithstandError
from withstand.inference import Forward

NEEDED = (
    *("torch", "torchvision", "timm", "h5py", "pyarrow", "pandas", "scipy", "statsmodels", "safetensors", "matplotlib"),
    *("PIL", "cv2", "click", "xxhash", "pytest", "pydantic", "yaml", "foolbox", "corrupt_tta", "tqdm", "skimage"),
)
"""Modules that the checks import."""

TESTS = ("tests/test_corruptions.py", "tests/test_computing.py", "tests/test_attacks.py", "tests/test_spatial.py")


def missing() -> list[str]:
    return [name for name in NEEDED if find_spec(name) is None]


def environment(setting: Setting) -> Iterator[Verdict]:
    """The GPU, and what torch makes of it."""
    cores = f"{len(os.sched_getaffinity(0))} cores"
    built = f"torch {torch.__version__} for CUDA {torch.version.cuda}"
    if setting.device == "cpu":
        yield Verdict("environment", True, f"a rehearsal on {cores}, {built}")
        return
    properties = torch.cuda.get_device_properties(0)
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    told = f"{properties.name}, {memory}, driver {driver_version() or 'unknown'}, {built}, {cores}"
    yield Verdict("environment", torch.cuda.is_available(), told)


def memory(setting: Setting) -> Iterator[Verdict]:
    """Batches that do not fit get smaller; an image that does not fit is an error that says so."""
    model = random_network(next(iter(setting.networks.values())), setting.device)
    count = setting.size(2048, 8)
    images = photographs(count)
    expected = Forward(model, 1000, setting.size(64, 2), setting.device)(images)
    with _little_memory(model, setting, 2.0, 4):
        forward = Forward(model, 1000, count, setting.device)
        found = forward(images)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    told = f"batches of {count} became {forward.passes.batch_size}, logits differ by {difference:.1e} of the largest"
    yield Verdict("memory: a batch that does not fit", forward.passes.batch_size < count and difference < 1e-4, told)
    with _little_memory(model, setting, 0.0, 0):
        try:
            Forward(model, 1000, 4, setting.device)(images[:4])
            told = "no error"
        except WithstandError as error:
            told = str(error)
    yield Verdict("memory: an image that does not fit", "memory" in told, told)


@contextmanager
def _little_memory(model: torch.nn.Module, setting: Setting, gib: float, most: int) -> Iterator[None]:
    """A GPU that has some GiB left; in a rehearsal, a model that fails for more images than ``most``."""

    def refuse(_, given: tuple[torch.Tensor]) -> None:
        if len(given[0]) > most:
            raise torch.OutOfMemoryError

    if setting.device == "cpu":
        hook = model.register_forward_pre_hook(refuse)
        try:
            yield
        finally:
            hook.remove()
        return
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_allocated() + gib * 2**30
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


_TAKES_A_GPU = """
import sys, time
from withstand import cards
from withstand.devices import choose_device
began = time.time()
device = choose_device("auto") if sys.argv[1] == "cuda" else cards.lease(["rehearsal"])
taken = time.time()
time.sleep(3)
print(device, began, taken, time.time())
"""


def leases(setting: Setting) -> Iterator[Verdict]:
    """Two processes that want one GPU have it one after the other."""
    where = _with_path()
    command = [sys.executable, "-c", _TAKES_A_GPU, setting.device]
    started = [subprocess.Popen(command, env=where, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted((process.communicate()[0].split() for process in started), key=lambda answer: float(answer[2]))
    (_, _, _, ends), (_, asks, begins, _) = ([answer[0], *map(float, answer[1:])] for answer in answers)
    told = f"the second asked {ends - asks:.1f} s before the first ended, and began {begins - ends:.1f} s after it"
    alone = torch.cuda.device_count() > 1 or begins >= ends - 0.1
    yield Verdict("leases: two processes, one GPU", alone, told)


def tests(setting: Setting) -> Iterator[Verdict]:
    """The tests that are left out where there is no GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *TESTS]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=_with_path())
    lines = result.stdout.strip().splitlines() or result.stderr.strip().splitlines()[-1:]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            yield Verdict("tests", False, line)
    yield Verdict("tests", result.returncode == 0, lines[-1] if lines else "pytest says nothing")


def _with_path() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
