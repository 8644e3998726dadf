"""Installation as docs/install.md has it, into an environment that has a torch of its own."""

import json
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from workflow_project import PROJECT


def documented() -> list[str]:
    """The page's commands."""
    return re.findall(r"^    (\S.*)$", (PROJECT / "docs/install.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def cluster(tmp_path):
    """A function that makes an environment with all of this one's libraries, and a torch of its own build."""

    def make(version: str) -> Path:
        own = tmp_path / f"modules/torch-{version}.dist-info"
        own.mkdir(parents=True)
        (own / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
        packages = next((tmp_path / ".venv").glob("lib/python*/site-packages"))
        (packages / "modules.pth").write_text(f"{own.parent}\n{sysconfig.get_path('purelib')}\n")
        return tmp_path

    return make


def install(folder: Path) -> tuple[int, str, Path]:
    """Carry out the page's last two commands, without network, and without installing in the end."""
    report = folder / "report.json"
    _, listing, command = documented()
    options = f"--dry-run --no-index --no-build-isolation --report {report} --editable {PROJECT}"
    command = command.replace("--editable .", options)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{listing}\n{command}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, report


def test_a_clusters_own_torch_is_left_alone(cluster):
    own = f"{metadata.version('torch').partition('+')[0]}+cluster"
    folder = cluster(own)
    code, output, report = install(folder)
    assert code == 0, output
    assert f"torch=={own}" in (folder / "own.txt").read_text().splitlines()
    names = {part["metadata"]["name"] for part in json.loads(report.read_text())["install"]}
    assert names == {"withstand"}


def test_a_torch_that_is_too_old_is_told_and_not_replaced(cluster):
    code, output, report = install(cluster("2.9.1+cluster"))
    assert code != 0 and not report.exists()
    assert "torch>=2.10" in output and "==2.9.1+cluster" in output
