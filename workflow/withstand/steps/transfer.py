"""One model on the perturbations that were made for it and for others; what was computed before is kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from withstand.errors import ModelError
from withstand.files import atomic_output
from withstand.parquet import ParquetFileError, read_frame
from withstand.perturbations import PerturbationFile
from withstand.predictions import METADATA, read_facts
from withstand.progress import progress
from withstand.provenance import versions
from withstand.steps.models import read_card
from withstand.steps.predict import ImageSet, LazyModel, is_older_than_index
from withstand.steps.stream import ResizedSet


@dataclass(frozen=True)
class Source:
    """Perturbations: the model that they were made for, the attack, and their file."""

    model: str
    attack: str
    perturbations: Path

    @property
    def cell(self) -> str:
        """Its name among the cells of a target."""
        return f"{self.model}/{self.attack}"


def transfer(
    card_path: Path,
    weights: Path | None,
    image_set: ImageSet | ResizedSet,
    sources: Sequence[Source],
    *,
    batch_size: int,
    device: str = "auto",
    code: str | None = None,
) -> None:
    """Write what a model makes of the perturbations of several models: one cell a (model, attack).

    A cell that is there already, of the same perturbations, images, weights and code, is not computed again.

    The file has a row a sample and cell: source, attack, sample_id, label, loss, and, for each label mode, top1 and
    correct. Its metadata names the cells, each with a digest of its perturbations and how it was computed; those that
    are left out, with the reason (an attack that failed, or perturbations of other pixels); and the attacks. A model
    that fails has no rows, and the reason.

    Args:
        card_path: the card of the model that is shown the images.
        image_set: the clean images; its output is the file to write.
    """
    model = LazyModel(read_card(card_path), weights, device)
    facts = model.about(image_set, image_set.inputs() | model.inputs(code))
    known, known_left_out = _known_cells(image_set, facts["inputs"])
    facts |= {"attacks": {}, "cells": {}, "left_out": {}}
    kept, missing, wanted = {}, {}, {}
    for source in sources:
        with PerturbationFile(source.perturbations) as file:
            facts["attacks"][source.attack] = file.facts["attack"]
            cell, content, failure = source.cell, "" if file.failure else file.content, file.failure
        wanted[cell] = source
        if failure:
            facts["left_out"][cell] = {"reason": failure}
        elif known_left_out.get(cell, {}).get("content") == content:
            facts["left_out"][cell] = known_left_out[cell]
        elif cell in known and known[cell][0]["content"] == content:
            facts["cells"][cell], kept[cell] = known[cell]
        else:
            missing[cell] = content
    print(f"{len(kept)} cells are there, {len(missing)} are missing", file=sys.stderr)
    try:
        files = {cell: wanted[cell].perturbations for cell in missing}
        made, left_out = _show(model, image_set, files, batch_size) if files else ({}, {})
    except ModelError as error:
        print(f"{model.card['model']} failed and is left out: {error}", file=sys.stderr)
        _write({}, wanted, facts | {"failure": str(error), "cells": {}}, image_set.output)
        return
    facts["left_out"] |= {cell: {"reason": reason, "content": missing[cell]} for cell, reason in left_out.items()}
    how = model.facts() | {"versions": versions()} if made else {}
    facts["cells"] |= {cell: {"content": missing[cell], **how} for cell in made}
    _write(kept | made, wanted, facts, image_set.output)


def _known_cells(
    image_set: ImageSet | ResizedSet, inputs: Mapping
) -> tuple[dict[str, tuple[dict, pd.DataFrame]], dict[str, dict]]:
    """The cells of an earlier file of the same inputs, each with what is known of it, and those that were left out."""
    try:
        facts = read_facts(image_set.output)
    except ParquetFileError:
        return {}, {}
    if facts.get("inputs") != inputs or "failure" in facts or is_older_than_index(image_set):
        return {}, {}
    rows = read_frame(image_set.output)
    cells = rows["source"] + "/" + rows["attack"]
    return {cell: (about, rows[cells == cell]) for cell, about in facts["cells"].items()}, facts["left_out"]


def _show(
    model: LazyModel, image_set: ImageSet | ResizedSet, files: Mapping[str, Path], batch_size: int
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    classifier = model.classifier
    from withstand.attacks.transfer import transfer_set

    with progress(image_set.samples() * len(files), f"perturbations on {model.card['model']}", "images") as advance:
        return transfer_set(
            classifier,
            image_set.shards(model.card, model.device),
            files,
            outputs=model.card["outputs"],
            batch_size=batch_size,
            device=model.device,
            advance=advance,
        )


def _write(cells: Mapping[str, pd.DataFrame], sources: Mapping[str, Source], facts: Mapping, output: Path) -> None:
    tables = [
        rows.assign(source=sources[cell].model, attack=sources[cell].attack) for cell, rows in sorted(cells.items())
    ]
    columns = ["source", "attack", "sample_id", "label", "loss"]
    rows = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    order = columns + [column for column in rows.columns if column not in columns]
    table = pa.Table.from_pandas(rows[order], preserve_index=False)
    table = table.replace_schema_metadata({METADATA: json.dumps(facts, sort_keys=True)})
    with atomic_output(output) as temporary:
        pq.write_table(table, temporary, compression="zstd")
