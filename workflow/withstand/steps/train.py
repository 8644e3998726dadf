"""Train a small architecture from a recipe, on stored images; resumable after any interruption."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional

from withstand import models
from withstand.errors import WithstandError
from withstand.files import atomic_output
from withstand.images import ImageFile
from withstand.models import Preprocessing
from withstand.prefetch import prefetch
from withstand.provenance import versions
from withstand.random import Stream, key

MEAN = STD = (0.5, 0.5, 0.5)


class TrainingError(WithstandError):
    """A training that cannot start or go on."""


class DivergedError(TrainingError):
    """A training whose loss is not finite, which is its recipe's fault."""


def train_or_record(
    recipe: Mapping,
    training: Sequence[Path],
    validation: Sequence[Path],
    output: Path,
    device: str = "cpu",
    code: str | None = None,
) -> None:
    """Train as :func:`train` does; a recipe that diverges gets a weights file that says so."""
    try:
        accuracy = train(recipe, training, validation, output, device, code)
        print(f"{output}: accuracy {accuracy:.3f} on the validation images", file=sys.stderr)
    except DivergedError as error:
        output.with_name(f"{output.stem}.checkpoint.pt").unlink(missing_ok=True)
        print(f"the model is left out: {error}", file=sys.stderr)
        models.save_failure(output, f"its training diverged: {error}")


def train(
    recipe: Mapping,
    training: Sequence[Path],
    validation: Sequence[Path],
    output: Path,
    device: str = "cpu",
    code: str | None = None,
) -> float:
    """Train the recipe's architecture and write its weights; return the accuracy on the validation images.

    The state is saved beside ``output`` after every epoch, and a later call with the same recipe, images and code goes
    on from there. The weights file carries architecture, preprocessing, label space, recipe and accuracy in its header.

    Args:
        recipe: a config's recipe (``config.Recipe``) as plain data.
        training, validation: files of the image store, clean images of one size and label space.
        code: digest of the code that trains.

    Raises:
        TrainingError: if there are fewer images than a batch, or the state beside ``output`` belongs to another recipe.
        DivergedError: if the loss is not finite.
    """
    data = TrainingImages(training)
    if len(data) < recipe["batch_size"]:
        raise TrainingError(f"the training set has {len(data)} images, fewer than a batch of {recipe['batch_size']}")
    torch.manual_seed(recipe["seed"])
    # with fused attention a training step takes 1.8 times as long on a CPU, for its backward pass
    timm.layers.set_fused_attn(device != "cpu")
    network = timm.create_model(recipe["timm"], pretrained=False, **recipe["kwargs"])
    preprocessing = Preprocessing(input_size=data.size, mean=MEAN, std=STD, interpolation="bilinear")
    model = models.Classifier(network, preprocessing).to(device)
    optimizer = _optimizer(model, recipe)
    checkpoint = output.with_name(f"{output.stem}.checkpoint.pt")
    origin = {"recipe": dict(recipe), "images": data.contents, "code": code}
    first_epoch = _resume(checkpoint, origin, model, optimizer)
    for epoch in range(first_epoch, recipe["epochs"]):
        loss = _train_epoch(model, optimizer, data, recipe, epoch, device)
        _save_state(checkpoint, origin, model, optimizer, epoch + 1)
        print(f"epoch {epoch + 1}/{recipe['epochs']}: training loss {loss:.4f}", file=sys.stderr, flush=True)
    accuracy = _accuracy(model, validation, recipe["batch_size"], device)
    header = {
        "timm": recipe["timm"],
        "kwargs": recipe["kwargs"],
        "preprocessing": asdict(preprocessing),
        "label_space": data.label_space,
        "recipe": dict(recipe),
        "validation_accuracy": round(accuracy, 4),
        "versions": versions(),
    }
    models.save_weights(output, network.state_dict(), header)
    checkpoint.unlink(missing_ok=True)
    return accuracy


class TrainingImages:
    """Random access to the clean images of several shards; only labels are held in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [ImageFile(path) for path in paths]
        self._starts = np.cumsum([0] + [len(file) for file in self._files])
        self.labels = np.concatenate([file.samples.labels for file in self._files])
        self.size = self._files[0].size
        self.label_space = self._files[0].samples.label_space
        self.contents = [file.content for file in self._files]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (n, height, width, 3) and labels int64 (n) of ascending indices."""
        parts = []
        for number, file in enumerate(self._files):
            start, stop = self._starts[number], self._starts[number + 1]
            inside = indices[(indices >= start) & (indices < stop)] - start
            if len(inside):
                parts.append(file.read("clean", 0, inside))
        return np.concatenate(parts), self.labels[indices]


