"""Where steps run: in the environment of Snakemake, in one that conda made, or in an image.

Neither conda nor apptainer is needed: programs stand in for them that say what they are asked for, and do as much of it
as the steps need.
"""

import hashlib
import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from withstand.environment import DeploymentError, use_environment
from workflow_project import PROJECT, Project, rules, whole_rule

WEIGHTS = "results/weights/zoo-resnet_gn_base.safetensors"
"""What a step without torch makes."""

CONDA = """#!/bin/bash
case "$*" in
    "info --json") echo '{{"conda_prefix": "{base}", "platform": "linux-64"}}' ;;
    "--version") echo "conda 24.11.0" ;;
    "config --get channel_priority --json") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
    "env create "*)
        prefix=${{*: -1}}
        mkdir -p "$prefix/bin"
        cp {base}/python "$prefix/bin/python" ;;
    "clean "*) ;;
    *) exit 1 ;;
esac
"""

ACTIVATE = """
# a program of the environment that was active before makes room for the new one's, where it is
if [ -n "${CONDA_PREFIX:-}" ]; then PATH=${PATH/"$CONDA_PREFIX/bin"/"$1/bin"}; else PATH=$1/bin:$PATH; fi
export PATH CONDA_PREFIX=$1
"""

CONDA_PYTHON = """#!/bin/bash
echo "$*" >> {calls}
cp {base}/withstand "$(dirname "$0")/withstand"
"""

STEP = """#!/bin/bash
echo "step $1" >> {calls}
exec {python} -m withstand.cli "$@"
"""

APPTAINER = """#!/bin/bash
[ "$1" = --version ] && echo "apptainer version 1.3.6" && exit
printf '%s\\n' "$@" > {calls}
echo "code $APPTAINERENV_PYTHONPATH" >> {calls}
PATH={image}:/usr/bin:/bin exec "${{@: -3}}"
"""


def program(path: Path, text: str, **values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
    path.write_text(text.format(**quoted))
    path.chmod(0o755)


@pytest.fixture
def with_conda(tmp_path) -> dict[str, str]:
    """A PATH with a conda that is not active."""
    base, calls = tmp_path / "conda", tmp_path / "calls"
    program(base / "bin/conda", CONDA, base=base)
    program(base / "python", CONDA_PYTHON, base=base, calls=calls)
    program(base / "withstand", STEP, calls=calls, python=sys.executable)
    (base / "bin/activate").write_text(ACTIVATE)
    return {"PATH": f"{base}/bin:/usr/bin:/bin"}


@pytest.fixture
def with_apptainer(tmp_path) -> dict[str, str]:
    """A PATH with an apptainer, and an image for it."""
    program(tmp_path / "bin/apptainer", APPTAINER, calls=tmp_path / "calls", image=tmp_path / "image")
    program(tmp_path / "image/withstand", STEP, calls=tmp_path / "steps", python=sys.executable)
    (tmp_path / "withstand.sif").touch()
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "WITHSTAND_IMAGE": str(tmp_path / "withstand.sif")}


def calls(folder: Path, name: str = "calls") -> list[str]:
    return (folder / name).read_text().splitlines()


@pytest.mark.parametrize("active", [False, True], ids=["conda", "venv before an active base"])
def test_steps_run_in_the_environment_that_conda_made(with_conda, tmp_path, active):
    project = Project.fresh(tmp_path / "project")
    project.environment = with_conda
    if active:
        path = f"{Path(sys.executable).parent}:{with_conda['PATH']}"
        project.environment = {"PATH": path, "CONDA_PREFIX": str(tmp_path / "conda")}
    project.complete(WEIGHTS, "--sdm", "conda")
    assert (project.folder / WEIGHTS).exists()
    assert calls(tmp_path) == [
        "-m pip install --quiet --require-hashes --requirement requirements.lock",
        "-m pip install --quiet --no-deps --no-build-isolation --editable .",
        "step fetch-weights",
    ]


def test_an_environment_is_made_in_the_folder_of_the_project_alone(with_conda, tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.environment = with_conda
    (project.folder / "requirements.lock").unlink()
    code, output = project.run("--cores", "1", WEIGHTS, "--sdm", "conda")
    assert code == 1
    assert f"no requirements.lock in {project.folder}: --sdm conda works in the folder of withstand" in output


def test_steps_run_in_the_image_with_the_code_of_the_folder(with_apptainer, tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.environment = with_apptainer
    project.complete(WEIGHTS, "--sdm", "apptainer", "--apptainer-args=--nv")
    assert (project.folder / WEIGHTS).exists()
    called = calls(tmp_path)
    assert called[:4] == ["exec", "--home", str(project.folder), "--nv"]
    assert called[called.index("-c") - 2] == with_apptainer["WITHSTAND_IMAGE"]
    assert called[-1] == f"code {project.folder}/workflow"
    assert calls(tmp_path, "steps") == ["step fetch-weights"]


def test_an_environment_is_no_reason_to_run_again(finished, with_conda, with_apptainer, tmp_path):
    project = finished.clone(tmp_path / "project")
    project.environment = with_apptainer
    assert project.planned() == {}
    assert project.planned("--sdm", "apptainer") == {}
    project.environment = with_conda
    assert project.planned("--sdm", "conda") == {}


def test_an_image_must_be_there_and_see_the_code(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    monkeypatch.delenv("WITHSTAND_IMAGE", raising=False)
    with pytest.raises(DeploymentError, match="WITHSTAND_IMAGE names no image"):
        use_environment({"apptainer"})
    monkeypatch.setenv("WITHSTAND_IMAGE", "none.sif")
    with pytest.raises(DeploymentError, match=r"there is no none\.sif"):
        use_environment({"apptainer"})
    monkeypatch.setenv("WITHSTAND_IMAGE", "docker://registry.example/withstand:0.1.0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeploymentError, match="which an image does not see"):
        use_environment({"apptainer"})


def test_the_environment_of_snakemake_comes_first_and_behind_condas(monkeypatch):
    own = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{own}:/usr/bin")
    assert use_environment({"conda"}) is None
    assert os.environ["PATH"] == f"/usr/bin:{own}"
    assert use_environment(()) is None
    assert os.environ["PATH"].split(":")[0] == own


def test_every_rule_with_a_command_names_the_environment():
    commands = [name for name in rules() if "shell:" in whole_rule(name)]
    assert len(commands) > 40
    assert all("conda:\n" in whole_rule(name) for name in commands)


def test_the_environment_changes_with_the_lock_file():
    digest = hashlib.sha256((PROJECT / "requirements.lock").read_bytes()).hexdigest()[:16]
    text = (PROJECT / "envs/withstand.yaml").read_text()
    assert f"\n# requirements.lock: {digest}\n" in text, "after a change of requirements.lock: make lock"
    assert yaml.safe_load(text)["dependencies"] == ["python =3.11", "pip"]
