"""Statistics of a study, against closed forms, scipy and plain loops."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import optimize, stats

from withstand import predictions
from withstand.metrics import answers
from withstand.metrics.answers import Answers, read_answers
from withstand.metrics.calibration import calibration_rows
from withstand.metrics.calibration_error import Binned, calibration_error
from withstand.metrics.comparisons import comparison_rows, matched_interval
from withstand.metrics.conditions import Condition, read_conditions, sample_ids
from withstand.metrics.corruption_error import ALEXNET, corruption_error_rows, has_imagenet_c
from withstand.metrics.intervals import (
    crossed_wilson,
    jackknife_interval,
    mean_interval,
    paired_interval,
    skewed_mean_interval,
    wilson,
)
from withstand.metrics.trends import (
    FEWEST_MODELS,
    effective_robustness,
    effective_robustness_rows,
    of_smallest_patches,
    power_law,
    rank_correlation,
    trend_rows,
)
from withstand.steps.tabulate import summarise
from withstand.steps.tabulate_statistics import tabulate_comparisons, tabulate_corruption_error

KEYS = {"dataset": "d", "policy": "stored", "label_mode": "all"}


def softmax(logits):
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def condition(seed, corruption="clean", severity=0, count=500, classes=7):
    """A condition, and the probabilities and labels behind it."""
    generator = np.random.default_rng(seed)
    probabilities = softmax(generator.normal(size=(count, classes)) * 2)
    labels = np.where(generator.random(count) < 0.6, probabilities.argmax(1), generator.integers(classes, size=count))
    of_label = probabilities[np.arange(count), labels]
    columns = [probabilities.max(1), of_label, (probabilities**2).sum(1), -np.log(of_label)]
    family = "clean" if corruption == "clean" else "noise"
    correct = probabilities.argmax(1) == labels
    given = Condition(family, corruption, severity, correct, *(column.astype(np.float32) for column in columns))
    return given, probabilities, labels


def ece_by_loops(probabilities, labels):
    total = 0.0
    for number in range(15):
        inside = [
            (p.max(), p.argmax() == label)
            for p, label in zip(probabilities, labels, strict=True)
            if number / 15 <= p.max() < (number + 1) / 15
        ]
        if inside:
            confidences, hits = zip(*inside, strict=True)
            total += len(inside) / len(labels) * abs(np.mean(confidences) - np.mean(hits))
    return total


def hall_by_root_finding(values):
    """The ends where Hall's transformation of Student's statistic, which grows, reaches Student's quantiles."""
    n, skewness = len(values), stats.skew(values)

    def transformed(t):
        return t + skewness * t**2 / (3 * n**0.5) + skewness**2 * t**3 / (27 * n) + skewness / (6 * n**0.5)

    quantile = stats.t.ppf(0.975, n - 1)
    ends = [optimize.brentq(lambda t, q=q: transformed(t) - q, -1e3, 1e3) for q in (quantile, -quantile)]
    return [values.mean() - end * stats.sem(values) for end in ends]


def test_calibration_of_a_condition():
    given, probabilities, labels = condition(0)
    rows = calibration_rows([given]).set_index("metric")
    one_hot = np.eye(probabilities.shape[1])[labels]
    brier = ((probabilities - one_hot) ** 2).sum(1)
    nll = -np.log(probabilities[np.arange(len(labels)), labels])
    # float32 columns
    assert rows.loc["ece_plug_in", "value"] == pytest.approx(ece_by_loops(probabilities, labels), abs=1e-6)
    assert rows.loc["ece", "low"] <= rows.loc["ece", "value"] < rows.loc["ece_plug_in", "value"]
    for metric, values in (("brier", brier), ("nll", nll)):
        low, high = hall_by_root_finding(values)
        assert tuple(rows.loc[metric, ["value", "low", "high"]]) == pytest.approx((values.mean(), low, high), rel=1e-5)
    assert (rows["n"] == 500).all()


def test_a_mean_without_skewness_has_students_interval():
    values = np.r_[np.arange(50.0), -np.arange(50.0)]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert skewed_mean_interval(values) == pytest.approx((low, high))
    assert mean_interval(values) == pytest.approx((low, high))


@pytest.mark.parametrize("interval", [mean_interval, skewed_mean_interval, paired_interval])
def test_a_single_value_has_no_interval(interval):
    assert np.isnan(interval(np.array([0.5]))).all()


