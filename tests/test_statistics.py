"""Statistics of a study, against closed forms, scipy and plain loops."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from withstand import predictions
from withstand.metrics import answers
from withstand.metrics.answers import Answers, read_answers
from withstand.metrics.bootstrap import percentile_interval, resampled_means
from withstand.metrics.calibration import calibration_rows
from withstand.metrics.comparisons import comparison_rows, matched_interval
from withstand.metrics.conditions import Condition, read_conditions, sample_ids
from withstand.metrics.corruption_error import ALEXNET, corruption_error_rows, has_imagenet_c
from withstand.metrics.trends import (
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


def test_calibration_of_a_condition():
    given, probabilities, labels = condition(0)
    rows = calibration_rows([given]).set_index("metric")
    one_hot = np.eye(probabilities.shape[1])[labels]
    brier = ((probabilities - one_hot) ** 2).sum(1)
    nll = -np.log(probabilities[np.arange(len(labels)), labels])
    # float32 columns
    assert rows.loc["ece", "value"] == pytest.approx(ece_by_loops(probabilities, labels), abs=1e-6)
    for metric, values in (("brier", brier), ("nll", nll)):
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert tuple(rows.loc[metric, ["value", "low", "high"]]) == pytest.approx((values.mean(), low, high), rel=1e-5)
    assert (rows["n"] == 500).all()


def test_the_interval_of_the_calibration_error_covers():
    """Of a model that is 0.1 too sure of itself everywhere, its calibration error is 0.1."""
    covered, generator = 0, np.random.default_rng(2)
    for _ in range(300):
        confidence = generator.uniform(0.45, 0.95, size=400).astype(np.float32)
        correct = generator.random(400) < confidence - 0.1
        rows = calibration_rows([Condition("clean", "clean", 0, correct, *[confidence] * 4)]).set_index("metric")
        covered += rows.loc["ece", "low"] <= 0.1 <= rows.loc["ece", "high"]
    # binomial(300, 0.95) is above 273 with 99.8%; small bins add an upward bias, which costs a little
    assert covered >= 265


def test_pooled_calibration_is_the_mean_over_conditions_clustered_by_image():
    given = [condition(seed, "a", seed)[0] for seed in (1, 2, 3)]
    rows = calibration_rows([condition(0)[0], *given])
    single = rows[rows["severity"].notna() & (rows["corruption"] == "a")]
    whole = rows[rows["family"].isna() & rows["severity"].isna()].set_index("metric")
    for metric, values in single.groupby("metric")["value"]:
        assert whole.loc[metric, "value"] == pytest.approx(values.mean(), rel=1e-6)
    assert tuple(whole.loc["nll", ["n", "images"]]) == (1500, 500)
    # three copies of one condition tell no more than one
    copies = calibration_rows([condition(1, "a", severity)[0] for severity in (1, 2, 3)])
    one = copies[(copies["severity"] == 1) & (copies["corruption"] == "a")].set_index("metric")
    all_three = copies[copies["family"].isna() & copies["severity"].isna()].set_index("metric")
    assert np.allclose(all_three[["low", "high"]], one[["low", "high"]], rtol=1e-6)


def model_answers(*right, corruption="clean", trials=1, models=None, ids=None):
    right = np.array(right, dtype=np.int16)
    ids = np.array([f"i{n}" for n in range(right.shape[1])] if ids is None else ids, dtype=object)
    names = models or [f"m{n}" for n in range(len(right))]
    return Answers(KEYS, names, ids, {corruption: right}, {corruption: trials})


def test_mcnemar_is_exact():
    """Of 15 images that only one of two models got right, 12 are the one's: twice the binomial tail."""
    first = np.r_[np.ones(12), np.zeros(3), np.ones(80), np.zeros(25)]
    second = np.r_[np.zeros(12), np.ones(3), np.ones(80), np.zeros(25)]
    row = comparison_rows(model_answers(first, second), seed=0).iloc[0]
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
    rows = comparison_rows(given, seed=0)
    assert len(rows) == 6
    ordered = rows.sort_values("p")
    expected = np.maximum.accumulate(np.minimum(ordered["p"] * np.arange(6, 0, -1), 1))
    assert np.allclose(ordered["p_holm"], expected)


