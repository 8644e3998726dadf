"""One model on some image sets: predictions, or the reason why there are none."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from withstand import predictions
from withstand.errors import ModelError
from withstand.images import ImageFile
from withstand.provenance import versions
from withstand.steps.models import read_card


@dataclass(frozen=True)
class ImageSet:
    """One image set of the store to predict: its names, its shards in order, and the file to write.

    Attributes:
        policy: ``stored``, the study's stored images, resized on the device to what the model wants; or
            ``published``, so for images of a corrupted set as published.
    """

    dataset: str
    family: str
    images: Sequence[Path]
    output: Path
    policy: Literal["stored", "published"] = "stored"

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        return {"images": [content(path) for path in self.images]}

    def samples(self) -> int:
        """Number of samples of all shards."""
        return sum(count(path) for path in self.images)

    def shards(self, card: Mapping, device: str) -> Iterator[ImageFile]:
        """The shards, one after the other."""
        for path in self.images:
            with ImageFile(path) as file:
                yield file


def content(path: Path) -> str:
    """The digest of samples and pixels of a file."""
    with ImageFile(path) as file:
        return file.content


def count(path: Path) -> int:
    """Number of samples of a file."""
    with ImageFile(path) as file:
        return len(file)


def predict(
    card_path: Path,
    weights: Path | None,
    image_sets: Sequence[ImageSet],
    *,
    batch_size: int,
    device: str = "auto",
    code: str | None = None,
) -> None:
    """Write the predictions of a model on each image set, one after the other in one process.

    An image set whose predictions are already there, made of the same images by the same weights and code, is left
    as it is. A model that fails on a set, or already at its card, gets a file without rows that carries the reason;
    failures of the machine (memory, disk, an unreadable image file) are raised.

    Args:
        card_path: the model's card.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
        code: digest of the code that makes predictions.
    """
    model = _LazyModel(read_card(card_path), weights, device)
    for image_set in image_sets:
        inputs = {
            **image_set.inputs(),
            "model": model.card["source"],
            "weights": model.card.get("weights"),
            "code": code,
        }
        if _is_current(image_set.output, inputs):
            print(f"{image_set.output} is up to date", file=sys.stderr)
            continue
        names = {"dataset": image_set.dataset, "family": image_set.family, "model": model.card["model"]}
        facts = {**names, "inputs": inputs, "policy": image_set.policy, "versions": versions()}
        try:
            _predict_set(model, image_set, facts, batch_size)
        except ModelError as error:
            print(f"{model.card['model']} failed and is left out: {error}", file=sys.stderr)
            predictions.write_failure(image_set.output, facts, str(error))


class _LazyModel:
    """A model that is loaded when first needed, and whose failure to load is told each time."""

    def __init__(self, card: Mapping, weights: Path | None, device: str) -> None:
        self.card, self._weights, self._device = card, weights, device

    @cached_property
    def device(self) -> str:
        return choose_device(self._device)

    @cached_property
    def classifier(self):
        from withstand import models

        if self.card["failure"]:
            raise ModelError(self.card["failure"])
        return models.load(self.card["source"], self._weights, self.device)


def _predict_set(model: _LazyModel, image_set: ImageSet, facts: dict, batch_size: int) -> None:
    from withstand.inference import predict_set

    classifier = model.classifier
    facts |= {"weights": model.card["weights"], "dtype": "float32", "device": _device_name(model.device)}
    predict_set(
        classifier,
        image_set.shards(model.card, model.device),
        image_set.output,
        images=image_set.samples(),
        outputs=model.card["outputs"],
        facts=facts,
        batch_size=batch_size,
        device=model.device,
    )


def _is_current(output: Path, inputs: Mapping) -> bool:
    try:
        facts = predictions.read_facts(output)
    except predictions.PredictionFileError:
        return False
    return facts.get("inputs") == inputs and "failure" not in facts


def choose_device(device: str) -> str:
    """Resolve ``auto`` to ``cuda`` where there is a card, else ``cpu``."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "cpu"
