"""Steps of rehearsals and of tests start from one process that has imported the heavy libraries: importing them takes
longer than running a step on a few samples.

``python -m withstand.rehearsal.warm SOCKET`` listens on a Unix socket and forks for each step. A client in the place
of the command ``withstand`` hands over its arguments, environment, working directory and open files, and ends as the
step does.
"""

from __future__ import annotations

import array
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from withstand.errors import WithstandError

LIBRARIES = (
    *("torch", "timm", "timm.data", "numpy", "pandas", "pyarrow.parquet", "h5py", "hdf5plugin", "cv2", "PIL.Image"),
    *("scipy.stats", "statsmodels.api", "matplotlib.figure", "matplotlib.backends.backend_agg"),
)
"""None of them starts threads, or uses a GPU, when it is imported."""

_PATIENCE = 120.0
"""Seconds until a process must have imported them."""

_CLIENT = """#!{python} -SE
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({socket!r})
told = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
files = array.array("i", [0, 1, 2])
server.sendmsg([len(told).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
server.sendall(told)
answer = server.recv(4)
sys.exit(int.from_bytes(answer, "little") if answer else 1)
"""


@contextmanager
def warm(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Run the process, and yield the folder of its client.

    Args:
        folder: to write socket, client and log to.
        environment: of the process, and so of what its libraries read when they are imported.

    Raises:
        WithstandError: if it does not start.
    """
    (folder / "bin").mkdir(parents=True)
    private = Path(tempfile.mkdtemp(prefix="withstand-"))  # the path of a socket must be short
    place = str(private / "socket")
    client = folder / "bin/withstand"
    client.write_text(_CLIENT.format(python=sys.executable, socket=place))
    client.chmod(0o755)
    command = [sys.executable, "-m", __name__, place]
    with (folder / "warm.log").open("w") as log:
        process = subprocess.Popen(command, env=dict(environment), stdout=log, stderr=log, stdin=subprocess.PIPE)
    try:
        began = time.monotonic()
        while not Path(place).exists():
            if process.poll() is not None or time.monotonic() - began > _PATIENCE:
                raise WithstandError(f"the process that steps start from has not started; see {folder / 'warm.log'}")
            time.sleep(0.05)
        yield folder / "bin"
    finally:
        process.stdin.close()  # at which it ends
        process.wait()
        shutil.rmtree(private, ignore_errors=True)


def serve(place: str) -> None:
    """Answer clients until standard input is closed."""
    for library in LIBRARIES:
        importlib.import_module(library)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{place}.new")
    listening.listen(64)
    Path(f"{place}.new").rename(place)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    while True:
        asked, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            if os.fork() == 0:  # an orphan, which nobody must wait for
                _step(asked)
            os._exit(0)
        os.wait()
        asked.close()


def _end_with_standard_input() -> None:
    with suppress(OSError):
        sys.stdin.read()
    os._exit(0)


def _step(asked: socket.socket) -> None:
    """Run one step in a process of its own that tells the client how the step ended."""
    files = array.array("i")
    header, ancillary, *_ = asked.recvmsg(8, socket.CMSG_LEN(3 * files.itemsize))
    files.frombytes(ancillary[0][2][: 3 * files.itemsize])
    told = b""
    while len(told) < int.from_bytes(header, "little"):
        told += asked.recv(1 << 16)
    arguments, environment, folder = json.loads(told)
    step = os.fork()
    if step:
        _, status = os.waitpid(step, 0)
        asked.sendall(abs(os.waitstatus_to_exitcode(status)).to_bytes(4, "little"))
        os._exit(0)
    asked.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _as_if_new(environment)
    code = 1
    try:
        from withstand.cli import main

        code = main(arguments, prog_name="withstand", standalone_mode=True) or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # whatever a user's code raises
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _as_if_new(environment: Mapping[str, str]) -> None:
    """What Python and torch read when they start: where code lies, and the number of threads."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "withstand"]:
        del sys.modules[name]  # maybe of another folder
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if environment.get("OMP_NUM_THREADS", "").isdigit():
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))


if __name__ == "__main__":
    serve(sys.argv[1])
