"""One model on one image set: predictions, or the reason why there are none."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from withstand import predictions
from withstand.errors import ModelError
from withstand.provenance import versions
from withstand.steps.models import read_card

POLICY = "stored"
"""The transform policy: the study's stored images, resized on the device to what the model wants."""


def predict(
    card_path: Path,
    weights: Path | None,
    images: Sequence[Path],
    output: Path,
    *,
    image_set: Mapping[str, str],
    batch_size: int,
    device: str = "auto",
) -> None:
    """Write the predictions of a model on an image set.

    A model that fails here, or already at its card, gets a file without rows that carries the reason; failures
    of the machine (memory, disk, an unreadable image file) are raised.

    Args:
        card_path: the model's card.
        image_set: names of ``dataset`` and ``family``, kept in the file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
    """
    card = read_card(card_path)
    facts = {**image_set, "model": card["model"], "policy": POLICY, "versions": versions()}
    try:
        if card["failure"]:
            raise ModelError(card["failure"])
        _predict(card, facts, weights, images, output, batch_size, device)
    except ModelError as error:
        print(f"{card['model']} failed and is left out: {error}", file=sys.stderr)
        predictions.write_failure(output, facts, str(error))


def _predict(card, facts, weights, images, output, batch_size, device) -> None:
    import torch

    from withstand import models
    from withstand.inference import predict_set

    device = choose_device(device)
    facts |= {
        "weights": card["weights"],
        "dtype": "float32",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "cpu",
    }
    model = models.load(card["source"], weights, device)
    predict_set(model, images, output, outputs=card["outputs"], facts=facts, batch_size=batch_size, device=device)


def choose_device(device: str) -> str:
    """Resolve ``auto`` to ``cuda`` where there is a card, else ``cpu``."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