def test_losses_of_images_that_are_nearly_all_right_have_no_interval():
    """What the tail of losses is like, only wrong answers tell."""
    given, *_ = condition(0)
    right = np.ones(500, dtype=bool)
    for wrong, has in ((0, False), (2, False), (3, True)):
        right[:wrong] = False
        rows = calibration_rows([replace(given, correct=right.copy())]).set_index("metric")
        assert rows.loc[["nll", "brier"], ["low", "high"]].notna().all(axis=None) == has


def ece_of(confidence, correct):
    return calibration_error([Binned.of(confidence, correct)])


@pytest.mark.parametrize("images", [100, 2000])
def test_chance_is_no_calibration_error(images):
    """Of a calibrated model the measured error is above zero, the more the fewer images; the interval knows."""
    generator, covered, values = np.random.default_rng(2), 0, []
    for _ in range(300):
        confidence = generator.uniform(0.3, 0.95, size=images)
        value, low, high = ece_of(confidence, generator.random(images) < confidence)
        covered += low <= 0 <= high
        values.append(value)
    # binomial(300, 0.95) is between 273 and 296 with 99.7%
    assert 273 <= covered <= 296
    measured = 0.65 * math.sqrt(2 / math.pi / images) * 3
    assert np.mean(values) < measured / 3


def test_a_calibration_error_that_is_plain_is_that_measured():
    generator = np.random.default_rng(2)
    confidence = generator.uniform(0.45, 0.95, size=40_000)
    value, low, high = ece_of(confidence, generator.random(40_000) < confidence - 0.1)
    # the standard error of 40,000 hits with a chance of 0.6
    assert value == pytest.approx(0.1, abs=4 * math.sqrt(0.24 / 40_000))
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.24 / 40_000), rel=0.1)


def test_pooled_calibration_is_the_mean_over_conditions_clustered_by_image():
    given = [condition(seed, "a", seed)[0] for seed in (1, 2, 3)]
    rows = calibration_rows([condition(0)[0], *given])
    single = rows[rows["severity"].notna() & (rows["corruption"] == "a")]
    whole = rows[rows["family"].isna() & rows["severity"].isna()].set_index("metric")
    for metric, values in single[single["metric"] != "ece"].groupby("metric")["value"]:
        assert whole.loc[metric, "value"] == pytest.approx(values.mean(), rel=1e-6)
    assert tuple(whole.loc["nll", ["n", "images"]]) == (1500, 500)
    # three copies of one condition tell no more than one
    copies = calibration_rows([condition(1, "a", severity)[0] for severity in (1, 2, 3)])
    one = copies[(copies["severity"] == 1) & (copies["corruption"] == "a")].set_index("metric")
    all_three = copies[copies["family"].isna() & copies["severity"].isna()].set_index("metric")
    losses = ["nll", "brier"]
    assert np.allclose(all_three.loc[losses, ["low", "high"]], one.loc[losses, ["low", "high"]], rtol=1e-6)
    # what chance adds is a little less sure in copies, which the variance of what is linear in gaps does not count
    assert np.allclose(all_three.loc["ece", ["low", "high"]], one.loc["ece", ["low", "high"]].astype(float), atol=0.01)


def model_answers(*right, corruption="clean", trials=1, models=None, ids=None):
    right = np.array(right, dtype=np.int16)
    ids = np.array([f"i{n}" for n in range(right.shape[1])] if ids is None else ids, dtype=object)
    names = models or [f"m{n}" for n in range(len(right))]
    return Answers(KEYS, names, ids, {corruption: right}, {corruption: trials})


def test_mcnemar_is_exact():
    """Of 15 images that only one of two models got right, 12 are the one's: twice the binomial tail."""
    first = np.r_[np.ones(12), np.zeros(3), np.ones(80), np.zeros(25)]
    second = np.r_[np.zeros(12), np.ones(3), np.ones(80), np.zeros(25)]
    row = comparison_rows(model_answers(first, second)).iloc[0]
    tail = sum(math.comb(15, k) for k in range(4)) / 2**15
    assert (row["only_model"], row["only_other"], row["test"]) == (12, 3, "mcnemar")
    assert row["p"] == pytest.approx(2 * tail)
    assert row["value"] == pytest.approx(9 / 120)
    assert (row["n"], row["images"]) == (120, 120)


