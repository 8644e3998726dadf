"""From a study to the work of its jobs: images that pass through models, forward and backward, or are made or read.

The numbers are those of the steps' own loops. What depends on a model's answers is counted as if it were needed to the
end: curves of lesions that stop at chance, and AutoAttack on samples that fall early. So they are the most there can
be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from withstand.computing import Precision
from withstand.config import CLEAN, Study
from withstand.dag import Dag
from withstand.datasets.registry import open_source
from withstand.gates import gates
from withstand.planning.anatomy import Facts
from withstand.planning.jobs import key

SEARCHED_PER_MISSED = 30
"""Samples that a reference model is asked about until it misses one, where it is right for 97 in 100."""

ROOM = 2 << 30
"""Bytes that activations of one minibatch may take; layers beyond take turns (``internals.GramProtocol``)."""

AUTOATTACK = {
    "apgd-ce": (101, 100),
    "apgd-dlr": (101, 100),
    "apgd-t": (9 * 101, 9 * 100),
    "fab": (10 * 200, 10 * 100),
    "fab-t": (9 * 200, 9 * 100),
    "square": (5000, 0),
}
"""Most forward and backward passes for a sample, by part: 100 steps, nine targets, 5,000 queries."""

VERSIONS = {
    "standard": {"apgd-ce": 1, "apgd-t": 1, "fab-t": 1, "square": 1},
    "plus": {"apgd-ce": 5, "apgd-dlr": 5, "fab": 5, "square": 1, "apgd-t": 1, "fab-t": 1},
    "rand": {"apgd-ce": 20, "apgd-dlr": 20},
}
"""Which parts, and how often: restarts, or, for models with random parts, gradients to average."""


@dataclass(frozen=True)
class Work:
    """What a job computes.

    Attributes:
        model: the key of the model that images pass through (see ``anatomy.models_of``).
        forward, backward: images that pass through it.
        spared: forward passes that lesions leave out of them.
        decoded: encoded images that it reads.
        made: corrupted images that it makes, of ``size`` pixels a side.
        drawn: images that it generates.
        rows: rows of predictions that it summarises.
        precision: the numbers that the model computes with.
    """

    rule: str
    wildcards: Mapping[str, str]
    model: str | None = None
    forward: int = 0
    backward: int = 0
    spared: float = 0.0
    decoded: int = 0
    made: int = 0
    size: int = 0
    drawn: int = 0
    rows: int = 0
    precision: Precision = "float32"

    @property
    def key(self) -> tuple:
        """That of its job (see ``jobs.Job``)."""
        return key(self.rule, self.wildcards)


def work(study: Study, models: Mapping[str, Facts]) -> list[Work]:
    """The work of all jobs of a study that have some; those that tables and figures are made by have next to none."""
    found = [*_images(study), *_training(study), *_gates(study, models), *_inference(study, models)]
    return [*found, *_attacks(study, models), *_internals(study, models), *_tables(study, models)]


def conditions(study: Study, family: str) -> int:
    """In how many ways the images of a family are corrupted; the clean ones are one."""
    if family == CLEAN:
        return 1
    given = study.families[family]
    # images that models resize themselves come with the clean ones, to compare with
    return len(given.corruptions) * len(given.severities) + (given.policy == "corrupt_after_resize")


def rows(study: Study) -> int:
    """Rows of predictions on each model, attacks apart."""
    return sum(study.sample_count(name) * conditions(study, family) for name, family in study.evaluation_sets())


def _is_encoded(study: Study, dataset: str) -> bool:
    return dataset in study.indexed_sets() and study.datasets[dataset].source.kind not in ("arrays", "cifar")


def _reads(study: Study, dataset: str, family: str, passes: int = 1) -> dict[str, int]:
    """What it takes to get the images of a set, so many times: decoded, made, drawn. Stored ones cost nothing."""
    count = study.sample_count(dataset)
    if family == CLEAN:
        if dataset in study.stored_sets():
            return {}
        return {"decoded" if _is_encoded(study, dataset) else "drawn": count}
    given = study.families[family]
    if given.is_stored:
        return {}
    copies = count * len(given.corruptions) * len(given.severities) * passes
    if given.source is not None:
        return {"decoded": copies if open_source(given.source_spec).is_encoded else 0}
    made = {"made": copies, "size": study.image_size(dataset)}
    if given.policy == "stored":
        return made
    return made | {"decoded" if _is_encoded(study, dataset) else "drawn": count}


def _images(study: Study) -> Iterator[Work]:
    for name in study.references():
        asked = min(study.pool_size(name), SEARCHED_PER_MISSED * study.sample_count(name))
        reading = {"decoded" if _is_encoded(study, name) else "drawn": asked}
        yield Work("find_missed", {"dataset": name}, f"datasets.{name}.missed_by", asked, **reading)
    for name in study.evaluated():
        families = [family for family in study.datasets[name].families if study.families[family].is_stored]
        for shard, (start, stop) in study.shards(name).items():
            reading = {"decoded" if _is_encoded(study, name) else "drawn": stop - start}
            yield Work(
                "prepare_images",
                {"dataset": name, "shard": shard},
                **(reading if study.datasets[name].has_clean else {}),
            )
            for family in families:
                given = study.families[family]
                copies = (stop - start) * len(given.corruptions) * len(given.severities)
                wildcards = {"dataset": name, "family": family, "shard": shard}
                if given.source is None:
                    yield Work("corrupt_images", wildcards, made=copies, size=study.image_size(name))
                else:
                    yield Work("take_images", wildcards, decoded=copies)


def _training(study: Study) -> Iterator[Work]:
    dag = Dag(study)
    for images, dataset in dag.training_sets().items():
        for shard, (start, stop) in study.whole_shards(dataset).items():
            reading = {"decoded" if _is_encoded(study, dataset) else "drawn": stop - start}
            yield Work("prepare_training_images", {"images": images, "shard": shard}, **reading)
    for weights, name in dag.trained_recipes().items():
        recipe = study.recipes[name]
        seen = recipe.epochs * (_whole(study, recipe.dataset) // recipe.batch_size) * recipe.batch_size
        judged = _whole(study, recipe.validation)
        yield Work("train_model", {"weights": weights}, f"recipes.{name}", seen + judged, seen)


def _whole(study: Study, dataset: str) -> int:
    return max(stop for _, stop in study.whole_shards(dataset).values())


def _inference(study: Study, models: Mapping[str, Facts]) -> Iterator[Work]:
    for model in study.models:
        key_, works = f"models.{model}", not models[f"models.{model}"].failure
        stored, precision = study.stored_sets(), study.computing(model).precision
        if stored:
            count = works * sum(map(study.sample_count, stored))
            yield Work("predict_clean", {"model": model}, key_, count, precision=precision)
        for dataset, family in study.evaluation_sets():
            if family == CLEAN and dataset in stored:
                continue
            count = works * study.sample_count(dataset) * conditions(study, family)
            reading = _reads(study, dataset, family) if works else {}
            wildcards = {"model": model, "dataset": dataset}
            if family == CLEAN:
                yield Work("predict_from_source", wildcards, key_, count, precision=precision, **reading)
            else:
                rule = "predict" if study.families[family].is_stored else "predict_streamed"
                yield Work(rule, wildcards | {"family": family}, key_, count, precision=precision, **reading)


def _gates(study: Study, models: Mapping[str, Facts]) -> Iterator[Work]:
    for model, gate in gates(study).items():
        key_, count = f"models.{model}", study.gate_subset(gate.dataset)["count"]
        count *= not models[key_].failure
        reading = _some(_reads(study, gate.dataset, CLEAN), count / study.sample_count(gate.dataset))
        precision = study.computing(model).precision
        yield Work("predict_gate", {"model": model}, key_, count, precision=precision, **reading)


def _some(reading: Mapping[str, int], share: float) -> dict[str, int]:
    """A share of what it takes to get clean images."""
    return {kind: round(number * share) for kind, number in reading.items()}


def _attacks(study: Study, models: Mapping[str, Facts]) -> Iterator[Work]:
    given = study.attacks
    if given is None:
        return
    count = study.attacked_subset()["count"]
    reading = _some(_reads(study, given.dataset, CLEAN), count / study.sample_count(given.dataset))
    for model in study.attacked():
        key_ = f"models.{model}"
        facts, wildcards = models[key_], {"model": model}
        works = not facts.failure
        if given.perturbations:
            passes = [_attack(attack.spec) for attack in given.perturbations.values()]
            forward, backward = (works * count * sum(column) for column in zip(*passes, strict=True))
            times = len(given.perturbations)
            again = {kind: number * times for kind, number in reading.items()}
            yield Work("attack_model", wildcards, key_, forward, backward, **again)
            alike = [other for other in study.attacked() if _sees_the_same(study, facts, models[f"models.{other}"])]
            cells = works * len(alike) * times
            yield Work("transfer_perturbations", wildcards, key_, cells * count, **reading)
        if given.spatial is not None:
            grid = given.spatial
            each = grid.angles * grid.shifts**2 + grid.draws
            yield Work("attack_spatial", wildcards, key_, works * count * each, **reading)


def _attack(spec: Mapping) -> tuple[int, int]:
    """Forward and backward passes of an attack on a sample, with the answers to the image that it leaves."""
    if spec["kind"] == "autoattack":
        parts = dict.fromkeys(spec["attacks"], 1) or VERSIONS[spec["version"]]
        sums = [sum(AUTOATTACK[part][way] * times for part, times in parts.items()) for way in (0, 1)]
        return sums[0] + 3, sums[1]
    tries, steps = spec["restarts"], spec["steps"]
    return tries * (steps + 1) + (spec["target"] != "none"), tries * steps


def _sees_the_same(study: Study, one: Facts, other: Facts) -> bool:
    """Whether perturbations for one model can be shown to another: they belong to pixels."""
    stored = study.datasets[study.attacks.dataset].policy == "stored"
    return not other.failure and (stored or one.transform == other.transform)


def _internals(study: Study, models: Mapping[str, Facts]) -> Iterator[Work]:
    given = study.internals
    if given is None:
        return
    count = study.examined_subset()["count"]
    share = count / study.sample_count(given.dataset)
    for model in study.examined():
        facts = models[f"models.{model}"]
        wildcards, key_ = {"model": model}, f"models.{model}"
        if facts.failure:
            yield Work("measure_internals", wildcards, key_)
            continue
        looks = [_experiment(kind, protocol, facts, count) for kind, protocol in study.experiments().items()]
        shown = sum(conditions(study, family) for family in study.examined_families())
        reading: dict[str, int] = {}
        for family in study.examined_families():
            for kind, number in _reads(study, given.dataset, family, sum(look.readings for look in looks)).items():
                reading[kind] = number if kind == "size" else reading.get(kind, 0) + round(number * share)
        forward, spared = (shown * sum(getattr(look, name) for look in looks) for name in ("forward", "spared"))
        yield Work("measure_internals", wildcards, key_, forward, spared=spared, **reading)


@dataclass(frozen=True)
class _Look:
    """An experiment on images under one condition: forward passes, how many of them are left out by what is removed,
    and how often the images are read."""

    forward: int
    spared: float = 0.0
    readings: int = 1


def _experiment(kind: str, protocol: Mapping, facts: Facts, count: int) -> _Look:
    if kind == "grams":
        minibatch = protocol["minibatch"]
        return _Look((count // minibatch) * minibatch * turns(facts, minibatch))
    if kind == "lesions":
        found = lesions(protocol, facts)
        groups = 1 + len(facts.saved) * (protocol["single"] + len({round(saved, 9) for saved in found}))
        return _Look(count * len(found), count * sum(found), groups)
    if kind == "attention_limit":
        shared = protocol["shared_by_layers"] and protocol["shared_by_heads"]
        number = limits(protocol, facts)
        return _Look(count * number, readings=1 + len(protocol["distances"]) * 2 if shared else number)
    return _Look(count * ("local" in facts.limits))


def turns(facts: Facts, minibatch: int) -> int:
    """Passes over a minibatch whose activations of all layers must fit into memory; none where blocks are unknown."""
    taken, used = 1, 0
    for numbers in facts.blocks:
        size = 4 * numbers * minibatch
        if used and used + size > ROOM:
            taken, used = taken + 1, 0
        used += size
    return taken if facts.blocks else 0


def lesions(protocol: Mapping, facts: Facts) -> list[float]:
    """The trials of a model, each with the share of its work that what is removed spares."""
    if not facts.blocks:
        return [0.0]
    trials = [0.0]
    for part in protocol["parts"]:
        if part not in facts.saved:
            continue
        trials += [facts.saved[part]] * (len(facts.removable) if protocol["single"] else 0)
        candidates = sum(index > 0 for index in facts.removable)
        for removed in range(2, facts.depth - 1) if protocol["counts"] is None else protocol["counts"]:
            choices = math.comb(candidates, removed)
            if not choices:
                break
            trials += [facts.saved[part] * removed] * min(choices, protocol["draws"])
    return trials


def limits(protocol: Mapping, facts: Facts) -> int:
    """The trials of limited attention that a model allows."""
    if not facts.limits:
        return 0
    ends = (
        [number for number in protocol["class_only"] if number <= facts.depth] if "class_only" in facts.limits else []
    )
    return 1 + len(protocol["distances"]) * (1 + protocol["draws"]) + 2 * len(ends)


def _tables(study: Study, models: Mapping[str, Facts]) -> Iterator[Work]:
    for model in study.models:
        count = 0 if models[f"models.{model}"].failure else rows(study)
        yield Work("summarise_model", {"model": model}, rows=count)
