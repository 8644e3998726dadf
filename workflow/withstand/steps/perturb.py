"""Clean images to one family of corruptions: one shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from withstand import images
from withstand.corruptions.plan import steps
from withstand.progress import progress
from withstand.provenance import versions

BATCH = 64


def corrupt_images(
    clean: Path,
    corruptions: Sequence[dict],
    *,
    seed: int,
    codec: images.Codec,
    output: Path,
    origin: dict | None = None,
    device: str = "cpu",
) -> None:
    """Write every corruption of a family at its severities, for the samples of a clean shard.

    Args:
        clean: a file of the image store with the group ``clean``.
        corruptions: a plan (see :mod:`withstand.corruptions.plan`).
        origin: facts to keep in the file beside those that this step knows.
    """
    with images.ImageFile(clean) as file:
        facts = {
            "clean": file.origin,
            "corruptions": list(corruptions),
            "seed": seed,
            "versions": versions(),
            **(origin or {}),
        }
        planned = list(steps(corruptions, file.size))
        with (
            images.create(output, file.samples, size=file.size, codec=codec, origin=facts) as writer,
            progress(len(planned) * len(file), output.parent.name, "images") as advance,
        ):
            for corruption in corruptions:
                writer.add(corruption["name"], corruption["severities"])
            for step in planned:
                for start in range(0, len(file), BATCH):
                    batch = torch.from_numpy(file.read("clean", 0, slice(start, start + BATCH))).to(device)
                    corrupted = step.apply(batch, file.samples.ids[start : start + BATCH], seed)
                    writer.write(step.name, step.index, start, corrupted.cpu().numpy())
                    advance(len(batch))
