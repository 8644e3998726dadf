"""What results hold, to compare them to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - the filter of images
import numpy as np

BY_BYTES = (".parquet", ".csv", ".svg", ".png", ".json")
OF_A_RUN = ("run.json", "logs", "benchmarks")
"""What differs between runs by its nature."""


def of_study(project: Path, study: str = "small") -> dict[str, str]:
    """A digest of each file that a study's jobs made, the report apart, which holds their seconds; HDF5 files, which
    may lay out the same things differently, by what is in them."""
    folder = project / "results" / study
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*.*"))}
    kept = {str(name): path for name, path in files.items() if name.parts[0] not in OF_A_RUN}
    found = {name: _digest([path.read_bytes()]) for name, path in kept.items() if path.suffix in BY_BYTES}
    return found | {name: _digest(_parts(path)) for name, path in kept.items() if path.suffix == ".h5"}


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The files that differ, or that only one of two studies has."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def _digest(parts) -> str:
    digest = hashlib.blake2b()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _parts(path: Path) -> Iterator[bytes]:
    with h5py.File(path, "r", locking=False) as file:
        names: list[str] = []
        file.visit(names.append)
        for name in ["/", *sorted(names)]:
            thing = file[name]
            yield name.encode()
            for key, value in sorted(thing.attrs.items()):
                yield f"{key}={np.asarray(value).tolist()}".encode()
            if isinstance(thing, h5py.Dataset):
                values = thing[()]
                yield f"{values.dtype} {values.shape}".encode()
                yield repr(values.tolist()).encode() if values.dtype == object else values.tobytes()
