"""Predictions to tables, in two levels: one table a model, then the tables of the study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from withstand import rehearsed
from withstand.files import atomic_output
from withstand.lineage import kind_of
from withstand.metrics import answers
from withstand.metrics.accuracy import accuracy_rows
from withstand.metrics.attacks import doubts
from withstand.metrics.calibration import calibration_rows
from withstand.metrics.conditions import CLEAN, modes_of, read_conditions, sample_ids
from withstand.metrics.shape_bias import shape_bias_rows
from withstand.parquet import read_frame, read_notes
from withstand.predictions import METADATA, read_facts
from withstand.steps.models import read_card

RESULT_LIBRARIES = ("torch", "timm")
"""Libraries whose version may change a prediction."""

ACCURACY = pa.schema(
    [
        ("model", pa.string()),
        ("dataset", pa.string()),
        ("family", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int8()),
        ("label_mode", pa.string()),
        ("policy", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("images", pa.int64()),
    ]
)
"""One value a row with its 95% interval. A row without severity, corruption or family is pooled over it."""

SHAPE_BIAS = pa.schema([field for field in ACCURACY if field.name not in ("family", "corruption", "severity")])
"""Shape accuracy, texture accuracy and shape bias, one value a row with its 95% interval; n is its denominator."""

MODELS = pa.schema(
    [
        ("model", pa.string()),
        ("architecture", pa.string()),
        ("family", pa.string()),
        ("kind", pa.string()),
        ("parameters", pa.int64()),
        ("flops", pa.int64()),
        ("depth", pa.int64()),
        ("input_size", pa.int64()),
        ("patch_size", pa.float64()),
        ("grid", pa.int64()),
        ("outputs", pa.int64()),
        ("label_space", pa.string()),
        ("pretraining_dataset", pa.string()),
        ("pretraining_images", pa.int64()),
        ("inferred", pa.string()),
        ("precision", pa.string()),
        ("weights", pa.string()),
        ("weights_sha256", pa.string()),
    ]
)
"""One model a row: the facts of its card and what the config says of it. A patch size is the side of square patches, in
pixels of the input, and ``grid`` the number of patches along the longer side. ``kind`` is what claims count a model as:
ViT, ResNet, or none. ``inferred`` names what the config does not say and the architecture or timm's tag does: family,
pretraining, or both with a comma."""

FACTS = ("parameters", "flops", "depth", "outputs", "label_space")
"""What the table of models takes from cards as it is; the card of a model that failed may not have it."""

FAILURES = pa.schema(
    [("model", pa.string()), ("dataset", pa.string()), ("family", pa.string()), ("reason", pa.string())]
)
"""One failed (model, image set) a row."""


def summarise(predictions: Sequence[Path], accuracy: Path, calibration: Path, images: Path) -> None:
    """Write what one model's predictions on all image sets come to: accuracy, calibration, and how often each image was
    right (:mod:`withstand.metrics.answers`). Image sets on which it failed go into the metadata."""
    sets: dict[tuple[str, str, str], dict[str, Path]] = {}
    failures, versions = [], set()
    for path in predictions:
        facts = read_facts(path)
        versions.add(tuple(facts["versions"].get(library, "") for library in RESULT_LIBRARIES))
        if "failure" in facts:
            failures.append({key: facts[key] for key in ("model", "dataset", "family")} | {"reason": facts["failure"]})
        else:
            sets.setdefault((facts["model"], facts["dataset"], facts["policy"]), {})[facts["family"]] = path
    incomplete = {(failure["model"], failure["dataset"]) for failure in failures if failure["family"] != CLEAN}
    rows: dict[Path, list[pd.DataFrame]] = {accuracy: [], calibration: []}
    with answers.create(images) as writer:
        for (model, dataset, policy), files in sets.items():
            ids = sample_ids(next(iter(files.values())))
            for mode in modes_of(next(iter(files.values()))):
                conditions = read_conditions(files, mode)
                keys = {"dataset": dataset, "policy": policy, "label_mode": mode}
                complete = (model, dataset) not in incomplete
                writer.write(keys, ids, conditions if complete else [each for each in conditions if each.is_clean])
                for path, function in ((accuracy, accuracy_rows), (calibration, calibration_rows)):
                    rows[path].append(function(conditions, complete=complete).assign(model=model, **keys))
    metadata = json.dumps({"failures": failures, "versions": sorted(versions)})
    for path, tables in rows.items():
        table = pd.concat(tables) if tables else pd.DataFrame(columns=ACCURACY.names)
        write_table(table, ACCURACY.with_metadata({METADATA: metadata}), path)


def join_summaries(summaries: Sequence[Path], output: Path) -> None:
    """Join the models' tables to that of the study; failures and the versions behind the rows go into the metadata."""
    notes = [read_notes(path) for path in summaries]
    versions = sorted({tuple(version) for note in notes for version in note["versions"]})
    behind = {
        "versions": [dict(zip(RESULT_LIBRARIES, version, strict=True)) for version in versions],
        "failures": [failure for note in notes for failure in note["failures"]],
    }
    rows = pd.concat([read_frame(path, ACCURACY.names) for path in summaries])
    write_table(rows, ACCURACY.with_metadata({METADATA: json.dumps(behind)}), output)


