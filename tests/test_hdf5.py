"""HDF5 files where hdf5plugin is not installed."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from withstand import hdf5
from withstand.hdf5 import Hdf5Error
from workflow_project import PROJECT

_WITHOUT_PLUGIN = """
import sys
sys.modules["hdf5plugin"] = None
import h5py
from withstand import hdf5
assert hdf5.fast_filter(bits=True) is None
with h5py.File(sys.argv[1]) as file, hdf5.reading(sys.argv[1]):
    file["filtered"][()]
"""


def test_files_are_written_without_a_filter(monkeypatch, tmp_path):
    monkeypatch.setattr(hdf5, "hdf5plugin", None)
    with hdf5.create(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=np.arange(5), chunks=(5,), compression=hdf5.fast_filter(bits=True))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"].compression is None and (file["x"][()] == np.arange(5)).all()


def test_filtered_files_say_what_they_need(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("filtered", data=np.zeros(1000), chunks=(1000,), compression=hdf5.fast_filter())
    command = [sys.executable, "-c", _WITHOUT_PLUGIN, path]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(PROJECT / "workflow")}
    )
    assert f"{path} cannot be read without hdf5plugin: pip install hdf5plugin" in result.stderr


def test_damage_is_not_taken_for_a_missing_plugin(tmp_path):
    with pytest.raises(Hdf5Error, match=r"cannot be read .*delete the file"), hdf5.reading(tmp_path / "a.h5"):
        raise OSError("damaged")
