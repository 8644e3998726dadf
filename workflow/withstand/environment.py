"""Where steps run: in Snakemake's own environment, in one that conda makes, or in a container's image."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from withstand.errors import WithstandError

IMAGE_VARIABLE = "WITHSTAND_IMAGE"
"""Environment variable that names the image in which steps run with ``--sdm apptainer``: a file or an address."""


COMMANDS_VARIABLE = "WITHSTAND_COMMANDS"
"""Environment variable that names the folder of a `withstand` which starts steps from a warm process
(:mod:`withstand.rehearsal.warm`), as rehearsals have it."""


class DeploymentError(WithstandError):
    """Steps cannot run in the environment that was asked for."""


def use_environment(methods: Collection[str]) -> str | None:
    """Prepare this process, and the jobs that it starts, for the environment in which steps run.

    Args:
        methods: what Snakemake deploys software by: ``conda``, ``apptainer``, both or none.

    Returns the image for ``apptainer``.

    Raises:
        DeploymentError: if there is no image, or it could not run the code of this folder.
    """
    if "apptainer" in methods:
        return _use_image(os.environ.get(IMAGE_VARIABLE, ""))
    own, others = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if "conda" not in methods:
        # whether or not the environment is activated
        warm = [folder] if (folder := os.environ.get(COMMANDS_VARIABLE)) else []
        os.environ["PATH"] = os.pathsep.join([*warm, own, others])
    elif sys.prefix != sys.base_prefix:
        # conda puts its programs where those of its base are, which may be behind a venv's
        kept = [folder for folder in others.split(os.pathsep) if folder != own]
        os.environ["PATH"] = os.pathsep.join([*kept, own])
    return None


def _use_image(image: str) -> str:
    if not image:
        raise DeploymentError(f"--sdm apptainer: {IMAGE_VARIABLE} names no image (docs/scale.md)")
    if "://" not in image and not Path(image).exists():
        raise DeploymentError(f"--sdm apptainer: {IMAGE_VARIABLE}: there is no {image}")
    code = Path(__file__).resolve().parents[1]
    if code != Path("workflow").resolve():
        raise DeploymentError(
            f"--sdm apptainer: withstand is installed in {code}, which an image does not see;"
            " install it from here: pip install --no-deps --editable ."
        )
    # params carry digests of the code in this folder, so that is what must run, and not the image's copy
    prefix = "APPTAINERENV_" if shutil.which("apptainer") else "SINGULARITYENV_"
    os.environ[f"{prefix}PYTHONPATH"] = str(code)
    return image
