"""Google's ViT and BiT checkpoints (``.npz``), through timm's own loader, with the checks that it leaves out.

timm resizes positional embeddings, which is wanted. In silence it also resizes patches, takes the first blocks of a
file that has more, and leaves out a head of another size and layers that it has no place for: the logits are wrong,
and nothing says so. So what a file tells of its architecture is compared with the network before, and the network is
searched for weights that no array has set after.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from withstand.errors import ModelError, in_one_line


def load_npz(network: nn.Module, path: Path) -> None:
    """Set every weight of a network from a checkpoint. Nothing is unpickled.

    Raises:
        ModelError: if the file is damaged, or of another architecture.
        OSError: if it cannot be read at all.
    """
    if not hasattr(network, "load_pretrained"):
        raise ModelError(f"{path}: timm reads .npz into ViTs and BiTs only, not into a {type(network).__name__}")
    with _naming(path):
        found, expected = _read_facts(path), _facts_of_network(network)
    for fact, value in expected.items():
        if found.get(fact, value) != value:
            raise ModelError(f"{path}: of another architecture: {fact} {found[fact]} instead of {value}")
    weights = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    for tensor in weights.values():  # they share memory with the network's own
        tensor.fill_(torch.nan)
    with _naming(path):
        network.load_pretrained(str(path))
    unset = [name for name, tensor in weights.items() if tensor.isnan().any()]
    if unset:
        raise ModelError(f"{path}: of another architecture: {len(unset)} weights are not in it, e.g. {unset[0]}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the content of a file into an error that names it."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelError(f"{path}: no .npz file, or a damaged one ({in_one_line(error)})") from error
    except Exception as error:
        raise ModelError(f"{path}: does not fit the architecture ({in_one_line(error)})") from error


def _read_facts(path: Path) -> dict:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise zipfile.BadZipFile("no archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return _facts_of_file(arrays)


def _facts_of_file(arrays: Mapping[str, np.ndarray]) -> dict:
    """What a checkpoint tells of its architecture; a fact that it does not tell is left out."""

    def shape(end: str) -> tuple[int, ...] | None:
        return next((arrays[name].shape for name in arrays if f"/{name}".endswith(f"/{end}")), None)

    patch, query, stacked = shape("embedding/kernel"), shape("query/kernel"), shape("encoderblock/LayerNorm_0/scale")
    head = shape("head/kernel") or shape("head/conv2d/kernel")
    facts = {
        "kind": "ViT" if patch else "BiT" if shape("root_block/standardized_conv2d/kernel") else "unknown",
        "blocks": stacked[0] if stacked else _count(r"/encoderblock_\d+/", arrays) or _count(r"/unit\d+/", arrays),
        "width": patch[-1] if patch else head and head[-2],
        "outputs": head and head[-1],
        "patch size": patch[0] if patch and len(patch) == 4 else None,
        "attention heads": query and query[-2],
        "pre-logits layers": 1 if shape("pre_logits/kernel") else 0,
    }
    return {fact: value for fact, value in facts.items() if value is not None}


def _count(part: str, names: Iterable[str]) -> int:
    """How many different beginnings up to a numbered part names have."""
    found = (re.match(f".*{part}", f"/{name}") for name in names)
    return len({match.group() for match in found if match})


def _facts_of_network(network: nn.Module) -> dict:
    """The same facts of a network of timm's, in the order in which to compare them."""
    facts = {"width": network.num_features} | ({"outputs": network.num_classes} if network.num_classes else {})
    if hasattr(network, "stages"):
        return {"kind": "BiT", "blocks": sum(len(stage.blocks) for stage in network.stages)} | facts
    facts = {"kind": "ViT", "blocks": len(network.blocks)} | facts | {"pre-logits layers": 0}
    attention = getattr(network.blocks[0], "attn", None)
    if hasattr(attention, "num_heads"):
        facts["attention heads"] = attention.num_heads
    if hasattr(network, "patch_embed") and not network.pretrained_cfg["architecture"].startswith("flexivit"):
        facts["patch size"] = network.patch_embed.proj.weight.shape[-1]  # FlexiViT's patches are made to be resized
    return facts
