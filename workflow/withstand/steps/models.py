"""Weights and model cards: the light steps before anything is computed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from withstand import zoo
from withstand.errors import ModelError, WithstandError
from withstand.files import Facts, atomic_output, file_name, sha256, write_text
from withstand.provenance import versions

_ELSEWHERE = "run `snakemake weights --cores 1` where there is a network"


def fetch_zoo_weights(name: str, digest: str | None, output: Path) -> None:
    """Copy the weights of a model that comes with withstand, checked against a digest, that of the index by default.

    Raises:
        WithstandError: if the installed file is damaged.
    """
    path = zoo.weights(name)
    if sha256(path) != (digest or zoo.index()[name]["sha256"]):
        raise WithstandError(
            f"{path}: the file is damaged (its digest is not the expected one); install withstand again"
        )
    with atomic_output(output) as temporary:
        shutil.copyfile(path, temporary)


def fetch_timm_weights(name: str, kwargs: Mapping, output: Path) -> None:
    """Fetch pretrained weights through timm, fitted by timm to ``kwargs``, and keep them as safetensors.

    Where there are no such weights, or they are not for everybody, a weights file without weights says so.

    Raises:
        WithstandError: if they cannot be fetched now, for want of a network, say.
    """
    from withstand.datasets.download import settings
    from withstand.hub import NotCachedError, pretrained
    from withstand.models import save_failure, save_weights

    try:
        network = pretrained(name, kwargs, offline=settings()["offline"])
    except NotCachedError as error:
        raise WithstandError(f"{error}\n{_ELSEWHERE}, or put them at {output}") from error
    except ModelError as error:
        save_failure(output, f"{error} (delete {output} to ask again)")
    else:
        save_weights(output, _apart(network.state_dict()))


def fetch_checkpoint(url: str, digest: str | None, architecture: Mapping | None, output: Path) -> None:
    """Download a checkpoint, and keep its weights as safetensors.

    For a file that holds none, or those of another architecture, a weights file without weights says so. A file that
    was put beside ``output`` by hand, as ``<its stem>.download<suffix>``, is taken, and left there.

    Args:
        digest: its SHA-256, or the first digits of it.
        architecture: ``timm`` and ``kwargs`` of the model's entry, for Google's ``.npz``.

    Raises:
        WithstandError: if it cannot be downloaded, or has another digest.
    """
    from withstand.datasets.archives import Archive
    from withstand.datasets.download import download, settings
    from withstand.models import save_failure, save_weights

    name = file_name(url)
    file = output.with_name(f"{output.stem}.download{name.suffix}")
    was_there, switches = file.exists(), settings()
    try:
        # by this name in a mirror, since addresses may end alike
        download(Archive(f"{output.stem}{name.suffix}", urls=(url,), sha256=digest), file, **switches)
    except WithstandError as error:
        raise WithstandError(f"{error}; or {_ELSEWHERE}" if switches["offline"] else str(error)) from error
    checked = "as asked for" if digest else "not checked, none is given"
    print(f"{url}: sha256 {sha256(file)}, {checked}", file=sys.stderr)
    try:
        save_weights(output, _apart(_read_weights(file, architecture)))
    except ModelError as error:
        save_failure(output, str(error).replace(str(file), url))
    finally:
        if not was_there:
            file.unlink()


def _read_weights(file: Path, architecture: Mapping | None) -> dict:
    from withstand.models import build, load_weights, read_state_dict, resolve

    if architecture is None:
        return read_state_dict(file)
    network = build(resolve(architecture, None))
    load_weights(network, file)
    return network.state_dict()


def _apart(state: Mapping) -> dict:
    """Weights in memory of their own each, since safetensors refuses those that share it."""
    return {name: tensor.clone() for name, tensor in state.items()}


def write_card(model: str, spec: Mapping, weights: Path | None, output: Path) -> None:
    """Write the card of a model; a model that cannot be used gets a card that says why.

    Args:
        model: the model's id.
        spec: the slice of its entry that shapes its outputs (``config.ModelEntry.source``).
    """
    from withstand import models

    try:
        facts = models.describe(spec, weights)
        failure = None
    except ModelError as error:
        facts, failure = {}, str(error)
    card = {"model": model, "source": dict(spec), **facts, "failure": failure, "versions": versions()}
    write_text(output, json.dumps(card, indent=1, sort_keys=True) + "\n")


def read_card(path: Path) -> Facts:
    """A model card.

    Raises:
        WithstandError: if the file is none.
    """
    try:
        card = Facts(path, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WithstandError(f"{path}: not a model card ({type(error).__name__}); delete it and run again") from error
    card["model"], card["failure"]  # all cards say these
    return card
