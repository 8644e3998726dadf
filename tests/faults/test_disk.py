"""A disk that becomes full while a study is run: said in a line, nothing half written, and gone on from."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from contents import differences, of_study

from workflow_project import Project

PAGE = 4096
"""Bytes that a tmpfs gives at a time."""


@pytest.fixture(scope="module")
def on_a_disk(finished, tmp_path_factory) -> Iterator[Project]:
    """A finished study whose results lie on a disk of their own, twice as large as they are."""
    project = finished.clone(tmp_path_factory.mktemp("disk") / "project")
    results, kept = project.folder / "results", project.folder / "kept"
    results.rename(kept)
    results.mkdir()
    size = 2 * sum(path.stat().st_size + PAGE for path in kept.rglob("*"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", results]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    shutil.copytree(kept, results, dirs_exist_ok=True)
    yield project
    subprocess.run(["umount", results], check=True)


def fill(folder: Path, *, free: int) -> Path:
    """Fill the disk up to so many bytes."""
    filler = folder / "filler"
    filler.unlink(missing_ok=True)
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - free))
    assert shutil.disk_usage(folder).free <= free
    return filler


@pytest.mark.parametrize(
    "name",
    [
        "images/test/digital/0000.h5",
        "predictions/vit/test/digital.parquet",
        "attacks/vit/pgd.h5",
        "tables/similarity.parquet",
    ],
)
def test_a_full_disk_is_told_and_gone_on_from(on_a_disk, name):
    project, target = on_a_disk, f"results/small/{name}"
    before = of_study(project.folder)
    (project.folder / target).unlink()
    filler = fill(project.folder / "results", free=PAGE)
    code, output = project.run("--cores", "1", target)
    assert code == 1
    assert f"Error: {target}: cannot be written (No space left on device)" in output.splitlines()
    assert "Traceback" not in output
    assert not (project.folder / target).exists()
    assert list(project.folder.rglob(".*.tmp")) == []

    filler.unlink()
    project.complete(target)
    found = of_study(project.folder)
    assert differences(found, before) == []
    project.complete("--touch")  # what follows would run again


def test_where_not_even_a_log_can_be_written_the_run_itself_tells(on_a_disk):
    project = on_a_disk
    record = project.folder / "results/small/run.json"
    kept = record.read_text()
    (project.folder / "results/small/tables/failures.parquet").unlink()
    filler = fill(project.folder / "results", free=0)
    code, output = project.run("--cores", "1", "results/small/tables/failures.parquet")
    assert code == 1
    assert "Note: results/small/run.json: cannot be written (No space left on device)" in output.splitlines()
    assert record.read_text() == kept, "the record of the run before is whole"
    filler.unlink()
    project.complete("results/small/tables/failures.parquet")
