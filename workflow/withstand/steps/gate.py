"""One model at its gate: whether its answers to a few clean images are as good as they should be."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from withstand.files import write_text
from withstand.gates import Gate
from withstand.metrics.conditions import modes_of
from withstand.parquet import read_table
from withstand.predictions import read_facts
from withstand.provenance import versions
from withstand.steps.models import read_card

CHECK = (
    "check its weights, its preprocessing (mean, std, interpolation, crop, input size), and the order of its outputs"
    " and of the dataset's labels"
)


def judge_gate(description: Path, predictions: Path, gate: Mapping, card: Path, verdict: Path) -> None:
    """Write the card of a model that passes its gate as it is described; the card of one that does not says why.

    A model that cannot predict the images of its gate does not pass, for the reason recorded there.

    Args:
        description: the card of the model before its gate.
        predictions: the model's predictions on the images of the gate.
        gate: a :class:`withstand.gates.Gate` as JSON.
        card: the card to write.
        verdict: a JSON file to write: ``correct`` (None without predictions) of ``images``, ``input_size``, the
            ``gate``, and ``failure``, None for a model that passes.
    """
    described, facts = read_card(description), read_facts(predictions)
    found = {"gate": dict(gate), "correct": None, "images": 0, "input_size": None, "failure": facts.get("failure")}
    found |= {"versions": versions()}
    if found["failure"] is None:
        answers = read_table(predictions, [f"correct_{modes_of(predictions)[0]}"])[0].to_numpy()
        found |= {"correct": int(answers.sum()), "images": len(answers)}
        found |= {"input_size": described["preprocessing"]["input_size"]}
        found |= {"failure": _judge(Gate.of(gate), found["correct"], found["images"], found["input_size"])}
    write_text(verdict, _text(found))
    # the same bytes where it passes: a gate makes no other model of it
    passes = found["failure"] is None
    write_text(card, description.read_text("utf-8") if passes else _text(described | {"failure": found["failure"]}))


def _judge(gate: Gate, correct: int, images: int, input_size: int) -> str | None:
    """Why a model is stopped; None where it passes."""
    told = f"{correct:,} of {images:,} clean images of {gate.dataset} are right"
    expected = gate.at(input_size)
    print(f"{told}; expected: {expected or f'unknown at {input_size} px, so it goes on'}", file=sys.stderr)
    stops = gate.stops(correct, images, input_size)
    return f"stopped at its gate: {told}, expected {expected}; {CHECK}" if stops else None


def _text(facts: Mapping) -> str:
    return json.dumps(facts, indent=1, sort_keys=True) + "\n"
