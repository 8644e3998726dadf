"""The inside of one model: similarity of its layers, lesions, limits of attention, attention distance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from withstand.errors import ModelError, NotApplicableError
from withstand.images import ImageFile
from withstand.provenance import versions
from withstand.steps.models import read_card
from withstand.steps.predict import LazyModel, content

if TYPE_CHECKING:
    from withstand.internals import GramProtocol, LesionProtocol, LimitProtocol

KINDS = ("grams", "lesions", "attention_limit", "attention_distance")
"""What there is to measure; each has a file of its own."""


@dataclass(frozen=True)
class Specimen:
    """The images that a model is looked into with.

    Attributes:
        images: the shards of one image set, in order.
        samples: how many of its samples, chosen by ``seed``: the same for all models and all experiments.
        seed: the study's; random lesions and masks follow it, too.
    """

    dataset: str
    family: str
    images: Sequence[Path]
    samples: int
    seed: int
    policy: str = "stored"


def measure_internals(
    card_path: Path,
    weights: Path | None,
    specimen: Specimen,
    outputs: Mapping[str, Path],
    *,
    batch_size: int,
    device: str = "auto",
    protocols: Mapping[str, Mapping] | None = None,
    code: str | None = None,
) -> None:
    """Look into a model, for one file after the other, in one process.

    A model that fails, or already at its card, gets a file without results that carries the reason; so does one whose
    architecture has not what is measured, by name. Failures of the machine are raised.

    Args:
        outputs: the file to write for each of some ``KINDS``.
        protocols: for ``grams``, ``lesions`` and ``attention_limit`` what differs from the defaults of
            :class:`withstand.internals.GramProtocol`, ``LesionProtocol`` and ``LimitProtocol``.
        code: digest of the code that measures.

    Raises:
        WithstandError: if the image set has too few samples.
    """
    model = LazyModel(read_card(card_path), weights, device)
    for kind, output in outputs.items():
        protocol = _protocol(kind, (protocols or {}).get(kind, {}))
        facts = _facts(model.card, specimen, kind, protocol, code)
        try:
            _measure(kind, model, specimen, output, facts, protocol, batch_size)
        except NotApplicableError as error:
            _write_nothing(kind, output, facts | {"not_applicable": [{"what": kind, "reason": str(error)}]})
        except ModelError as error:
            print(f"{model.card['model']} failed and is left out: {error}", file=sys.stderr)
            _write_nothing(kind, output, facts | {"failure": str(error)})


def _protocol(kind: str, values: Mapping) -> GramProtocol | LesionProtocol | LimitProtocol | None:
    from withstand.internals import GramProtocol, LesionProtocol, LimitProtocol

    types = {"grams": GramProtocol, "lesions": LesionProtocol, "attention_limit": LimitProtocol}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return types[kind](**given) if kind in types else None


def _facts(card: Mapping, specimen: Specimen, kind: str, protocol: object, code: str | None) -> dict:
    inputs = {
        "images": [content(path) for path in specimen.images],
        "model": card["source"],
        "weights": card.get("weights"),
        "code": code,
    }
    return {
        **{"model": card["model"], "dataset": specimen.dataset, "family": specimen.family, "policy": specimen.policy},
        **{"kind": kind, "samples": specimen.samples, "seed": specimen.seed},
        **{"protocol": asdict(protocol) if protocol else {}, "inputs": inputs, "versions": versions()},
        "not_applicable": [],
    }


def _measure(
    kind: str, model: LazyModel, specimen: Specimen, output: Path, facts: dict, protocol: object, batch_size: int
) -> None:
    from withstand import internals

    classifier = model.classifier
    facts |= model.facts()
    given: dict = {"outputs": model.card["outputs"], "facts": facts, "batch_size": batch_size, "device": model.device}
    if protocol is not None:
        given["protocol"] = protocol
    if kind in ("lesions", "attention_limit"):
        given["seed"] = specimen.seed
    function: Callable = getattr(internals, f"measure_{kind}")
    with ExitStack() as stack:
        files = [stack.enter_context(ImageFile(path)) for path in specimen.images]
        function(classifier, internals.Subset(files, specimen.samples, specimen.seed), output, **given)


def _write_nothing(kind: str, output: Path, facts: Mapping) -> None:
    from withstand.internals import write_nothing

    write_nothing(kind, output, facts)
