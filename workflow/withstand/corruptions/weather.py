"""Weather corruptions."""

from __future__ import annotations

import torch

from withstand.corruptions.pixels import SampleNoise, to_bytes, to_unit


def brightness(images: torch.Tensor, noise: SampleNoise, added: float) -> torch.Tensor:
    """Add to the V channel of HSV, clipped at 1; hue and saturation stay.

    At fixed hue and saturation RGB is proportional to V, so the colours are scaled instead of converted.
    """
    colours = to_unit(images)
    value = colours.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp(0, 1)
    return to_bytes(torch.where(value > 0, colours * (brighter / value.clamp_min(1e-6)), brighter))
