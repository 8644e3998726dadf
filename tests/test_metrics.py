import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

from withstand import predictions
from withstand.metrics.accuracy import accuracy_rows
from withstand.metrics.conditions import read_conditions
from withstand.metrics.intervals import clustered_wilson, wilson
from withstand.parquet import ParquetFileError
from withstand.steps.tabulate import join_summaries, summarise, tabulate_failures, tabulate_shape_bias, warnings

FACTS = {"model": "m", "dataset": "d", "policy": "stored", "versions": {"torch": "2.14", "timm": "1.0"}}


def test_an_interval_holds_its_proportion():
    for trials in range(1, 400):
        for successes in (0, trials // 3, trials):
            low, high = wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (500, 1000), (1000, 1000)])
def test_wilson_against_scipy(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    # statsmodels and scipy round differently in the last digits
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_clustered_interval_of_independent_trials_is_wilsons():
    successes = np.random.default_rng(0).binomial(25, 0.7, size=4000)
    low, high = wilson(successes.sum(), 25 * 4000)
    # the estimated design effect is 1 up to 2 / sqrt(4000)
    assert clustered_wilson(successes, 25) == pytest.approx((low, high), abs=2e-4)


def test_clustered_interval_of_identical_trials_is_that_of_the_images():
    right = (np.arange(400) < 280).astype(float)
    # the variance estimate divides by n - 1: an effective sample of 399
    assert clustered_wilson(right * 25, 25) == pytest.approx(wilson(0.7 * 399, 399), abs=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.8, 1.0])
def test_without_any_variation_the_images_are_the_sample(share):
    assert clustered_wilson(np.full(50, share * 5), 5) == pytest.approx(wilson(share * 50, 50))


def test_clustered_interval_is_never_narrower_than_wilsons():
    successes = np.full(1000, 4.0)
    successes[0] = 5
    assert clustered_wilson(successes, 5) == pytest.approx(wilson(4001, 5000))


def test_clustered_interval_covers_the_truth():
    """Images differ in difficulty (beta distributed): 95% of the intervals must hold the mean, Wilson's far fewer."""
    generator = np.random.default_rng(1)
    covered = naive = 0
    for _ in range(400):
        successes = generator.binomial(25, generator.beta(2, 1, size=200))
        low, high = clustered_wilson(successes, 25)
        covered += low <= 2 / 3 <= high
        low, high = wilson(successes.sum(), 25 * 200)
        naive += low <= 2 / 3 <= high
    # binomial(400, 0.95) lies in 366..392 with 99.9%
    assert 366 <= covered <= 395
    assert naive < 300


def write(path, family, conditions, shards=1):
    """A file of predictions of a model with two outputs: {(corruption, severity): [correct, ...]}."""
    facts = {**FACTS, "family": family}
    with predictions.create(path, predictions.schema(2, ("all", "subset"), facts)) as writer:
        for part in range(shards):
            for (corruption, severity), correct in conditions.items():
                some = np.array(correct)[part * len(correct) // shards : (part + 1) * len(correct) // shards]
                count = len(some)
                pairs = np.zeros((count, 2))
                columns = {"sample_id": [str(n) for n in range(count)], "corruption": [corruption] * count}
                columns |= {"severity": [severity] * count, "label": [0] * count, "logits": pairs.astype(np.float16)}
                columns |= {"loss": np.zeros(count), "entropy": np.zeros(count)}
                for mode, right in (("all", some), ("subset", np.ones(count, dtype=bool))):
                    columns |= {f"top5_{mode}": pairs.astype(np.int32), f"top5_probability_{mode}": pairs}
                    columns |= {f"label_probability_{mode}": pairs[:, 0], f"squared_probability_{mode}": pairs[:, 0]}
                    columns[f"correct_{mode}"] = right
                writer.write(columns)
    return path


@pytest.fixture
def files(tmp_path):
    yes, no = True, False
    return {
        "clean": write(tmp_path / "clean", "clean", {("clean", 0): [yes, yes, yes, no]}),
        "noise": write(
            tmp_path / "noise", "noise", {("a", 1): [yes, yes, no, no], ("a", 2): [yes, no, no, no]}, shards=2
        ),
        "blur": write(tmp_path / "blur", "blur", {("b", 1): [yes, yes, yes, no], ("b", 2): [no, no, no, no]}),
    }


def test_accuracy_is_counted_and_pooled(files):
    everything, subset = (accuracy_rows(read_conditions(files, mode)) for mode in ("all", "subset"))
    everything = everything.astype({"severity": object})
    found = {
        tuple(None if pd.isna(key) else key for key in (row.family, row.corruption, row.severity)): (row.value, row.n)
        for row in everything.itertuples()
    }
    assert found == {
        ("clean", "clean", 0): (3 / 4, 4),
        ("noise", "a", 1): (2 / 4, 4),
        ("noise", "a", 2): (1 / 4, 4),
        ("blur", "b", 1): (3 / 4, 4),
        ("blur", "b", 2): (0.0, 4),
        ("noise", "a", None): (3 / 8, 8),
        ("blur", "b", None): (3 / 8, 8),
        ("noise", None, 1): (2 / 4, 4),
        ("noise", None, 2): (1 / 4, 4),
        ("blur", None, 1): (3 / 4, 4),
        ("blur", None, 2): (0.0, 4),
        ("noise", None, None): (3 / 8, 8),
        ("blur", None, None): (3 / 8, 8),
        (None, None, 1): (5 / 8, 8),
        (None, None, 2): (1 / 8, 8),
        (None, None, None): (6 / 16, 16),
    }
    assert (everything["images"] == 4).all()
    assert (subset["value"] == 1).all()


def summarised(predicted, accuracy):
    """Write the accuracies of a model, its other tables beside them."""
    beside = (accuracy.with_suffix(f".{name}.parquet") for name in ("calibration", "images"))
    summarise(predicted, accuracy, *beside)


def test_tables_join_models_and_list_failures(tmp_path, files):
    summarised(list(files.values()), tmp_path / "m.parquet")
    predictions.write_failure(tmp_path / "failed", {**FACTS, "model": "x", "family": "clean"}, "it broke")
    summarised([tmp_path / "failed"], tmp_path / "x.parquet")
    join_summaries([tmp_path / "m.parquet", tmp_path / "x.parquet"], tmp_path / "a.parquet")
    tabulate_failures([tmp_path / "a.parquet"], tmp_path / "f.parquet")
    accuracy, failures = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "f.parquet"))
    assert set(accuracy["model"]) == {"m"}
    assert failures.to_dict("records") == [{"model": "x", "dataset": "d", "family": "clean", "reason": "it broke"}]
    assert pq.read_schema(tmp_path / "a.parquet").field("severity").type == "int8"
    found = warnings(tmp_path / "a.parquet", tmp_path / "f.parquet", tmp_path / "no.parquet")
    assert found == ["x failed on 1 image set and is missing there: it broke"]


