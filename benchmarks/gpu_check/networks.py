"""Networks with random weights, which cost what trained ones do, and photographs to give them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from tests.photographs import photographs as files

from withstand import models
from withstand.computing import FLOAT32, Computing

SIZE = 224


def random_network(entry: Mapping, device: str, computing: Computing = FLOAT32) -> models.Classifier:
    """The network of an entry at 224 px; its head is random, too, which many architectures start with zeros."""
    model = models.load({**entry, "preprocessing": {"test_size": False}}, None, device, computing)
    weight = model.network.get_classifier().weight
    with torch.no_grad():
        weight.copy_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    return model


def photographs(count: int, seed: int = 0) -> np.ndarray:
    """Cuts out of photographs of ImageNet's usual size: uint8 (count, 224, 224, 3)."""
    random = np.random.default_rng(seed)
    known = [np.asarray(Image.open(file).convert("RGB").resize((500, 375))) for file in files()]
    corners = random.integers(0, [375 - SIZE, 500 - SIZE], size=(count, 2))
    return np.stack([known[k % len(known)][y : y + SIZE, x : x + SIZE] for k, (y, x) in enumerate(corners)])
