"""What attacks made to tables: one job for all models, since their results are few rows a model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from withstand.datasets.registry import open_source
from withstand.metrics.attacks import attack_rows, spatial_rows, transfer_rows
from withstand.metrics.patch_alignment import (
    edge_ratios,
    geometric_mean,
    has_both,
    own_patches,
    patch_borders,
    ratios,
)
from withstand.parquet import read_frame, read_schema, read_table
from withstand.perturbations import PerturbationFile
from withstand.predictions import LABEL_MODES, METADATA, read_doubts, read_facts
from withstand.steps.models import read_card
from withstand.steps.tabulate import SHAPE_BIAS, write_table

_VALUE = [SHAPE_BIAS.field(name) for name in ("label_mode", "policy", "metric", "value", "low", "high", "n", "images")]
_ATTACK = [
    ("attack", pa.string()),
    ("norm", pa.string()),
    ("eps", pa.string()),
    ("steps", pa.int64()),
    ("step_size", pa.string()),
    ("random_start", pa.bool_()),
    ("restarts", pa.int64()),
    ("target", pa.string()),
]
"""An attack; AutoAttack says nothing of its steps."""

ATTACKS = pa.schema(
    [("model", pa.string()), ("dataset", pa.string()), *_ATTACK, *_VALUE, ("step", pa.int64())],
)
"""Every model under the attacks made for it (see :func:`withstand.metrics.attacks.attack_rows`)."""

TRANSFER = pa.schema(
    [("model", pa.string()), ("source", pa.string()), ("dataset", pa.string()), *_ATTACK, *_VALUE],
)
"""Every model on the perturbations that were made for the model ``source``; ``model`` is the one that is shown them."""

SPATIAL = pa.schema(
    [
        ("model", pa.string()),
        ("dataset", pa.string()),
        *_VALUE,
        *((name, pa.float64()) for name in ("angle", "shift_x", "shift_y")),
        ("rotation", pa.float64()),
        ("translation", pa.float64()),
        ("draws", pa.int64()),
        ("padding", pa.string()),
        ("interpolation", pa.string()),
    ]
)
"""Every model on rotated (degrees) and translated (pixels) images: one transformation, or, without angle and shifts,
over all; with the ends of the range (degrees, share of the image's side) and how images were transformed."""

PATCH_ALIGNMENT = pa.schema(
    [
        ("model", pa.string()),
        ("dataset", pa.string()),
        *_ATTACK,
        *(field for field in _VALUE if field.name != "label_mode"),
        ("patch_size", pa.float64()),
        ("own", pa.bool_()),
    ]
)
"""Where perturbations are large, and where they break off: ``border_ratio``, their size at pixels that touch a border
of patches over that at others, and ``edge_ratio``, the same of their steps from pixel to pixel, for the model's own
patches and for others; and ``foreground_ratio``, their size on the object over that beside it. ``patch_size`` is in
pixels of the model's input."""


def tabulate_attacks(predictions: Sequence[Path], output: Path) -> None:
    """Write the table of all models under the attacks made for them; its metadata says which results are doubtful.

    Args:
        predictions: on clean and on perturbed images, of all models.
    """
    clean, attacked = _split(predictions)
    tables, failures, doubts = [], [], []
    for path, facts in attacked:
        names = {"model": facts["model"], "dataset": facts["dataset"]}
        reason = facts.get("failure") or _failure(clean[facts["model"]])
        if reason:
            failures.append(names | {"family": facts["family"], "reason": reason})
            continue
        rows = attack_rows(_answers(clean[facts["model"]]), _answers(path), facts["attack"].get("steps", 1))
        tables.append(rows.assign(**names, **_about(facts["attack"]), policy=facts["policy"]))
        doubts += [names | {"attack": facts["attack"]["name"], "doubt": doubt} for doubt in read_doubts(path)]
    _write(tables, ATTACKS, failures, output, doubts=doubts)


def tabulate_transfer(transfers: Sequence[Path], clean: Sequence[Path], output: Path) -> None:
    """Write the table of all models on the perturbations made for others; its metadata says what was left out."""
    of_model = {read_facts(path)["model"]: path for path in clean}
    tables, failures, left_out = [], [], []
    for path in transfers:
        facts = read_facts(path)
        names = {"model": facts["model"], "dataset": facts["dataset"]}
        reason = facts.get("failure") or _failure(of_model[facts["model"]])
        if reason:
            failures.append(names | {"family": "transfer", "reason": reason})
            continue
        rows = transfer_rows(_answers(of_model[facts["model"]]), read_frame(path))
        about = pd.DataFrame([_about(given) for given in facts["attacks"].values()])
        if len(rows):
            tables.append(rows.merge(about, on="attack").assign(**names, policy=facts["policy"]))
        left_out += [names | {"cell": cell, "reason": why["reason"]} for cell, why in facts["left_out"].items()]
    _write(tables, TRANSFER, failures, output, left_out=left_out)


def tabulate_spatial(answers: Sequence[Path], clean: Sequence[Path], output: Path) -> None:
    """Write the table of all models on rotated and translated images."""
    of_model = {read_facts(path)["model"]: path for path in clean}
    tables, failures = [], []
    for path in answers:
        facts = read_facts(path)
        names = {"model": facts["model"], "dataset": facts["dataset"]}
        reason = facts.get("failure") or _failure(of_model[facts["model"]])
        if reason:
            failures.append(names | {"family": "spatial", "reason": reason})
            continue
        table = read_frame(path)
        rows = spatial_rows(_answers(of_model[facts["model"]]), table, facts["transformations"])
        chosen = {key: facts["grid"][key] for key in ("rotation", "translation", "draws", "padding", "interpolation")}
        tables.append(rows.assign(**names, **chosen, policy=facts["policy"]))
    _write(tables, SPATIAL, failures, output)


def tabulate_patch_alignment(
    perturbations: Sequence[Path], cards: Sequence[Path], source: Mapping, patch_sizes: Sequence[int], output: Path
) -> None:
    """Write where the perturbations of all models are large.

    Args:
        cards: the cards of the models.
        source: the source of the images, which may know what their object is.
        patch_sizes: squares to compare with besides models' own patches, in pixels of a model's input.
    """
    cards_by_model = {card["model"]: card for card in map(read_card, cards)}
    tables = []
    for path in perturbations:
        with PerturbationFile(path) as file:
            if file.failure:
                continue
            facts = file.facts
            # masks are of the source's images, which only those of the store show whole
            foreground = open_source(source).foreground if facts["policy"] == "stored" else _unknown
            rows = _alignment_rows(file, cards_by_model[facts["model"]], foreground, patch_sizes)
        names = {"model": facts["model"], "dataset": facts["dataset"], "policy": facts["policy"]}
        tables.append(pd.DataFrame(rows).assign(**names, **_about(facts["attack"])))
    _write(tables, PATCH_ALIGNMENT, [], output)


def _unknown(sample_id: str) -> None:
    """The foreground of images whose objects nobody knows."""


_BLOCK = 64
"""Perturbations that are read together."""


def _alignment_rows(
    file: PerturbationFile, card: Mapping, foreground: Callable, patch_sizes: Sequence[int]
) -> list[dict]:
    """The rows of one file, of the pixels that the model sees.

    Args:
        foreground: gives the mask of a sample, or None.
    """
    whole = file.read(slice(0, 1)).shape[1]
    scale = whole / card["preprocessing"]["input_size"]
    own, seen_by_model = own_patches(card)
    size = math.floor(seen_by_model * scale)
    patches = {patch: patch * scale for patch in sorted({*patch_sizes, *([own] if own else [])})}
    patches = {patch: seen for patch, seen in patches.items() if has_both(size, seen)}
    found: dict[tuple, list[np.ndarray]] = {}
    for start in range(0, len(file.sample_ids), _BLOCK):
        part = slice(start, start + _BLOCK)
        changes = file.read(part)[:, :size, :size].astype(np.float32)
        magnitudes = np.abs(changes).mean(3)
        for patch, seen in patches.items():
            borders = ratios(magnitudes[:, 1:-1, 1:-1], patch_borders(size, seen))
            found.setdefault(("border_ratio", patch), []).append(borders)
            found.setdefault(("edge_ratio", patch), []).append(edge_ratios(changes, seen))
        masks = [foreground(sample_id) for sample_id in file.sample_ids[part]]
        if masks[0] is not None and masks[0].shape == (whole, whole):
            shown = np.stack(masks)[:, :size, :size]
            found.setdefault(("foreground_ratio", None), []).append(ratios(magnitudes, shown))
    return [
        {"metric": metric, "patch_size": patch, "own": patch == own if patch else None} | geometric_mean(values)
        for (metric, patch), values in found.items()
    ]


def _split(predictions: Sequence[Path]) -> tuple[dict[str, Path], list[tuple[Path, dict]]]:
    """The predictions on clean images by model, and the others, each with its metadata."""
    read = [(path, read_facts(path)) for path in predictions]
    clean = {facts["model"]: path for path, facts in read if "attack" not in facts}
    return clean, [(path, facts) for path, facts in read if "attack" in facts]


def _failure(clean: Path) -> str | None:
    """Why there are no answers to clean images to compare with, if there are none."""
    return read_facts(clean).get("failure")


def _answers(path: Path) -> pd.DataFrame:
    """The columns of predictions that tables of attacks are made of."""
    wanted = ["sample_id", "loss", "fell_at", "l2", "target", "without_gradient", "top5_all"]
    wanted += [f"correct_{mode}" for mode in LABEL_MODES]
    there = read_schema(path).names
    return read_table(path, columns=[name for name in wanted if name in there]).to_pandas()


def _about(attack: Mapping) -> dict:
    known = {name: attack[name] for name, _ in _ATTACK if name in attack}
    return {"attack": attack["name"]} | known


def _write(
    tables: Sequence[pd.DataFrame], schema: pa.Schema, failures: Sequence[dict], output: Path, **notes: Sequence[dict]
) -> None:
    rows = pd.concat(tables) if tables else pd.DataFrame(columns=schema.names)
    notes = {"failures": failures} | notes
    write_table(rows, schema.with_metadata({METADATA: json.dumps(notes)}), output)
