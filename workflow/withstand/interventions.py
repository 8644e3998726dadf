"""Changes to the inside of a model, for the time of a block: lesions and limits of attention.

    with intervene(model, {"kind": "lesion", "part": "mlp", "blocks": [3]}):
        logits = model(images)

An intervention swaps modules of the network, and restores the very same ones at the end, whatever happens in between;
weights are never touched. Whatever runs a model can run it so: predictions on any image set, attacks, representations.
An intervention is a mapping in the config (``from_spec``) and an object here; several may hold at once, in order. A
model whose entry in the config has some is changed for good when it is loaded (``apply``).

    lesion            part: block, mlp or attention; blocks: numbers from 0
    local_attention   distance: a share of the grid's longer side
    random_attention  distance, seed, draw; shared_by_layers, shared_by_heads
    patch_to_class    first or last: in how many blocks; keep_self

A *lesion* (Bhojanapalli et al., ICCV 2021, Fig. 8; Veit et al., NeurIPS 2016) removes a branch with its norm, layer
scale and drop path, none of which is computed any more, and leaves the residual path. Removing a block leaves the
identity, so blocks that change the shape cannot go.

*Local attention* (Fig. 9) lets a patch attend to patches within a Chebyshev distance, the larger of the vertical and
the horizontal one. *Random attention*, its control, masks as many pairs of patches, drawn at random from all pairs of
two different ones. In both, a patch attends to itself, and tokens before the patches (class, distillation, registers)
attend to all and are attended by all, so no row of the mask is empty. *Patch to class* masks every pair of patches, at
choice but with themselves, in the first or last n blocks: patches exchange information through the prefix tokens alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from withstand import blocks as anatomy
from withstand.blocks import TRANSFORMER, WINDOWED, Block, Nothing, Skip
from withstand.compat import children, need_bool_masks
from withstand.errors import NotApplicableError, WithstandError, nearest
from withstand.random import Stream

if TYPE_CHECKING:
    from withstand.models import Classifier

PARTS = ("block", "mlp", "attention")

Swap = tuple[nn.Module, str, object]
"""A module, the name of one of its children or methods, and what takes its place."""


class InterventionError(WithstandError):
    """A description of an intervention that makes no sense for any model."""


@dataclass(frozen=True)
class Lesion:
    """Remove a part of some blocks."""

    kind: ClassVar[str] = "lesion"
    part: Literal["block", "mlp", "attention"]
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise InterventionError(
                f"lesion: part {self.part!r} is none of {', '.join(PARTS)}{nearest(self.part, PARTS)}"
            )
        if any(type(index) is not int for index in self.blocks):
            raise InterventionError(f"lesion: blocks {list(self.blocks)} are not all integers")

    def swaps(self, network: nn.Module, input_size: int) -> list[Swap]:
        chosen = anatomy.select(anatomy.find(network), self.blocks)
        return [swap for block in chosen for swap in _removed(block, self.part)]


def _removed(block: Block, part: str) -> list[Swap]:
    module = block.module
    if isinstance(module, Skip):
        return []
    if part == "block":
        if block.changes_shape:
            raise NotApplicableError(f"block {block.index} changes the shape and cannot be removed")
        return [(block.parent, block.name, Skip(type(module)))]
    if not isinstance(module, TRANSFORMER + WINDOWED):
        branch = "MLP" if part == "mlp" else "attention"
        raise NotApplicableError(f"block {block.index} ({block.kind.__name__}) has no {branch} with a residual path")
    number = 1 if part == "attention" else 2
    aside = [f"norm{number}", f"ls{number}", f"drop_path{number}"]
    swaps: list[Swap] = [(module, name, nn.Identity()) for name in aside if name in children(module)]
    swaps.append((module, "attn" if part == "attention" else "mlp", Nothing()))
    if part == "attention" and isinstance(module, WINDOWED):
        swaps.append((module, "_attn", Nothing()))  # which cuts the windows
    return swaps


@dataclass(frozen=True)
class LocalAttention:
    """Patches attend within a distance; 1 is the whole grid."""

    kind: ClassVar[str] = "local_attention"
    distance: float

    def __post_init__(self) -> None:
        _check_share(self.kind, self.distance)

    def swaps(self, network: nn.Module, input_size: int) -> list[Swap]:
        grid, prefix = anatomy.grid_of(network, input_size)
        mask = torch.from_numpy(among_patches(local_pairs(grid, self.distance), prefix))
        return _masked(network, lambda block, heads: mask)


@dataclass(frozen=True)
class RandomAttention:
    """As many pairs of patches masked as by :class:`LocalAttention`, at random.

    Attributes:
        draw: which of the masks of this seed.
        shared_by_layers, shared_by_heads: whether there is one mask for all of them, as there is of a distance.
    """

    kind: ClassVar[str] = "random_attention"
    distance: float
    seed: int = 0
    draw: int = 0
    shared_by_layers: bool = True
    shared_by_heads: bool = True

    def __post_init__(self) -> None:
        _check_share(self.kind, self.distance)

    def swaps(self, network: nn.Module, input_size: int) -> list[Swap]:
        grid, prefix = anatomy.grid_of(network, input_size)
        drawn: dict[int, torch.Tensor] = {}

        def mask(block: Block, heads: int) -> torch.Tensor:
            layer = 0 if self.shared_by_layers else block.index
            if layer not in drawn:
                masks = [self._mask(grid, prefix, layer, head) for head in range(1 if self.shared_by_heads else heads)]
                drawn[layer] = torch.from_numpy(masks[0] if self.shared_by_heads else np.stack(masks))
            return drawn[layer]

        return _masked(network, mask)

    def _mask(self, grid: tuple[int, int], prefix: int, layer: int, head: int) -> np.ndarray:
        stream = Stream(self.seed, self.kind, *grid, reach(grid, self.distance), self.draw, layer, head)
        return among_patches(random_pairs(grid, self.distance, stream), prefix)


@dataclass(frozen=True)
class PatchToClass:
    """In the first or the last blocks, patches attend to the prefix tokens alone, at choice also to themselves."""

    kind: ClassVar[str] = "patch_to_class"
    first: int | None = None
    last: int | None = None
    keep_self: bool = False

    def __post_init__(self) -> None:
        if (self.first is None) == (self.last is None):
            raise InterventionError(f"{self.kind}: give either first or last, the number of blocks")
        if type(self._count) is not int or self._count < 0:
            raise InterventionError(f"{self.kind}: {self._count!r} is no number of blocks")

    @property
    def _count(self) -> int:
        return self.last if self.first is None else self.first

    def swaps(self, network: nn.Module, input_size: int) -> list[Swap]:
        (height, width), prefix = anatomy.grid_of(network, input_size)
        if prefix == 0:
            raise NotApplicableError(f"{type(network).__name__} has no class token")
        found = anatomy.find(network)
        if self._count > len(found):
            raise NotApplicableError(f"there are no {self._count} blocks: the model has {len(found)}")
        limited = found[: self._count] if self.last is None else found[len(found) - self._count :]
        pairs = np.eye(height * width, dtype=bool) if self.keep_self else np.zeros((height * width,) * 2, dtype=bool)
        mask = torch.from_numpy(among_patches(pairs, prefix))
        return _masked(network, lambda block, heads: mask, {block.index for block in limited})


Intervention = Lesion | LocalAttention | RandomAttention | PatchToClass
KINDS = {cls.kind: cls for cls in (Lesion, LocalAttention, RandomAttention, PatchToClass)}


def from_spec(spec: Mapping) -> Intervention:
    """The intervention that a mapping describes, such as a line of the config.

    Raises:
        InterventionError: if it describes none.
    """
    kind = spec.get("kind")
    if kind not in KINDS:
        raise InterventionError(f"intervention {kind!r} is none of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    known = {field.name: field for field in fields(KINDS[kind])}
    given = {name: value for name, value in spec.items() if name != "kind"}
    for name in given:
        if name not in known:
            raise InterventionError(f"{kind}: there is no {name}{nearest(name, known)}")
    for name, field in known.items():
        if field.default is MISSING and name not in given:
            raise InterventionError(f"{kind}: {name} is missing")
    if "blocks" in given:
        given["blocks"] = tuple(given["blocks"]) if isinstance(given["blocks"], Sequence) else (given["blocks"],)
    return KINDS[kind](**given)


def to_spec(intervention: Intervention) -> dict:
    """The mapping that describes an intervention, of plain JSON values."""
    values = {name: value for name, value in asdict(intervention).items() if value is not None}
    return {"kind": intervention.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


@contextmanager
def intervene(model: Classifier, *interventions: Intervention | Mapping) -> Iterator[Classifier]:
    """Change a model for the time of the block, by interventions one after the other.

    Hooks on a block or a branch that is removed are not called meanwhile.

    Raises:
        InterventionError: if one makes no sense.
        NotApplicableError: if the model has not what it changes; the model is then as before.
    """
    with ExitStack() as stack:
        for intervention in interventions:
            known = from_spec(intervention) if isinstance(intervention, Mapping) else intervention
            stack.enter_context(swapped(known.swaps(model.network, model.preprocessing.input_size)))
        yield model


def apply(network: nn.Module, specs: Sequence[Mapping], input_size: int) -> None:
    """Change a network that takes images of ``input_size`` pixels for good, as :func:`intervene` does for a while.

    Raises:
        InterventionError: if a description makes no sense.
        NotApplicableError: if the network has not what is changed.
    """
    for spec in specs:
        for parent, name, substitute in from_spec(spec).swaps(network, input_size):
            _place(parent, name)[name] = substitute


@contextmanager
def swapped(swaps: Sequence[Swap]) -> Iterator[None]:
    """Put modules in the place of others for the time of the block."""
    restore: list[tuple[dict, str, object]] = []
    try:
        for parent, name, substitute in swaps:
            place = _place(parent, name)
            restore.append((place, name, place.get(name)))
            place[name] = substitute
        yield
    finally:
        for place, name, original in reversed(restore):
            if original is None:
                del place[name]
            else:
                place[name] = original


def _place(parent: nn.Module, name: str) -> dict:
    """Where a module keeps a child, or a method: one that is hidden lies in the class, and comes back when the entry
    goes."""
    return children(parent) if name in children(parent) else parent.__dict__


class Masked(nn.Module):
    """Attention under a mask: bool (tokens, tokens) or (heads, tokens, tokens), true where a row may attend.

    Raises:
        WithstandError: if this timm adds such masks up as numbers.
    """

    def __init__(self, attention: nn.Module, mask: torch.Tensor) -> None:
        need_bool_masks()
        super().__init__()
        self.attention = attention
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: torch.Tensor, *args, attn_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor:
        if x.shape[1] != self.mask.shape[-1]:
            raise NotApplicableError(f"attention is over {x.shape[1]} tokens, the mask over {self.mask.shape[-1]}")
        return self.attention(x, *args, attn_mask=_both(self.mask, attn_mask), **kwargs)


def _both(mask: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor:
    if other is None:
        return mask
    return mask & other if other.dtype == torch.bool else other.masked_fill(~mask, -math.inf)


def _masked(network: nn.Module, mask, only: set[int] | None = None) -> list[Swap]:
    """Swaps that put attention under ``mask(block, heads)``; all blocks must be able to, whether masked or not."""
    device = next(network.parameters()).device
    swaps, placed = [], {}
    for block in anatomy.find(network):
        attention = anatomy.attention_of(block)
        if attention is None or (only is not None and block.index not in only):
            continue
        chosen = mask(block, innermost(attention).num_heads)
        if id(chosen) not in placed:
            placed[id(chosen)] = chosen.to(device)
        swaps.append((block.module, "attn", Masked(attention, placed[id(chosen)])))
    return swaps


def innermost(attention: nn.Module) -> nn.Module:
    """Attention without the masks around it."""
    while isinstance(attention, Masked):
        attention = attention.attention
    return attention


def chebyshev(grid: tuple[int, int]) -> np.ndarray:
    """The larger of vertical and horizontal distance between every two patches: int64 (patches, patches)."""
    rows, columns = (places.ravel() for places in np.indices(grid))
    return np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns))


def reach(grid: tuple[int, int], distance: float) -> int:
    """A share of the grid's longer side in whole patches, rounded down but for rounding errors."""
    return math.floor(distance * max(grid) + 1e-9)


