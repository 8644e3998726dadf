"""An attack on a model over an image set: perturbations to one file, what the model makes of them to another."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from withstand import perturbations, predictions
from withstand.attacks import auto, gradient
from withstand.attacks.doubts import ASKED, doubts_about
from withstand.attacks.gradient import Attacked, GradientAttack
from withstand.attacks.space import Budget, magnitude
from withstand.errors import ModelError, WithstandError
from withstand.images import Samples
from withstand.inference import READ_AHEAD, Batch, Passes, batches, check_logits, label_modes, model_errors, score
from withstand.models import Classifier
from withstand.prefetch import prefetch
from withstand.progress import progress
from withstand.random import Stream

if TYPE_CHECKING:
    from withstand.shards import Shard


class Method(Protocol):
    """How a batch is attacked."""

    unit: Fraction | None
    """What the whole numbers of its perturbations count; None where they are real."""

    needs_gradients: bool
    """Whether it can do nothing where gradients are zero."""

    doubts: set[str]
    """What has made its results doubtful so far (see :mod:`withstand.attacks.doubts`)."""

    def look(self, model: Classifier, images: torch.Tensor) -> None:
        """Find out, once, what is doubtful of a model under this attack, with some uint8 images on its device."""

    def __call__(
        self, model: Classifier, images: torch.Tensor, labels: torch.Tensor, sample_ids: Sequence[str]
    ) -> Attacked:
        """Attack uint8 images (n, height, width, 3) with labels int64 (n), both on the model's device."""


class GradientMethod:
    """FGSM or PGD.

    Args:
        given: ``name``, ``norm``, ``eps``, ``step_size``, ``steps``, ``random_start``, ``restarts``, ``seed`` and
            ``target``: ``none``, ``random`` (another class than the label, drawn for each sample) or ``least_likely``
            (the class that the model holds least likely for the image).
    """

    def __init__(self, given: Mapping) -> None:
        eps, step_size = (Fraction(given[key]) for key in ("eps", "step_size"))
        budget = Budget(given["norm"], eps, step_size, given["random_start"])
        self._target = given["target"]
        self._attack = GradientAttack(
            name=given["name"],
            budget=budget,
            steps=given["steps"],
            restarts=given["restarts"],
            targeted=self._target != "none",
            seed=given["seed"],
        )
        self.unit, self.needs_gradients, self.doubts = budget.unit, True, set()

    def look(self, model: Classifier, images: torch.Tensor) -> None:
        with model_errors():
            self.doubts |= doubts_about(model, images)

    def __call__(
        self, model: Classifier, images: torch.Tensor, labels: torch.Tensor, sample_ids: Sequence[str]
    ) -> Attacked:
        targets = self._targets(model, images, labels, sample_ids) if self._attack.targeted else None
        return gradient.attack(model, images, labels, sample_ids, self._attack, targets)

    def _targets(
        self, model: Classifier, images: torch.Tensor, labels: torch.Tensor, sample_ids: Sequence[str]
    ) -> torch.Tensor:
        logits = gradient.answer(model, images.float() / 255)
        if self._target == "least_likely":
            return logits.scatter(1, labels[:, None], torch.inf).argmin(1)
        others = logits.shape[1] - 1
        seed, name = self._attack.seed, self._attack.name
        drawn = [Stream(seed, f"target of {name}", sample_id).integers(others) for sample_id in sample_ids]
        drawn = torch.tensor(drawn, device=labels.device)
        return drawn + (drawn >= labels)


class AutoMethod:
    """AutoAttack.

    Args:
        given: ``norm``, ``eps``, ``version``, ``attacks`` and ``seed``.
    """

    unit = None

    def __init__(self, given: Mapping) -> None:
        self._attack = auto.AutoAttack(
            given["norm"], Fraction(given["eps"]), given["version"], given["attacks"], given["seed"]
        )
        self.needs_gradients, self.doubts = self._attack.needs_gradients, set()

    def look(self, model: Classifier, images: torch.Tensor) -> None:
        """AutoAttack looks itself, and warns."""

    def __call__(
        self, model: Classifier, images: torch.Tensor, labels: torch.Tensor, sample_ids: Sequence[str]
    ) -> Attacked:
        return auto.attack(model, images, labels, sample_ids, self._attack, self.doubts)


METHODS = {"gradient": GradientMethod, "autoattack": AutoMethod}
TARGETS = ("none", "random", "least_likely")


