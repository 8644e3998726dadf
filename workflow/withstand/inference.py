"""Images to rows: run a model over an image set, reading ahead while it computes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch.nn import functional

from withstand import devices, predictions
from withstand.computing import compiler_errors
from withstand.datasets.label_spaces import KNOWN
from withstand.errors import ModelError, WithstandError
from withstand.images import Samples
from withstand.models import Classifier
from withstand.prefetch import prefetch
from withstand.progress import progress

if TYPE_CHECKING:
    from withstand.shards import Shard

CPU_PIXELS = 1 << 19
"""Pixels of a forward pass on a CPU: ten images of 224 px. More leave the caches, and may take three times as long."""

Result = TypeVar("Result")

READ_AHEAD, ANSWERED_AHEAD = 4, 64
"""Batches held ready while the model computes; and, on a card, those whose answers may wait to be scored."""


def predict_set(
    model: Classifier,
    shards: Iterable[Shard],
    output: Path,
    *,
    images: int,
    outputs: int,
    facts: Mapping,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> None:
    """Write the predictions of a model for every sample, corruption and severity of an image set.

    Args:
        shards: the shards of the image set, in order; each is read to its end before the next is asked for.
        images: how many samples the shards have together.
        outputs: number of logits of the model.
        facts: metadata of the file (see :mod:`withstand.predictions`).
        batch_size: images in a forward pass; halved when memory runs out.

    Raises:
        ModelError: if the model fails, its logits are not finite, or labels lie outside its outputs.
    """
    shards = iter(shards)
    first = next(shards)
    modes = label_modes(first.samples, outputs, model.label_space)
    layout = predictions.schema(
        outputs,
        modes,
        facts,
        cue_conflict=first.samples.texture_labels is not None,
        classes=outputs if first.samples.categories is None else len(first.samples.categories),
    )
    forward = Forward(model, outputs, batch_size, device)
    copies = images * len(first.conditions)
    with (
        predictions.create(output, layout) as writer,
        progress(copies, f"{facts['model']} on {facts['dataset']}, {facts['family']}", "images") as advance,
    ):
        scored = []
        for answers in forward.stream(batches(chain([first], shards), batch_size)):
            of_batch = answers.samples.take(np.arange(answers.start, answers.start + len(answers.logits)))
            scored.append(score(answers.logits.cpu(), of_batch, modes))
            advance(len(answers.logits))
            if answers.last:
                ids = answers.samples.ids
                writer.write(
                    {
                        "sample_id": ids,
                        "corruption": [answers.corruption] * len(ids),
                        "severity": np.full(len(ids), answers.severity, dtype=np.int8),
                        **{name: np.concatenate([part[name] for part in scored]) for name in scored[0]},
                    }
                )
                scored = []


@dataclass(frozen=True)
class Batch:
    """Images of one shard under one condition.

    Attributes:
        samples: those of the shard.
        start: the position of the batch's first sample among them.
        images: uint8 (n, height, width, 3).
        last: whether it completes the condition.
    """

    samples: Samples
    corruption: str
    severity: int
    start: int
    images: np.ndarray
    last: bool

    @property
    def ids(self) -> Sequence[str]:
        """The ids of its samples."""
        return self.samples.ids[self.start : self.start + len(self.images)]

    @property
    def labels(self) -> np.ndarray:
        """Their labels, int64 (n)."""
        return self.samples.labels[self.start : self.start + len(self.images)]


@dataclass(frozen=True)
class Answers:
    """What a model answers to a batch, without its images, so that many may wait.

    Attributes:
        samples, corruption, severity, start, last: those of the batch.
        logits: float32 (n, outputs), on the model's device, which may still be computing them.
    """

    samples: Samples
    corruption: str
    severity: int
    start: int
    last: bool
    logits: torch.Tensor


def batches(shards: Iterable[Shard], size: int) -> Iterator[Batch]:
    """The images of shards, condition by condition, in batches of ``size`` that end with each condition."""
    for shard in shards:
        samples = shard.samples
        for corruption, severity, index in shard.conditions:
            for start in range(0, len(shard), size):
                images = shard.read(corruption, index, slice(start, start + size))
                yield Batch(samples, corruption, severity, start, images, last=start + size >= len(shard))


def label_modes(samples: Samples, outputs: int, label_space: str) -> tuple[str, ...]:
    """The label modes of a set: ``subset`` only where the set's classes are fewer than the outputs, ``categories``
    alone where a class stands for several.

    Raises:
        ModelError: if the model answers in another label space, or has another number of outputs than it.
    """
    if label_space != samples.label_space:
        raise ModelError(f"the model answers in the label space {label_space}, the images are of {samples.label_space}")
    if samples.categories is not None:
        last = max(output for members in samples.categories for output in members)
        if outputs <= last or (label_space in KNOWN and outputs != KNOWN[label_space]):
            raise ModelError(f"the model has {outputs} outputs, too few for the label space {label_space}")
        return ("categories",)
    if outputs != len(samples.class_names):
        raise ModelError(
            f"the model has {outputs} outputs, the label space {samples.label_space} {len(samples.class_names)}"
        )
    return ("all",) if len(samples.subset) == outputs else ("all", "subset")


def score(logits: torch.Tensor, samples: Samples, modes: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of the contract from float32 logits (n, outputs) and the samples' labels.

    Raises:
        ModelError: if a logit is not finite.
    """
    check_finite(logits, "logits", samples.ids)
    labels = torch.from_numpy(samples.labels)
    answers = logits.double() if samples.categories is None else of_categories(logits, samples.categories)
    log_probabilities = answers.log_softmax(1)
    columns = {
        "label": samples.labels.astype(np.int32),
        "loss": _float(-_of_label(log_probabilities, labels)),
        "entropy": _float(-(log_probabilities.exp() * log_probabilities).sum(1)),
        "logits": logits.numpy().astype(np.float16),
    }
    for mode in modes:
        classes = torch.from_numpy(samples.subset) if mode == "subset" else torch.arange(answers.shape[1])
        for name, values in _mode_columns(answers, classes, labels).items():
            columns[f"{name}_{mode}"] = values
    if samples.texture_labels is not None:
        columns["texture_label"] = samples.texture_labels.astype(np.int32)
        for mode in modes:
            columns[f"texture_correct_{mode}"] = columns[f"top5_{mode}"][:, 0] == samples.texture_labels
    return columns