def local_pairs(grid: tuple[int, int], distance: float) -> np.ndarray:
    """Which patches are within a distance of each other: bool (patches, patches), in row-major order of the grid."""
    return chebyshev(grid) <= reach(grid, distance)


def random_pairs(grid: tuple[int, int], distance: float, stream: Stream) -> np.ndarray:
    """As many pairs as :func:`local_pairs`, each patch with itself and the others at random."""
    patches = math.prod(grid)
    allowed = int(local_pairs(grid, distance).sum()) - patches
    order = np.argpartition(stream.uniform(size=patches * (patches - 1)), allowed - 1) if allowed else np.empty(0, int)
    others = np.zeros(patches * (patches - 1), dtype=bool)
    others[order[:allowed]] = True
    pairs = np.eye(patches, dtype=bool)
    pairs[~pairs] = others
    return pairs


def among_patches(pairs: np.ndarray, prefix: int) -> np.ndarray:
    """A mask over all tokens, bool (tokens, tokens), from one over patches. Prefix tokens see all and are seen."""
    return np.pad(pairs, ((prefix, 0), (prefix, 0)), constant_values=True)


def _check_share(kind: str, distance: float) -> None:
    if isinstance(distance, bool) or not isinstance(distance, (int, float)) or not 0 <= distance <= 1:
        raise InterventionError(f"{kind}: distance {distance!r} is no share of the grid, from 0 to 1")


def single_lesions(removable: Sequence[int]) -> list[tuple[int, ...]]:
    """Each block that may be removed, alone."""
    return [(index,) for index in removable]


def lesion_draws(
    seed: int, depth: int, count: int, *, draws: int = 25, removable: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """Which blocks to remove together, ``count`` at a time: all subsets where there are at most ``draws``, else random.

    The first block is kept (Bhojanapalli et al., ICCV 2021, Fig. 8). Draws are independent of each other, and
    functions of (seed, depth, count, draw): a draw is an order of all blocks, of which the first ``count`` that the
    model can miss are removed. So models of one depth lose the same blocks.

    Args:
        depth: the model's number of blocks.
        removable: blocks that may be removed; all for None.
    """
    candidates = [index for index in (range(depth) if removable is None else removable) if index > 0]
    if math.comb(len(candidates), count) <= draws:
        return list(combinations(candidates, count))
    orders = (np.argsort(Stream(seed, "lesion", depth, count, draw).uniform(size=depth)) for draw in range(draws))
    known = set(candidates)
    return [tuple(sorted([int(index) for index in order if int(index) in known][:count])) for order in orders]
