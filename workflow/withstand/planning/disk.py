"""What a study lays on the disk, before it does.

Bytes a value are those of finished studies' files, after compression (zstd in Parquet, LZ4 in HDF5).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from withstand import zoo
from withstand.config import CLEAN, Study
from withstand.corruptions.constants import CORRUPTIONS
from withstand.dag import Dag
from withstand.planning import counts
from withstand.planning.anatomy import Facts
from withstand.planning.jobs import Job

UNPUBLISHED = {
    **{"noise": 21e9, "blur": 7e9, "weather": 12e9, "digital": 7e9, "extra": 10e9},
    **{"cue-conflict": 0.14e9, "cifar-10-binary": 0.17e9, "cifar-100-binary": 0.17e9, "Tiny-ImageNet-C-extra": 0.4e9},
}
"""Archives that nobody publishes to the byte."""

SOME_CLASSES = ("imagenet_a", "imagenet_r", "imagenette", "shapetex_renditions")
"""Sets of fewer classes than their models have outputs, on which there are two label modes."""

GRAMS = 0.9
"""What LZ4 leaves of Gram matrices."""

JPEG = {"noise": 0.56, "blur": 0.14, "weather": 0.24, "digital": 0.14, "clean": 0.3}
"""Bytes a pixel at quality 85, as ImageNet-C has them; clean photographs."""

ROW, MODE, LOGIT, ATTACKED = 17.0, 41.0, 3.1, 10.0
"""Bytes of a row of predictions: id, loss, entropy and what they belong to; the answer in one label mode; a logit; what
attacks add."""

TRIAL = {"lesions": 12.0, "attention_limit": 17.0}
"""Bytes of a sample's row of a trial, and of a head's distances."""

HEAD = 14.5
SEEN = 2.3
"""Bytes of an answer to a rotation and translation."""

PERTURBED = {1: 0.14, 2: 0.35}
"""What LZ4 leaves of perturbations in whole numbers, by steps; more steps leave half."""

MANY_STEPS, REAL = 0.5, 1.8
"""The share for more steps; bytes a value where perturbations are no whole numbers."""

INDEXED = 30.0
"""Bytes of a sample in an index."""

FIGURE, DRAWING, TABLES, FILE = 0.4e6, 0.1e6, 0.05e6, 10e3
"""Bytes of a figure in all its formats, of one in the report, of a model's tables, of a Parquet file without rows."""


@dataclass(frozen=True)
class Space:
    """Bytes by the rule that writes them, and what could be spared by making images anew for each model."""

    by_rule: Mapping[str, float]
    streamed: float
    families: tuple[str, ...]

    @property
    def total(self) -> float:
        return sum(self.by_rule.values())


def space(study: Study, models: Mapping[str, Facts]) -> Space:
    """What all files of a study take, those that studies share among them."""
    dag = Dag(study)
    by_rule: dict[str, float] = dict.fromkeys(("fetch_weights", "download"), 0.0)

    def add(rule: str, size: float) -> None:
        by_rule[rule] = by_rule.get(rule, 0.0) + size

    for archive in dag.archives().values():
        add("download", archive.bytes or UNPUBLISHED.get(archive.stored.removesuffix(".tar"), 0.0))
    for rule, size in _weights(study, models):
        add(rule, size)
    for name in dag.training_sets().values():
        add("prepare_training_images", _whole(study, name) * _image(study, name, "clean"))
    stored = {}
    for name in study.evaluated():
        if name in study.indexed_sets():
            add("index_source", INDEXED * study.sample_count(name))
        if study.datasets[name].has_clean:
            kept = max((stop for _, stop in study.shards(name).values()), default=0)
            add("prepare_images", kept * _image(study, name, "clean"))
        for family in study.datasets[name].families:
            given = study.families[family]
            if given.source is not None:
                copies = study.sample_count(name) * len(given.corruptions) * len(given.severities)
                add("index_family", INDEXED * copies)
            if given.is_stored:
                each = [_image(study, name, CORRUPTIONS[corruption].category) for corruption in given.corruptions]
                size = study.sample_count(name) * len(given.severities) * sum(each)
                add("take_images" if given.source else "corrupt_images", size)
                stored[family] = stored.get(family, 0.0) + size
    for model in study.models:
        for rule, size in _of_model(study, model, models[f"models.{model}"]):
            add(rule, size)
    figures = len(dag.figures()) / 3
    add("draw_accuracy", FIGURE * figures)
    add("write_report", DRAWING * figures)
    families = sorted(stored, key=lambda family: -stored[family])
    return Space(by_rule, sum(stored.values()), tuple(families))


