"""Experiments on the inside of one model, over a subset of an image set: the files they leave.

``grams.h5``: see :mod:`withstand.grams`.

``lesions.parquet`` and ``attention_limit.parquet``, a row for each sample and trial:

    sample_id dictionary, label int32, corruption dictionary, severity int8, loss float32, entropy float32,
    correct_<mode> bool, as in predictions; and what was changed:
    lesions: part (none, block, mlp, attention), design (intact, single, several), removed int16 (number of blocks),
        draw int16, blocks int16 list
    attention_limit: arm (none, local, random, first, last), distance float64 (a share of the grid),
        masked float64 (the share of pairs of patches that are masked), blocks int16 (first or last so many), draw int16

``attention_distance.parquet``, a row for each sample, block and head:

    sample_id, corruption, severity; block int16, head int16; euclidean, chebyshev float32 (in patches),
    prefix_share float32

The metadata of each file is that of predictions: ``failure`` where the model failed, ``not_applicable`` for what its
architecture has not, ``protocol`` for the choices made, ``depth``, and ``chance`` by label mode.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from withstand import blocks as anatomy
from withstand import predictions
from withstand.errors import ModelError, NotApplicableError, WithstandError
from withstand.grams import TOKENS, GramWriter, grams_file
from withstand.images import Samples
from withstand.inference import Forward, is_memory_error, label_modes, score
from withstand.interventions import (
    Intervention,
    Lesion,
    LocalAttention,
    PatchToClass,
    RandomAttention,
    Swap,
    lesion_draws,
    local_pairs,
    single_lesions,
    swapped,
)
from withstand.models import Classifier
from withstand.predictions import METADATA, PredictionWriter
from withstand.prefetch import prefetch
from withstand.progress import progress
from withstand.representations import DistanceMeter, attention_weights, recording, summary
from withstand.similarity import Correlator, check_samples, gram
from withstand.subsets import Subset

if TYPE_CHECKING:
    from withstand.shards import Shard

READ_AHEAD = 2
ROUNDING = 1e-6
"""Deviations of float32 features from their mean, as a share of it, that its rounding may cause."""

_NAME = pa.dictionary(pa.int32(), pa.string())


class Shuffled:
    """The samples of some shards in an order that is as good as random, the same for every model.

    They stand in the order of their ranks (see :class:`withstand.subsets.Subset`), so what comes first of them is a
    random part of all, whatever the shards.
    """

    def __init__(self, shards: Sequence[Shard], seed: int) -> None:
        places = [(shard, row) for shard in shards for row in range(len(shard))]
        order = Subset(len(places), seed).shuffled([name for shard in shards for name in shard.samples.ids])
        self._places = [places[position] for position in order]
        self.conditions = shards[0].conditions
        self.samples = _taken(shards[0].samples, self._places)
        self.size = shards[0].size

    def __len__(self) -> int:
        return len(self._places)

    def slices(self, size: int) -> list[slice]:
        """The samples in batches."""
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def read(self, condition: tuple[str, int, int], samples: slice) -> np.ndarray:
        """Images under a condition: uint8 (n, height, width, 3)."""
        corruption, _, index = condition
        places = self._places[samples]
        pixels = np.empty((len(places), self.size, self.size, 3), dtype=np.uint8)
        for file in dict.fromkeys(file for file, _ in places):
            taken = [number for number, place in enumerate(places) if place[0] is file]
            pixels[taken] = file.read(corruption, index, np.array([places[number][1] for number in taken]))
        return pixels

    def batches(self, condition: tuple[str, int, int], slices: Sequence[slice]) -> Iterator[tuple[slice, np.ndarray]]:
        """The images of some slices, read ahead."""
        yield from prefetch(((part, self.read(condition, part)) for part in slices), READ_AHEAD)


def _taken(first: Samples, places: Sequence[tuple[Shard, int]]) -> Samples:
    textures = None
    if first.texture_labels is not None:
        textures = np.array([file.samples.texture_labels[row] for file, row in places])
    return replace(
        first,
        ids=[file.samples.ids[row] for file, row in places],
        labels=np.array([file.samples.labels[row] for file, row in places], dtype=np.int64),
        texture_labels=textures,
    )


def chance(samples: Samples, outputs: int, modes: Sequence[str]) -> dict[str, float]:
    """The accuracy of guessing, by label mode: one of all outputs, of the set's classes, or of its categories."""
    choices = {"all": outputs, "subset": len(samples.subset), "categories": len(samples.categories or ())}
    return {mode: 1 / choices[mode] for mode in modes}


