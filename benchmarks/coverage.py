"""How often 95% intervals hold the truth, by simulation: every kind of interval that tables print.

Each situation draws data of which the truth is known, takes the interval by the function that tables are made with, and
counts. ``python -m benchmarks coverage`` writes docs/coverage.csv, from which docs/coverage.md is told.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from scipy import special, stats

from benchmarks.comparison import Line
from withstand.metrics.answers import Answers
from withstand.metrics.attacks import mean, share
from withstand.metrics.calibration import calibration_rows
from withstand.metrics.calibration_error import Binned, calibration_error
from withstand.metrics.comparisons import matched_interval
from withstand.metrics.conditions import Condition
from withstand.metrics.corruption_error import corruption_error_rows
from withstand.metrics.internals import FEWEST_CHOICES, over_draws
from withstand.metrics.intervals import clustered_wilson, mean_interval, mover, paired_interval, wilson
from withstand.metrics.patch_alignment import geometric_mean
from withstand.metrics.trends import effective_robustness, power_law, rank_correlation
from withstand.similarity import Correlator, Moments, cka, gram

RUNS = 2000
TABLE = Path("docs/coverage.csv")
_MANY = 400_000
"""Images that a truth without a closed form is taken from."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Situation:
    """Attributes:
    kind: of interval.
    about: the data.
    n: what the interval is over, ``over``.
    draw: data, and the interval of them.
    truth: what it should hold.
    expected: why it holds the truth more rarely, or more often, than one should wish; nothing where it does not.
    """

    kind: str
    about: str
    n: int
    over: str
    draw: Callable[[np.random.Generator], Interval]
    truth: Callable[[], float]
    expected: str = ""

    def bounds(self) -> tuple[float, float]:
        """The percentages between which coverage should be."""
        return (93.0, 97.0) if self.n >= 100 else (91.0, 98.0)


@dataclass(frozen=True)
class Coverage(Line):
    """Attributes:
    kind, about, n, over: see :class:`Situation`.
    runs: how many data sets were drawn.
    given: of which so many percent had an interval.
    covered: how many percent of the intervals held the truth.
    below, above: how many percent ended below it, and began above it.
    as_wished: whether coverage is between 93% and 97%, for n below 100 between 91% and 98%.
    remark: why not.
    """

    COLUMNS: ClassVar = ("interval", "data", "n", "given, %", "covered, %", "too low, %", "too high, %", "remark")

    kind: str
    about: str
    n: int
    over: str
    runs: int
    given: float
    covered: float
    below: float
    above: float
    as_wished: bool
    remark: str

    def cells(self) -> list[str]:
        numbers = [f"{number:.1f}" for number in (self.given, self.covered, self.below, self.above)]
        return [self.kind, self.about, f"{self.n:,} {self.over}", *numbers, self.remark]


def measure(situation: Situation, runs: int = RUNS) -> Coverage:
    """Draw data so many times; the same situation always draws the same."""
    generator = np.random.default_rng(zlib.crc32(f"{situation.kind} {situation.about} {situation.n}".encode()))
    truth, rounding = situation.truth(), 1e-12
    found = np.array([situation.draw(generator) for _ in range(runs)], dtype=float)
    found = found[np.isfinite(found).all(1)]
    given = max(len(found), 1)
    below, above = (
        100 * float(np.sum(part)) / given for part in (found[:, 1] < truth - rounding, found[:, 0] > truth + rounding)
    )
    covered = 100 - below - above
    low, high = situation.bounds()
    return Coverage(
        **{name: getattr(situation, name) for name in ("kind", "about", "n", "over")},
        **{"runs": runs, "given": 100 * len(found) / runs, "covered": covered, "below": below, "above": above},
        **{"as_wished": low <= covered <= high, "remark": situation.expected},
    )


def run() -> Iterator[Coverage]:
    rows = []
    for situation in SITUATIONS:
        rows.append(measure(situation))
        yield rows[-1]
    write(rows)


def write(rows: Sequence[Coverage]) -> None:
    """Write the table of situations, as data and as a page."""
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = asdict(row).items()
            writer.writerow({key: round(value, 2) if isinstance(value, float) else value for key, value in cells})
    lines = [_PAGE, Coverage.header(), *(row.row() for row in rows)]
    TABLE.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


