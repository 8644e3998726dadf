"""One model, attacked: perturbations, and what the model makes of the perturbed images."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from withstand import perturbations, predictions
from withstand.errors import ModelError
from withstand.hdf5 import Hdf5Error
from withstand.steps.models import read_card
from withstand.steps.predict import ImageSet, LazyModel, is_current
from withstand.steps.stream import ResizedSet


@dataclass(frozen=True)
class AttackRun:
    """One attack on one image set.

    Attributes:
        image_set: the images; its family is the name of the attack, its output the file of predictions.
        attack: what a config says of the attack, with ``kind`` and the study's ``seed``.
        perturbations: the file to write beside the predictions.
    """

    image_set: ImageSet | ResizedSet
    attack: Mapping
    perturbations: Path


def attack(
    card_path: Path,
    weights: Path | None,
    runs: Sequence[AttackRun],
    *,
    batch_size: int,
    device: str = "auto",
    code: str | None = None,
) -> None:
    """Carry out attacks on a model, one after the other in one process.

    An attack whose files are already there, made of the same images by the same weights, attack and code, is left as
    it is. A model that cannot be attacked gets files without rows that carry the reason.

    Args:
        card_path: the model's card.
        device: what ``devices.choose_device`` takes.
        code: digest of the code that makes the result.
    """
    model = LazyModel(read_card(card_path), weights, device)
    for run in runs:
        image_set = run.image_set
        inputs = image_set.inputs() | model.inputs(code) | {"attack": dict(run.attack)}
        if is_current(image_set, inputs) and _is_current(run.perturbations, inputs):
            print(f"{image_set.output} is up to date", file=sys.stderr)
            continue
        facts = model.about(image_set, inputs) | {"attack": dict(run.attack)}
        try:
            _attack_set(model, run, facts, batch_size)
        except ModelError as error:
            print(f"{model.card['model']} cannot be attacked and is left out: {error}", file=sys.stderr)
            perturbations.write_failure(run.perturbations, facts, str(error))
            predictions.write_failure(image_set.output, facts, str(error))


def _is_current(path: Path, inputs: Mapping) -> bool:
    try:
        with perturbations.PerturbationFile(path) as file:
            return file.facts.get("inputs") == inputs and not file.failure
    except Hdf5Error:
        return False


def _attack_set(model: LazyModel, run: AttackRun, facts: Mapping, batch_size: int) -> None:
    image_set, classifier = run.image_set, model.classifier
    from withstand.attacks.run import attack_set

    attack_set(
        classifier,
        image_set.shards(model.card, model.device),
        run.attack,
        kept=run.perturbations,
        output=image_set.output,
        images=image_set.samples(),
        outputs=model.card["outputs"],
        facts=facts | model.facts(),
        batch_size=batch_size,
        device=model.device,
    )