def _image(study: Study, dataset: str, category: str) -> float:
    pixels = study.image_size(dataset) ** 2
    return pixels * (JPEG[category] if study.images.codec == "jpeg" else 3)


def _whole(study: Study, dataset: str) -> int:
    return max(stop for _, stop in study.whole_shards(dataset).values())


def _weights(study: Study, models: Mapping[str, Facts]) -> Iterable[tuple[str, float]]:
    found = {}
    for key, entry in study.entries().items():
        name = study.weights_name(entry)
        if name is not None:
            size = zoo.weights(entry.zoo).stat().st_size if entry.zoo else 4.0 * models[key].parameters
            found[name] = ("train_model" if entry.recipe else "fetch_weights", size)
    return found.values()


def _of_model(study: Study, model: str, facts: Facts) -> Iterable[tuple[str, float]]:
    if facts.failure:
        return
    for dataset, family in study.evaluation_sets():
        size = FILE + study.sample_count(dataset) * counts.conditions(study, family) * row(
            study, dataset, facts.outputs
        )
        streamed = family != CLEAN and not study.families[family].is_stored
        yield "predict_streamed" if streamed else "predict", size
    yield "summarise_model", TABLES + 6.0 * sum(map(study.sample_count, study.evaluated()))
    yield from _of_attacks(study, model, facts)
    if model in study.examined():
        yield "measure_internals", internals(study, facts)


def row(study: Study, dataset: str, outputs: int) -> float:
    """Bytes of a row of predictions."""
    modes = 2 if study.datasets[dataset].source.kind in SOME_CLASSES else 1
    return ROW + MODE * modes + (LOGIT * outputs if outputs <= 100 else 0.0)


def _of_attacks(study: Study, model: str, facts: Facts) -> Iterable[tuple[str, float]]:
    given = study.attacks
    if given is None or model not in study.attacked():
        return
    count = study.attacked_subset()["count"]
    stored = study.datasets[given.dataset].policy == "stored"
    pixels = 3 * (study.image_size(given.dataset) if stored else facts.input_size) ** 2
    for attack in given.perturbations.values():
        yield "attack_model", FILE + count * (pixels * perturbed(attack.spec) + ATTACKED)
        yield "attack_model", FILE + count * row(study, given.dataset, facts.outputs)
        yield "transfer_perturbations", 7.0 * count * len(study.attacked())
    if given.spatial is not None:
        seen = given.spatial.angles * given.spatial.shifts**2 + 2 * given.spatial.draws
        yield "attack_spatial", FILE + count * SEEN * seen


def perturbed(spec: Mapping) -> float:
    """Bytes of a value of a perturbation."""
    whole = spec["kind"] == "gradient" and spec["norm"] == "linf" and not spec["random_start"]
    return PERTURBED.get(spec["steps"], MANY_STEPS) if whole else REAL


def internals(study: Study, facts: Facts) -> float:
    """Bytes of what is measured inside of a model."""
    shown = sum(counts.conditions(study, family) for family in study.examined_families())
    count, size = study.examined_subset()["count"], 0.0
    for kind, protocol in study.experiments().items():
        if kind == "grams":
            minibatches = count // protocol["minibatch"]
            size += FILE + minibatches * facts.depth * (8 * GRAMS * protocol["minibatch"] ** 2 + 32 * facts.depth)
            size += 2 * protocol["activations"] * sum(facts.blocks)
        elif kind == "lesions":
            size += FILE + TRIAL[kind] * count * len(counts.lesions(protocol, facts))
        elif kind == "attention_limit":
            size += FILE + TRIAL[kind] * count * counts.limits(protocol, facts)
        else:
            size += FILE + HEAD * count * facts.heads * ("local" in facts.limits)
    return shown * size


def there(jobs: Iterable[Job]) -> int:
    """Bytes of the files that are there already."""
    found = 0
    for job in jobs:
        for path in job.outputs:
            try:
                found += path.stat().st_size
            except OSError:
                continue
    return found


def free(folder: Path = Path("results")) -> int:
    """Bytes free where results lie."""
    return shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
