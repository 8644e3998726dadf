"""Perturbations that were made for one model, shown to another (the paper's section 3.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from withstand.attacks.space import apply
from withstand.inference import READ_AHEAD, Batch, Passes, batches, check_logits, label_modes, model_errors, score
from withstand.models import Classifier
from withstand.perturbations import PerturbationFile, image_digests
from withstand.prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction

    from withstand.shards import Shard


def transfer_set(
    model: Classifier,
    shards: Iterable[Shard],
    files: Mapping[str, Path],
    *,
    outputs: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Show a model the images of a set with the perturbations of several files.

    Args:
        shards: the shards of the clean images, in order.
        files: files of perturbations by any name.
        outputs: number of logits of the model.
        advance: told how many perturbed images are done.

    Returns the model's answers by the name of the file: columns sample_id, label, loss, and, for each label mode, top1
    and correct; and by the same names why a file has none, where its perturbations belong to other pixels.

    Raises:
        ModelError: if the model fails, or a logit is not finite.
    """
    passes, parts, left_out = Passes(batch_size, device), {name: [] for name in files}, {}
    opened = {name: PerturbationFile(path) for name, path in files.items()}
    try:
        modes = None
        for batch in prefetch(batches(shards, batch_size), READ_AHEAD):
            modes = modes or label_modes(batch.samples, outputs, model.label_space)
            digests = image_digests(batch.images)
            for name, file in opened.items():
                rows = _rows_of(file, batch.ids, digests)
                if rows is None:
                    left_out[name] = "its perturbations belong to other pixels: another set, resize or crop"
                if name in left_out:
                    continue
                logits = _answers(model, batch.images, file.read(rows), file.unit, passes, device)
                check_logits(logits, len(batch.images), outputs)
                parts[name].append(_columns(logits, batch, modes))
                advance(len(batch.images))
    finally:
        for file in opened.values():
            file.close()
    return {name: pd.concat(found) for name, found in parts.items() if found and name not in left_out}, left_out


def _rows_of(file: PerturbationFile, sample_ids: Sequence[str], digests: Sequence[str]) -> np.ndarray | None:
    """Where a file has the perturbations of samples; None if it has not, or if they belong to other pixels."""
    rows = [file.rows.get(sample_id) for sample_id in sample_ids]
    if None in rows or [file.images[row] for row in rows] != list(digests):
        return None
    return np.array(rows)


def _answers(
    model: Classifier,
    images: np.ndarray,
    stored: np.ndarray,
    unit: Fraction | None,
    passes: Passes,
    device: torch.device | str,
) -> torch.Tensor:
    """Float32 logits of perturbed images, on the CPU."""
    pixels, changes = torch.from_numpy(images), torch.from_numpy(stored)

    @torch.inference_mode()
    def work(part: slice) -> torch.Tensor:
        perturbed = apply(pixels[part].to(device), changes[part].to(device), unit)
        with model_errors():
            return model(perturbed.permute(0, 3, 1, 2)).float().cpu()

    return torch.cat(passes(work, len(pixels), images.shape[1] * images.shape[2]))


def _columns(logits: torch.Tensor, batch: Batch, modes: Sequence[str]) -> pd.DataFrame:
    samples = batch.samples.take(np.arange(batch.start, batch.start + len(batch.images)))
    scored = score(logits, samples, modes)
    kept = {"sample_id": samples.ids, "label": scored["label"], "loss": scored["loss"]}
    for mode in modes:
        kept |= {f"top1_{mode}": scored[f"top5_{mode}"][:, 0], f"correct_{mode}": scored[f"correct_{mode}"]}
    return pd.DataFrame(kept)