_PAGE = f"""# Coverage

How often does a 95% interval hold the truth? Each kind of interval in the tables ([statistics.md](statistics.md)) was
tried on data of which the truth is known, {RUNS:,} times in each situation, by the functions that make the tables:
`python -m benchmarks coverage`, which also writes this page and [coverage.csv](coverage.csv). The share that holds the
truth is known to half a point either way (one standard error of {RUNS:,} runs). Between 93% and 97% is as wished, and
between 91% and 98% where there are fewer than 100 images, models, draws or minibatches; a remark says why a row is not.

"Too low" are intervals that end below the truth, "too high" those that begin above it. "Given" are the data sets for
which there is an interval at all: none is printed where there is too little to tell.
"""


# ---- shares of images


def _share(n: int, p: float, generator: np.random.Generator) -> Interval:
    row = share(generator.random(n) < p)
    return row["low"], row["high"]


def _clustered(n: int, trials: int, a: float, b: float, generator: np.random.Generator) -> Interval:
    return clustered_wilson(generator.binomial(trials, generator.beta(a, b, size=n)).astype(float), trials)


def _shape_bias(n: int, named: float, p: float, generator: np.random.Generator) -> Interval:
    """Shape among answers that are shape or texture: how many there are is random, too."""
    answers = generator.binomial(n, named)
    return wilson(generator.binomial(answers, p), answers) if answers else (np.nan, np.nan)


def _worst(n: int, generator: np.random.Generator) -> Interval:
    """Right under all of 45 transformations, which are alike for one image."""
    right = generator.random((n, 45)) < special.expit(3 + 3 * generator.normal(size=(n, 1)))
    row = share(right.all(1))
    return row["low"], row["high"]