def tabulate_failures(tables: Sequence[Path], output: Path) -> None:
    """Write what failed, and why, as the metadata of tables says it."""
    notes = [read_notes(path) for path in tables]
    failed = [failure for note in notes for failure in note.get("failures", [])]
    write_table(pd.DataFrame(failed, columns=FAILURES.names), FAILURES, output)


def tabulate_shape_bias(predictions: Sequence[Path], output: Path) -> None:
    """Write shape accuracy, texture accuracy and shape bias of all models; models that failed have no rows."""
    tables = []
    for path in predictions:
        facts = read_facts(path)
        if "failure" not in facts:
            tables.append(shape_bias_rows(path).assign(**{key: facts[key] for key in ("model", "dataset", "policy")}))
    write_table(pd.concat(tables) if tables else pd.DataFrame(columns=SHAPE_BIAS.names), SHAPE_BIAS, output)


def warnings(accuracy: Path, failures: Path, attacks: Path) -> list[str]:
    """What a reader of the tables should know first: models that failed, versions of libraries that mix, and attacks
    whose results are doubtful. A study without attacks has no table of them."""
    lines = []
    failed = read_frame(failures, FAILURES.names)
    for (model, reason), sets in failed.groupby(["model", "reason"], sort=False):
        lines.append(f"{model} failed on {len(sets)} image set{'s' * (len(sets) > 1)} and is missing there: {reason}")
    versions = read_notes(accuracy).get("versions", [])
    if len(versions) > 1:
        mixed = "; ".join(", ".join(f"{name} {number}" for name, number in found.items()) for found in versions)
        lines.append(f"results of different versions stand in one table: {mixed}")
    return lines + (doubts(read_frame(attacks), read_notes(attacks)) if attacks.exists() else [])


def tabulate_models(cards: Sequence[Path], descriptions: Mapping[str, Mapping], output: Path) -> None:
    """Write the table of models from their cards and what is known of them before (see :meth:`config.Study.about`)."""
    write_table(pd.DataFrame([_model_row(read_card(path), descriptions) for path in cards]), MODELS, output)


def _model_row(card: Mapping, descriptions: Mapping[str, Mapping]) -> dict:
    about = descriptions.get(card["model"], {})
    pretraining = about.get("pretraining") or {}
    architecture = card.get("architecture", {})
    kind = about.get("kind") or kind_of(None, architecture.get("timm_module"))  # of a user's own function
    grid, patch = card.get("grid"), card.get("patch_size") or (None, None)
    weights = card.get("weights") or {}
    return {
        "model": card["model"],
        "architecture": architecture.get("name"),
        "family": about.get("family") or "other",
        "kind": None if kind == "other" else kind,
        "input_size": card.get("preprocessing", {}).get("input_size"),
        "patch_size": patch[0] if patch[0] == patch[1] else None,
        "grid": max(grid) if grid else None,
        "pretraining_dataset": pretraining.get("dataset"),
        "pretraining_images": pretraining.get("images"),
        "inferred": ", ".join(about.get("inferred", ())) or None,
        "precision": about.get("precision", "float32"),
        "weights": weights.get("file"),
        "weights_sha256": weights.get("sha256"),
        **{key: None if card["failure"] else card[key] for key in FACTS},
    }


def write_table(rows: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write rows as a table with just the columns of a schema, and its metadata."""
    table = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema=schema, preserve_index=False)
    with atomic_output(path) as temporary:
        metadata = {**(schema.metadata or {}), **rehearsed.mark()}
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