def of_categories(logits: torch.Tensor, categories: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits of categories: float64 (n, categories), the logarithm of the mean probability of each one's outputs.

    The rule of Geirhos et al. (ICLR 2019): over all outputs a softmax, then the mean over those of a category.
    """
    log_probabilities = logits.double().log_softmax(1)
    means = [log_probabilities[:, list(outputs)].logsumexp(1) - math.log(len(outputs)) for outputs in categories]
    return torch.stack(means, dim=1)


def _mode_columns(logits: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor) -> dict[str, np.ndarray]:
    """The columns of one label mode. Lists have one length in both modes; a small subset is padded with -1 and 0."""
    probabilities = logits[:, classes].double().softmax(1)
    top = probabilities.topk(min(5, len(classes)), dim=1)
    missing = min(5, logits.shape[1]) - top.indices.shape[1]
    top_classes = functional.pad(classes[top.indices], (0, missing), value=-1)
    return {
        "top5": top_classes.numpy().astype(np.int32),
        "top5_probability": _float(functional.pad(top.values, (0, missing))),
        "label_probability": _float(_of_label(probabilities, torch.searchsorted(classes, labels))),
        "squared_probability": _float((probabilities**2).sum(1)),
        "correct": (top_classes[:, 0] == labels).numpy(),
    }


def _of_label(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def _float(values: torch.Tensor) -> np.ndarray:
    return values.numpy().astype(np.float32)


class Passes:
    """Splits work on images into passes whose size steps down, for good, when memory runs out; on a CPU they are small
    for speed."""

    def __init__(self, batch_size: int, device: torch.device | str = "cpu") -> None:
        self.batch_size, self._device = batch_size, torch.device(device)

    def most(self, pixels: int) -> int:
        """Most images of so many pixels in a pass."""
        fit = max(1, CPU_PIXELS // pixels) if self._device.type == "cpu" else self.batch_size
        return min(self.batch_size, fit)

    def __call__(self, work: Callable[[slice], Result], count: int, pixels: int) -> list[Result]:
        """What ``work`` returns for consecutive slices of ``count`` images of so many pixels.

        Raises:
            WithstandError: if memory does not suffice for a single image.
        """
        parts, start = [], 0
        while start < count:
            stop = min(count, start + self.most(pixels))
            try:
                parts.append(work(slice(start, stop)))
            except Exception as error:
                if not is_memory_error(error):
                    raise
                self.step_down()
                continue
            start = stop
        return parts

    def step_down(self) -> None:
        """Halve the passes from now on.

        Raises:
            WithstandError: if they are of one image already.
        """
        if self.batch_size == 1:
            raise devices.DeviceError(devices.no_room(self._device, "with a single image"))
        self.batch_size //= 2
        print(f"out of memory: going on with batches of {self.batch_size}", file=sys.stderr)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


class Forward:
    """A model that answers images, in passes whose size steps down when memory runs out."""

    def __init__(self, model: Classifier, outputs: int, batch_size: int, device: torch.device | str = "cpu") -> None:
        self._model, self._outputs, self._device = model, outputs, torch.device(device)
        self.passes = Passes(batch_size, device)

    def __call__(self, images: np.ndarray) -> torch.Tensor:
        """uint8 (n, height, width, 3) to float32 logits (n, outputs) on the CPU.

        Raises:
            ModelError: if the model itself fails.
            WithstandError: if memory does not suffice for a single image.
        """
        return self._answer(torch.from_numpy(images)).cpu()

    def stream(self, batches: Iterable[Batch]) -> Iterator[Answers]:
        """Answers to one batch after the other, while the next are read.

        On a card they are computed ahead of what is done with them, and copies go on beside that; on a CPU, that would
        only compete for its cores. Raises what a call does.
        """
        answers = self._stream(batches)
        return prefetch(answers, ANSWERED_AHEAD) if self._device.type == "cuda" else answers

    def _stream(self, batches: Iterable[Batch]) -> Iterator[Answers]:
        if self._device.type == "cuda":  # to read and to copy are work for a thread each
            batches = prefetch(batches, READ_AHEAD)
        for batch, pixels in prefetch(uploaded(batches, self._device), READ_AHEAD):
            if pixels.is_cuda:  # copied on another stream, which may not have its memory back before this one is done
                pixels.record_stream(torch.cuda.current_stream(self._device))
            logits = self._answer(pixels)
            yield Answers(batch.samples, batch.corruption, batch.severity, batch.start, batch.last, logits)

    def _answer(self, pixels: torch.Tensor) -> torch.Tensor:
        size = pixels.shape[1] * pixels.shape[2]
        return torch.cat(self.passes(lambda part: self._forward(pixels[part]), len(pixels), size))

    @torch.inference_mode()
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.to(self._device).permute(0, 3, 1, 2).float() / 255
        with model_errors():
            logits = self._model(images)
        check_logits(logits, len(pixels), self._outputs)
        return logits.float()


def uploaded(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Batches, each with its images as uint8 (n, height, width, 3) on a device, or here where it has no memory left.

    A copy to a card is made from page-locked memory on a stream of its own, so it does not wait for what is computed;
    it is complete when the batch is handed over.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    for batch in batches:
        pixels = torch.from_numpy(batch.images)
        if stream is not None:
            with suppress(torch.OutOfMemoryError), torch.cuda.stream(stream):
                pixels = pixels.pin_memory().to(device, non_blocking=True)
            stream.synchronize()
        yield batch, pixels


@contextmanager
def model_errors() -> Iterator[None]:
    """Tell errors of a model's own code from those of the machine.

    Raises:
        ModelError: for whatever a model raises.
        WithstandError: where it cannot be compiled.
    """
    try:
        with compiler_errors():
            yield
    except WithstandError:
        raise
    except Exception as error:
        if is_memory_error(error) or _is_machine_error(error):
            raise
        raise ModelError(f"the model fails: {type(error).__name__}: {error}") from error


def check_logits(logits: object, count: int, outputs: int | None = None) -> None:
    """Refuse what are no logits of so many images, and of so many outputs where the number is known.

    Raises:
        ModelError: if they are not.
    """
    expected = (count, outputs or "outputs")
    is_right = isinstance(logits, torch.Tensor) and logits.ndim == 2 and logits.shape[0] == count
    if not is_right or outputs not in (None, logits.shape[1]):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ModelError(f"the model returns {found} for a batch of {count}, expected ({expected[0]}, {expected[1]})")


def check_finite(values: torch.Tensor, what: str, sample_ids: Sequence[str]) -> None:
    """Refuse values (n, ...) of samples of which one is not finite.

    Raises:
        ModelError: if so, with the sample's id.
    """
    if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():  # the sum is cheap, but may overflow
        broken = sample_ids[int((~torch.isfinite(values)).flatten(1).any(1).nonzero()[0])]
        raise ModelError(f"{what} are not finite, first for sample {broken}")


def is_memory_error(error: BaseException) -> bool:
    """Whether memory ran out, on a card or in the machine; torch has no type of its own for the latter."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _is_machine_error(error: BaseException) -> bool:
    """Whether the machine failed rather than the model."""
    libraries = ("CUDA error", "cuDNN error", "CUBLAS_STATUS")
    return isinstance(error, (torch.AcceleratorError, OSError)) or any(name in str(error) for name in libraries)
