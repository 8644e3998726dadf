"""Entries and files of Google's checkpoints, and the layout of big_vision."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import torch
from torch import nn

from withstand import models
from withstand.rehearsal.google import vit_arrays

VIT = {
    "timm": "vit_tiny_patch16_224",
    "kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3},
}
BIT = {
    "timm": "resnetv2_50x1_bit.goog_in21k_ft_in1k",
    "kwargs": {"channels": [128, 128, 128, 128], "stem_chs": 32},
    "preprocessing": {"input_size": 64},
}

_IN_BIG_VISION = {
    "Transformer/posembed_input/": "",
    "ProductAttention_1": "ProductAttention_0",
    "MlpBlock_3": "MlpBlock_0",
    "LayerNorm_2": "LayerNorm_1",
}


def stacked_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """A ViT as google-research/big_vision saves it: the blocks of all depths in one array."""
    arrays, blocks = {}, defaultdict(list)
    for name, array in vit_arrays(network).items():
        renamed = re.sub("|".join(_IN_BIG_VISION), lambda found: _IN_BIG_VISION[found.group()], name)
        shared = re.sub(r"encoderblock_\d+", "encoderblock", renamed)
        if shared == renamed:
            arrays[shared] = array
        else:
            blocks[shared].append(array)
    arrays |= {name: np.stack(stacked) for name, stacked in blocks.items()}
    return {f"params/{name}": array for name, array in arrays.items()}


def randomise(network: nn.Module) -> nn.Module:
    """Every weight another number, since initial ones leave biases, norms and last layers at zero or one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return network.eval()


def built(spec) -> nn.Module:
    """The network of an entry, with random weights."""
    return randomise(models.build(models.resolve(spec, None)))


def npz(path, arrays):
    """Write arrays to a file; returns its path."""
    np.savez(path, **arrays)
    return path


def changed(spec, **kwargs) -> dict:
    """An entry with other arguments of its architecture."""
    return spec | {"kwargs": spec["kwargs"] | kwargs, "label_space": "some"}
