"""What tests share: the project's folder, small images, and a study that is small but real."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from withstand import images
from withstand.compat import has_bool_masks
from withstand.datasets.registry import open_source
from workflow_project import Project

SHAPETEX = {"kind": "shapetex", "split": "test"}


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


NEEDS = {"gpu": (has_gpu, "needs a GPU"), "bool_masks": (has_bool_masks, "limited attention needs timm 1.0.26")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are left out, by name, where what their mark asks for is not there."""
    for mark, (is_there, reason) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        if marked and not is_there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Twelve shapetex images: uint8 (12, 64, 64, 3)."""
    source = open_source(SHAPETEX)
    return np.stack([source.read(sample_id) for sample_id in source.sample_ids(12)])


@pytest.fixture(scope="session")
def picture_ids() -> list[str]:
    return open_source(SHAPETEX).sample_ids(12)


@pytest.fixture
def samples(picture_ids) -> images.Samples:
    source = open_source(SHAPETEX)
    return images.Samples(picture_ids, source.labels(picture_ids), source.class_names(), np.arange(10), "shapetex")


@pytest.fixture
def clean_file(tmp_path, pictures, samples) -> Path:
    """A file of the image store with the twelve images as its clean group."""
    path = tmp_path / "clean.h5"
    with images.create(path, samples, size=64, codec="raw", origin={"source": SHAPETEX}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, pictures)
    return path


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def kept_settings() -> Iterator[None]:
    """Torch's settings of products, which are those of the process."""
    import torch

    libraries = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [library.allow_tf32 for library in libraries]
    yield
    for library, allowed in zip(libraries, before, strict=True):
        library.allow_tf32 = allowed


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project in which the small study has run to its end; clone it before changing anything."""
    project = Project.fresh(tmp_path_factory.mktemp("finished") / "project")
    project.complete()
    return project