# ---------------------------------------------------------------------------------------------------------------------
# trials: the accuracy of a changed model


@dataclass(frozen=True)
class Trial:
    """One change of the model, with what its rows say of it."""

    columns: Mapping
    swaps: Sequence[Swap] = ()

    @classmethod
    def of(cls, model: Classifier, intervention: Intervention, **columns) -> Trial:
        return cls(columns, intervention.swaps(model.network, model.preprocessing.input_size))


class Examiner:
    """Runs trials over a subset, and writes a row for each sample.

    Images are read once for all trials that are given together; nothing is kept of them but how many were right.
    """

    def __init__(
        self,
        subset: Shuffled,
        writer: PredictionWriter,
        modes: Sequence[str],
        forward: Forward,
        advance: Callable[[int], None],
    ) -> None:
        self._subset, self._writer, self._modes = subset, writer, modes
        self._forward, self._advance = forward, advance

    def run(self, condition: tuple[str, int, int], trials: Sequence[Trial]) -> np.ndarray:
        """Write the rows of trials under a condition; returns the accuracy of each in the first label mode.

        Raises:
            ModelError: if the model fails under a trial.
        """
        correct = np.zeros(len(trials))
        if not trials:
            return correct
        for part, images in self._subset.batches(condition, self._subset.slices(self._forward.passes.batch_size)):
            samples = self._subset.samples.take(np.arange(part.start, part.stop))
            scored = [self._score(trial, images, samples) for trial in trials]
            correct += [columns[f"correct_{self._modes[0]}"].sum() for columns in scored]
            self._write(condition, trials, samples, scored)
            self._advance(len(samples.ids) * len(trials))
        return correct / len(self._subset)

    def _score(self, trial: Trial, images: np.ndarray, samples: Samples) -> dict[str, np.ndarray]:
        try:
            with swapped(trial.swaps):
                return score(self._forward(images), samples, self._modes)
        except NotApplicableError:
            raise
        except ModelError as error:
            if not trial.swaps:  # what fails unchanged fails everywhere alike
                raise
            raise ModelError(f"{error} (under {json.dumps(dict(trial.columns))})") from error

    def _write(self, condition: tuple, trials: Sequence[Trial], samples: Samples, scored: Sequence[Mapping]) -> None:
        n = len(samples.ids)
        names = ["label", "loss", "entropy", *(f"correct_{mode}" for mode in self._modes)]
        columns = {name: np.concatenate([values[name] for values in scored]) for name in names}
        columns |= {"sample_id": list(samples.ids) * len(trials), "corruption": [condition[0]] * (n * len(trials))}
        columns["severity"] = np.full(n * len(trials), condition[1], dtype=np.int8)
        for name in trials[0].columns:
            columns[name] = [trial.columns[name] for trial in trials for _ in range(n)]
        self._writer.write(columns)


def _trial_schema(modes: Sequence[str], own: Sequence[pa.Field], facts: Mapping) -> pa.Schema:
    shared = [
        pa.field("sample_id", _NAME),
        pa.field("label", pa.int32()),
        pa.field("corruption", _NAME),
        pa.field("severity", pa.int8()),
        pa.field("loss", pa.float32()),
        pa.field("entropy", pa.float32()),
        *(pa.field(f"correct_{mode}", pa.bool_()) for mode in modes),
    ]
    return pa.schema([*shared, *own], metadata={METADATA: json.dumps(dict(facts), sort_keys=True)})


LESION_FIELDS = (
    pa.field("part", _NAME),
    pa.field("design", _NAME),
    pa.field("removed", pa.int16()),
    pa.field("draw", pa.int16()),
    pa.field("blocks", pa.list_(pa.int16())),
)

