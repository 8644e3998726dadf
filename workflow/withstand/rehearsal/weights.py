"""Random weights where those of a model are not at hand: of its architecture, or of a smaller one of its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from withstand import models
from withstand.config import ModelEntry
from withstand.errors import WithstandError
from withstand.files import file_name, sha256
from withstand.planning import anatomy
from withstand.rehearsal.google import bit_arrays, vit_arrays
from withstand.rehearsal.server import Server

LARGE = 4e9
"""FLOPs of one image from which on a CPU would take too long: a rehearsal shows a model about a thousand images."""

NARROWER = (
    {"embed_dim": 48, "depth": 4, "num_heads": 3},
    {"layers": [1, 1, 1, 1], "channels": [32, 64, 96, 128]},
    {"channels": [128, 128, 128, 128], "stem_chs": 32},
    {"depths": [1, 1, 2, 1], "dims": [32, 64, 96, 128]},
    {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]},
)
"""Arguments that make an architecture narrower and shallower, by how its class calls them: transformers, ResNets,
BiTs (whose depth is fixed), ConvNeXts, Swins. The first that a class takes is used."""


TRAINED = "trained in the rehearsal"
NARROWED = "random weights, of a narrower and shallower network"


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model in a rehearsal are from.

    Attributes:
        told: in words.
        is_real: whether they are those that the study itself would use.
        entry: what takes the place of its entry in the config, key by key.
    """

    told: str
    is_real: bool
    entry: Mapping


def at_hand(entry: ModelEntry, name: str | None) -> Weights | None:
    """The weights that a study would use, if they are there or come along; None if they would have to be fetched.

    Args:
        name: of its file in ``results/weights``.
    """
    if entry.zoo is not None:
        return Weights("its own weights", True, {})
    if entry.recipe is not None:
        return Weights(TRAINED, False, {})
    if name is not None and Path(f"results/weights/{name}.safetensors").exists():
        return Weights("its own weights", True, {})
    if entry.checkpoint is not None and entry.address is None and Path(entry.checkpoint).exists():
        return Weights("its own weights", True, {})
    if entry.function is not None and entry.checkpoint is None:
        return Weights("the weights that its function makes", True, {})
    return None


def made_up(key: str, entry: ModelEntry, folder: Path, server: Server, *, full_size: bool) -> Weights:
    """Write random weights for a model, and serve them where it would fetch its own.

    Args:
        key: of the model in the config.
        folder: to write to.
        full_size: whether the architecture must stay as it is.

    Raises:
        WithstandError: if the architecture cannot be built.
    """
    spec = entry.source
    smaller = None if full_size else narrower(spec)
    spec = spec | ({"kwargs": {**spec.get("kwargs", {}), **smaller}} if smaller else {})
    network = scattered(models.build(models.resolve(spec, None)))
    folder.mkdir(parents=True, exist_ok=True)
    changed = {"kwargs": spec["kwargs"]} if smaller else {}
    if entry.checkpoint is not None:
        name = file_name(entry.checkpoint).name
        file = save(network, folder / f"{key}{Path(name).suffix}")
        if entry.address is not None:
            changed["checkpoint"] = server.give(f"weights/{key}/{name}", file)
            changed |= {"sha256": sha256(file)} if entry.sha256 else {}
        else:
            changed["checkpoint"] = str(file)
    else:
        file = save(network, folder / f"{key}.safetensors")
        _serve_as_the_hub(entry.timm, file, folder, server)
    return Weights(NARROWED if smaller else "random weights", False, changed)


def narrower(spec: Mapping) -> dict | None:
    """Arguments of a smaller network of the same class; None where it is small enough, or none is known."""
    whole = anatomy.look_into(spec, None)
    if whole.flops < LARGE or "timm" not in spec:
        return None
    for arguments in NARROWER:
        try:
            timm.create_model(spec["timm"], pretrained=False, **{**spec.get("kwargs", {}), **arguments})
        except Exception:  # whatever a class raises that does not know them
            continue
        facts = anatomy.look_into(spec | {"kwargs": {**spec.get("kwargs", {}), **arguments}}, None)
        if not facts.failure and facts.flops < whole.flops / 2:
            return arguments
    return None


def scattered(network: nn.Module) -> nn.Module:
    """A network with a random number in every weight, since initial ones leave heads, biases and norms at 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            scale = 0.5 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.05  # keeps the size of activations
            weight.add_(torch.randn(weight.shape, generator=generator) * scale)
    return network


def save(network: nn.Module, file: Path) -> Path:
    """Write the weights of a network in the format that a file's name says: safetensors, torch's, or Google's."""
    state = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    elif file.suffix == ".npz":
        arrays = vit_arrays(network) if hasattr(network, "patch_embed") else bit_arrays(network)
        np.savez(file, **arrays)
    else:
        torch.save(state, file)
    return file


def _serve_as_the_hub(name: str, file: Path, folder: Path, server: Server) -> None:
    known = get_pretrained_cfg(name)
    if known is None:
        raise WithstandError(f"{name}: timm does not say where its weights lie")
    if known.hf_hub_id:
        repository = known.hf_hub_id + (name if known.hf_hub_id.endswith("/") else "")
        server.give_weights(repository, file)
        return
    # timm's few oldest lie at addresses of their own, which torch looks for in its cache first
    cache = folder.parent / "torch/hub/checkpoints" / file_name(known.url).name
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save(safetensors.torch.load_file(file), cache)