def _normal_mean(function: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean of a function of a standard normal variable."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return float(weights @ function(nodes) / weights.sum())


# ---- draws of lesions and of masks


def _drawn(draws: int, n: int, spread: float, images: float, generator: np.random.Generator) -> Interval:
    """Draws that are alike but for a normal effect on the log-odds, as random masks."""
    effect = spread * generator.normal(size=(draws, 1)) + images * generator.normal(size=(1, n))
    row = over_draws((generator.random((draws, n)) < special.expit(0.5 + effect))[:, None], complete=False)
    return row["low"], row["high"]


def _at(sigma: float, x: np.ndarray) -> np.ndarray:
    return special.expit(0.5 + sigma * x)


def _chosen(draws: int, n: int, generator: np.random.Generator) -> Interval:
    """Choices of blocks, a quarter of which hurt."""
    effect = np.where(generator.random((draws, 1)) < 0.25, -2.0, 0.3) + generator.normal(size=(1, n))
    correct = generator.random((draws, n)) < special.expit(0.5 + effect)
    row = over_draws(correct[:, None], complete=False, fewest=FEWEST_CHOICES)
    return row["low"], row["high"]


# ---- calibration


def _conditions(
    n: int, share_above: float, wrong_by: Callable, conditions: int, generator: np.random.Generator
) -> list[Condition]:
    """Answers whose probabilities are off by a function of them; under several conditions to copies of the images."""
    luck = generator.normal(size=n)
    found = []
    for severity in range(1, conditions + 1):
        confidence = 0.1 + 0.9 * stats.beta.ppf(special.ndtr(generator.normal(size=n)), share_above, 1.0)
        mixed = (
            special.ndtr((0.7 * luck + generator.normal(size=n)) / np.hypot(0.7, 1))
            if conditions > 1
            else generator.random(n)
        )
        correct = mixed < wrong_by(confidence)
        blank = np.zeros(n)
        found.append(Condition("a", "a", severity, correct, confidence, blank, blank, blank))
    return found


_OFF = {
    "calibrated": lambda confidence: confidence,
    "2 points too sure": lambda confidence: confidence - 0.02,
    "10 points too sure": lambda confidence: np.maximum(confidence - 0.1, 0),
    "too sure, by temperature": lambda confidence: special.expit(0.67 * special.logit(confidence)),
    "too cautious, by temperature": lambda confidence: special.expit(1.4 * special.logit(confidence)),
    "8 points too sure above 80%, else calibrated": lambda confidence: np.where(
        confidence > 0.8, confidence - 0.08, confidence
    ),
}


_LARGE = ("calibrated", "too sure, by temperature")
"""Tried with 50,000 images, too."""


def _ece(n: int, about: str, conditions: int, generator: np.random.Generator) -> Interval:
    drawn = _conditions(n, 3.0, _OFF[about], conditions, generator)
    return calibration_error([Binned.of(each.confidence, each.correct) for each in drawn])[1:]


@cache
def _true_ece(about: str) -> float:
    """By integration over the probabilities of answers."""
    confidence = 0.1 + 0.9 * stats.beta.ppf((np.arange(_MANY) + 0.5) / _MANY, 3.0, 1.0)
    bins = np.minimum((confidence * 15).astype(int), 14)
    return float(np.abs(np.bincount(bins, confidence - _OFF[about](confidence))).sum() / _MANY)


def _losses(n: int, scale: float, temperature: float, generator: np.random.Generator) -> np.ndarray:
    """Probabilities of ten classes, of which the first is the label: (n, 10)."""
    logits = generator.normal(size=(n, 10))
    logits[:, 0] += scale
    return special.softmax(temperature * logits, axis=1)


def _of_probabilities(metric: str, probabilities: np.ndarray) -> np.ndarray:
    if metric == "nll":
        return -np.log(probabilities[:, 0])
    return (probabilities**2).sum(1) - 2 * probabilities[:, 0] + 1


def _loss(metric: str, n: int, scale: float, temperature: float, generator: np.random.Generator) -> Interval:
    found = _losses(n, scale, temperature, generator)
    correct = found.argmax(1) == 0
    condition = Condition(
        "clean", "clean", 0, correct, found.max(1), found[:, 0], (found**2).sum(1), -np.log(found[:, 0])
    )
    row = calibration_rows([condition]).set_index("metric").loc[metric]
    return row["low"], row["high"]


@cache
def _true_loss(metric: str, scale: float, temperature: float) -> float:
    return float(_of_probabilities(metric, _losses(_MANY, scale, temperature, np.random.default_rng(0))).mean())


# ---- comparisons


_KEYS = {"dataset": "d", "policy": "stored", "label_mode": "all"}


def _matched(n: int, mine: float, theirs: float, generator: np.random.Generator) -> Interval:
    drawn = generator.choice(3, size=n, p=[mine, theirs, 1 - mine - theirs])
    return matched_interval(float(np.sum(drawn == 0)), float(np.sum(drawn == 1)), n)


def _pairs(n: int, differing: float, generator: np.random.Generator) -> np.ndarray:
    """Right answers of two models under 25 conditions, the same on most images."""
    right = generator.binomial(25, generator.beta(0.7, 0.7, size=n))
    apart = generator.binomial(6, 0.6, size=n) * np.where(generator.random(n) < 0.7, 1, -1)
    return np.stack([np.clip(right + np.where(generator.random(n) < differing, apart, 0), 0, 25), right])


def _paired(n: int, differing: float, generator: np.random.Generator) -> Interval:
    one, other = _pairs(n, differing, generator)
    return paired_interval((one - other) / 25)


@cache
def _true_difference(differing: float) -> float:
    one, other = _pairs(5 * _MANY, differing, np.random.default_rng(0))
    return float((one - other).mean() / 25)


def _mover(n: int, p: float, q: float, generator: np.random.Generator) -> Interval:
    sides = []
    for chance in (p, q):
        hits = generator.binomial(n, chance)
        sides += [hits / n, *wilson(hits, n)]
    return tuple(map(float, mover(*sides)))


# ---- corruption errors

_CORRUPTIONS = [f"c{number}" for number in range(5)]


def _errors(n: int, baseline: float, model: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Wrong answers of baseline and model to 5 corruptions at 5 severities of the same images, and to the images as
    they are: int (2, 5, n), int (2, n)."""
    hard = 1.5 * generator.normal(size=n) + 0.7 * generator.normal(size=(5, n))
    own = 0.5 * generator.normal(size=n)
    chances = np.stack(
        [special.expit(special.logit(baseline) + hard), special.expit(special.logit(model) + hard + own)]
    )
    clean = np.stack([special.expit(special.logit(each) - 1.5 + hard[0]) for each in (baseline, model)])
    return generator.binomial(5, chances), generator.binomial(1, clean)


def _corruption_error(metric: str, n: int, baseline: float, model: float, generator: np.random.Generator) -> Interval:
    wrong, clean_wrong = _errors(n, baseline, model, generator)
    ids = np.arange(n).astype(str).astype(object)
    right = {name: (5 - wrong[:, place]).astype(np.int16) for place, name in enumerate(_CORRUPTIONS)}
    corrupted = Answers(_KEYS, ["base", "m"], ids, right, dict.fromkeys(_CORRUPTIONS, 5))
    clean = Answers(_KEYS, ["base", "m"], ids, {"clean": (1 - clean_wrong).astype(np.int16)}, {"clean": 1})
    rows = corruption_error_rows(corrupted, clean if "relative" in metric else None, baseline="base")
    rows = rows[(rows["model"] == "m") & (rows["metric"] == metric)]
    row = rows[rows["corruption"].isna()].iloc[0] if metric.endswith("mce") else rows.iloc[0]
    return row["low"], row["high"]


@cache
def _true_corruption_error(metric: str, baseline: float, model: float) -> float:
    sums = np.zeros((2, 5))
    clean, generator = np.zeros(2), np.random.default_rng(0)
    for _ in range(4):
        wrong, clean_wrong = _errors(_MANY // 4, baseline, model, generator)
        sums, clean = sums + wrong.mean(2) / 5, clean + clean_wrong.mean(1)
    errors = sums - clean[:, None] if "relative" in metric else sums
    ratios = 100 * errors[1] / errors[0]
    return float(ratios.mean() if metric.endswith("mce") else ratios[0])


# ---- trends over models


def _ranks(n: int, correlation: float, generator: np.random.Generator) -> Interval:
    first, other = generator.normal(size=(2, n))
    row = rank_correlation(first, correlation * first + np.sqrt(1 - correlation**2) * other)
    return row["low"], row["high"]


def _slope(n: int, scatter: float, images: int, generator: np.random.Generator) -> Interval:
    """Errors that fall with the power 0.3 of parameters, but for a scatter of their logarithms."""
    x = np.linspace(np.log(5e6), np.log(6e8), n)
    errors = np.exp(np.log(0.35) - 0.3 * (x - x[0]) + scatter * generator.normal(size=n))
    wrong = np.maximum(generator.binomial(images, np.minimum(errors, 1)), 1)
    ends = np.array([wilson(each, images) for each in wrong])
    line = power_law(np.exp(x), wrong / images, np.log(ends[:, 1] / ends[:, 0]) / (2 * stats.norm.ppf(0.975)))
    return line["low"], line["high"]


def _effective(n: int, scatter: float, images: int, generator: np.random.Generator) -> Interval:
    """The first of models, which all lie about one line: it is no more robust than they are."""
    x = generator.normal(1.2, 0.5, size=n)
    y = 0.8 * x - 0.7 + scatter * generator.normal(size=n)
    clean, shifted = (generator.binomial(images, special.expit(part)) / images for part in (x, y))
    row = effective_robustness(clean, shifted, images)[0]
    return row["low"], row["high"]


# ---- the inside of models


def _layers(n: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Activations of two layers of eight features that share four: float64 (n, 8) each."""
    shared = generator.normal(size=(n, 4))
    return [np.hstack([shared, generator.normal(size=(n, 4))]) for _ in range(2)]


def _cka(batches: int, samples: int, generator: np.random.Generator) -> Interval:
    layers = _layers(batches * samples, generator)
    grams = torch.stack(
        [torch.stack([gram(torch.from_numpy(part)) for part in np.split(layer, batches)]) for layer in layers]
    )
    found = cka(grams)
    return float(found.low[0, 1]), float(found.high[0, 1])


def _pearson(flattening: str, batches: int, samples: int, generator: np.random.Generator) -> Interval:
    moments = []
    for _ in range(batches):
        correlator = Correlator(2)
        correlator.add([torch.from_numpy(layer) for layer in _layers(samples, generator)])
        moments.append(correlator.moments())
    joined = Moments(
        *(np.concatenate([getattr(each, name) for each in moments]) for name in ("mean", "product", "per_sample"))
    )
    found = joined.pearson(flattening)
    return float(found.low[0, 1]), float(found.high[0, 1])


@cache
def _true_pearson(flattening: str) -> float:
    if flattening == "joint":
        return 0.5
    one, other = _layers(_MANY, np.random.default_rng(0))
    one, other = (part - part.mean(1, keepdims=True) for part in (one, other))
    return float(np.mean((one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1))))


# ---- means and ratios


def _ratio(n: int, generator: np.random.Generator) -> Interval:
    row = geometric_mean([np.exp(0.2 + 0.5 * generator.standard_t(6, size=n))])
    return row["low"], row["high"]


def _attacked_mean(n: int, generator: np.random.Generator) -> Interval:
    row = mean(generator.gamma(0.7, 2.0, size=n))
    return row["low"], row["high"]


def _distance(n: int, generator: np.random.Generator) -> Interval:
    return mean_interval(generator.gamma(8.0, 0.5, size=n))


def _constant(value: float) -> Callable[[], float]:
    return lambda: value


def _of_shares() -> Iterator[Situation]:
    for n, p in ((30, 0.5), (30, 0.9), (100, 0.5), (100, 0.8), (100, 0.98), (1000, 0.1), (1000, 0.75), (1000, 0.99)):
        about = f"accuracy {p:.0%}"
        yield Situation("Wilson", about, n, "images", partial(_share, n, p), _constant(p))
    for n in (30, 100, 1000):
        for a, b in ((2.0, 1.0), (8.0, 1.0), (0.5, 0.5)):
            about = f"75 conditions, accuracies of images Beta({a:g}, {b:g})"
            yield Situation(
                "Wilson, clustered", about, n, "images", partial(_clustered, n, 75, a, b), _constant(a / (a + b))
            )
    for n in (100, 1000):
        yield Situation(
            "shape bias",
            "40% of answers are shape or texture, 30% of those shape",
            n,
            "images",
            partial(_shape_bias, n, 0.4, 0.3),
            _constant(0.3),
        )
        truth = partial(_normal_mean, lambda x: special.expit(3 + 3 * x) ** 45)
        yield Situation("worst of transformations", "45 of each image", n, "images", partial(_worst, n), truth)


def _of_draws() -> Iterator[Situation]:
    for draws, n in ((5, 100), (5, 1000), (10, 1000), (25, 1000)):
        for spread, images in ((0.1, 2.0), (1.0, 1.0)):
            about = f"masks, {'little' if spread < 1 else 'much'} apart; {n:,} images"
            truth = partial(_normal_mean, partial(_at, float(np.hypot(spread, images))))
            yield Situation("over draws", about, draws, "draws", partial(_drawn, draws, n, spread, images), truth)
    for draws, n in ((10, 100), (10, 1000), (25, 100), (25, 1000)):
        about = f"choices of blocks, a quarter of which hurt; {n:,} images"
        truth = partial(_normal_mean, lambda x: 0.25 * special.expit(-1.5 + x) + 0.75 * special.expit(0.8 + x))
        yield Situation("over draws", about, draws, "draws", partial(_chosen, draws, n), truth)


def _of_calibration() -> Iterator[Situation]:
    for about in _OFF:
        for n in (30, 100, 1000, 10_000, *([50_000] if about in _LARGE else [])):
            truth = _constant(0.0) if about == "calibrated" else partial(_true_ece, about)
            expected = (
                "no estimate of a sum of sizes is unbiased (docs/statistics.md)" if "else" in about and n > 100 else ""
            )
            yield Situation("ECE", about, n, "images", partial(_ece, n, about, 1), truth, expected)
    for about in ("10 points too sure", "too sure, by temperature"):
        yield Situation(
            "ECE, pooled",
            f"{about}; 5 conditions",
            1000,
            "images",
            partial(_ece, 1000, about, 5),
            partial(_true_ece, about),
            "the part of chance is known to a few percent of itself, which pooling does not make less",
        )
    for metric, name in (("brier", "Brier score"), ("nll", "NLL")):
        for scale, temperature, about in (
            (2.0, 1.0, "accuracy 67%"),
            (3.0, 2.0, "accuracy 90%, too sure"),
            (4.0, 3.0, "accuracy 98%, too sure"),
        ):
            for n in (30, 100, 1000):
                if n * (0.02 if scale == 4 else 0.1) < 3:
                    continue
                yield Situation(
                    name,
                    about,
                    n,
                    "images",
                    partial(_loss, metric, n, scale, temperature),
                    partial(_true_loss, metric, scale, temperature),
                )


def _of_comparisons() -> Iterator[Situation]:
    for n, mine, theirs in ((30, 0.2, 0.1), (100, 0.1, 0.03), (1000, 0.05, 0.04), (1000, 0.02, 0.002)):
        yield Situation(
            "matched pairs, Agresti and Min",
            f"right by one alone: {mine:.0%} and {theirs:.1%}",
            n,
            "images",
            partial(_matched, n, mine, theirs),
            _constant(mine - theirs),
        )
    for n, differing in ((30, 0.1), (30, 0.5), (100, 0.05), (100, 0.5), (1000, 0.02), (1000, 0.5)):
        yield Situation(
            "paired means",
            f"{differing:.0%} of images differ",
            n,
            "images",
            partial(_paired, n, differing),
            partial(_true_difference, differing),
        )
    for n, p, q in ((30, 0.7, 0.5), (100, 0.9, 0.85), (1000, 0.75, 0.7)):
        yield Situation(
            "difference of other images, MOVER",
            f"accuracies {p:.0%} and {q:.0%}",
            n,
            "images",
            partial(_mover, n, p, q),
            _constant(p - q),
        )
    for metric in ("ce", "mce", "relative_mce"):
        for n, baseline, model in ((30, 0.3, 0.2), (100, 0.3, 0.2), (100, 0.1, 0.05), (1000, 0.1, 0.05)):
            about = f"{metric}; errors of {baseline:.0%} and {model:.0%} where images are of middling difficulty"
            yield Situation(
                "corruption error, jackknife",
                about,
                n,
                "images",
                partial(_corruption_error, metric, n, baseline, model),
                partial(_true_corruption_error, metric, baseline, model),
            )


def _of_models() -> Iterator[Situation]:
    for n in (10, 20, 50):
        for correlation in (0.0, 0.7, 0.95):
            truth = _constant(6 / np.pi * np.arcsin(correlation / 2))
            yield Situation(
                "rank correlation",
                f"normal, correlation {correlation:g}",
                n,
                "models",
                partial(_ranks, n, correlation),
                truth,
            )
    for n in (10, 20):
        for scatter, images in ((0.0, 1000), (0.03, 1000), (0.2, 1000), (0.2, 50_000)):
            about = f"scatter of {scatter:g} about the line; {images:,} images"
            yield Situation(
                "slope of error with size", about, n, "models", partial(_slope, n, scatter, images), _constant(-0.3)
            )
        yield Situation(
            "effective robustness",
            "scatter of 0.15 about the line; 10,000 images",
            n,
            "models",
            partial(_effective, n, 0.15, 10_000),
            _constant(0.0),
        )


def _of_the_inside() -> Iterator[Situation]:
    for batches, samples in ((4, 250), (10, 100), (20, 50)):
        about = f"{batches} minibatches of {samples}"
        yield Situation(
            "CKA, jackknife", about, batches, "minibatches", partial(_cka, batches, samples), _constant(0.5)
        )
        for flattening in ("joint", "per_sample"):
            yield Situation(
                f"Pearson {flattening}, jackknife",
                about,
                batches,
                "minibatches",
                partial(_pearson, flattening, batches, samples),
                partial(_true_pearson, flattening),
            )


def _of_means() -> Iterator[Situation]:
    for n in (30, 100, 1000):
        yield Situation(
            "patch alignment, geometric mean",
            "ratios with long tails",
            n,
            "images",
            partial(_ratio, n),
            _constant(float(np.exp(0.2))),
        )
        yield Situation(
            "loss or length under attack",
            "gamma, of skewness 2.4",
            n,
            "images",
            partial(_attacked_mean, n),
            _constant(1.4),
        )
        yield Situation(
            "attention distance", "gamma, of skewness 0.7", n, "images", partial(_distance, n), _constant(4.0)
        )


SITUATIONS = (
    *(*_of_shares(), *_of_draws(), *_of_calibration(), *_of_comparisons(), *_of_models()),
    *(*_of_the_inside(), *_of_means()),
)
