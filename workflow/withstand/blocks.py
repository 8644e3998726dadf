"""Which modules of a network are its residual blocks, and what they are made of.

Blocks are told by their class, those of timm, since what may be removed from a block depends on how it adds up its
branches. A network of a user's own counts as far as it is built of timm's blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from timm.models import beit, convnext, eva, resnet, resnetv2, swin_transformer, swin_transformer_v2, vision_transformer
from torch import nn

from withstand import compat
from withstand.errors import NotApplicableError

mbconv = compat.mbconv()

TRANSFORMER = (
    vision_transformer.Block,
    vision_transformer.ResPostBlock,
    eva.EvaBlock,
    eva.EvaBlockPostNorm,
    beit.Block,
)
"""Attention and MLP in turn, each with a residual path: tokens (n, tokens, features)."""

PARALLEL = (vision_transformer.ParallelScalingBlock, vision_transformer.ParallelThingsBlock)
"""Attention and MLP side by side: tokens (n, tokens, features)."""

WINDOWED = (swin_transformer.SwinTransformerBlock, swin_transformer_v2.SwinTransformerV2Block)
"""As the first, with attention within windows: (n, height, width, features)."""

MOBILE = (
    *(mbconv.ConvBnAct, mbconv.DepthwiseSeparableConv, mbconv.InvertedResidual, mbconv.EdgeResidual),
    *(mbconv.UniversalInvertedResidual, mbconv.MobileAttention),
)
"""Blocks of EfficientNets and MobileNets. They have a residual path only where they keep the shape."""

CONVOLUTIONAL = (
    *(convnext.ConvNeXtBlock, resnet.BasicBlock, resnet.Bottleneck),
    *(resnetv2.PreActBasic, resnetv2.PreActBottleneck, resnetv2.Bottleneck),
    *MOBILE,
)
"""One residual branch: (n, features, height, width)."""


class Skip(nn.Module):
    """A block of which only the residual path is left."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        return x


class Nothing(nn.Module):
    """A branch that adds nothing: a zero without dimensions, whatever it is given."""

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        return x.new_zeros(())


@dataclass(frozen=True)
class Block:
    """A residual block at its place in a network.

    Attributes:
        index: its number, from 0, in the order in which blocks are passed.
        path: its name among the network's modules, e.g. ``blocks.3``.
        parent, name: the module that holds it, and under which name.
    """

    index: int
    path: str
    parent: nn.Module
    name: str

    @property
    def module(self) -> nn.Module:
        return compat.children(self.parent)[self.name]

    @property
    def kind(self) -> type[nn.Module]:
        """Its class, that of the block which was there where only the residual path is left."""
        return self.module.kind if isinstance(self.module, Skip) else type(self.module)

    @property
    def changes_shape(self) -> bool:
        """Whether its residual path is no plain identity, so that the block cannot be taken away."""
        if isinstance(self.module, convnext.ConvNeXtBlock):
            return not isinstance(self.module.shortcut, nn.Identity)
        if isinstance(self.module, MOBILE):
            return not self.module.has_skip
        return getattr(self.module, "downsample", None) is not None

    def tokens(self, output: torch.Tensor) -> torch.Tensor:
        """Its output as (n, positions, features), without a copy where memory allows."""
        if issubclass(self.kind, CONVOLUTIONAL):
            return output.permute(0, 2, 3, 1).flatten(1, 2)
        return output.flatten(1, -2)


def find(network: nn.Module) -> list[Block]:
    """The residual blocks of a network, in order.

    Raises:
        NotApplicableError: if it has none that is known here.
    """
    root = "blocks" if isinstance(getattr(network, "blocks", None), nn.Module) else ""
    found = list(_walk(network.get_submodule(root), root))
    if not found:
        raise NotApplicableError(f"{type(network).__name__} has no residual blocks of a kind that is known here")
    return [Block(index, *place) for index, place in enumerate(found)]


def _walk(parent: nn.Module, path: str) -> Iterator[tuple[str, nn.Module, str]]:
    known = (*TRANSFORMER, *PARALLEL, *WINDOWED, *CONVOLUTIONAL, Skip)
    for name, child in parent.named_children():
        place = f"{path}.{name}" if path else name
        if isinstance(child, known):
            yield place, parent, name
        else:
            yield from _walk(child, place)


def select(blocks: Sequence[Block], indices: Sequence[int] | None) -> list[Block]:
    """The blocks of these numbers, all for None.

    Raises:
        NotApplicableError: if there is none of that number.
    """
    if indices is None:
        return list(blocks)
    for index in indices:
        if not 0 <= index < len(blocks):
            raise NotApplicableError(f"there is no block {index}: the model has blocks 0 to {len(blocks) - 1}")
    return [blocks[index] for index in indices]


def removable(network: nn.Module) -> list[int]:
    """The numbers of the blocks that may be taken away: those that do not change the shape."""
    return [block.index for block in find(network) if not block.changes_shape]


def attention_of(block: Block) -> nn.Module | None:
    """The module of a block that attends over all tokens and takes a mask; None where a lesion has left none.

    Raises:
        NotApplicableError: if the architecture has none.
    """
    module = block.module
    attention = getattr(module, "attn", None)
    if isinstance(module, Skip) or isinstance(attention, Nothing):
        return None
    if not isinstance(module, TRANSFORMER) or "attn_mask" not in inspect.signature(attention.forward).parameters:
        raise NotApplicableError(f"block {block.index} ({block.kind.__name__}) has no attention that takes a mask")
    return attention


@dataclass(frozen=True)
class Patches:
    """How a network cuts an image into patches, each of which becomes a token, in row-major order.

    The first patch begins at the top left. What does not fill a patch at the right and at the bottom is either padded
    to a whole one, or cut off: such a network does not see the last pixels of an image.

    Attributes:
        grid: patches (vertical, horizontal).
        size: pixels of the network's input from one patch to the next (vertical, horizontal).
    """

    grid: tuple[int, int]
    size: tuple[int, int]

    @property
    def side(self) -> int | None:
        """Pixels along a side of a square patch; None where patches are not square."""
        return self.size[0] if self.size[0] == self.size[1] else None


def patches_of(network: nn.Module, input_size: int) -> Patches:
    """The patches of a network on images of ``input_size`` pixels along a side.

    The patch embedding is asked, since a network that takes images of any size still tells the grid of the size that
    it was built for.

    Raises:
        NotApplicableError: if it does not cut images into patches, as far as timm says.
    """
    embedding = getattr(network, "patch_embed", getattr(network, "embeds", None))
    if not (hasattr(embedding, "dynamic_feat_size") and hasattr(embedding, "feat_ratio")):
        raise NotApplicableError(f"{type(network).__name__} has no grid of patches")
    grid = embedding.dynamic_feat_size((input_size, input_size))
    return Patches(tuple(grid), tuple(embedding.feat_ratio(as_scalar=False)))


def grid_of(network: nn.Module, input_size: int) -> tuple[tuple[int, int], int]:
    """Patches (vertical, horizontal) of a network over tokens, and how many tokens come before them.

    Args:
        input_size: pixels along a side of its input.

    Raises:
        NotApplicableError: if it is no such network.
    """
    prefix = getattr(network, "num_prefix_tokens", None)
    if not isinstance(prefix, int):
        raise NotApplicableError(f"{type(network).__name__} has no grid of patches with prefix tokens before it")
    return patches_of(network, input_size).grid, prefix


def has_class_token(network: nn.Module) -> bool:
    """Whether the first token is one of the class."""
    return isinstance(getattr(network, "cls_token", None), torch.Tensor)
