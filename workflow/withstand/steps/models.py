"""Weights and model cards: the light steps before anything is computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from withstand import zoo
from withstand.errors import ModelError, WithstandError
from withstand.files import atomic_output, sha256, write_text
from withstand.provenance import versions


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
    import timm
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    from withstand.models import save_failure, save_weights

    try:
        network = timm.create_model(name, pretrained=True, **kwargs)
    except (GatedRepoError, RepositoryNotFoundError, RuntimeError, TypeError) as error:
        save_failure(output, f"{name}: no pretrained weights to be had: {type(error).__name__}: {error}")
        return
    except Exception as error:
        raise WithstandError(
            f"{name}: pretrained weights cannot be fetched: {type(error).__name__}: {error}"
        ) from error
    save_weights(output, network.state_dict())


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


def read_card(path: Path) -> dict:
    """A model card.

    Raises:
        WithstandError: if the file is none.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        card["model"], card["failure"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WithstandError(f"{path}: not a model card ({type(error).__name__}); delete it and run again") from error
    return card
