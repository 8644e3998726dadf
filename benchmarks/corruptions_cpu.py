"""Every corruption at every severity on photographs of 224 px, one thread, beside imagecorruptions-imaug.

Both make uint8 images from uint8 images, one after the other: ours in batches of 16, the peer one at a time, which is
all it does. A round runs both; numbers are medians of the rounds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import skimage.data
import torch
from imagecorruptions import corrupt as peer_corrupt
from PIL import Image

from benchmarks.comparison import Comparison
from benchmarks.memory import peak_memory
from withstand import images
from withstand.corruptions import corrupt
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES
from withstand.steps.perturb import corrupt_images

SIZE = 224
BATCH = 16
ROUNDS = 3
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
IN_MEMORY_ROW = ("gaussian_noise", "zoom_blur", "frost", "elastic_transform")
"""One of each category, for the memory of the step."""

PEER = "imagecorruptions-imaug 1.1.5"
MEASURED = "images/s"


def photographs() -> np.ndarray:
    """Sixteen squares out of scikit-image's photographs: uint8 (16, 224, 224, 3)."""
    squares = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        picture = Image.fromarray(getattr(skimage.data, name)())
        side = min(picture.size)
        shifts = [(picture.width - side) * part // 3 for part in range(4)]
        squares += [picture.crop((left, 0, left + side, side)).resize((SIZE, SIZE)) for left in shifts]
    return np.stack([np.asarray(square) for square in squares])


def run() -> Iterator[Comparison]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    batch = photographs()
    ids = [str(number) for number in range(len(batch))]
    totals = {"ours": 0.0, "peer": 0.0}
    for name in CORRUPTIONS:
        ours, peer = _seconds_per_image(name, batch, ids)
        if name not in EXTRA:
            totals["ours"] += ours
            totals["peer"] += peer
        yield Comparison(f"corruptions_cpu: {name}", 1 / ours, 1 / peer, peer / ours, MEASURED, PEER)
    ours, peer = totals["ours"] / 15, totals["peer"] / 15
    yield Comparison("corruptions_cpu: the 15 types", 1 / ours, 1 / peer, peer / ours, MEASURED, PEER)
    yield from _storing(batch)
    yield _memory(batch)


def _seconds_per_image(name: str, batch: np.ndarray, ids: list[str]) -> tuple[float, float]:
    """Means over the severities; ours and the peer's."""
    tensor = torch.from_numpy(batch)
    ours, peer = 0.0, 0.0
    for severity in SEVERITIES:

        def own(severity=severity) -> None:
            corrupt(tensor, name, severity, ids, 0)

        def others(severity=severity) -> None:
            for image in batch:
                peer_corrupt(image, severity, name)

        own()
        others()
        rounds = [(_seconds(own) / len(batch), _seconds(others) / len(batch)) for _ in range(ROUNDS)]
        ours += median(own for own, _ in rounds)
        peer += median(other for _, other in rounds)
    return ours / len(SEVERITIES), peer / len(SEVERITIES)


def _storing(batch: np.ndarray) -> Iterator[Comparison]:
    """All 15 types at all severities through the step that writes the raw codec, beside computing alone."""
    repeated = np.concatenate([batch] * 4)
    ids = [str(number) for number in range(len(repeated))]
    names = [name for name in CORRUPTIONS if name not in EXTRA]
    with tempfile.TemporaryDirectory() as folder:
        clean = _stored(Path(folder) / "clean.h5", batch, 4)

        def write() -> None:
            given = {"seed": 0, "codec": "raw", "output": Path(folder) / "corrupted.h5"}
            corrupt_images(clean, plan(names, SEVERITIES), **given)

        def compute() -> None:
            for name in names:
                for severity in SEVERITIES:
                    corrupt(torch.from_numpy(repeated), name, severity, ids, 0)

        rounds = [(_seconds(write), _seconds(compute)) for _ in range(3)]
    write_rate, compute_rate = (len(repeated) * 75 / median(times) for times in zip(*rounds, strict=True))
    yield Comparison.more_is_better(
        "corruptions_cpu: 15 types, written raw", write_rate, compute_rate, MEASURED, "computed, not written"
    )


def plan(names: Iterable[str], severities: Sequence[int]) -> list[dict]:
    """What the step is told about corruptions, at some severities."""
    return [
        {
            "name": name,
            "category": CORRUPTIONS[name].category,
            "severities": severities,
            "constants": {
                size: [rows[severity - 1] for severity in severities]
                for size, rows in CORRUPTIONS[name].constants.items()
            },
        }
        for name in names
    ]


def _stored(path: Path, batch: np.ndarray, times: int) -> Path:
    """A batch, so many times one after the other, as clean images of the store."""
    ids = [str(number) for number in range(len(batch) * times)]
    samples = images.Samples(ids, np.zeros(len(ids), dtype=np.int64), ["a", "b"], np.arange(2), "two")
    with images.create(path, samples, size=SIZE, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        for number in range(times):
            writer.write("clean", 0, number * len(batch), batch)
    return path


_MEMORY_SCRIPT = """
import json
import sys
from pathlib import Path
from withstand.steps.perturb import corrupt_images
corrupt_images(Path(sys.argv[1]), json.loads(sys.argv[2]), seed=0, codec="raw", output=Path(sys.argv[3]))
"""


def _memory(batch: np.ndarray) -> Comparison:
    """Peak memory of the step on 2,048 images against that on 256, which fill the allocators' pools."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [_stored(folder / f"{count}.h5", batch, count // len(batch)) for count in (256, 2048)]
        told = json.dumps(plan(IN_MEMORY_ROW, [3]))
        few, many = (peak_memory(_MEMORY_SCRIPT, clean, told, folder / "corrupted.h5") for clean in files)
    label = "corruptions_cpu: memory, 2,048 images"
    return Comparison.less_is_better(label, many, few, "MB", "the same with 256 images")


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
