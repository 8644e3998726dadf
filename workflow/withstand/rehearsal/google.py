"""Checkpoints in Google's names and layouts, from networks of timm's: what timm's loader undoes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def vit_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """A ViT as google-research/vision_transformer saves it."""
    arrays = {
        "embedding/kernel": _array(network.patch_embed.proj.weight, 2, 3, 1, 0),
        "embedding/bias": _array(network.patch_embed.proj.bias),
        "cls": _array(network.cls_token),
        "Transformer/posembed_input/pos_embedding": _array(network.pos_embed),
        **_norm("Transformer/encoder_norm", network.norm),
        **_dense("head", network.head),
    }
    for number, block in enumerate(network.blocks):
        place = f"Transformer/encoderblock_{number}"
        attention = f"{place}/MultiHeadDotProductAttention_1"
        arrays |= _norm(f"{place}/LayerNorm_0", block.norm1) | _norm(f"{place}/LayerNorm_2", block.norm2)
        for index, layer in enumerate((block.mlp.fc1, block.mlp.fc2)):
            arrays |= _dense(f"{place}/MlpBlock_3/Dense_{index}", layer)
        heads, width = block.attn.num_heads, block.attn.proj.in_features
        for name, weight, bias in zip(
            ("query", "key", "value"), block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3), strict=True
        ):
            arrays[f"{attention}/{name}/kernel"] = _array(weight, 1, 0).reshape(width, heads, -1)
            arrays[f"{attention}/{name}/bias"] = _array(bias).reshape(heads, -1)
        arrays[f"{attention}/out/kernel"] = _array(block.attn.proj.weight, 1, 0).reshape(heads, -1, width)
        arrays[f"{attention}/out/bias"] = _array(block.attn.proj.bias)
    return arrays


def bit_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """A ResNet as google-research/big_transfer saves it."""
    arrays = {
        "root_block/standardized_conv2d/kernel": _array(network.stem.conv.weight, 2, 3, 1, 0),
        **_group_norm("", network.norm),
        "head/conv2d/kernel": _array(network.head.fc.weight, 2, 3, 1, 0),
        "head/conv2d/bias": _array(network.head.fc.bias),
    }
    for stage_number, stage in enumerate(network.stages, 1):
        for number, block in enumerate(stage.blocks, 1):
            place = f"block{stage_number}/unit{number:02d}"
            for letter, index in zip("abc", (1, 2, 3), strict=True):
                convolution = getattr(block, f"conv{index}").weight
                arrays[f"{place}/{letter}/standardized_conv2d/kernel"] = _array(convolution, 2, 3, 1, 0)
                arrays |= _group_norm(f"{place}/{letter}/", getattr(block, f"norm{index}"))
            if block.downsample is not None:
                shortcut = block.downsample.conv.weight
                arrays[f"{place}/a/proj/standardized_conv2d/kernel"] = _array(shortcut, 2, 3, 1, 0)
    return {f"resnet/{name}": array for name, array in arrays.items()}


def _array(tensor: torch.Tensor, *order: int) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().permute(*order).numpy() if order else tensor.detach().numpy())


def _norm(place: str, norm: nn.Module) -> dict[str, np.ndarray]:
    return {f"{place}/scale": _array(norm.weight), f"{place}/bias": _array(norm.bias)}


def _group_norm(place: str, norm: nn.Module) -> dict[str, np.ndarray]:
    return {f"{place}group_norm/gamma": _array(norm.weight), f"{place}group_norm/beta": _array(norm.bias)}


def _dense(place: str, layer: nn.Linear) -> dict[str, np.ndarray]:
    return {f"{place}/kernel": _array(layer.weight, 1, 0), f"{place}/bias": _array(layer.bias)}