def test_the_interval_of_matched_proportions_covers():
    generator, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        mine, theirs, _ = generator.multinomial(120, [0.10, 0.03, 0.87])
        low, high = matched_interval(mine, theirs, 120)
        covered += low <= 0.07 <= high
    # binomial(1000, 0.95) is above 929 with 99.8%
    assert covered >= 930
    low, high = matched_interval(0, 0, 120)
    assert low < 0 < high, "no discordant image is no proof"


def test_holm_over_all_pairs():
    generator = np.random.default_rng(1)
    given = model_answers(*(generator.random((4, 200)) < [[0.9], [0.85], [0.7], [0.6]]))
    rows = comparison_rows(given)
    assert len(rows) == 6
    ordered = rows.sort_values("p")
    expected = np.maximum.accumulate(np.minimum(ordered["p"] * np.arange(6, 0, -1), 1))
    assert np.allclose(ordered["p_holm"], expected)


def test_means_over_corruptions_are_paired_by_image():
    generator = np.random.default_rng(3)
    hard = generator.binomial(5, generator.beta(1, 1, size=400))
    ahead = np.minimum(hard + (generator.random(400) < 0.2), 5)
    rows = comparison_rows(model_answers(ahead, hard, corruption="fog", trials=5))
    difference = (ahead - hard) / 5
    low, high = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    row = rows.iloc[0]
    assert row["value"] == pytest.approx(difference.mean())
    # half an image is added on each side: of 400, 80 of which differ by 0.2
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert row["p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert row["test"] == "paired t"


def test_many_pairs_can_differ_under_corruption():
    """With thirty models the adjusted p-value of a difference that is plain to see is small."""
    generator = np.random.default_rng(5)
    skill = np.linspace(0.3, 0.9, 30)[:, None]
    rows = comparison_rows(model_answers(*generator.binomial(5, skill, (30, 500)), corruption="fog", trials=5))
    assert len(rows) == 435
    assert rows.loc[rows["value"].abs() > 0.3, "p_holm"].max() < 1e-6


def test_few_differing_images_are_tested_by_their_signs():
    ahead = model_answers([5, 5, 5, 1, 1], [3, 3, 3, 1, 1], corruption="fog", trials=5)
    row = comparison_rows(ahead).iloc[0]
    assert (row["test"], row["p"]) == ("signs", pytest.approx(2 / 2**3))


@pytest.mark.parametrize("differing", [0, 1, 2])
def test_hardly_any_differing_image_is_no_proof(differing):
    right = np.full(100, 3)
    ahead = right + (np.arange(100) < differing)
    row = comparison_rows(model_answers(ahead, right, corruption="fog", trials=5)).iloc[0]
    assert row["low"] < 0 < row["high"]
    assert (row["test"], row["p"]) == ("signs", pytest.approx(min(1, 2 / 2**differing)))


def test_the_jackknife_of_a_mean_is_students():
    values = np.random.default_rng(0).exponential(size=40)
    without = (values.sum() - values) / 39
    assert jackknife_interval(values.mean(), without) == pytest.approx(mean_interval(values))
    assert np.isnan(jackknife_interval(1.0, np.array([1.0, np.inf, 1.0]))).all()


def test_draws_that_do_not_differ_leave_the_interval_of_the_images():
    right = np.arange(200) < 140
    low, high = crossed_wilson(np.tile(right, (8, 1)))
    n = 199 * (1.959964 / stats.t.ppf(0.975, 199)) ** 2  # the variance estimate divides by n - 1
    assert (low, high) == pytest.approx(wilson(0.7 * n, n), abs=1e-6)


def test_few_draws_that_differ_have_students_interval():
    """All images are answered alike: the draws are the sample."""
    shares = np.array([0.5, 0.55, 0.45, 0.52, 0.48])
    low, high = crossed_wilson(np.repeat(shares[:, None], 2000, axis=1))
    expected = stats.ttest_1samp(shares, 0).confidence_interval(0.95)
    # Wilson's and Student's differ by the square of the half-width
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def imagenet_c(models, images=2000, seed=0):
    """Answers with AlexNet's accuracies, or a share of its errors."""
    generator = np.random.default_rng(seed)
    right = {
        name: np.stack(
            [
                sum(generator.random(images) >= share * error for error in ALEXNET[name]).astype(np.int16)
                for share in models.values()
            ]
        )
        for name in ALEXNET
    }
    ids = np.array([str(n) for n in range(images)], dtype=object)
    return Answers(KEYS, list(models), ids, right, dict.fromkeys(ALEXNET, 5))


def test_corruption_errors_against_alexnet():
    given = imagenet_c({"alexnet": 1.0, "better": 0.6})
    assert has_imagenet_c(given)
    rows = pd.concat(
        [
            corruption_error_rows(given, None, alexnet=True),
            corruption_error_rows(given, None, baseline="alexnet"),
        ]
    )
    mce = rows[rows["corruption"].isna()].set_index(["reference", "model"])
    # binomial noise of 75 times 2,000 draws
    assert mce.loc[("AlexNet", "alexnet"), "value"] == pytest.approx(100, abs=0.5)
    assert mce.loc[("AlexNet", "better"), "value"] == pytest.approx(60, abs=0.6)
    assert mce.loc[("AlexNet", "better"), "low"] < 60.6 and mce.loc[("AlexNet", "better"), "high"] > 59.4
    assert tuple(mce.loc[("alexnet", "alexnet"), ["value", "low", "high"]]) == (100, 100, 100)
    assert set(mce["metric"]) == {"mce"}
    single = rows[rows["corruption"].notna() & (rows["reference"] == "AlexNet") & (rows["model"] == "better")]
    assert mce.loc[("AlexNet", "better"), "value"] == pytest.approx(single["value"].mean())
    assert (single["n"] == 10_000).all()


def test_relative_errors_are_what_is_lost():
    clean = model_answers([1] * 9 + [0], [1] * 8 + [0] * 2)
    fog = model_answers([5] * 7 + [0] * 3, [5] * 4 + [0] * 6, corruption="fog", trials=5)
    rows = corruption_error_rows(fog, clean, baseline="m1")
    rows = rows[rows["model"] == "m0"].fillna({"corruption": "mean"}).set_index(["metric", "corruption"])["value"]
    assert rows["ce", "fog"] == pytest.approx(100 * 0.3 / 0.6)
    assert rows["relative_ce", "fog"] == pytest.approx(100 * (0.3 - 0.1) / (0.6 - 0.2))
    assert rows["mce", "mean"] == pytest.approx(rows["ce", "fog"])
    assert rows["relative_mce", "mean"] == pytest.approx(rows["relative_ce", "fog"])


def test_what_a_reference_is_too_good_for_is_said():
    """No value without errors to divide by, no interval where they may be chance, and the reason in words."""
    clean = model_answers(*[[1] * 10] * 2)
    fog = model_answers([5] * 10, [4] * 10, corruption="fog", trials=5)
    none = corruption_error_rows(fog, clean, baseline="m0")
    assert none["value"].isna().all() and none[["low", "high"]].isna().all(axis=None)
    assert set(none.loc[none["metric"].isin(["ce", "mce"]), "reason"]) == {"the reference makes no error under fog"}
    assert set(none.loc[none["metric"].isin(["relative_ce", "relative_mce"]), "reason"]) == {
        "the reference loses nothing under fog"
    }
    few = model_answers([4] + [5] * 9, [4] * 10, corruption="fog", trials=5)
    rows = corruption_error_rows(few, None, baseline="m0").set_index(["model", "metric"])
    assert rows.loc[("m1", "mce"), "value"] == pytest.approx(1000)
    assert rows.loc[("m1", "mce"), ["low", "high"]].isna().all()
    assert rows.loc[("m1", "mce"), "reason"] == "the reference makes too few errors under fog"
    assert tuple(rows.loc[("m0", "mce"), ["value", "low", "high"]]) == (100, 100, 100)
    assert corruption_error_rows(fog, clean, baseline="none").empty


def test_no_table_of_corruption_errors_holds_infinity():
    """Baselines from no error at all to many: what is there is finite, and where nothing is there is a reason."""
    generator = np.random.default_rng(0)
    for rate in (0.0, 0.002, 0.01, 0.05, 0.3):
        right = generator.binomial(5, [[1 - rate], [0.7]], size=(2, 120))
        clean = generator.binomial(1, [[1 - rate / 2], [0.8]], size=(2, 120))
        rows = corruption_error_rows(
            model_answers(*right, corruption="fog", trials=5), model_answers(*clean), baseline="m0"
        )
        found = rows[["value", "low", "high"]].astype(float)
        assert not np.isinf(found).any(axis=None)
        assert (found.isna().any(axis=1) == rows["reason"].notna()).all()


def test_alexnet_stands_only_where_all_of_imagenet_c_is():
    given = imagenet_c({"alexnet": 1.0})
    right, trials = dict(given.right), dict(given.trials)
    del right["fog"], trials["fog"]
    assert not has_imagenet_c(Answers(KEYS, given.models, given.ids, right, trials))
    assert not has_imagenet_c(Answers(KEYS, given.models, given.ids, given.right, given.trials | {"fog": 3}))


def test_more_corruptions_than_imagenet_c_has_change_nothing_against_alexnet():
    given = imagenet_c({"alexnet": 1.0, "better": 0.6}, images=200)
    more = {"spatter": np.zeros((2, 200), dtype=np.int16)}
    wider = Answers(KEYS, given.models, given.ids, {**given.right, **more}, {**given.trials, "spatter": 5})
    assert has_imagenet_c(wider)
    rows, expected = (corruption_error_rows(each, None, alexnet=True) for each in (wider, given))
    pd.testing.assert_frame_equal(rows, expected)


def test_models_without_clean_answers_have_errors_and_no_relative_ones():
    clean = model_answers([1, 1, 0], models=["m1"], ids=["i0", "i1", "i9"])
    fog = model_answers([5, 0, 0, 5], [5, 0, 0, 0], corruption="fog", trials=5)
    rows = corruption_error_rows(fog, clean, baseline="m1")
    assert set(rows.loc[rows["metric"] == "mce", "model"]) == {"m0", "m1"}
    relative = rows[rows["metric"] == "relative_mce"]
    assert (relative["model"].tolist(), relative["images"].tolist()) == (["m1"], [2])


def write_answers(path, ids, right):
    with answers.create(path) as writer:
        for corruption, values in right.items():
            given = [
                Condition("clean" if corruption == "clean" else "f", corruption, level, np.array(part), *[None] * 4)
                for level, part in enumerate(values)
            ]
            writer.write(KEYS, pa.array(ids), given)
    return path


def test_answers_are_aligned_by_image(tmp_path):
    yes, no = True, False
    files = {
        "a": write_answers(
            tmp_path / "a.parquet", ["x", "y", "z"], {"clean": [[yes, no, no]], "fog": [[yes, yes, no], [yes, no, no]]}
        ),
        "b": write_answers(tmp_path / "b.parquet", ["z", "x"], {"clean": [[yes, no]], "fog": [[yes, no], [yes, yes]]}),
        "c": write_answers(tmp_path / "c.parquet", ["x", "y", "z"], {"clean": [[yes, yes, yes]]}),
    }
    clean, corrupted = read_answers(files)
    assert (clean.is_clean, corrupted.is_clean) == (True, False)
    assert (clean.models, list(clean.ids)) == (["a", "b", "c"], ["x", "z"])
    assert clean.right["clean"].tolist() == [[1, 0], [0, 1], [1, 1]]
    assert corrupted.models == ["a", "b"]
    assert corrupted.right["fog"].tolist() == [[2, 0], [1, 2]]
    assert corrupted.shares().tolist() == [[1, 0], [0.5, 1]]
    again = clean.of(["b"], np.array(["z"], dtype=object))
    assert again.right["clean"].tolist() == [[1]]


def predicted(path, family, severities, seed, failure=None, ids=60):
    """Predictions on random logits of ten classes."""
    facts = {"model": "m", "dataset": "d", "policy": "stored", "family": family, "versions": {}}
    if failure:
        return predictions.write_failure(path, facts, failure)
    generator = np.random.default_rng(seed)
    with predictions.create(path, predictions.schema(10, ("all", "subset"), facts)) as writer:
        for severity in severities:
            probabilities = softmax(generator.normal(size=(ids, 10)))
            labels = generator.integers(10, size=ids)
            order = np.argsort(-probabilities)[:, :5]
            of_label = probabilities[np.arange(ids), labels]
            columns = {"sample_id": [f"s{n}" for n in range(ids)], "label": labels}
            columns |= {"corruption": [family if family == "clean" else "fog"] * ids, "severity": [severity] * ids}
            columns |= {"loss": -np.log(of_label), "entropy": of_label, "logits": probabilities.astype(np.float16)}
            for mode, factor in (("all", 1.0), ("subset", 1.25)):
                top = np.take_along_axis(probabilities, order, 1)
                columns |= {f"top5_{mode}": order.astype(np.int32), f"top5_probability_{mode}": top.astype(np.float32)}
                columns |= {f"label_probability_{mode}": of_label * factor, f"correct_{mode}": order[:, 0] == labels}
                columns[f"squared_probability_{mode}"] = (probabilities**2).sum(1)
            writer.write(columns)
    return path


def test_predictions_are_read_as_they_were_written(tmp_path):
    path = predicted(tmp_path / "fog.parquet", "weather", [1, 2], seed=0)
    first, second = read_conditions({"weather": path}, "all")
    table = pd.read_parquet(path)
    table = table[table["severity"] == 2]
    assert (second.corruption, second.severity) == ("fog", 2)
    assert np.array_equal(second.correct, table["correct_all"])
    assert np.allclose(second.confidence, [top[0] for top in table["top5_probability_all"]])
    assert np.allclose(second.loss, table["loss"])
    assert sample_ids(path).to_pylist() == list(table["sample_id"])
    subset, _ = read_conditions({"weather": path}, "subset")
    # 1.25 times the probability, float32
    assert np.allclose(subset.loss, first.loss - np.log(1.25), atol=1e-5)


def test_a_model_that_failed_on_a_family_is_not_compared_under_corruptions(tmp_path):
    clean = predicted(tmp_path / "clean", "clean", [0], seed=0)
    whole = [clean, predicted(tmp_path / "weather", "weather", [1, 2], seed=1)]
    predicted(tmp_path / "noise", "noise", [], seed=2, failure="it broke")
    for name, files in {"whole": whole, "broken": [*whole, tmp_path / "noise"]}.items():
        summarise(files, *(tmp_path / kind / f"{name}.parquet" for kind in ("accuracy", "calibration", "images")))
    images = [tmp_path / f"images/{name}.parquet" for name in ("whole", "broken")]
    tabulate_comparisons(images, tmp_path / "comparisons")
    rows = pd.read_parquet(tmp_path / "comparisons")
    assert set(rows["family"]) == {"clean"}
    assert set(rows["label_mode"]) == {"all", "subset"}
    tabulate_corruption_error(images, tmp_path / "errors", baseline="whole")
    rows = pd.read_parquet(tmp_path / "errors")
    assert set(rows["model"]) == {"whole"}
    assert set(rows["metric"]) == {"ce", "mce", "relative_ce", "relative_mce"}
    calibration = pd.read_parquet(tmp_path / "calibration/broken.parquet")
    assert calibration["family"].notna().all()


def test_one_model_is_compared_with_none(tmp_path):
    clean = predicted(tmp_path / "clean", "clean", [0], seed=0)
    summarise([clean], *(tmp_path / kind / "one.parquet" for kind in ("accuracy", "calibration", "images")))
    tabulate_comparisons([tmp_path / "images/one.parquet"], tmp_path / "comparisons")
    tabulate_corruption_error([tmp_path / "images/one.parquet"], tmp_path / "errors")
    assert pd.read_parquet(tmp_path / "comparisons").empty
    assert pd.read_parquet(tmp_path / "errors").empty


def test_rank_correlation():
    many = np.random.default_rng(0).normal(size=(2, 30))
    many[1] += many[0]
    found, expected = rank_correlation(*many), stats.spearmanr(*many)
    assert (found["value"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    half = 1.959964 * math.sqrt((1 + found["value"] ** 2 / 2) / 27)
    assert found["low"] == pytest.approx(math.tanh(math.atanh(found["value"]) - half), abs=1e-6)
    perfect = rank_correlation(many[0], many[0] ** 3)
    assert perfect["value"] == 1 and perfect["low"] < 1
    assert rank_correlation(np.ones(12), np.arange(12)) == {"n": 12, "reason": "all models are equally accurate"}


FEW = [3, 6, 9]


@pytest.mark.parametrize("models", FEW)
def test_no_statistic_over_few_models(models):
    """However their points lie: no value of a correlation or of effective robustness, no interval and p of a slope."""
    points = np.linspace(0.4, 0.8, models)
    reason = f"too few models: {models} of {FEWEST_MODELS}"
    assert rank_correlation(points, points**2) == {"n": models, "reason": reason}
    assert effective_robustness(points, points**2, 1000) == [{"n": models - 1, "reason": reason}] * models
    line = power_law(1e6 * np.arange(1, models + 1), 1 - points, np.full(models, 0.01))
    assert line["reason"] == reason and not {"low", "high", "p"} & set(line)


def test_power_law():
    parameters = np.geomspace(1e6, 1e9, 10)
    exact = power_law(parameters, 3 * parameters**-0.2, np.zeros(10))
    assert (exact["slope"], math.exp(exact["intercept"])) == pytest.approx((-0.2, 3))
    noisy = 3 * parameters**-0.2 * np.exp(np.random.default_rng(0).normal(0, 0.1, size=10))
    fit = stats.linregress(np.log(parameters), np.log(noisy))
    half = stats.t(8).ppf(0.975) * fit.stderr
    found = power_law(parameters, noisy, np.full(10, 0.001))
    assert (found["low"], found["high"], found["n"]) == pytest.approx((fit.slope - half, fit.slope + half, 10))
    assert found["p"] == pytest.approx(fit.pvalue)
    none = np.zeros(3)
    assert power_law(parameters[:2], noisy[:2], none[:2]) is None
    assert power_law(np.array([1e6, 1e6, 2e6]), noisy[:3], none) is None, "two sizes"
    assert power_law(parameters[:3], np.array([0.1, 0.0, 0.2]), none) is None, "no error has no logarithm"
    assert power_law(np.array([0.0, 1e6, 2e6]), noisy[:3], none) is None, "nor have no parameters"


def test_points_on_a_line_are_no_surer_than_their_images():
    """The slope of ten errors of 1,000 images each, by drawing the images anew."""
    parameters, generator = np.geomspace(1e6, 1e9, 10), np.random.default_rng(0)
    errors = 3 * parameters**-0.2
    sampling = np.sqrt((1 - errors) / (1000 * errors))
    found = power_law(parameters, errors, sampling)
    drawn = np.log(generator.binomial(1000, errors, size=(4000, 10)) / 1000)
    slopes = np.polyfit(np.log(parameters), drawn.T, 1)[0]
    # 4,000 draws: the spread is known to 1.1%
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * slopes.std(), rel=0.05)
    assert found["p"] > stats.linregress(np.log(parameters), np.log(errors)).pvalue


def test_effective_robustness_is_beyond_the_line_of_the_others():
    clean = np.linspace(0.5, 0.9, 12)
    line = 1 / (1 + np.exp(-(np.log(clean / (1 - clean)) * 0.8 - 0.5)))
    shifted = line.copy()
    shifted[2] += 0.1
    found = effective_robustness(clean, shifted, images=10_000)
    assert found[2]["value"] == pytest.approx(0.1, abs=1e-9)
    assert found[2]["predicted"] == pytest.approx(line[2])
    assert found[2]["n"] == 11
    assert found[0]["low"] < 0 < found[0]["high"], "the others lie about the line that the one bends"
    same = effective_robustness(np.full(12, 0.5), shifted, 100)
    assert {each["reason"] for each in same} == {"all models are equally accurate on clean images"}


def accuracy_table(values):
    """Rows of clean and corrupted images of `test`, and of another set: (test, corrupted, other) by model."""
    rows = []
    for model, numbers in values.items():
        sets = (("test", "clean", "clean", 0), ("test", None, None, None), ("other", "clean", "clean", 0))
        for (dataset, family, corruption, severity), value in zip(sets, numbers, strict=True):
            rows.append(
                {"model": model, "dataset": dataset, "family": family, "corruption": corruption, "severity": severity}
                | {"label_mode": "all", "policy": "stored", "metric": "accuracy", "value": value, "images": 1000}
                | dict(zip(("low", "high"), wilson(1000 * value, 1000), strict=True))
            )
    return pd.DataFrame(rows)


def test_lines_take_the_smallest_patches_of_each_size():
    """As the paper's Figure 4 has B/16, L/16 and H/14, without B/32; networks without patches are all there."""
    models = pd.DataFrame({"parameters": [86e6, 87e6, 307e6, 632e6], "patch_size": [16, 32, 16, 14]})
    assert of_smallest_patches(models).tolist() == [True, False, True, True]
    assert of_smallest_patches(models.assign(patch_size=np.nan)).all()


def described(sizes):
    return pd.DataFrame(
        {"model": list(sizes), "parameters": list(sizes.values()), "family": "ViT", "patch_size": 8.0}
        | {"pretraining_dataset": "big", "pretraining_images": 1000}
    )


SIZES = {f"m{number}": size for number, size in enumerate(np.geomspace(1e6, 1e8, 10))}
VALUES = {model: [1 - 2 * size**-0.25, 1 - 4 * size**-0.25, 1 - 8 * size**-0.25] for model, size in SIZES.items()}


def test_trends_of_a_study():
    accuracy, models = accuracy_table(VALUES), described(SIZES)
    rows = trend_rows(accuracy, models, "test")
    ranks = rows[rows["metric"] == "spearman"]
    assert {(row.dataset, row.family == "clean") for row in ranks.itertuples()} == {("other", True), ("test", False)}
    assert np.allclose(ranks["value"], 1)
    assert set(ranks["models"]) == {",".join(SIZES)}
    assert set(trend_rows(accuracy, models, "test", ["other"])["dataset"]) == {"test", "other"}
    same_images = trend_rows(accuracy, models, "test", ["other"])
    assert set(same_images.loc[same_images["metric"] == "spearman", "dataset"]) == {"test"}
    slopes = rows[rows["metric"] == "slope"]
    assert len(slopes) == 3
    assert np.allclose(slopes["value"], -0.25)
    assert slopes[["low", "high", "p"]].notna().all(axis=None)
    assert set(slopes["group"]) == {"ViT"}
    resized = accuracy.assign(policy=["model", "corrupt_after_resize", "model"] * 10)
    assert len(trend_rows(resized, models, "test")) == len(rows), "clean images have a policy of their own"
    own = accuracy.assign(policy=resized["policy"], value=0.5)
    own = own[own["family"].isna()].assign(family="noise", corruption="clean", severity=0)
    shown = effective_robustness_rows(pd.concat([resized, own]), "test")
    assert shown.loc[shown["family"].isna(), "value"].isna().all(), "clean images of the same policy, all the same"
    effective = effective_robustness_rows(accuracy, "test")
    assert len(effective) == 20 and effective["value"].notna().all()
    assert set(effective["reference"]) == {"test"}


@pytest.mark.parametrize("models", FEW)
def test_tables_of_trends_say_that_models_are_too_few(models):
    some = dict(list(SIZES.items())[:models])
    accuracy = accuracy_table({model: VALUES[model] for model in some})
    trends, effective = trend_rows(accuracy, described(some), "test"), effective_robustness_rows(accuracy, "test")
    assert set(trends["metric"]) == {"spearman", "slope"}
    for rows in (trends, effective):
        assert set(rows["reason"]) == {f"too few models: {models} of {FEWEST_MODELS}"}
        assert not {"low", "high", "p"} & set(rows.dropna(axis=1, how="all").columns)
    assert trends.loc[trends["metric"] == "spearman", "value"].isna().all()
    assert np.allclose(trends.loc[trends["metric"] == "slope", "value"].astype(float), -0.25)
    assert set(effective["n"]) == {models - 1}


def test_accuracies_over_other_classes_are_not_compared():
    """Over a dataset's own classes there is clean accuracy of the same images, under corruption, and of no others."""
    accuracy = accuracy_table(VALUES)
    both = pd.concat([accuracy, accuracy[accuracy["dataset"] == "other"].assign(label_mode="subset")])
    both = pd.concat([both, accuracy[accuracy["dataset"] == "test"].assign(label_mode="subset")])
    for table in (trend_rows(both, described(SIZES), "test"), effective_robustness_rows(both, "test")):
        rows = table[table["metric"] != "slope"]
        subset = rows["label_mode"] == "subset"
        other = subset & (rows["dataset"] == "other")
        assert other.any() and (subset & ~other).any()
        assert rows.loc[other, "value"].isna().all()
        assert set(rows.loc[other, "reason"]) == {"no accuracy on clean images over the same classes"}
        assert rows.loc[~other, "value"].notna().all()
