"""Rotation and translation: every transformation of a grid, and some at random (Engstrom et al., "Exploring the
landscape of spatial robustness", ICML 2019), batched over images and transformations.

An image is rotated about its centre and shifted, in one step, with one interpolation. A positive angle turns what is
seen counter-clockwise; positive shifts move it right and down, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from withstand.errors import WithstandError
from withstand.inference import READ_AHEAD, Passes, batches, check_finite, check_logits, label_modes, model_errors
from withstand.models import Classifier
from withstand.prefetch import prefetch
from withstand.random import Stream

if TYPE_CHECKING:
    from withstand.shards import Shard

Padding = Literal["zeros", "border", "reflection"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]


class Transformation(NamedTuple):
    """Degrees, and pixels to the right and down."""

    angle: float
    shift_x: float
    shift_y: float


@dataclass(frozen=True)
class SpatialGrid:
    """Which transformations, and how they are carried out.

    Attributes:
        rotation: the largest angle, in degrees, either way.
        translation: the largest shift along each axis, in pixels, either way.
        angles, shifts: how many of them there are, evenly spaced from end to end; one alone is none.
        draws: how many more are drawn for each sample, evenly from the whole range; one at least.
        padding: what is seen beyond the border: black, the border's pixels, or the image mirrored.
    """

    rotation: float
    translation: float
    angles: int
    shifts: int
    draws: int = 10
    padding: Padding = "zeros"
    interpolation: Interpolation = "bilinear"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ``WithstandError`` where a number is not positive, or not a number."""
        for name in ("angles", "shifts", "draws"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise WithstandError(f"{name}: {getattr(self, name)!r} is no positive whole number")
        for name in ("rotation", "translation"):
            if not isinstance(getattr(self, name), (int, float)) or getattr(self, name) < 0:
                raise WithstandError(f"{name}: {getattr(self, name)!r} is no number from 0 on")

    @cached_property
    def transformations(self) -> tuple[Transformation, ...]:
        """Every combination of angle and shifts."""
        shifts = _spaced(self.translation, self.shifts)
        angles = _spaced(self.rotation, self.angles)
        return tuple(Transformation(angle, x, y) for angle in angles for x in shifts for y in shifts)

    def drawn(self, sample_id: str) -> tuple[Transformation, ...]:
        """The random ones of a sample."""
        numbers = Stream(self.seed, "spatial", sample_id).uniform(-1, 1, (self.draws, 3))
        return tuple(Transformation(*row) for row in numbers * (self.rotation, self.translation, self.translation))


def _spaced(most: float, count: int) -> list[float]:
    return [float(value) for value in np.linspace(-most, most, count)] if count > 1 else [0.0]


@dataclass(frozen=True)
class Answers:
    """What a model made of n images under t transformations each.

    Attributes:
        loss: float32 (n, t), negative log-likelihood of the label over all outputs, in nats.
        correct: bool (n, t) by label mode.
    """

    loss: np.ndarray
    correct: Mapping[str, np.ndarray]

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Those to several batches."""
        correct = {mode: np.concatenate([part.correct[mode] for part in parts]) for mode in parts[0].correct}
        return cls(np.concatenate([part.loss for part in parts]), correct)

    def worst(self, mode: str) -> np.ndarray:
        """The transformation that does most harm to each image: int64 (n). Of those that the model gets wrong the one
        with the highest loss, or, where it gets none wrong, of all."""
        right = self.correct[mode]
        return np.where(right & ~right.all(1, keepdims=True), -np.inf, self.loss).argmax(1)


@dataclass(frozen=True)
class Search:
    """A model that answers transformed images.

    Attributes:
        model: from float32 (n, 3, height, width) in [0, 1] to logits (n, ``outputs``).
        modes: the classes, int64 on the CPU, that each label mode chooses among.
        passes: how images are split into forward passes.
    """

    model: nn.Module
    outputs: int
    how: SpatialGrid
    modes: Mapping[str, torch.Tensor]
    passes: Passes

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, sample_ids: Sequence[str]
    ) -> tuple[Answers, Answers]:
        """What the model makes of images under every transformation of the grid, and under those drawn for each.

        Args:
            images: uint8 (n, height, width, 3), on the model's device.
            labels: int64 (n), on the CPU.

        Raises:
            ModelError: if the model fails, or a logit is not finite.
        """
        at_once = self.passes.most(images.shape[1] * images.shape[2])
        if len(images) > at_once:  # each pass would transform them all, and throw most away
            parts = [slice(start, start + at_once) for start in range(0, len(images), at_once)]
            found = [self(images[part], labels[part], sample_ids[part]) for part in parts]
            on_grid, drawn = (Answers.joined(answers) for answers in zip(*found, strict=True))
            return on_grid, drawn
        pixels = (images.float() / 255).permute(0, 3, 1, 2).contiguous()
        count, grid = len(pixels), self.how.transformations
        drawn = [self.how.drawn(sample_id) for sample_id in sample_ids]

        def on_grid(pairs: slice) -> torch.Tensor:
            first, last = pairs.start // count, (pairs.stop - 1) // count
            seen = transform_all(pixels, grid[first : last + 1], self.how)
            return seen[pairs.start - first * count : pairs.stop - first * count]

        def at_random(pairs: slice) -> torch.Tensor:
            numbers = [divmod(pair, count) for pair in range(pairs.start, pairs.stop)]
            chosen = [drawn[sample][draw] for draw, sample in numbers]
            return transform_each(pixels[[sample for _, sample in numbers]], chosen, self.how)

        return (
            self._ask(on_grid, len(grid), labels, sample_ids, pixels[0, 0].numel()),
            self._ask(at_random, self.how.draws, labels, sample_ids, pixels[0, 0].numel()),
        )

    def _ask(
        self,
        make: Callable[[slice], torch.Tensor],
        transformations: int,
        labels: torch.Tensor,
        ids: Sequence[str],
        size: int,
    ) -> Answers:
        """Make and ask about pairs of transformation and image, which are numbered transformation by transformation."""
        count = len(ids)

        def work(pairs: slice) -> list[torch.Tensor]:
            samples = torch.arange(pairs.start, pairs.stop) % count
            logits = self._logits(make(pairs), [ids[sample] for sample in samples])
            correct = [classes[logits[:, classes].argmax(1)] == labels[samples] for classes in self.modes.values()]
            return [functional.cross_entropy(logits, labels[samples], reduction="none"), *correct]

        parts = self.passes(work, count * transformations, size)
        loss, *correct = (torch.cat(column).reshape(-1, count).T.numpy() for column in zip(*parts, strict=True))
        return Answers(loss, dict(zip(self.modes, correct, strict=True)))

    @torch.inference_mode()
    def _logits(self, images: torch.Tensor, sample_ids: Sequence[str]) -> torch.Tensor:
        with model_errors():
            logits = self.model(images)
        check_logits(logits, len(images), self.outputs)
        check_finite(logits, "logits", sample_ids)
        return logits.float().cpu()


def search_set(
    model: Classifier,
    shards: Iterable[Shard],
    given: Mapping,
    *,
    outputs: int,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Sequence[Transformation], dict[str, np.ndarray]]]:
    """What a model makes of the images of a set under every transformation of a grid, and under random ones.

    Args:
        shards: the shards of the clean images, in order.
        given: the fields of a ``SpatialGrid``, with ``translation`` as a share of the image's side.
        outputs: number of logits of the model.

    Yields, batch by batch, the transformations of the grid, and columns: sample_id, label int32, loss float16 (n, t),
    drawn_loss float32 (n, draws), and, for each label mode, correct bool (n, t), drawn_correct bool (n, draws) and
    worst int32 (n), an index into the transformations.

    Raises:
        ModelError: if the model fails, or a logit is not finite.
    """
    shards = iter(shards)
    first = next(shards)
    samples = first.samples
    choices = {"subset": torch.from_numpy(samples.subset), "all": torch.arange(outputs)}
    modes = {mode: choices[mode] for mode in label_modes(samples, outputs, model.label_space)}
    how = SpatialGrid(**{**given, "translation": given["translation"] * first.size})
    passes = Passes(batch_size, device)
    search = Search(model, outputs, how, modes, passes)
    for batch in prefetch(batches(chain([first], shards), passes.most(first.size**2)), READ_AHEAD):
        images, labels = torch.from_numpy(batch.images).to(device), torch.from_numpy(batch.labels)
        on_grid, at_random = search(images, labels, batch.ids)
        columns = {
            "sample_id": np.array(batch.ids, dtype=object),
            "label": batch.labels.astype(np.int32),
            "loss": on_grid.loss.astype(np.float16),
            "drawn_loss": at_random.loss,
        }
        for mode in modes:
            columns |= {
                f"correct_{mode}": on_grid.correct[mode],
                f"drawn_correct_{mode}": at_random.correct[mode],
                f"worst_{mode}": on_grid.worst(mode).astype(np.int32),
            }
        yield how.transformations, columns


def transform_all(images: torch.Tensor, transformations: Sequence[Transformation], how: SpatialGrid) -> torch.Tensor:
    """Every image under every transformation.

    Args:
        images: float32 (n, 3, height, width).

    Returns float32 (t * n, 3, height, width), transformation by transformation.
    """
    count, channels, height, width = images.shape
    # images as channels: a sampling grid, and its weights, are computed once for all of them
    stacked = images.reshape(1, count * channels, height, width).expand(len(transformations), -1, -1, -1)
    return _sample(stacked, transformations, how).reshape(-1, channels, height, width)


def transform_each(images: torch.Tensor, transformations: Sequence[Transformation], how: SpatialGrid) -> torch.Tensor:
    """Each image under a transformation of its own: float32 (n, 3, height, width) to the same."""
    return _sample(images, transformations, how)


def _sample(images: torch.Tensor, transformations: Sequence[Transformation], how: SpatialGrid) -> torch.Tensor:
    grids = _grids(transformations, images.shape[-2:], images.device)
    seen = functional.grid_sample(images, grids, mode=how.interpolation, padding_mode=how.padding, align_corners=True)
    return seen.clamp_(0, 1) if how.interpolation == "bicubic" else seen  # which overshoots


def _grids(transformations: Sequence[Transformation], size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Where each pixel is seen in the image before: float32 (t, height, width, 2), -1 and 1 at the centres of its
    outermost pixels."""
    height, width = size
    turns = torch.tensor([math.radians(transformation.angle) for transformation in transformations])
    shifts = torch.tensor([transformation[1:] for transformation in transformations], dtype=torch.float32).to(device)
    x = torch.arange(width, device=device) - (width - 1) / 2 - shifts[:, :1]
    y = torch.arange(height, device=device) - (height - 1) / 2 - shifts[:, 1:]
    cos, sin = (values.float()[:, None, None].to(device) for values in (turns.cos(), turns.sin()))
    x, y = x[:, None, :], y[:, :, None]
    return torch.stack([(cos * x - sin * y) / ((width - 1) / 2), (sin * x + cos * y) / ((height - 1) / 2)], dim=3)
