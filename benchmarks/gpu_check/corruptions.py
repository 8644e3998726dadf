"""Every corruption at every severity on photographs of 224 px that lie on a GPU, beside the rate asked for.

All images over all time, the fifteen types together; JPEG, which Pillow makes on the CPU's threads, stands apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.attacked import timed
from benchmarks.comparison import Comparison
from benchmarks.gpu_check.networks import photographs
from benchmarks.gpu_check.setting import Setting
from withstand.corruptions import corrupt
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Those of ImageNet-C that are not among its fifteen."""

ASKED = 10_000.0
"""Images per second."""


def run(setting: Setting) -> Iterator[Comparison]:
    batch = torch.from_numpy(photographs(setting.size(256, 1))).to(setting.device)
    ids = [str(number) for number in range(len(batch))]
    severities = SEVERITIES[: setting.size(5, 1)]
    taken = {}
    for name in CORRUPTIONS:

        def all_severities(name: str = name) -> None:
            for severity in severities:
                corrupt(batch, name, severity, ids, 0)

        all_severities()
        taken[name] = timed(all_severities)
        yield _against_asked(name, len(severities) * len(batch) / taken[name])
    fifteen = [name for name in CORRUPTIONS if name not in EXTRA]
    for label, names in (
        ("the 15 types", fifteen),
        ("the 14 types without JPEG", [name for name in fifteen if name != "jpeg_compression"]),
    ):
        rate = len(names) * len(severities) * len(batch) / sum(taken[name] for name in names)
        yield _against_asked(label, rate)


def _against_asked(name: str, rate: float) -> Comparison:
    return Comparison.more_is_better(f"corruptions_gpu: {name}", rate, ASKED, "images/s", "the rate asked for")
