"""Looking into models on a GPU, against the bare forward pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.comparison import Comparison
from benchmarks.extraction_cpu import compare, compare_grams
from benchmarks.gpu_check.networks import photographs, random_network
from benchmarks.gpu_check.setting import Setting


def lesions(setting: Setting) -> Iterator[Comparison]:
    """Representations, lesions and attention limits."""
    for name, entry in setting.networks.items():
        model = random_network(entry, setting.device)
        pixels = torch.from_numpy(photographs(setting.size(128, 2))).to(setting.device)
        images = pixels.permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            yield from compare(f"extraction_gpu: {name}", model, images, setting.rounds)


def similarity(setting: Setting) -> Iterator[Comparison]:
    """Gram matrices of minibatches."""
    for name, entry in setting.networks.items():
        model = random_network(entry, setting.device)
        minibatch = setting.size(250, 8)
        sizes = setting.size(128, 4), setting.device, setting.rounds
        yield compare_grams(f"similarity_gpu: {name}", model, photographs(minibatch), *sizes)
