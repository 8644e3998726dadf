"""One model on some image sets: predictions, or the reason why there are none."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from withstand import predictions
from withstand.computing import FLOAT32, Computing
from withstand.devices import choose_device
from withstand.errors import ModelError
from withstand.images import ImageFile
from withstand.parquet import ParquetFileError
from withstand.provenance import versions
from withstand.steps.models import read_card
from withstand.subsets import Subset

if TYPE_CHECKING:
    from withstand.models import Classifier
    from withstand.shards import Shard
    from withstand.steps.stream import ResizedSet


@dataclass(frozen=True)
class ImageSet:
    """One image set of the store to predict: its names, its shards in order, and the file to write.

    Attributes:
        policy: ``stored``, the study's stored images, resized on the device to what the model wants; or
            ``published``, so for images of a corrupted set as published.
        subset: which samples; None for all.
    """

    dataset: str
    family: str
    images: Sequence[Path]
    output: Path
    policy: Literal["stored", "published"] = "stored"
    subset: Subset | None = None

    def inputs(self) -> dict:
        """What the images are: equal for sets with the same ones."""
        return {"images": [content(path) for path in self.images], **chosen(self.subset)}

    def samples(self) -> int:
        """Number of samples of all shards."""
        return number(self.images, self.subset)

    def shards(self, card: Mapping, device: str) -> Iterator[Shard]:
        """The shards, one after the other."""
        return one_by_one(self, card, device)

    def opened(self, card: Mapping, device: str) -> Iterator[AbstractContextManager[Shard]]:
        """The shards, each to be opened and closed by whoever reads it."""
        return parts(self.images, self.subset)


def one_by_one(image_set: ImageSet, card: Mapping, device: str) -> Iterator[Shard]:
    """The shards of an image set, one after the other, each open until the next."""
    for shard in image_set.opened(card, device):
        with shard as opened:
            yield opened


def parts(paths: Sequence[Path], subset: Subset | None) -> Iterator[AbstractContextManager[Shard]]:
    """Files of images to open, or what a subset takes of each; a file of which it takes nothing is left out."""
    if subset is None:
        yield from (ImageFile(path) for path in paths)
        return
    counts = [count(path) for path in paths]
    positions = subset.positions([sample_id for path in paths for sample_id in _ids(path)])
    for path, start, size in zip(paths, np.cumsum([0, *counts[:-1]]), counts, strict=True):
        here = positions[(start <= positions) & (positions < start + size)] - start
        if len(here):
            yield _part(path, here)


@contextmanager
def _part(path: Path, positions: np.ndarray) -> Iterator[Shard]:
    from withstand.shards import PartialShard

    with ImageFile(path) as file:
        yield PartialShard(file, positions)


def chosen(subset: Subset | None) -> dict:
    """What inputs say of a subset; nothing for all samples."""
    return {} if subset is None else {"subset": asdict(subset)}


def content(path: Path) -> str:
    """The digest of samples and pixels of a file."""
    with ImageFile(path) as file:
        return file.content


def count(path: Path) -> int:
    """Number of samples of a file."""
    with ImageFile(path) as file:
        return len(file)


def number(paths: Sequence[Path], subset: Subset | None) -> int:
    """Number of samples of some files, or of a subset of them."""
    found = sum(count(path) for path in paths)
    return found if subset is None else min(found, subset.count)


def _ids(path: Path) -> list[str]:
    with ImageFile(path) as file:
        return list(file.samples.ids)


def predict(
    card_path: Path,
    weights: Path | None,
    image_sets: Sequence[ImageSet],
    *,
    batch_size: int,
    device: str = "auto",
    code: str | None = None,
    computing: Computing = FLOAT32,
) -> None:
    """Write the predictions of a model on each image set, one after the other in one process.

    An image set whose predictions are already there, made of the same images by the same weights and code, is left
    as it is. A model that fails on a set, or already at its card, gets a file without rows that carries the reason;
    failures of the machine (memory, disk, an unreadable image file) are raised.

    Args:
        card_path: the model's card.
        device: what ``devices.choose_device`` takes.
        code: digest of the code that makes predictions.
        computing: how the model computes.
    """
    model = LazyModel(read_card(card_path), weights, device, computing)
    for image_set in image_sets:
        inputs = image_set.inputs() | model.inputs(code)
        if is_current(image_set, inputs):
            print(f"{image_set.output} is up to date", file=sys.stderr)
            continue
        facts = model.about(image_set, inputs)
        try:
            _predict_set(model, image_set, facts, batch_size)
        except ModelError as error:
            print(f"{model.card['model']} failed and is left out: {error}", file=sys.stderr)
            predictions.write_failure(image_set.output, facts, str(error))


class LazyModel:
    """A model that is loaded when first needed, and whose failure to load is told each time.

    Without a word on how it computes, it does so in float32.
    """

    def __init__(
        self,
        card: Mapping,
        weights: Path | None,
        device: str,
        computing: Computing = FLOAT32,
    ) -> None:
        self.card, self._weights, self._device, self._computing = card, weights, device, computing

    def inputs(self, code: str | None) -> dict:
        """What the answers depend on besides images: equal for equal models."""
        chosen, failure = self._computing.choices(), self.card["failure"]
        more = ({"computing": chosen} if chosen else {}) | ({"failure": failure} if failure else {})
        return {"model": self.card["source"], "weights": self.card.get("weights"), "code": code, **more}

    def about(self, image_set: ImageSet, inputs: Mapping) -> dict:
        """What a result is of, for its metadata."""
        names = {"dataset": image_set.dataset, "family": image_set.family, "model": self.card["model"]}
        return {**names, "inputs": dict(inputs), "policy": image_set.policy, "versions": versions()}

    def facts(self) -> dict:
        """How it computes, for the metadata of results."""
        computing = asdict(self._computing) | {"dtype": self._computing.numbers(self.device)}
        del computing["precision"]
        return {"weights": self.card.get("weights"), "device": _device_name(self.device), **computing}

    @cached_property
    def device(self) -> str:
        return choose_device(self._device)

    @cached_property
    def classifier(self) -> Classifier:
        """The model on its device.

        Raises:
            ModelError: if it cannot be loaded, or its card already says why there is none.
        """
        if self.card["failure"]:
            raise ModelError(self.card["failure"])
        from withstand import models

        return models.load(self.card["source"], self._weights, self.device, self._computing)


def _predict_set(model: LazyModel, image_set: ImageSet, facts: dict, batch_size: int) -> None:
    classifier = model.classifier
    from withstand.inference import predict_set

    predict_set(
        classifier,
        image_set.shards(model.card, model.device),
        image_set.output,
        images=image_set.samples(),
        outputs=model.card["outputs"],
        facts=facts | model.facts(),
        batch_size=batch_size,
        device=model.device,
    )


def is_current(image_set: ImageSet | ResizedSet, inputs: Mapping) -> bool:
    """Whether the output of an image set is there, of a model that did not fail, and made of the same inputs."""
    try:
        facts = predictions.read_facts(image_set.output)
    except ParquetFileError:
        return False
    return facts.get("inputs") == inputs and "failure" not in facts and not is_older_than_index(image_set)


def is_older_than_index(image_set: ImageSet | ResizedSet) -> bool:
    """Whether the source was looked through once more since the output of an image set was made. An index does not
    know pixels, and whoever makes it anew, because files have changed, wants them read again."""
    index = getattr(image_set, "index", None)
    return index is not None and index.stat().st_mtime > image_set.output.stat().st_mtime


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "cpu"