def method_of(given: Mapping) -> Method:
    """How to attack, from what a config says of it.

    Raises:
        WithstandError: if it makes no sense.
    """
    try:
        if given["kind"] not in METHODS:
            raise WithstandError(f"kind: {given['kind']!r} is none of {', '.join(METHODS)}")
        if given.get("target", "none") not in TARGETS:
            raise WithstandError(f"target: {given['target']!r} is none of {', '.join(TARGETS)}")
        if Fraction(given["eps"]) <= 0:
            raise WithstandError(f"eps: {given['eps']} is not positive")
        return METHODS[given["kind"]](given)
    except KeyError as error:
        raise WithstandError(f"an attack without {error}") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise WithstandError(f"an attack that makes no sense: {error}") from None


def attack_set(
    model: Classifier,
    shards: Iterable[Shard],
    given: Mapping,
    *,
    kept: Path,
    output: Path,
    images: int,
    outputs: int,
    facts: Mapping,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> None:
    """Attack a model on every sample of an image set.

    Args:
        shards: the shards of the image set, in order.
        given: the attack: ``kind`` (of ``METHODS``) and its options.
        kept, output: the files of perturbations and of predictions to write.
        images: how many samples the shards have together, at most.
        outputs: number of logits of the model.
        facts: metadata of both files.
        batch_size: images that are attacked together; halved when memory runs out.

    Raises:
        ModelError: if the model fails, a logit or gradient is not finite, or an attack has no gradient to follow.
    """
    shards = iter(shards)
    first = next(shards)
    modes = label_modes(first.samples, outputs, model.label_space)
    layout = predictions.schema(outputs, modes, facts, more=predictions.ATTACK_COLUMNS)
    method, passes = method_of(given), Passes(batch_size, device)
    without_gradient, done = 0, 0
    with (
        perturbations.create(kept, images, method.unit, facts) as file,
        predictions.create(output, layout) as writer,
        progress(images, f"{facts['family']} on {facts['model']}", "images") as advance,
    ):
        parts: list[dict[str, torch.Tensor]] = []
        for batch in prefetch(batches(chain([first], shards), batch_size), READ_AHEAD):
            if not done and not parts:
                method.look(model, torch.from_numpy(batch.images[:ASKED]).to(device))
            attacked = _attack_batch(model, method, batch, passes, outputs, device)
            file.write(batch.ids, batch.images, attacked.perturbations.numpy())
            parts.append(_facts_of_samples(attacked, method.unit))
            advance(len(batch.images))
            if batch.last:
                columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
                without_gradient += int(columns["without_gradient"].sum())
                done += len(columns["without_gradient"])
                writer.write(_rows(columns, batch.samples, facts["family"], modes))
                parts = []
        _judge_gradients(without_gradient, done, method.needs_gradients)
        for doubt in sorted(method.doubts):
            print(f"{facts['family']} on {facts['model']}: {doubt}", file=sys.stderr)
        writer.doubt(method.doubts)


def _attack_batch(
    model: Classifier, method: Method, batch: Batch, passes: Passes, outputs: int, device: torch.device | str
) -> Attacked:
    """What an attack does to a batch, on the CPU."""
    images, labels = torch.from_numpy(batch.images), torch.from_numpy(batch.labels)

    def work(part: slice) -> Attacked:
        attacked = method(model, images[part].to(device), labels[part].to(device), batch.ids[part])
        check_logits(attacked.logits, len(attacked.perturbations), outputs)
        return attacked

    parts = passes(work, len(images), images.shape[1] * images.shape[2])
    columns = ([getattr(part, field.name).cpu() for part in parts] for field in fields(Attacked))
    return Attacked(*(torch.cat(column) for column in columns))


def _facts_of_samples(attacked: Attacked, unit: Fraction | None) -> dict[str, torch.Tensor]:
    """All that is kept in memory of a batch."""
    changes = magnitude(attacked.perturbations, unit).flatten(1)
    return {
        "logits": attacked.logits,
        "fell_at": attacked.fell_at,
        "without_gradient": attacked.without_gradient,
        "target": attacked.targets,
        "linf": changes.amax(1),
        "l2": changes.norm(dim=1),
    }


def _rows(columns: Mapping[str, torch.Tensor], samples: Samples, name: str, modes: Sequence[str]) -> dict:
    """The columns of a file of predictions."""
    return {
        "sample_id": samples.ids,
        "corruption": [name] * len(samples.ids),
        "severity": np.zeros(len(samples.ids), dtype=np.int8),
        **score(columns["logits"], samples, modes),
        **{key: values.numpy() for key, values in columns.items() if key != "logits"},
    }


def _judge_gradients(without: int, samples: int, needed: bool) -> None:
    """Tell about samples that no gradient leads away from.

    Raises:
        ModelError: if that is all of them, and the attack needs gradients.
    """
    if without == samples and needed:
        raise ModelError("the model's gradient is zero everywhere, for every sample: there is nothing to follow")
    if without:
        print(f"the gradient is zero everywhere for {without:,} of {samples:,} samples", file=sys.stderr)