LIMIT_FIELDS = (
    pa.field("arm", _NAME),
    pa.field("distance", pa.float64()),
    pa.field("masked", pa.float64()),
    pa.field("blocks", pa.int16()),
    pa.field("draw", pa.int16()),
)


@dataclass(frozen=True)
class LesionProtocol:
    """Which lesions are tried.

    Attributes:
        parts: arms of the experiment.
        single: whether each block is removed alone.
        counts: how many blocks are removed together; for None 2 to depth - 2, as in the paper.
        draws: random choices of that many blocks, or all choices where they are not more.
        stop_after: a curve ends after so many numbers of blocks in a row at which the mean accuracy of the draws is not
            above chance, that is, not above the one-sided 95% limit of a guess on as many images; never for 0. What
            lies beyond is not run.
    """

    parts: tuple[str, ...] = ("block", "mlp", "attention")
    single: bool = True
    counts: tuple[int, ...] | None = None
    draws: int = 25
    stop_after: int = 2


def measure_lesions(
    model: Classifier,
    subset: Shuffled,
    output: Path,
    *,
    outputs: int,
    facts: Mapping,
    seed: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    protocol: LesionProtocol = LesionProtocol(),
) -> None:
    """Write the answers of a model without some of its blocks, MLPs or attentions.

    Raises:
        ModelError: if the model fails, whole or with a lesion.
    """
    modes = label_modes(subset.samples, outputs, model.label_space)
    arms, absent, depth, removable = _arms(model, protocol.parts)
    facts = {
        **facts,
        "not_applicable": absent,
        "depth": depth,
        "removable": removable,
        "chance": chance(subset.samples, outputs, modes),
    }
    limit = at_chance(facts["chance"][modes[0]], len(subset))
    forward = Forward(model, outputs, batch_size, device)
    intact = Trial({"part": "none", "design": "intact", "removed": 0, "draw": 0, "blocks": []})
    with _trial_file(output, modes, LESION_FIELDS, facts) as writer, _progress(facts, "lesions") as advance:
        examiner = Examiner(subset, writer, modes, forward, advance)
        for condition in subset.conditions:
            examiner.run(condition, [intact])
            for part in arms:
                if protocol.single:
                    trials = [_lesion(model, part, "single", 0, chosen) for chosen in single_lesions(removable)]
                    examiner.run(condition, trials)
                curve = _lesion_curve(model, part, depth, removable, seed, protocol)
                _run_until_chance(examiner, condition, curve, limit, protocol.stop_after)


def _arms(model: Classifier, parts: Sequence[str]) -> tuple[list[str], list[dict], int, list[int]]:
    """Parts that the model has, those that it has not with the reason, its depth, and which blocks may be removed."""
    try:
        depth, removable = len(anatomy.find(model.network)), anatomy.removable(model.network)
    except NotApplicableError as error:
        return [], [{"what": f"lesion of {part}", "reason": str(error)} for part in parts], 0, []
    if not removable:
        return [], [{"what": f"lesion of {part}", "reason": "no block keeps the shape"} for part in parts], depth, []
    arms, absent = [], []
    for part in parts:
        try:
            Lesion(part, tuple(removable)).swaps(model.network, model.preprocessing.input_size)
            arms.append(part)
        except NotApplicableError as error:
            absent.append({"what": f"lesion of {part}", "reason": str(error)})
    return arms, absent, depth, removable


def _lesion(model: Classifier, part: str, design: str, draw: int, chosen: tuple[int, ...]) -> Trial:
    columns = {"part": part, "design": design, "removed": len(chosen), "draw": draw, "blocks": list(chosen)}
    return Trial.of(model, Lesion(part, chosen), **columns)


def _lesion_curve(
    model: Classifier, part: str, depth: int, removable: Sequence[int], seed: int, protocol: LesionProtocol
) -> Iterator[list[Trial]]:
    """The draws of one arm, by rising number of removed blocks."""
    for count in range(2, depth - 1) if protocol.counts is None else protocol.counts:
        choices = lesion_draws(seed, depth, count, draws=protocol.draws, removable=removable)
        if not choices:
            return
        yield [_lesion(model, part, "several", draw, chosen) for draw, chosen in enumerate(choices)]


