"""What a GPU computes, against the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.attacked import model_of_zoo, pictures, timed
from benchmarks.comparison import Comparison
from benchmarks.gpu_check.networks import photographs, random_network
from benchmarks.gpu_check.setting import Setting, Verdict
from withstand import random
from withstand.corruptions import corrupt
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES


def forward(setting: Setting) -> Iterator[Verdict]:
    """Logits in float32: at most 1e-4 of the largest, for sums in another order."""
    images, _, _ = pictures(16)
    given = images.permute(0, 3, 1, 2).float() / 255
    for name in ("vit_p16_base", "resnet_gn_base"):
        yield _same_logits(name, model_of_zoo(name, "cpu"), model_of_zoo(name, setting.device), given, setting.device)
    large = torch.from_numpy(photographs(2)).permute(0, 3, 1, 2).float() / 255
    for name, entry in setting.networks.items():
        on_cpu, on_device = (random_network(entry, device) for device in ("cpu", setting.device))
        yield _same_logits(name, on_cpu, on_device, large, setting.device)


@torch.inference_mode()
def _same_logits(name: str, on_cpu, on_device, images: torch.Tensor, device: str) -> Verdict:
    expected, found = on_cpu(images), on_device(images.to(device)).cpu()
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    return Verdict(f"forward: {name}", difference < 1e-4, f"logits differ by {difference:.1e} of the largest")


def numbers(setting: Setting) -> Iterator[Verdict | Comparison]:
    """Bits of uniform numbers are equal, normal ones to 2e-6; and how fast they are."""
    shape, ids = (224, 224, 3), [str(number) for number in range(setting.size(64, 2))]
    on_cpu, on_device = (random.tensor_keys(0, "check", 1, ids, 0, device) for device in ("cpu", setting.device))
    few = slice(0, 8)
    for name, draw, allowed in (("uniform", random.uniform, 0.0), ("normal", random.normal, 2e-6)):
        expected, found = draw(on_cpu[few], shape), draw(on_device[few], shape).cpu()
        difference = (expected - found).abs().max().item()
        yield Verdict(f"numbers: {name}", difference <= allowed, f"differ by {difference:.1e}, {allowed:g} allowed")
        draw(on_device, shape)
        rate = len(ids) / timed(lambda draw=draw: draw(on_device, shape))
        label = f"numbers_gpu: {name}, 224 px"
        yield Comparison.more_is_better(label, rate, 10_000.0, "images/s", "the rate asked for")


def corruptions(setting: Setting) -> Iterator[Verdict]:
    """All nineteen at all severities: one grey level on 99.9% of the pixels."""
    images = torch.from_numpy(photographs(setting.size(4, 1)))
    ids = [str(number) for number in range(len(images))]
    for name in CORRUPTIONS:
        close, furthest = 1.0, 0
        for severity in SEVERITIES if not setting.small else (3,):
            expected = corrupt(images, name, severity, ids, 0)
            found = corrupt(images.to(setting.device), name, severity, ids, 0).cpu()
            apart = (expected.int() - found.int()).abs()
            close = min(close, (apart <= 1).float().mean().item())
            furthest = max(furthest, apart.max().item())
        told = f"{100 * close:.3f}% of pixels within one grey level at the worst severity, the furthest {furthest}"
        yield Verdict(f"corruptions: {name}", close >= 0.999, told)