def test_means_over_corruptions_are_paired_by_image():
    generator = np.random.default_rng(3)
    hard = generator.binomial(5, generator.beta(1, 1, size=400))
    ahead = np.minimum(hard + (generator.random(400) < 0.2), 5)
    rows = comparison_rows(model_answers(ahead, hard, corruption="fog", trials=5), seed=0)
    difference = (ahead - hard) / 5
    low, high = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    row = rows.iloc[0]
    assert row["value"] == pytest.approx(difference.mean())
    # 2,000 resamples: the standard error of a percentile is about a twentieth of the interval's half-width
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.12 * (high - low))
    assert row["p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert row["test"] == "paired t"


def test_many_pairs_can_differ_under_corruption():
    """With thirty models the adjusted p-value of a difference that is plain to see is small."""
    generator = np.random.default_rng(5)
    skill = np.linspace(0.3, 0.9, 30)[:, None]
    rows = comparison_rows(model_answers(*generator.binomial(5, skill, (30, 500)), corruption="fog", trials=5), seed=0)
    assert len(rows) == 435
    assert rows.loc[rows["value"].abs() > 0.3, "p_holm"].max() < 1e-6


def test_few_differing_images_are_tested_by_their_signs():
    ahead = model_answers([5, 5, 5, 1, 1], [3, 3, 3, 1, 1], corruption="fog", trials=5)
    row = comparison_rows(ahead, seed=0).iloc[0]
    assert (row["test"], row["p"]) == ("signs", pytest.approx(2 / 2**3))


def test_resamples_are_seeded_and_shared():
    values = np.random.default_rng(0).normal(size=(300, 2))
    values[:, 1] = values[:, 0] + 0.25
    means = resampled_means(values, (0, "test"), resamples=500)
    assert np.array_equal(means, resampled_means(values, (0, "test"), resamples=500))
    assert not np.array_equal(means, resampled_means(values, (1, "test"), resamples=500))
    # float32
    assert np.allclose(means[:, 1] - means[:, 0], 0.25, atol=1e-6)
    assert means[:, 0].std() == pytest.approx(values[:, 0].std() / math.sqrt(300), rel=0.12)
    assert percentile_interval(np.arange(101.0), 99.0) == pytest.approx((2.5, 99.0))


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
            corruption_error_rows(given, None, alexnet=True, seed=0),
            corruption_error_rows(given, None, baseline="alexnet", seed=0),
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
    rows = corruption_error_rows(fog, clean, baseline="m1", seed=0)
    rows = rows[rows["model"] == "m0"].fillna({"corruption": "mean"}).set_index(["metric", "corruption"])["value"]
    assert rows["ce", "fog"] == pytest.approx(100 * 0.3 / 0.6)
    assert rows["relative_ce", "fog"] == pytest.approx(100 * (0.3 - 0.1) / (0.6 - 0.2))
    assert rows["mce", "mean"] == pytest.approx(rows["ce", "fog"])
    assert rows["relative_mce", "mean"] == pytest.approx(rows["relative_ce", "fog"])


def test_a_reference_that_loses_nothing_gives_no_relative_error():
    clean = model_answers([1] * 10, [1] * 10)
    fog = model_answers([5] * 10, [4] * 10, corruption="fog", trials=5)
    rows = corruption_error_rows(fog, clean, baseline="m0", seed=0)
    assert rows["value"].isna().all()
    assert corruption_error_rows(fog, clean, baseline="none", seed=0).empty


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
    rows, expected = (corruption_error_rows(each, None, alexnet=True, seed=0) for each in (wider, given))
    pd.testing.assert_frame_equal(rows, expected)


def test_models_without_clean_answers_have_errors_and_no_relative_ones():
    clean = model_answers([1, 1, 0], models=["m1"], ids=["i0", "i1", "i9"])
    fog = model_answers([5, 0, 0, 5], [5, 0, 0, 0], corruption="fog", trials=5)
    rows = corruption_error_rows(fog, clean, baseline="m1", seed=0)
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
    tabulate_comparisons(images, 0, tmp_path / "comparisons")
    rows = pd.read_parquet(tmp_path / "comparisons")
    assert set(rows["family"]) == {"clean"}
    assert set(rows["label_mode"]) == {"all", "subset"}
    tabulate_corruption_error(images, 0, tmp_path / "errors", baseline="whole")
    rows = pd.read_parquet(tmp_path / "errors")
    assert set(rows["model"]) == {"whole"}
    assert set(rows["metric"]) == {"ce", "mce", "relative_ce", "relative_mce"}
    calibration = pd.read_parquet(tmp_path / "calibration/broken.parquet")
    assert calibration["family"].notna().all()


def test_one_model_is_compared_with_none(tmp_path):
    clean = predicted(tmp_path / "clean", "clean", [0], seed=0)
    summarise([clean], *(tmp_path / kind / "one.parquet" for kind in ("accuracy", "calibration", "images")))
    tabulate_comparisons([tmp_path / "images/one.parquet"], 0, tmp_path / "comparisons")
    tabulate_corruption_error([tmp_path / "images/one.parquet"], 0, tmp_path / "errors")
    assert pd.read_parquet(tmp_path / "comparisons").empty
    assert pd.read_parquet(tmp_path / "errors").empty


def test_rank_correlation():
    first, second = np.array([0.1, 0.4, 0.3, 0.8]), np.array([1.0, 2.0, 3.0, 4.0])
    found = rank_correlation(first, second)
    assert found["value"] == pytest.approx(0.8)
    # of 24 orders one is perfect and three have 0.8, and as many are the other way round
    assert found["p"] == pytest.approx(8 / 24)
    perfect = rank_correlation(first, first**2)
    assert perfect["value"] == 1 and perfect["low"] < 0, "four models in perfect order are no proof"
    half = 1.959964 * math.sqrt((1 + 0.8**2 / 2) / (4 - 3))
    assert found["low"] == pytest.approx(math.tanh(math.atanh(0.8) - half), abs=1e-6)
    assert rank_correlation(first[:3], second[:3]) is None
    assert rank_correlation(np.ones(5), np.arange(5)) is None
    many = np.random.default_rng(0).normal(size=(2, 30))
    expected = stats.spearmanr(*many)
    found = rank_correlation(*many)
    assert (found["value"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))


def test_power_law():
    parameters = np.array([1e6, 4e6, 9e6, 2e7])
    found = power_law(parameters, 3 * parameters**-0.2)
    assert (found["slope"], math.exp(found["intercept"])) == pytest.approx((-0.2, 3))
    noisy = 3 * parameters**-0.2 * np.exp([0.1, -0.1, 0.05, 0])
    fit = stats.linregress(np.log(parameters), np.log(noisy))
    half = stats.t(2).ppf(0.975) * fit.stderr
    found = power_law(parameters, noisy)
    assert (found["low"], found["high"], found["n"]) == pytest.approx((fit.slope - half, fit.slope + half, 4))
    assert power_law(parameters[:2], noisy[:2]) is None
    assert power_law(np.array([1e6, 1e6, 2e6]), noisy[:3]) is None, "two sizes"
    assert power_law(parameters[:3], np.array([0.1, 0.0, 0.2])) is None, "no error has no logarithm"
    assert power_law(np.array([0.0, 1e6, 2e6]), noisy[:3]) is None, "nor have no parameters"


def test_effective_robustness_is_beyond_the_line_of_the_others():
    clean = np.array([0.6, 0.7, 0.75, 0.8, 0.85])
    line = 1 / (1 + np.exp(-(np.log(clean / (1 - clean)) * 0.8 - 0.5)))
    shifted = line.copy()
    shifted[2] += 0.1
    found = effective_robustness(clean, shifted, images=10_000)
    assert found[2]["value"] == pytest.approx(0.1, abs=1e-9)
    assert found[2]["predicted"] == pytest.approx(line[2])
    assert found[2]["n"] == 4
    assert found[0]["low"] < 0 < found[0]["high"], "the others lie about the line that the one bends"
    assert effective_robustness(clean[:3], shifted[:3], 100) is None


def accuracy_table(values):
    """Rows of clean and corrupted images of `test`, and of another set: (test, corrupted, other) by model."""
    rows = []
    for model, numbers in values.items():
        sets = (("test", "clean", "clean", 0), ("test", None, None, None), ("other", "clean", "clean", 0))
        for (dataset, family, corruption, severity), value in zip(sets, numbers, strict=True):
            rows.append(
                {"model": model, "dataset": dataset, "family": family, "corruption": corruption, "severity": severity}
                | {"label_mode": "all", "policy": "stored", "metric": "accuracy", "value": value, "images": 1000}
            )
    return pd.DataFrame(rows)


def test_lines_take_the_smallest_patches_of_each_size():
    """As the paper's Figure 4 has B/16, L/16 and H/14, without B/32; networks without patches are all there."""
    models = pd.DataFrame({"parameters": [86e6, 87e6, 307e6, 632e6], "patch_size": [16, 32, 16, 14]})
    assert of_smallest_patches(models).tolist() == [True, False, True, True]
    assert of_smallest_patches(models.assign(patch_size=np.nan)).all()


def test_trends_of_a_study():
    sizes = {"s": 1e6, "m": 4e6, "l": 1.6e7, "x": 6.4e7}
    values = {model: [1 - 2 * size**-0.25, 1 - 4 * size**-0.25, 1 - 8 * size**-0.25] for model, size in sizes.items()}
    accuracy = accuracy_table(values)
    models = pd.DataFrame(
        {"model": list(sizes), "parameters": list(sizes.values()), "family": "ViT", "patch_size": 8.0}
        | {"pretraining_dataset": "big", "pretraining_images": 1000}
    )
    rows = trend_rows(accuracy, models, "test")
    ranks = rows[rows["metric"] == "spearman"]
    assert {(row.dataset, row.family == "clean") for row in ranks.itertuples()} == {("other", True), ("test", False)}
    assert np.allclose(ranks["value"], 1)
    assert set(ranks["models"]) == {"s,m,l,x"}
    assert set(trend_rows(accuracy, models, "test", ["other"])["dataset"]) == {"test", "other"}
    same_images = trend_rows(accuracy, models, "test", ["other"])
    assert set(same_images.loc[same_images["metric"] == "spearman", "dataset"]) == {"test"}
    slopes = rows[rows["metric"] == "slope"]
    assert len(slopes) == 3
    assert np.allclose(slopes["value"], -0.25)
    assert set(slopes["group"]) == {"ViT"}
    resized = accuracy.assign(policy=["model", "corrupt_after_resize", "model"] * 4)
    assert len(trend_rows(resized, models, "test")) == len(rows), "clean images have a policy of their own"
    own = accuracy.assign(policy=resized["policy"], value=0.5)
    own = own[own["family"].isna()].assign(family="noise", corruption="clean", severity=0)
    shown = effective_robustness_rows(pd.concat([resized, own]), "test")
    assert not len(shown[shown["family"].isna()]), "the clean images under the same policy, which are all the same"
    effective = effective_robustness_rows(accuracy, "test")
    assert len(effective) == 8
    assert set(effective["reference"]) == {"test"}