def _run_until_chance(
    examiner: Examiner, condition: tuple[str, int, int], curve: Iterator[list[Trial]], limit: float, stop_after: int
) -> None:
    """Run a curve until it has stayed within the limit of chance so many times in a row."""
    reached = 0
    for trials in curve:
        reached = reached + 1 if examiner.run(condition, trials).mean() <= limit else 0
        if stop_after and reached >= stop_after:
            return


def at_chance(guess: float, images: int) -> float:
    """The accuracy that guessing exceeds on so many images in 5% of cases, by the normal approximation."""
    return guess + 1.645 * math.sqrt(guess * (1 - guess) / images)


@dataclass(frozen=True)
class LimitProtocol:
    """Which limits of attention are tried.

    Attributes:
        distances: shares of the grid, by default those of the paper on a grid of 14.
        draws: random masks for each distance.
        shared_by_layers, shared_by_heads: whether a random mask is one for all layers, for all heads.
        class_only: in how many of the first, and of the last, blocks patches attend to the class token alone.
        keep_self: whether they attend to themselves there.
    """

    distances: tuple[float, ...] = (12 / 14, 10 / 14, 8 / 14, 6 / 14, 4 / 14, 2 / 14)
    draws: int = 5
    shared_by_layers: bool = True
    shared_by_heads: bool = True
    class_only: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    keep_self: bool = False


def measure_attention_limit(
    model: Classifier,
    subset: Shuffled,
    output: Path,
    *,
    outputs: int,
    facts: Mapping,
    seed: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    protocol: LimitProtocol = LimitProtocol(),
) -> None:
    """Write the answers of a model whose attention is limited: by distance, at random, to the class token.

    Raises:
        ModelError: if the model fails.
    """
    modes = label_modes(subset.samples, outputs, model.label_space)
    grid, absent = _limits(model)
    limited = {what for what in ("local", "random", "class_only") if what not in {entry["what"] for entry in absent}}
    facts = {**facts, "not_applicable": absent, "grid": grid, "depth": _depth(model)}
    facts["chance"] = chance(subset.samples, outputs, modes)
    forward = Forward(model, outputs, batch_size, device)
    with _trial_file(output, modes, LIMIT_FIELDS, facts) as writer, _progress(facts, "limits") as advance:
        examiner = Examiner(subset, writer, modes, forward, advance)
        for condition in subset.conditions if limited else ():
            for trials in _limit_trials(model, grid, limited, seed, protocol):
                examiner.run(condition, trials)


def _limits(model: Classifier) -> tuple[list[int] | None, list[dict]]:
    """The grid of patches, and what limits the model does not allow with the reason."""
    tried = {"local": LocalAttention(1), "random": RandomAttention(1, 0), "class_only": PatchToClass(first=0)}
    size, absent = model.preprocessing.input_size, []
    for what, intervention in tried.items():
        try:
            intervention.swaps(model.network, size)
        except NotApplicableError as error:
            absent.append({"what": what, "reason": str(error)})
    return None if len(absent) == len(tried) else list(anatomy.grid_of(model.network, size)[0]), absent


def _limit_trials(
    model: Classifier, grid: Sequence[int], limited: set[str], seed: int, protocol: LimitProtocol
) -> Iterator[list[Trial]]:
    """Trials in groups whose masks are in memory together."""

    def columns(arm: str, distance=None, masked=None, blocks=None, draw=0) -> dict:
        return {"arm": arm, "distance": distance, "masked": masked, "blocks": blocks, "draw": draw}

    yield [Trial(columns("none"))]
    for distance in protocol.distances:
        masked = 1 - float(local_pairs(tuple(grid), distance).mean())
        yield [Trial.of(model, LocalAttention(distance), **columns("local", distance, masked))]
        shared = {"shared_by_layers": protocol.shared_by_layers, "shared_by_heads": protocol.shared_by_heads}
        for group in _groups(range(protocol.draws), protocol.draws if all(shared.values()) else 1):
            drawn = [(draw, RandomAttention(distance, seed, draw, **shared)) for draw in group]
            yield [Trial.of(model, it, **columns("random", distance, masked, draw=draw)) for draw, it in drawn]
    if "class_only" in limited:
        for count in (count for count in protocol.class_only if count <= _depth(model)):
            for arm in ("first", "last"):
                it = PatchToClass(**{arm: count}, keep_self=protocol.keep_self)
                yield [Trial.of(model, it, **columns(arm, blocks=count))]