def test_mixed_versions_are_told(tmp_path, files):
    newer = {**FACTS, "family": "clean", "versions": {"torch": "2.15", "timm": "1.0"}, "model": "x"}
    predictions.write_failure(tmp_path / "newer", newer, "it broke")
    summarised(list(files.values()), tmp_path / "m.parquet")
    summarised([tmp_path / "newer"], tmp_path / "x.parquet")
    join_summaries([tmp_path / "m.parquet", tmp_path / "x.parquet"], tmp_path / "a.parquet")
    tabulate_failures([tmp_path / "a.parquet"], tmp_path / "f.parquet")
    found = warnings(tmp_path / "a.parquet", tmp_path / "f.parquet", tmp_path / "no.parquet")
    assert found[1] == "results of different versions stand in one table: torch 2.14, timm 1.0; torch 2.15, timm 1.0"


def test_a_failed_family_is_not_pooled_away(tmp_path, files):
    predictions.write_failure(tmp_path / "broken", {**FACTS, "family": "weather"}, "it broke")
    summarised([*files.values(), tmp_path / "broken"], tmp_path / "m.parquet")
    rows = pd.read_parquet(tmp_path / "m.parquet")
    assert rows["family"].notna().all()
    assert {"clean", "noise", "blur"} == set(rows["family"])


def test_all_models_failed_gives_empty_tables(tmp_path):
    predictions.write_failure(tmp_path / "failed", {**FACTS, "family": "clean"}, "it broke")
    summarised([tmp_path / "failed"], tmp_path / "x.parquet")
    join_summaries([tmp_path / "x.parquet"], tmp_path / "a.parquet")
    assert pd.read_parquet(tmp_path / "a.parquet").empty


def test_a_foreign_parquet_file_is_named(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("text")
    for name, why in (("foreign", "a file of predictions"), ("text", "a readable Parquet file")):
        with pytest.raises(ParquetFileError, match=rf"{name}\.parquet: not {why}"):
            summarised([tmp_path / f"{name}.parquet"], tmp_path / "out.parquet")


def conflict_file(path, shape, texture, failure=None) -> None:
    """Predictions on cue conflicts: whether each image was named by its shape, and by its texture."""
    facts = FACTS | {"dataset": "conflict", "model": path.stem} | ({"failure": failure} if failure else {})
    layout = predictions.schema(10, ("all",), facts, cue_conflict=True)
    columns = {
        field.name: [0] * len(shape)
        if not field.name.startswith(("top5", "logits"))
        else np.zeros((len(shape), field.type.list_size), dtype=field.type.value_type.to_pandas_dtype())
        for field in layout
    }
    columns |= {"sample_id": [str(n) for n in range(len(shape))], "corruption": ["clean"] * len(shape)}
    with predictions.create(path, layout) as writer:
        writer.write(columns | {"correct_all": shape, "texture_correct_all": texture})


def test_shape_bias_is_the_share_among_both_answers(tmp_path):
    shape, texture = np.zeros(200, dtype=bool), np.zeros(200, dtype=bool)
    shape[:30], texture[30:120] = True, True
    conflict_file(tmp_path / "both.parquet", shape, texture)
    conflict_file(tmp_path / "neither.parquet", shape & False, texture & False)
    conflict_file(tmp_path / "broken.parquet", shape[:0], texture[:0], failure="it broke")
    tabulate_shape_bias(sorted(tmp_path.glob("*.parquet")), tmp_path / "table")
    table = pd.read_parquet(tmp_path / "table").set_index(["model", "metric"])
    assert set(table.index.get_level_values("model")) == {"both", "neither"}
    expected = {"shape_accuracy": (30, 200), "texture_accuracy": (90, 200), "shape_bias": (30, 120)}
    for metric, (hits, n) in expected.items():
        row = table.loc["both", metric]
        interval = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert (row["value"], row["n"], row["images"]) == (hits / n, n, 200)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert pd.isna(table.loc[("neither", "shape_bias"), ["value", "low", "high"]]).all()
    assert table.loc[("neither", "shape_bias"), "n"] == 0
    assert table.loc[("neither", "shape_accuracy"), "value"] == 0


def test_without_any_predictions_the_table_is_empty(tmp_path):
    conflict_file(tmp_path / "broken.parquet", np.zeros(0, dtype=bool), np.zeros(0, dtype=bool), failure="it broke")
    tabulate_shape_bias([tmp_path / "broken.parquet"], tmp_path / "table")
    assert pq.read_table(tmp_path / "table").num_rows == 0
