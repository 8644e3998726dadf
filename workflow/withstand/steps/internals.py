"""The inside of one model: similarity of its layers, lesions, limits of attention, attention distance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from withstand.errors import ModelError, NotApplicableError
from withstand.hdf5 import Hdf5Error
from withstand.parquet import ParquetFileError
from withstand.predictions import read_facts
from withstand.steps.models import read_card
from withstand.steps.predict import ImageSet, LazyModel, is_older_than_index

if TYPE_CHECKING:
    from withstand.internals import GramProtocol, LesionProtocol, LimitProtocol, Shuffled

KINDS = ("grams", "lesions", "attention_limit", "attention_distance")
"""What there is to measure; each has a file of its own."""


@dataclass(frozen=True)
class Experiment:
    """One look into a model.

    Attributes:
        image_set: the images, or one of :mod:`withstand.steps.stream`; its output is the file to write.
        kind: one of ``KINDS``.
        seed: the study's; the order of samples, random lesions and random masks follow it.
        protocol: for ``grams``, ``lesions`` and ``attention_limit`` what differs from the defaults of
            :class:`withstand.internals.GramProtocol`, ``LesionProtocol`` and ``LimitProtocol``.
        code: digest of the code that measures.
    """

    image_set: ImageSet
    kind: str
    seed: int
    protocol: Mapping = field(default_factory=dict)
    code: str | None = None

    @property
    def output(self) -> Path:
        """The file to write."""
        return self.image_set.output


def measure_internals(
    card_path: Path, weights: Path | None, experiments: Sequence[Experiment], *, batch_size: int, device: str = "auto"
) -> None:
    """Look into a model, for one experiment after the other, in one process.

    A file that is already there, made of the same images by the same weights, protocol and code, is left as it is. A
    model that fails, or already at its card, gets a file without results that carries the reason; so does one whose
    architecture has not what is measured, by name. Failures of the machine are raised. Experiments on the same images
    should stand together, since they share them.

    Args:
        card_path: the model's card.
        device: what ``devices.choose_device`` takes.

    Raises:
        WithstandError: if the image set has too few samples.
    """
    model = LazyModel(read_card(card_path), weights, device)
    for image_set, together in groupby(experiments, lambda experiment: replace(experiment.image_set, output=Path())):
        with ExitStack() as stack:
            images = cache(partial(_open, stack, model, image_set))
            for experiment in together:
                facts = _facts(model, experiment)
                if _is_current(experiment, facts["inputs"]):
                    print(f"{experiment.output} is up to date", file=sys.stderr)
                else:
                    _measure_or_record(model, experiment, facts, images, batch_size)


def _open(stack: ExitStack, model: LazyModel, image_set: ImageSet, seed: int) -> Shuffled:
    """The samples of an image set, open until the stack ends."""
    from withstand.internals import Shuffled

    shards = image_set.opened(model.card, model.device)
    return Shuffled([stack.enter_context(shard) for shard in shards], seed)


def _is_current(experiment: Experiment, inputs: Mapping) -> bool:
    """Whether a file is there, of a model that did not fail, and made of the same inputs."""
    try:
        facts = _read_facts(experiment)
    except (Hdf5Error, ParquetFileError):
        return False
    is_same = facts.get("inputs") == inputs and "failure" not in facts
    return is_same and not is_older_than_index(experiment.image_set)


def _read_facts(experiment: Experiment) -> dict:
    if experiment.kind != "grams":
        return read_facts(experiment.output)
    from withstand.grams import GramFile

    with GramFile(experiment.output) as file:
        return file.facts


def _facts(model: LazyModel, experiment: Experiment) -> dict:
    image_set = experiment.image_set
    protocol = _protocol(experiment)
    asked = {"protocol": dict(experiment.protocol), "seed": experiment.seed}
    chosen = {"kind": experiment.kind, "seed": experiment.seed, "protocol": asdict(protocol) if protocol else {}}
    about = model.about(image_set, image_set.inputs() | model.inputs(experiment.code) | asked)
    return about | chosen | {"samples": image_set.samples(), "not_applicable": []}


def _protocol(experiment: Experiment) -> GramProtocol | LesionProtocol | LimitProtocol | None:
    from withstand.internals import GramProtocol, LesionProtocol, LimitProtocol

    types = {"grams": GramProtocol, "lesions": LesionProtocol, "attention_limit": LimitProtocol}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in experiment.protocol.items()}
    return types[experiment.kind](**given) if experiment.kind in types else None


def _measure_or_record(
    model: LazyModel, experiment: Experiment, facts: dict, images: Callable[[int], Shuffled], batch_size: int
) -> None:
    try:
        _measure(model, experiment, facts, images, batch_size)
    except NotApplicableError as error:
        _write_nothing(experiment, facts | {"not_applicable": [{"what": experiment.kind, "reason": str(error)}]})
    except ModelError as error:
        print(f"{model.card['model']} failed and is left out: {error}", file=sys.stderr)
        _write_nothing(experiment, facts | {"failure": str(error)})


def _measure(
    model: LazyModel, experiment: Experiment, facts: dict, images: Callable[[int], Shuffled], batch_size: int
) -> None:
    from withstand import internals

    classifier = model.classifier
    facts |= model.facts()
    given: dict = {"outputs": model.card["outputs"], "facts": facts, "batch_size": batch_size, "device": model.device}
    protocol = _protocol(experiment)
    if protocol is not None:
        given["protocol"] = protocol
    if experiment.kind in ("lesions", "attention_limit"):
        given["seed"] = experiment.seed
    # by name, so that its code counts for this kind of experiment alone
    measure: Callable = getattr(internals, f"measure_{experiment.kind}")
    measure(classifier, images(experiment.seed), experiment.output, **given)


def _write_nothing(experiment: Experiment, facts: Mapping) -> None:
    from withstand.internals import write_nothing

    write_nothing(experiment.kind, experiment.output, facts)