def _groups(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size or 1):
        yield items[start : start + size]


def _depth(model: Classifier) -> int:
    try:
        return len(anatomy.find(model.network))
    except NotApplicableError:
        return 0


@contextmanager
def _trial_file(output: Path, modes: Sequence[str], own: Sequence[pa.Field], facts: Mapping) -> Iterator:
    with predictions.create(output, _trial_schema(modes, own, facts)) as writer:
        yield writer


@contextmanager
def _progress(facts: Mapping, what: str) -> Iterator:
    with progress(None, f"{facts['model']} on {facts['dataset']}, {what}", "images") as advance:
        yield advance


# ---------------------------------------------------------------------------------------------------------------------
# passes: what the inside of the model shows


@dataclass
class Recorded:
    """What hooks hand over in the passes of a batch; a pass that was ended by memory running out does not count.

    Attributes:
        blocks: the numbers of the blocks that hand something over, in order.
    """

    blocks: Sequence[int]
    passes: list[dict] = field(default_factory=list)

    def visit(self, number: int, value) -> None:
        if number == self.blocks[0]:
            self._drop_broken()
            self.passes.append({})
        self.passes[-1][number] = value

    def _drop_broken(self) -> None:
        if self.passes and len(self.passes[-1]) < len(self.blocks):
            self.passes.pop()

    def take(self) -> list[dict]:
        """The whole passes since the last call."""
        self._drop_broken()
        done, self.passes = self.passes, []
        return done


@dataclass(frozen=True)
class GramProtocol:
    """How similarity is measured.

    Attributes:
        minibatch: samples in a Gram matrix; a rest that fills none is left out.
        memory: bytes that activations of one minibatch may take, on a GPU a quarter of what is free if that is more;
            where all layers need more, they take turns, a pass over the minibatch each.
        activations: how many samples' activations are kept themselves.
    """

    minibatch: int = 50
    memory: int = 2 << 30
    activations: int = 0


def measure_grams(
    model: Classifier,
    subset: Shuffled,
    output: Path,
    *,
    outputs: int,
    facts: Mapping,
    batch_size: int,
    device: torch.device | str = "cpu",
    protocol: GramProtocol = GramProtocol(),
) -> None:
    """Write the Gram matrices and the moments of a model's representations, one minibatch after the other.

    Raises:
        ModelError: if the model fails, or an activation is not finite.
        WithstandError: if there are too few samples for one minibatch, or for the unbiased estimator.
    """
    check_samples(min(protocol.minibatch, len(subset)))
    facts = {**facts, "summary": "class_token" if anatomy.has_class_token(model.network) else "mean"}
    minibatches = [part for part in subset.slices(protocol.minibatch) if part.stop - part.start == protocol.minibatch]
    if not minibatches:
        raise WithstandError(f"{len(subset)} samples do not fill a minibatch of {protocol.minibatch}")
    forward = Forward(model, outputs, batch_size, device)
    with grams_file(output, facts) as file, _progress(facts, "Gram matrices") as advance:
        for condition in subset.conditions:
            writer = GramWriter(file, output, condition)
            reader = _GramReader(model, forward, subset.samples, _room(protocol.memory, torch.device(device)))
            writer.lay_out(reader.paths, [subset.samples.ids[part] for part in minibatches])
            for number, (part, images) in enumerate(subset.batches(condition, minibatches)):
                writer.store(number, reader.minibatch(images, part))
                advance(len(images))
            if protocol.activations:
                first = subset.read(condition, slice(0, protocol.activations))
                passes = [[layer.half().cpu() for layer in layers] for layers in reader.passes(first)]
                for layer, path in enumerate(reader.paths):
                    writer.keep(path, torch.cat([layers[layer] for layers in passes]).numpy())


