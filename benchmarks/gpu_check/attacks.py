"""Attacks on a GPU against their bare passes and foolbox."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks import pgd_cpu, spatial_cpu
from benchmarks.attacked import model_of_zoo, pictures
from benchmarks.comparison import Comparison
from benchmarks.gpu_check.networks import photographs, random_network
from benchmarks.gpu_check.setting import Setting
from withstand.models import Classifier


def pgd(setting: Setting) -> Iterator[Comparison]:
    for name, entry in setting.networks.items():
        model = random_network(entry, setting.device)
        sample = _labelled(model, photographs(setting.size(64, 2)), setting.device)
        label = f"pgd_gpu: {name}, {pgd_cpu.STEPS} steps"
        yield from pgd_cpu.compare(label, model, sample, setting.rounds, ("foolbox",))


def spatial(setting: Setting) -> Iterator[Comparison]:
    """With fewer images than a pass holds, and with many."""
    for name in ("vit_p16_base", "resnet_gn_base")[: setting.size(2, 1)]:
        for images in sorted({8, setting.size(256, 8)}):
            batch = pictures(images)
            sample = (batch[0].to(setting.device), *batch[1:])
            label = f"spatial_gpu: {name}, {images} images of 64 px"
            model = model_of_zoo(name, setting.device)
            yield from spatial_cpu.compare(label, model, sample, setting.size(256, 32), setting.rounds)
    (name, entry), images = next(iter(setting.networks.items())), setting.size(8, 2)
    model = random_network(entry, setting.device)
    pixels, labels, ids = _labelled(model, photographs(images), setting.device)
    label = f"spatial_gpu: {name}, {images} images of 224 px"
    yield from spatial_cpu.compare(label, model, (pixels, labels.cpu(), ids), setting.size(128, 8), setting.rounds, ())


def _labelled(model: Classifier, pictures, device: str) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Images on a device, and the model's own answers as their labels."""
    pixels = torch.from_numpy(pictures).to(device)
    with torch.inference_mode():
        labels = model(pixels.permute(0, 3, 1, 2).float() / 255).argmax(1)
    return pixels, labels.clone(), [str(number) for number in range(len(pixels))]
