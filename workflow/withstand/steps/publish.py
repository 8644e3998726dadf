"""Trained weights into the package: the models that come with withstand."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from withstand import zoo
from withstand.errors import WithstandError
from withstand.files import sha256, write_text
from withstand.models import FAILURE, read_header, read_state_dict, save_weights

MAX_BYTES = 5_000_000


def publish(weights: Path, folder: Path = zoo.FOLDER) -> str:
    """Copy weights that a recipe trained into the zoo, in float16, and enter them in its index.

    The model is named by its recipe: ``<recipe>-<digest>.safetensors`` becomes ``<recipe>``. The accuracy in the index
    is that of the weights before they were rounded to float16.

    Returns a line that says what was published.

    Raises:
        ModelError: if the file is none of ours.
        WithstandError: if the published file would be larger than 5 MB.
    """
    header, state = read_header(weights), read_state_dict(weights)
    if FAILURE in header:
        raise WithstandError(f"{weights}: no weights to publish: {header[FAILURE]}")
    name = published_name(weights)
    size = sum(tensor.numel() for tensor in state.values()) * 2
    if size > MAX_BYTES:
        raise WithstandError(f"{weights}: {size / 1e6:.1f} MB in float16, the zoo takes models up to 5 MB")
    published = folder / f"{name}.safetensors"
    save_weights(published, {key: _halved(tensor) for key, tensor in state.items()}, header)
    index_path = folder / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8")) if index_path.exists() else {}
    index[name] = {
        "sha256": sha256(published),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "validation_accuracy": header["validation_accuracy"],
        "recipe": header["recipe"],
    }
    write_text(index_path, json.dumps(index, indent=1, sort_keys=True) + "\n")
    return f"{published}: {published.stat().st_size / 1e6:.2f} MB, accuracy {header['validation_accuracy']:.3f}"


def published_name(weights: Path) -> str:
    """The name in the zoo of weights that a recipe trained."""
    return weights.stem.rpartition("-")[0] or weights.stem


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