def _room(memory: int, device: torch.device) -> int:
    return memory if device.type == "cpu" else max(memory, torch.cuda.mem_get_info(device)[0] // 4)


class _GramReader:
    """Runs a model over minibatches, and turns what its blocks give into Gram matrices and moments."""

    def __init__(self, model: Classifier, forward: Forward, samples: Samples, memory: int) -> None:
        self._model, self._forward, self._samples, self._memory = model, forward, samples, memory
        self._summarise = summary(model.network)
        found = anatomy.find(model.network)
        self.paths = [block.path for block in found]
        self._recorded = Recorded(range(len(found)))
        self._turns: list[dict[int, slice]] = []
        self._room = torch.empty(0)

    def minibatch(self, images: np.ndarray, part: slice) -> dict[str, tuple[np.ndarray, object]]:
        """For each of ``TOKENS``: Gram matrices float32 (layer, n, n), and the moments of the minibatch."""
        while True:
            try:
                return self._minibatch(images, part)
            except Exception as error:
                if not is_memory_error(error):
                    raise
            self._forward.passes.step_down()

    def _minibatch(self, images: np.ndarray, part: slice) -> dict[str, tuple[np.ndarray, object]]:
        layers = len(self.paths)
        correlators = {tokens: Correlator(layers) for tokens in TOKENS}
        grams = {tokens: np.empty((layers, len(images), len(images)), np.float32) for tokens in TOKENS}
        summaries, turn = [], 0
        while turn < max(len(self._turns), 1):
            start = 0
            with closing(self.passes(images)) as passes:
                for activations in passes:
                    self._turns = self._turns or self._take_turns(activations, len(images))
                    end = start + len(activations[0])
                    for layer, place in self._turns[turn].items():
                        self._room[place].view(len(images), -1)[start:end] = activations[layer].flatten(1)
                    if turn == 0:
                        # copies, not views that keep all of the tokens
                        summaries.append([self._summarise(tokens).clone() for tokens in activations])
                        correlators["all_tokens"].add(activations)
                        correlators["summary"].add(summaries[-1])
                    start = end
                    del activations  # before the next pass
            for layer, place in self._turns[turn].items():
                grams["all_tokens"][layer] = self._gram(self._room[place].view(len(images), -1), layer, part)
            turn += 1
        for layer in range(layers):
            grams["summary"][layer] = self._gram(torch.cat([batch[layer] for batch in summaries]), layer, part)
        return {tokens: (grams[tokens], correlators[tokens].moments()) for tokens in TOKENS}

    def passes(self, images: np.ndarray) -> Iterator[list[torch.Tensor]]:
        """What all blocks give, (n, positions, features) each, for some images at a time."""
        with recording(self._model, self._recorded.visit):
            start = 0
            while start < len(images):
                batch = images[start : start + self._forward.passes.most(images.shape[1] * images.shape[2])]
                self._forward(batch)
                taken = self._recorded.take()
                while taken:
                    yield self._layers(taken.pop(0))  # nothing here keeps it any longer
                start += len(batch)

    def _layers(self, done: Mapping[int, torch.Tensor]) -> list[torch.Tensor]:
        return [done[number].float() for number in range(len(self.paths))]

    def _take_turns(self, activations: Sequence[torch.Tensor], n: int) -> list[dict[int, slice]]:
        """Where the activations of a minibatch find room, layer by layer, in turns that fit into memory; a turn has one
        layer at the least. All turns, and all minibatches, use the same room."""
        turns, used = [{}], 0
        for layer, tokens in enumerate(activations):
            size = tokens[0].numel() * n
            if used and (used + size) * 4 > self._memory:
                turns.append({})
                used = 0
            turns[-1][layer] = slice(used, used + size)
            used += size
        largest = max(place.stop for turn in turns for place in turn.values())
        self._room = torch.empty(largest, device=activations[0].device)
        return turns

    def _gram(self, features: torch.Tensor, layer: int, part: slice) -> np.ndarray:
        """The Gram matrix of centred features, which says the same to both estimators, and says it more precisely; zero
        where samples differ by rounding alone."""
        mean = features.mean(0)
        if not mean.isfinite().all():
            broken = int((~features.isfinite().all(1)).nonzero()[0])
            sample = self._samples.ids[part.start + broken]
            raise ModelError(
                f"activations after block {layer} ({self.paths[layer]}) are not finite, first for {sample}"
            )
        found = gram(features.sub_(mean))
        if found.trace() <= ROUNDING**2 * len(features) * mean.square().sum():
            found.zero_()
        return found.cpu().numpy()


DISTANCE_FIELDS = (
    pa.field("sample_id", _NAME),
    pa.field("corruption", _NAME),
    pa.field("severity", pa.int8()),
    pa.field("block", pa.int16()),
    pa.field("head", pa.int16()),
    pa.field("euclidean", pa.float32()),
    pa.field("chebyshev", pa.float32()),
    pa.field("prefix_share", pa.float32()),
)


def distance_schema(facts: Mapping) -> pa.Schema:
    return pa.schema(list(DISTANCE_FIELDS), metadata={METADATA: json.dumps(dict(facts), sort_keys=True)})


def measure_attention_distance(
    model: Classifier,
    subset: Shuffled,
    output: Path,
    *,
    outputs: int,
    facts: Mapping,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> None:
    """Write how far every head of a model looks.

    Raises:
        NotApplicableError: if the model has no attention over a grid of patches.
        ModelError: if it fails.
    """
    meter, size = DistanceMeter(model), model.preprocessing.input_size
    grid, prefix = anatomy.grid_of(model.network, size)
    patch = anatomy.patches_of(model.network, size).side
    if patch is None:
        raise NotApplicableError("patches are not square, so that a distance in patches is none in pixels")
    facts = {**facts, "grid": list(grid), "prefix_tokens": prefix, "patch_pixels": patch, "depth": _depth(model)}
    forward = Forward(model, outputs, batch_size, device)
    at_once = forward.passes.most(subset.size**2)
    recorded = Recorded(())
    with ExitStack() as stack:
        hand_over = attention_weights(model, lambda number, weights: recorded.visit(number, meter(weights)))
        recorded.blocks = [block.index for block in stack.enter_context(hand_over)]
        if not recorded.blocks:
            raise NotApplicableError("a lesion has left no attention")
        writer = stack.enter_context(predictions.create(output, distance_schema(facts)))
        advance = stack.enter_context(_progress(facts, "attention distance"))
        for condition in subset.conditions:
            for part, images in subset.batches(condition, subset.slices(at_once)):
                forward(images)
                writer.write(_distance_columns(condition, subset.samples.ids[part], recorded.take()))
                advance(len(images))


def _distance_columns(condition: tuple[str, int, int], ids: Sequence[str], passes: Sequence[Mapping]) -> dict:
    """The rows of a batch: samples in order, their blocks, the heads of each."""
    columns = {}
    for name in ("euclidean", "chebyshev", "prefix_share"):
        blocks = [torch.cat([getattr(done[number], name) for done in passes]) for number in passes[0]]
        values = torch.stack(blocks, dim=1)  # (n, blocks, heads)
        columns[name] = values.flatten().float().numpy()
    n, depth, heads = values.shape
    return columns | {
        "sample_id": np.repeat(np.array(ids, dtype=object), depth * heads),
        "corruption": [condition[0]] * values.numel(),
        "severity": np.full(values.numel(), condition[1], dtype=np.int8),
        "block": np.tile(np.repeat(np.array(list(passes[0]), dtype=np.int16), heads), n),
        "head": np.tile(np.arange(heads, dtype=np.int16), n * depth),
    }


NO_ROWS = {
    "lesions": lambda facts: _trial_schema(("all",), LESION_FIELDS, facts),
    "attention_limit": lambda facts: _trial_schema(("all",), LIMIT_FIELDS, facts),
    "attention_distance": distance_schema,
}


def write_nothing(kind: str, output: Path, facts: Mapping) -> None:
    """Write a file without results, whose facts say why: ``grams`` or one of the three tables."""
    if kind == "grams":
        with grams_file(output, facts):
            return
    bare = pa.schema([], metadata={METADATA: json.dumps(dict(facts), sort_keys=True)})
    with predictions.create(output, NO_ROWS[kind](facts) if kind in NO_ROWS else bare):
        pass
