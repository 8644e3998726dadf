"""What a model has made of images after each of its blocks: all tokens, and the class token.

Hooks on the blocks give their outputs as they pass, so a block counts as it stands at that moment, under an
intervention too. Where there is no class token its place takes the mean over positions, those of patches alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from withstand import blocks as anatomy
from withstand.blocks import Block
from withstand.errors import NotApplicableError
from withstand.interventions import innermost, swapped
from withstand.models import Classifier

Visitor = Callable[[int, torch.Tensor], None]


@dataclass(frozen=True)
class Representation:
    """After one block: all tokens (n, positions, features), and the class token or its stand-in (n, features)."""

    tokens: torch.Tensor
    summary: torch.Tensor


@contextmanager
def recording(model: Classifier, visit: Visitor) -> Iterator[list[Block]]:
    """Hand every block's output to ``visit(number, tokens)`` while the model runs; yields the blocks.

    Tokens (n, positions, features) are a view of the output, of the model's dtype, on its device; prefix tokens come
    first. They live as long as the visitor keeps them.

    Raises:
        NotApplicableError: if the model has no blocks of a known kind, or they do not keep images apart; the latter
            while it runs.
    """
    found, shown = anatomy.find(model.network), {}

    def hand_over(block: Block, output: torch.Tensor) -> None:
        tokens = block.tokens(output)
        if len(tokens) != shown["images"]:
            raise NotApplicableError(f"block {block.index} ({block.kind.__name__}) splits images into several rows")
        visit(block.index, tokens)

    with ExitStack() as stack:
        count = model.register_forward_pre_hook(lambda module, inputs: shown.update(images=len(inputs[0])))
        stack.callback(count.remove)
        for block in found:
            handle = block.module.register_forward_hook(
                lambda module, inputs, output, block=block: hand_over(block, output)
            )
            stack.callback(handle.remove)
        yield found


def summary(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function from tokens (n, positions, features) to the class token (n, features), or the mean of patches."""
    if anatomy.has_class_token(network):
        return lambda tokens: tokens[:, 0]
    prefix = getattr(network, "num_prefix_tokens", 0) or 0
    return lambda tokens: tokens[:, prefix:].mean(1)


def representations(model: Classifier, images: torch.Tensor) -> list[Representation]:
    """What the model makes of float images (n, 3, height, width) in [0, 1], after each block, in their order."""
    passed: dict[int, torch.Tensor] = {}
    with recording(model, passed.__setitem__) as found:
        model(images)
    summarise = summary(model.network)
    return [Representation(passed[block.index], summarise(passed[block.index])) for block in found]


@contextmanager
def attention_weights(model: Classifier, visit: Visitor) -> Iterator[list[Block]]:
    """Hand the weights of each block's attention to ``visit(number, weights)`` while the model runs; yields the blocks.

    Weights are (n, heads, tokens, tokens), a row for each token that attends, and rows add up to 1. Fused attention
    computes none, so attention is computed in steps meanwhile: the outputs are the same but for rounding.

    Raises:
        NotApplicableError: if a block does not attend over all tokens.
    """
    attending = []
    for block in anatomy.find(model.network):
        attention = anatomy.attention_of(block)
        if attention is not None:
            attending.append((block, innermost(attention)))
    for block, attention in attending:
        if not hasattr(attention, "fused_attn") or not isinstance(getattr(attention, "attn_drop", None), nn.Module):
            raise NotApplicableError(f"block {block.index} ({type(attention).__name__}) does not tell its weights")
    with ExitStack() as stack:
        stack.enter_context(swapped([(attention, "fused_attn", False) for _, attention in attending]))
        for block, attention in attending:
            # weights pass through dropout on their way, which does nothing at inference
            handle = attention.attn_drop.register_forward_hook(
                lambda module, inputs, output, number=block.index: visit(number, output)
            )
            stack.callback(handle.remove)
        yield [block for block, _ in attending]


@dataclass(frozen=True)
class AttentionDistance:
    """How far heads look, from patches to patches: each array float64 (n, heads).

    Attributes:
        euclidean: mean distance from a patch to where it attends, weighted by attention, in patches (Dosovitskiy et
            al., ICLR 2021, Fig. 7); attention to prefix tokens is left out, and the rest scaled to 1.
        chebyshev: the same of the larger of the vertical and the horizontal distance, which limits of attention bound.
        prefix_share: the share of patches' attention that goes to prefix tokens.
    """

    euclidean: torch.Tensor
    chebyshev: torch.Tensor
    prefix_share: torch.Tensor


class DistanceMeter:
    """Turns attention weights to distances, for one model."""

    def __init__(self, model: Classifier) -> None:
        (height, width), self._prefix = anatomy.grid_of(model.network, model.preprocessing.input_size)
        device = next(model.network.parameters()).device
        places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).flatten(1)
        apart = (places[:, :, None] - places[:, None]).abs().float().to(device)
        self._distances = torch.stack([apart.norm(dim=0), apart.amax(0), torch.ones_like(apart[0])])

    def __call__(self, weights: torch.Tensor) -> AttentionDistance:
        """From weights (n, heads, tokens, tokens)."""
        among = weights[:, :, self._prefix :, self._prefix :].float()
        sums = torch.einsum("nhqk,dqk->dnhq", among, self._distances)
        patches = sums[2]
        # a patch that attends to prefix tokens alone has no distance
        euclidean, chebyshev = ((part / patches).nanmean(-1).double().cpu() for part in sums[:2])
        return AttentionDistance(euclidean, chebyshev, 1 - patches.mean(-1).double().cpu())