def learning_rate(step: int, total: int, recipe: Mapping) -> float:
    """Linear warm-up over the first ``warmup`` share of the steps, then half a cosine down to zero."""
    warmup = max(1, round(recipe["warmup"] * total))
    if step < warmup:
        return recipe["learning_rate"] * (step + 1) / warmup
    return recipe["learning_rate"] * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _optimizer(model: nn.Module, recipe: Mapping) -> torch.optim.Optimizer:
    """AdamW; biases and norms are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe["learning_rate"])


def _train_epoch(model, optimizer, data: TrainingImages, recipe: Mapping, epoch: int, device: str) -> float:
    steps = len(data) // recipe["batch_size"]
    total = steps * recipe["epochs"]
    model.train()
    torch.manual_seed(key(recipe["seed"], "epoch", epoch) % 2**63)  # dropout is the same after an interruption
    losses = []
    for step, (images, labels) in enumerate(prefetch(_batches(data, recipe, epoch), depth=4)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch * steps + step, total, recipe)
        # contiguous: convolutions train half as fast on a CPU with the channels last
        pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous().float() / 255
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            logits = model(pixels)
        loss = functional.cross_entropy(
            logits.float(), torch.from_numpy(labels).to(device), label_smoothing=recipe["label_smoothing"]
        )
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss is {loss.item()} in epoch {epoch + 1}: try a lower learning_rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _batches(data: TrainingImages, recipe: Mapping, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch in a seeded order, mirrored and shifted at random."""
    size = recipe["batch_size"]
    stream = Stream(recipe["seed"], "batches", epoch)
    order = np.argsort(stream.uniform(size=len(data)), kind="stable")
    for first in range(0, len(data) - size + 1, size):
        images, labels = data.read(np.sort(order[first : first + size]))
        yield _augment(images, stream, recipe["max_shift"]), labels


def _augment(images: np.ndarray, stream: Stream, max_shift: int) -> np.ndarray:
    """Mirror half of the images and shift each by up to ``max_shift`` px, edges repeated."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (max_shift, max_shift), (max_shift, max_shift), (0, 0)), mode="edge")
    tops, lefts = (stream.integers(2 * max_shift + 1, size=count) for _ in range(2))
    mirrored = stream.uniform(size=count) < 0.5
    shifted = [
        image[top : top + height, left : left + width][:, :: -1 if mirror else 1]
        for image, top, left, mirror in zip(padded, tops, lefts, mirrored, strict=True)
    ]
    return np.stack(shifted)


@torch.no_grad()
def _accuracy(model: nn.Module, paths: Sequence[Path], batch_size: int, device: str) -> float:
    model.eval()
    data = TrainingImages(paths)
    correct = 0
    for first in range(0, len(data), batch_size):
        images, labels = data.read(np.arange(first, min(first + batch_size, len(data))))
        logits = model(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255)
        correct += int((logits.argmax(1).cpu().numpy() == labels).sum())
    return correct / len(data)


def _save_state(checkpoint: Path, origin: Mapping, model, optimizer, epoch: int) -> None:
    state = {
        "origin": dict(origin),
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_output(checkpoint) as temporary:
        torch.save(state, temporary)


def _resume(checkpoint: Path, origin: Mapping, model, optimizer) -> int:
    """Load the state of an interrupted training, if there is one of these images and code; return the next epoch."""
    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        saved, epoch = state["origin"], state["epoch"]
        saved_recipe = saved["recipe"]
    except Exception as error:
        raise TrainingError(f"{checkpoint}: not a training state ({type(error).__name__}); delete it") from error
    if saved_recipe != origin["recipe"]:
        raise TrainingError(f"{checkpoint}: the state of another recipe; delete it to start anew")
    if saved != origin:
        print(f"{checkpoint} is of other images or code: starting anew", file=sys.stderr)
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"going on after epoch {epoch} of {checkpoint}", file=sys.stderr)
    return epoch
