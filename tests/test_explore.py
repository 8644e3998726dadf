"""What people do with results: against pandas, scipy and closed forms, on small studies written by the real writers."""

import fcntl
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from scipy import stats
from statsmodels.stats.multitest import multipletests

import withstand
from withstand import predictions
from withstand.cli import main
from withstand.errors import WithstandError
from withstand.explore import garbage
from withstand.explore.compare import apart, compare_models, compare_studies
from withstand.explore.export import latex, page
from withstand.explore.headlines import headlines, told
from withstand.explore.query import Database
from withstand.metrics.comparisons import paired_test
from withstand.metrics.intervals import paired_interval
from withstand.results import PREDICTION_KEYS
from withstand.steps.tabulate import MODELS, SHAPE_BIAS, join_summaries, summarise, write_table
from withstand.steps.tabulate_attacks import ATTACKS, TRANSFER
from withstand.steps.tabulate_statistics import CLAIMS, CORRUPTION_ERROR, EFFECTIVE_ROBUSTNESS, tabulate_comparisons
from workflow_project import PROJECT

IMAGES = 200
SKILL = {"weak": 0.55, "strong_net": 0.8}
CONDITIONS = {"clean": [("clean", 0)], "noise": [("shot_noise", 1), ("shot_noise", 2), ("glass_blur", 1)]}


def invoke(*arguments, **options):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)


def predict(path, model, family, conditions, seed, more=()):
    """Predictions of a model whose answers are right as often as its skill says, less so under corruption."""
    generator = np.random.default_rng(seed)
    easiness = np.random.default_rng(0).random(IMAGES)  # of images, the same for all models
    names = dict(zip(PREDICTION_KEYS, (model, "test", family), strict=True))
    facts = names | {"policy": "stored", "versions": {"torch": "2.14", "timm": "1.0"}}
    with predictions.create(path, predictions.schema(3, ("all",), facts, more=more)) as writer:
        for corruption, severity in conditions:
            right = easiness + generator.normal(scale=0.2, size=IMAGES) < SKILL[model] - 0.1 * severity
            scores = generator.dirichlet(np.ones(3), size=IMAGES).astype(np.float32)
            columns = {
                "sample_id": [f"image-{number}" for number in range(IMAGES)],
                "label": np.zeros(IMAGES, dtype=np.int32),
                "corruption": [corruption] * IMAGES,
                "severity": [severity] * IMAGES,
                "loss": -np.log(scores[:, 0]),
                "entropy": np.zeros(IMAGES),
                "top5_all": np.tile(np.arange(3, dtype=np.int32), (IMAGES, 1)),
                "top5_probability_all": np.sort(scores)[:, ::-1],
                "label_probability_all": scores[:, 0],
                "squared_probability_all": (scores**2).sum(1),
                "correct_all": right,
                "logits": scores.astype(np.float16),
            }
            writer.write(columns | {field.name: np.full(IMAGES, 1 / 255) for field in more})
    return path


def write_study(folder, seed=0, conditions=CONDITIONS, models=tuple(SKILL), **facts):
    """Results of a small study, with tables by the steps that make them."""
    for number, model in enumerate(models):
        files = [
            predict(folder / f"predictions/{model}/test/{family}.parquet", model, family, given, [seed, number, place])
            for place, (family, given) in enumerate(conditions.items())
        ]
        tables = [folder / f"tables/{name}/{model}.parquet" for name in ("accuracy", "calibration", "images")]
        summarise(files, *tables)
        attacked = folder / f"predictions/{model}/test/pgd.parquet"
        predict(attacked, model, "pgd", [("pgd", 0)], seed, more=[pa.field("linf", pa.float32())])
    for name in ("accuracy", "calibration"):
        join_summaries(
            [folder / f"tables/{name}/{model}.parquet" for model in models], folder / f"tables/{name}.parquet"
        )
    answers = [folder / f"tables/images/{model}.parquet" for model in models]
    tabulate_comparisons(answers, folder / "tables/comparisons.parquet")
    rows = pd.DataFrame({"model": models, "architecture": "net_1%", "weights_sha256": [f"{seed}{m}" for m in models]})
    write_table(rows, MODELS, folder / "tables/models.parquet")
    entries = {model: {"label": f"{model} & Co"} for model in models}
    datasets = {"test": {"samples": IMAGES, "label": "test_set"}}
    config = {"study": folder.name, "seed": 0, "models": entries, "datasets": datasets}
    run = {"status": "complete", "finished": "2026-01-01", "python": "3.11", "commit": "abc"}
    run |= {"versions": {"torch": "2.14"}, "config": config}
    (folder / "run.json").write_text(json.dumps(run | facts))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("some 'quoted' [results]") / "mine")


@pytest.fixture
def study(folder):
    return withstand.load(folder)


def right(study, model, family):
    """Whether each image was right, bool (conditions, images), read without the library's help."""
    table = pq.read_table(study.folder / f"predictions/{model}/test/{family}.parquet").to_pandas()
    return table["correct_all"].to_numpy().reshape(-1, IMAGES)


# Results in Python


def test_import_stays_light():
    code = "import sys, withstand; print([n for n in ('pandas', 'pyarrow', 'torch', 'duckdb') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    code = "import withstand, sys; withstand.load; withstand.Results; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_tables_are_attributes(study):
    pd.testing.assert_frame_equal(study.accuracy, pd.read_parquet(study.folder / "tables/accuracy.parquet"))
    assert study.accuracy is study.tables["accuracy"]
    assert list(study.models["model"]) == list(SKILL)
    assert {"accuracy", "models", "predictions"} <= set(dir(study))
    assert study.run["config"]["study"] == "mine"
    assert all(name in repr(study) for name in ("accuracy", "strong_net", "complete"))
    with pytest.raises(AttributeError, match=r"no table 'acuracy'; did you mean 'accuracy'\?; there are accuracy, cal"):
        _ = study.acuracy


def test_predictions_are_those_of_the_files(study):
    found = study.predictions(model="weak", columns=["sample_id", "correct_all", "linf"])
    assert list(found.columns) == ["model", "dataset", "family", "sample_id", "correct_all", "linf"]
    assert found["family"].value_counts().to_dict() == {"clean": IMAGES, "noise": 3 * IMAGES, "pgd": IMAGES}
    assert found.loc[found["family"] == "noise", "correct_all"].sum() == right(study, "weak", "noise").sum()
    assert found["linf"].notna().sum() == IMAGES
    assert len(study.predictions()) == 2 * 5 * IMAGES
    assert len(study.predictions(family=["clean", "pgd"], dataset="test")) == 2 * 2 * IMAGES


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"model": "wek"}, "no predictions of the model 'wek'; did you mean 'weak'"),
        ({"family": "fog"}, "no predictions of the family 'fog'; there are clean, noise, pgd"),
        ({"columns": ["corect_all"]}, "did you mean 'correct_all'"),
    ],
)
def test_wrong_names_are_told(study, chosen, message):
    with pytest.raises(WithstandError, match=message):
        study.predictions(**chosen)


def test_folders_without_results_are_told(folder, tmp_path):
    with pytest.raises(WithstandError, match="no results of a study"):
        withstand.load(tmp_path)
    with pytest.raises(WithstandError, match=r"several studies; give one of them: .*mine"):
        withstand.load(folder.parent)
    with pytest.raises(WithstandError, match=r"no such folder; did you mean '.*mine'"):
        withstand.load(folder.parent / "mien")


# SQL


def test_sql_counts_as_pandas_does(study):
    found = study.query(
        "select model, family, corruption, count(*) as n, count_if(correct_all) as hits from predictions group by all"
    )
    expected = study.predictions().groupby(["model", "family", "corruption"], observed=True)["correct_all"]
    expected = expected.agg(n="size", hits="sum").reset_index()
    keys = ["model", "family", "corruption"]
    found, expected = (frame.astype(dict.fromkeys(keys, str)) for frame in (found, expected))
    found, expected = (frame.sort_values(keys, ignore_index=True) for frame in (found, expected))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_answers_of_two_models_are_joined_by_image(study):
    sql = "select count(*) from predictions as a join predictions as b"
    sql += " using (dataset, family, corruption, severity, sample_id)"
    sql += " where a.model = 'strong_net' and b.model = 'weak' and family = 'noise' and a.correct_all > b.correct_all"
    one, other = (right(study, name, "noise") for name in ("strong_net", "weak"))
    assert study.query(sql).iloc[0, 0] == (one & ~other).sum()


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", (PROJECT / "docs/results.md").read_text(), re.DOTALL))
def test_questions_on_the_page_have_answers(study, sql):
    assert len(study.query(sql.replace("resnet", "strong_net").replace("vit_p8", "weak"))) > 0


def test_every_table_and_answer_is_a_view(study):
    with Database([study]) as database:
        assert {*study.tables, "predictions", "images"} == set(database.views())
        assert database.columns("accuracy") == list(study.accuracy.columns)
        assert database.columns("predictions")[:3] == list(PREDICTION_KEYS)
        assert {"linf", "correct_all"} <= set(database.columns("predictions"))
        images = database.select('select model, sum("right") from images group by 1 order by 1').fetchall()
        assert [name for (name,) in database.select("show tables").fetchall()] == database.views()
    hits = {m: right(study, m, "clean").sum() + right(study, m, "noise").sum() for m in SKILL}
    assert dict(images) == hits


def test_answers_of_attacks_and_lesions_are_views(folder, tmp_path):
    for place in ("transfer/weak", "spatial/weak", "internals/weak/lesions", "internals/weak/noise/lesions"):
        path = tmp_path / f"s/{place}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"sample_id": ["a", "b"], "family": ["x", "x"]}), path)
    (tmp_path / "s/predictions").symlink_to(folder / "predictions")
    with Database([withstand.load(tmp_path / "s")]) as database:
        assert database.views() == ["answers_lesions", "answers_spatial", "answers_transfer", "predictions"]
        found = database.select(
            "select model, family, count(*) from answers_lesions group by all order by 2"
        ).fetchall()
    assert found == [("weak", "clean", 2), ("weak", "noise", 2)]


def test_several_studies_have_a_column_study(folder, tmp_path):
    other = write_study(tmp_path / "it's", seed=1, models=["weak"])
    twin = write_study(tmp_path / "deeper" / "mine", seed=1, models=["weak"])
    sql = "select study, count(*) from predictions group by 1 order by 1"
    with Database([withstand.load(folder), withstand.load(other)]) as database:
        assert database.select(sql).fetchall() == [("it's", 5 * IMAGES), ("mine", 10 * IMAGES)]
    with Database([withstand.load(folder), withstand.load(twin)]) as database:
        assert {study for study, _ in database.select(sql).fetchall()} == {str(folder), str(twin)}


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from acuracy", 'acuracy does not exist! Did you mean "accuracy"'),
        ("selct 1", "syntax error"),
        ("select avg(correct_all) from predictions", r"averaged as avg\(column::int\)"),
        ("drop view accuracy", "which only reads"),
        ("select 1; select 2", "give one question"),
        ("", "give one question"),
        ("explain analyze select 1", "which only reads"),
        ("from read_text('/etc/hostname')", "disabled by configuration"),
        ("from 'https://example.org/x.parquet'", "disabled by configuration"),
        ("install httpfs", "which only reads"),
    ],
)
def test_sql_only_reads_the_study(study, sql, message):
    with Database([study]) as database, pytest.raises(WithstandError, match=message) as told_error:
        database.select(sql).fetchall()
    assert "\n" not in str(told_error.value)


def test_writing_leaves_the_study_alone(study, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")}
    for kind, read in (("csv", pd.read_csv), ("json", pd.read_json), ("parquet", pd.read_parquet)):
        result = invoke("query", "from accuracy -- all", "--results", study.folder, "-o", tmp_path / f"a.{kind}")
        assert result.exit_code == 0, result.output
        pd.testing.assert_frame_equal(read(tmp_path / f"a.{kind}"), study.accuracy, check_dtype=False)
    pivot = "pivot predictions on corruption using count(*) group by model"
    assert invoke("query", pivot, "--results", study.folder, "-o", tmp_path / "p.csv").exit_code == 0
    assert pd.read_csv(tmp_path / "p.csv")["shot_noise"].tolist() == [2 * IMAGES] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.parquet", "p.csv"]
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")} == before


def test_query_speaks_to_people(study):
    results = ("--results", study.folder)
    assert "strong_net" in invoke("query", "select model from models", *results).output
    assert invoke("query", *results, input="select 40 + 2 as answer;\n").output.count("42") == 1
    assert (
        invoke("query", "select model from models", "--format", "csv", *results).output == "model\nweak\nstrong_net\n"
    )
    rows = invoke("query", "select model from models", "--format", "json", *results).output
    assert [row["model"] for row in json.loads(rows)] == list(SKILL)
    listed = invoke("query", "--tables", *results).output
    assert re.search(r"^predictions\n    model, dataset, family, sample_id, label", listed, re.MULTILINE)
    assert "Usage:" in invoke("query", input="").output
    wrong = invoke("query", "select nothing from accuracy", *results)
    assert wrong.exit_code == 1
    assert wrong.output.startswith("Error: Binder Error: Referenced column")
    assert len(wrong.output.splitlines()) == 1
    assert "parquet goes into a file" in invoke("query", "select 1", "--format", "parquet", *results).output


# Comparisons


def test_models_are_compared_on_the_same_images(study):
    rows = compare_models(study, "strong_net", "weak").rows.set_index("condition")
    rows = rows[rows["metric"] == "accuracy"]
    assert set(rows.index) == {"clean", "all corruptions", "shot_noise", "glass_blur"}
    one, other = (right(study, name, "clean")[0] for name in ("strong_net", "weak"))
    mine, theirs = (one & ~other).sum(), (other & ~one).sum()
    # the exact test of McNemar is that of a fair coin on the discordant pairs
    assert rows.loc["clean", "p"] == pytest.approx(stats.binomtest(mine, mine + theirs).pvalue, rel=1e-9)
    assert rows.loc["clean", "difference"] == pytest.approx((mine - theirs) / IMAGES)
    one, other = (right(study, name, "noise") for name in ("strong_net", "weak"))
    for condition, places in (("all corruptions", [0, 1, 2]), ("shot_noise", [0, 1]), ("glass_blur", [2])):
        test = stats.ttest_rel(one[places].mean(0), other[places].mean(0))
        low, high = paired_interval(one[places].mean(0) - other[places].mean(0))
        assert rows.loc[condition, "test"] == "paired t"
        found = rows.loc[condition, ["p", "low", "high", "value", "other_value"]].astype(float).tolist()
        expected = [test.pvalue, low, high, one[places].mean(), other[places].mean()]
        assert found == pytest.approx(expected, rel=1e-9)


def test_p_values_are_adjusted_together_and_sorted(study):
    rows = compare_models(study, "strong_net", "weak").rows
    assert rows["p_holm"].tolist() == pytest.approx(multipletests(rows["p"], method="holm")[1].tolist())
    assert rows["p_holm"].is_monotonic_increasing
    assert {"ece", "nll", "brier"} < set(rows["metric"])


def test_swapping_models_turns_the_sign(study):
    keys = ["dataset", "condition", "label_mode", "policy", "metric"]
    found = [compare_models(study, *pair).rows.set_index(keys).sort_index() for pair in (SKILL, [*SKILL][::-1])]
    for column, swapped, sign in (("difference", "difference", -1), ("low", "high", -1), ("value", "other_value", 1)):
        assert found[0][column].to_numpy() == pytest.approx(sign * found[1][swapped].to_numpy(), abs=1e-12)
    assert found[0]["p"].to_numpy() == pytest.approx(found[1]["p"].to_numpy(), rel=1e-9)


def test_without_single_answers_the_tables_are_compared(folder, tmp_path):
    tables = tmp_path / "s/tables"
    tables.mkdir(parents=True)
    for name in ("accuracy", "models"):
        (tables / f"{name}.parquet").symlink_to(folder / f"tables/{name}.parquet")
    apart = compare_models(withstand.load(tmp_path / "s"), *SKILL).rows.set_index("condition")
    assert set(apart["test"]) == {"intervals"}
    (tables / "comparisons.parquet").symlink_to(folder / "tables/comparisons.parquet")
    swapped = [*SKILL][::-1]
    study = withstand.load(tmp_path / "s")
    for one, other in (SKILL, swapped):
        rows = compare_models(study, one, other).rows.set_index("condition")
        assert rows["test"].to_dict() == {
            "clean": "mcnemar",
            "all corruptions": "paired t",
            "shot_noise": "intervals",
            "glass_blur": "intervals",
        }
        whole = compare_models(withstand.load(folder), one, other).rows
        whole = whole[whole["metric"] == "accuracy"].set_index("condition")
        columns = ["value", "other_value", "difference"]
        assert rows[columns].to_numpy() == pytest.approx(whole.loc[rows.index, columns].to_numpy(), abs=1e-6)
        assert (rows["low"] <= rows["difference"]).all()
        assert (rows["difference"] <= rows["high"]).all()
    # answers to the same images go together, and intervals that do not know are wider
    width = apart["high"] - apart["low"]
    assert (width["clean"] > rows["high"]["clean"] - rows["low"]["clean"]).all()


def test_no_single_answer_of_a_cue_conflict_counts_as_right(folder, tmp_path):
    """Its images have two answers; what is compared is how often each is given."""
    tables = tmp_path / "s/tables"
    tables.mkdir(parents=True)
    for name in ("accuracy", "calibration", "comparisons", "images", "models"):
        path = folder / f"tables/{name}"
        link = path if path.is_dir() and name == "images" else path.with_suffix(".parquet")
        (tables / link.name).symlink_to(link)
    metrics = ["shape_accuracy", "texture_accuracy", "shape_bias"]
    row = {"dataset": "test", "label_mode": "all", "policy": "stored", "value": 0.5, "low": 0.4, "high": 0.6}
    rows = [row | {"model": model, "metric": metric, "n": 9, "images": 9} for model in SKILL for metric in metrics]
    write_table(pd.DataFrame(rows), SHAPE_BIAS, tables / "shape_bias.parquet")
    study = withstand.load(tmp_path / "s")
    assert sorted(compare_models(study, *SKILL).rows["metric"]) == sorted(metrics)
    both = compare_studies(study, withstand.load(folder)), compare_studies(withstand.load(folder), study)
    assert all(found.rows.empty for found in both)
    (tables / "images").unlink()
    assert sorted(compare_models(withstand.load(tmp_path / "s"), *SKILL).rows["metric"]) == sorted(metrics)


def test_mover_of_symmetric_intervals_is_the_textbook_one():
    """Of normal means with standard errors 3 and 4, the difference has 5."""
    z = stats.norm.ppf(0.975)
    one = pd.DataFrame({"value": [10.0, 0.0], "low": [10 - 3 * z, -3 * z], "high": [10 + 3 * z, 3 * z]})
    other = pd.DataFrame({"value": [2.0, 0.0], "low": [2 - 4 * z, -4 * z], "high": [2 + 4 * z, 4 * z]})
    found = apart(one, other)
    assert found["low"].tolist() == pytest.approx([8 - 5 * z, -5 * z])
    assert found["high"].tolist() == pytest.approx([8 + 5 * z, 5 * z])
    assert found["p"].tolist() == pytest.approx([2 * stats.norm.sf(8 / 5), 1.0])


def test_mover_against_the_published_interval():
    """Newcombe's hybrid score interval (Statistics in Medicine 1998, table II, method 10): 56/70 and 48/80."""
    low_high = [stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((56, 70), (48, 80))]
    one, other = (
        pd.DataFrame({"value": [k / n], "low": [ends.low], "high": [ends.high]})
        for (k, n), ends in zip(((56, 70), (48, 80)), low_high, strict=True)
    )
    found = apart(one, other).iloc[0]
    assert (round(found["low"], 4), round(found["high"], 4)) == (0.0524, 0.3339)
    assert found["p"] < 0.05


def test_few_differing_images_are_tested_by_their_signs():
    differences = np.zeros(50)
    assert paired_test(differences) == ("signs", 1.0)
    differences[:5] = 1.0
    # of all 32 choices of signs, only two are as far off
    assert paired_test(differences) == ("signs", pytest.approx(2 / 32))
    differences[4] = -1.0
    at_least = sum(math.comb(5, k) for k in range(6) if abs(2 * k - 5) >= 3)
    assert paired_test(differences) == ("signs", pytest.approx(at_least / 32))
    differences = np.random.default_rng(0).normal(0.3, 1, size=60)
    assert paired_test(differences) == ("paired t", pytest.approx(stats.ttest_1samp(differences, 0).pvalue))


def test_the_test_of_no_difference_keeps_its_level():
    """Two models that are equally good: no more than 5% of the comparisons may say otherwise."""
    generator = np.random.default_rng(0)
    found = [paired_test((generator.binomial(3, 0.5, 80) - generator.binomial(3, 0.5, 80)) / 3)[1] for _ in range(600)]
    # three standard errors of a share of 600
    assert np.mean(np.array(found) < 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_studies_are_compared_model_by_model(study, tmp_path):
    newer = {"versions": {"torch": "2.15"}}
    other = withstand.load(write_study(tmp_path / "other", seed=1, models=["weak"], **newer))
    found = compare_studies(study, other)
    assert set(found.rows["model"]) == {"weak"}
    rows = found.rows[found.rows["metric"] == "accuracy"].set_index("condition")
    one, two = (right(each, "weak", "clean")[0] for each in (study, other))
    mine, theirs = (one & ~two).sum(), (two & ~one).sum()
    assert rows.loc["clean", "p"] == pytest.approx(stats.binomtest(mine, mine + theirs).pvalue, rel=1e-9)
    assert rows.loc["clean", "test"] == "mcnemar"
    assert f"only {study.folder} has the models strong_net" in found.notes
    assert "other weights under the same name: weak" in found.notes
    assert "version of torch: 2.14 against 2.15" in found.notes


def test_equal_studies_do_not_differ(study, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(WithstandError, match="compared with itself"):
        compare_studies(study, withstand.load(tmp_path / "link"))
    again = compare_studies(study, withstand.load(write_study(tmp_path / "mine")))
    assert len(again.rows) == 2 * (4 + 2 * 3)
    assert (again.rows["p"] == 1).all()
    assert again.notes == []


def test_other_severities_are_not_compared(study, tmp_path):
    conditions = {"clean": [("clean", 0)], "noise": [("shot_noise", 1), ("glass_blur", 1)]}
    found = compare_studies(study, withstand.load(write_study(tmp_path / "other", conditions=conditions)))
    assert set(found.rows["condition"]) == {"clean", "glass_blur"}
    assert found.notes[-1].endswith("severities differ: all corruptions, shot_noise")


def test_compare_speaks_to_people(folder, tmp_path):
    results = ("--results", folder)
    found = invoke("compare", "strong_net", "weak", *results)
    assert found.exit_code == 0, found.output
    line = next(line for line in found.output.splitlines() if line.startswith("test") and "clean" in line)
    assert re.search(r"accuracy +\d+\.\d% +\d+\.\d% +\+\d+\.\d \[\+\d+\.\d, \+\d+\.\d\] +<0\.001 +mcnemar", line)
    assert re.search(r"differ beyond chance in \d+ of 10 values that both have", found.output)
    shown, everything = (
        pd.read_csv(io.StringIO(invoke("compare", "strong_net", "weak", *results, "--format", "csv", *more).output))
        for more in ((), ("--all",))
    )
    assert 0 < len(shown) < len(everything) == 10
    assert (shown["p_holm"] < 0.05).all()
    assert len(json.loads(invoke("compare", "strong_net", "weak", *results, "--format", "json").output)) == len(shown)
    assert "no model 'weka'; did you mean 'weak'?" in invoke("compare", "weka", "weak", *results).output
    assert "no such folder" in invoke("compare", folder, tmp_path / "none").output
    assert "compared with itself" in invoke("compare", "weak", "weak", *results).output
    assert "differ beyond chance in 0 of" in invoke("compare", folder, write_study(tmp_path / "again")).output


def test_only_headlines_of_attacks_are_compared():
    row = {
        "model": "m",
        "dataset": "d",
        "attack": "pgd",
        "metric": "accuracy",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 9,
    }
    table = pd.DataFrame([row, row | {"step": 3.0, "metric": "fooled"}, row | {"metric": "l2"}])
    found = headlines("attacks", table.reindex(columns=ATTACKS.names))
    assert found[["condition", "metric"]].to_numpy().tolist() == [["pgd", "accuracy"]]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("accuracy", 0.8234, "82.3"), ("nll", 0.8234, "0.823"), ("mce", 76.54, "76.5"), ("accuracy", -0.0001, "0.0")],
)
def test_values_are_told(metric, value, text):
    assert told(metric, value) == text


# Export


def test_csv_is_the_table(study, tmp_path):
    result = invoke("export", "--results", study.folder, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert sorted(path.stem for path in tmp_path.iterdir()) == list(study.tables)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "accuracy.csv"), study.accuracy, check_dtype=False)


def test_latex_has_every_value_with_its_interval(study, tmp_path):
    result = invoke("export", "accuracy", "--format", "latex", "--results", study.folder, "-o", tmp_path)
    assert result.output.split() == f"{tmp_path}/accuracy.tex".split()
    text = (tmp_path / "accuracy.tex").read_text()
    for command in ("toprule", "midrule", "bottomrule", "end{tabular}", "end{table}"):
        assert text.count(f"\\{command}") == 1
    body = text.split("\\midrule")[1].split("\\bottomrule")[0]
    rows = [[cell.strip() for cell in line.removesuffix("\\\\").split(" & ")] for line in body.strip().splitlines()]
    accuracy = study.accuracy
    expected = accuracy[(accuracy["model"] == "weak") & (accuracy["corruption"] == "clean")].iloc[0]
    assert rows[0][1] == f"{100 * expected['value']:.1f} [{100 * expected['low']:.1f}, {100 * expected['high']:.1f}]"
    assert [row[0] for row in rows] == ["weak \\& Co", "strong\\_net \\& Co", "n"]
    assert rows[2][1:] == ["200", "600"]
    assert text.count("\\begin{tabular}{lrr}") == 1
    # no character stands bare that LaTeX would take for a command, comments apart
    assert not re.search(r"(?<!\\)[%_#$]", text.partition("\n")[2].replace("tab:", ""))


def test_markdown_and_models(study, tmp_path):
    result = invoke("export", "--format", "markdown", "--results", study.folder, "-o", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.md", "calibration.md", "models.md"]
    assert result.exit_code == 0
    assert "| strong_net & Co " in (tmp_path / "accuracy.md").read_text()
    assert "net\\_1\\%" in latex(page(study, "models"), "models")


def test_export_names_what_it_cannot(study, tmp_path):
    results = ("--results", study.folder, "-o", tmp_path)
    assert "no table 'acuracy'; did you mean 'accuracy'?" in invoke("export", "acuracy", *results).output
    told_error = invoke("export", "comparisons", "--format", "latex", *results)
    assert "'comparisons' has no form for papers, only csv; these have one: accuracy, cal" in told_error.output
    assert list(tmp_path.iterdir()) == []


def test_columns_have_the_levels_that_tell_them_apart(tmp_path, folder):
    tables = tmp_path / "s/tables"
    tables.mkdir(parents=True)
    row = {"model": "m", "policy": "stored", "value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "images": 10}
    rows = [
        row | {"dataset": dataset, "label_mode": mode, "metric": metric}
        for dataset in ("a", "b")
        for mode in ("all", "subset")
        for metric in ("shape_accuracy", "texture_accuracy", "shape_bias")
    ]
    write_table(pd.DataFrame(rows), SHAPE_BIAS, tables / "shape_bias.parquet")
    found = page(withstand.load(tmp_path / "s"), "shape_bias")
    assert found.cells.columns.nlevels == 3
    assert found.cells.columns[0] == ("a", "all", "shape accuracy (%)")
    assert "policy: stored" in found.caption
    assert latex(found, "shape_bias").count("\\multicolumn{6}{c}") == 2


def test_columns_are_told_by_labels(folder, tmp_path):
    """Of datasets, and of models that results are relative to."""
    tables = tmp_path / "s/tables"
    tables.mkdir(parents=True)
    (tmp_path / "s/run.json").symlink_to(folder / "run.json")
    (tables / "models.parquet").symlink_to(folder / "tables/models.parquet")
    row = {"label_mode": "all", "policy": "stored", "value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "images": 10}
    pairs = [row | {"model": model, "source": source, "attack": "pgd"} for model in SKILL for source in SKILL]
    transfer = [pair | {"dataset": name, "metric": "accuracy"} for pair in pairs for name in ("test", "new_set")]
    write_table(pd.DataFrame(transfer), TRANSFER, tables / "transfer.parquet")
    shifted = row | {"model": "weak", "dataset": "new_set", "family": "clean", "metric": "effective_robustness"}
    write_table(
        pd.DataFrame([shifted | {"reference": "test", "predicted": 0.5}]),
        EFFECTIVE_ROBUSTNESS,
        tables / "effective_robustness.parquet",
    )
    error = row | {"model": "weak", "dataset": "test", "metric": "mce", "reference": "strong_net"}
    write_table(pd.DataFrame([error]), CORRUPTION_ERROR, tables / "corruption_error.parquet")
    study = withstand.load(tmp_path / "s")
    # a model is not compared with what was made for itself, whatever its label; ids stay where there is no label
    columns = [("test_set", "pgd for strong net & Co"), ("test_set", "pgd for weak & Co")]
    cells = page(study, "transfer").cells
    assert list(cells.columns) == [*columns, *(("new_set", attack) for _, attack in columns)]
    assert cells.loc["weak & Co"].astype(bool).tolist() == [True, False, True, False]
    assert "clean given test set" in page(study, "effective_robustness").caption
    assert "dataset: new_set;" in page(study, "effective_robustness").caption
    assert "dataset: test_set; condition: against strong net & Co;" in page(study, "corruption_error").caption


def test_claims_wrap_in_latex(tmp_path):
    tables = tmp_path / "s/tables"
    tables.mkdir(parents=True)
    statement = "Adversarial perturbations transfer more within a family of models than to the other."
    claim = {"claim": "a", "section": "appendix", "statement": statement, "dataset": "test", "outcome": "supported"}
    claim |= {"effect": 0.1, "low": 0.05, "high": 0.15, "unit": "points", "n": 9, "criterion": "none"}
    write_table(pd.DataFrame([claim]), CLAIMS, tables / "claims.parquet")
    text = latex(page(withstand.load(tmp_path / "s"), "claims"), "claims")
    types = re.search(r"\\begin{longtable}{(.*)}", text).group(1)
    assert types.startswith("p{6cm}")
    row = next(line for line in text.splitlines() if statement in line)
    assert row.count("&") == len(types.removeprefix("p{6cm}"))
    assert "10.0 [5.0, 15.0] & points & 9" in row


# What no config refers to


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with two studies' results, a config of one of them, and the files that the config is of."""
    monkeypatch.chdir(tmp_path)
    Path("Snakefile").touch()
    Path("config.yaml").write_text("study: mine\n")
    needed = {Path("results/mine/tables/accuracy.parquet"), Path("results/weights/net.safetensors")}
    for path in (*needed, "results/mine/run.json", "results/mine/.lock", "results/mine/notes.txt", "results/notes.txt"):
        put(path)
    monkeypatch.setattr(garbage, "plan_of", lambda config: garbage.Plan(needed))
    return needed


def put(path, content="twelve bytes"):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def everything():
    return {path for path in Path("results").rglob("*") if not path.is_dir()}


def test_garbage_is_listed_and_then_removed(project):
    kept = everything()
    old = {
        put("results/mine/predictions/gone/test/clean.parquet"),
        put("results/mine/tables/.accuracy.parquet.1.tmp"),
        put("results/weights/old.safetensors"),
        put("results/downloads/set/set.tar"),
    }
    listed = invoke("gc")
    assert listed.exit_code == 0, listed.output
    assert all(re.search(f"^ +12 B  {re.escape(str(path))}$", listed.output, re.MULTILINE) for path in old)
    assert listed.output.endswith("4 files that no config refers to: 48 B.\n")
    assert everything() == kept | old
    assert invoke("gc", "--delete").output.endswith("Freed 48 B.\n")
    assert everything() == kept
    assert not Path("results/mine/predictions").exists()
    assert not Path("results/downloads").exists()
    assert invoke("gc").output == "Nothing to delete.\n"


def test_studies_of_no_config_go_as_a_whole_and_only_if_told(project):
    kept = everything()
    put("results/old/tables/accuracy.parquet")
    put("results/old/notes.txt")
    put("results/pictures/mine.png")
    assert "results/old/  a study of no config" in invoke("gc", "--delete").output
    assert Path("results/old/notes.txt").exists()
    assert invoke("gc", "--studies").exit_code == 0
    assert Path("results/old/notes.txt").exists()
    assert invoke("gc", "--delete", "--studies").output.endswith("Freed 24 B.\n")
    assert everything() == kept | {Path("results/pictures/mine.png")}


def test_what_a_config_names_is_kept(project):
    used = put("results/old/tables/accuracy.parquet"), put("results/weights/theirs/a.safetensors")
    Path("config.yaml").write_text(
        "study: mine\nmodels:\n  a: {checkpoint: ./results/weights/theirs/a.safetensors}\n"
        f"datasets:\n  b: {{source: {{path: {Path.cwd() / 'results/old/tables'}}}}}\n"
    )
    theirs = put("results/weights/made-for-old.safetensors")
    output = invoke("gc", "--delete", "--studies").output
    assert output.startswith("Note: nothing in results/weights is touched, since studies of no config given may use it")
    assert output.endswith("Nothing to delete.\nFreed 0 B.\n")
    assert all(path.exists() for path in (*used, theirs))
    Path("results/old/tables/accuracy.parquet").unlink()
    Path("results/old/tables").rmdir()
    assert invoke("gc", "--delete", "--studies").output.endswith("Freed 12 B.\n")
    assert used[1].exists()


def test_links_are_not_followed(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    treasure = put(elsewhere / "predictions/x.parquet")
    Path("results/downloads").symlink_to(elsewhere)
    Path("results/mine/predictions").symlink_to(elsewhere / "predictions")
    Path("results/mine/figures").mkdir()
    Path("results/mine/figures/link").symlink_to(elsewhere)
    Path("results/linked").symlink_to(elsewhere / "predictions")
    output = invoke("gc", "--delete", "--studies").output
    assert "results/downloads is a link, and left alone" in output
    assert "results/mine/predictions is a link, and left alone" in output
    assert treasure.exists()
    assert Path("results/linked").is_symlink()
    assert not Path("results/mine/figures").exists()


def test_what_is_half_made_is_kept_as_long_as_it_is_needed(project):
    half = [
        put("results/weights/.net.safetensors.part"),
        put("results/weights/net.checkpoint.pt"),
        put("results/weights/.other.safetensors.1.tmp"),
    ]
    os.utime(half[0], (0, 0))
    assert set(garbage.find_garbage([Path("config.yaml")], named=False).files) == set(half[:2])
    Path("results/weights/net.safetensors").unlink()
    assert garbage.find_garbage([Path("config.yaml")], named=False).files == {}
    os.utime(half[2], (0, 0))
    assert set(garbage.find_garbage([Path("config.yaml")], named=False).files) == {half[2]}


def test_a_config_that_cannot_be_planned_holds_back_what_may_be_its_own(project, monkeypatch):
    def plan(config):
        if config.stem == "broken":
            raise garbage.GarbageError(f"{config} cannot be planned: no images")
        return garbage.Plan(project)

    monkeypatch.setattr(garbage, "plan_of", plan)
    put("studies/broken.yaml", "study: broken\n")
    shared, theirs = put("results/weights/old.safetensors"), put("results/broken/tables/x.parquet")
    gone = put("results/mine/tables/old.parquet")
    output = invoke("gc", "--delete", "--studies").output
    assert "results/broken is left alone: studies/broken.yaml cannot be planned: no images" in output
    assert "nothing in results/weights is touched, since studies/broken.yaml cannot be planned here" in output
    assert shared.exists()
    assert theirs.exists()
    assert not gone.exists()
    named = invoke("gc", "config.yaml", "studies/broken.yaml", "--delete")
    assert named.exit_code == 1
    assert named.output == "Error: studies/broken.yaml cannot be planned: no images\n"
    assert invoke("gc", "config.yaml", "--delete").exit_code == 0
    assert shared.exists()
    assert theirs.exists()


def test_what_a_study_of_no_config_given_may_share_is_kept_with_it(project):
    shared = put("results/weights/theirs.safetensors"), put("results/downloads/set/set.tar")
    theirs, gone = put("results/other/tables/x.parquet"), put("results/mine/tables/old.parquet")
    note = "nothing in results/weights or results/downloads is touched, since studies of no config given may use it"
    listed = invoke("gc", "config.yaml").output
    assert f"Note: {note}: results/other; " in listed
    assert "theirs.safetensors" not in listed
    assert "set.tar" not in listed
    assert invoke("gc", "config.yaml", "--delete").exit_code == 0
    assert all(path.exists() for path in (*shared, theirs))
    assert not gone.exists()
    assert note not in invoke("gc", "config.yaml", "--delete", "--studies").output
    assert not any(path.exists() for path in (*shared, theirs))


def test_a_linked_study_keeps_what_it_may_share(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put(elsewhere / "tables/x.parquet")
    Path("results/linked").symlink_to(elsewhere)
    shared = put("results/weights/theirs.safetensors")
    assert "may use it: results/linked; " in invoke("gc", "--delete", "--studies").output
    assert shared.exists()
    assert (elsewhere / "tables/x.parquet").exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_logs_and_benchmarks_are_kept_where_snakemake_has_no_record(tmp_path, monkeypatch, recorded):
    """It names the logs only of files that were made here, not of those that were copied."""
    monkeypatch.chdir(tmp_path)
    Path("Snakefile").touch()
    Path("config.yaml").write_text("study: mine\n")
    output, log = "results/mine/tables/accuracy.parquet", "results/mine/logs/join_summaries/accuracy.log"
    of_it = {put(output), put(log), put("results/mine/benchmarks/join_summaries/accuracy.jsonl")}
    old = {put("results/mine/logs/gone/a.log"), put("results/mine/benchmarks/gone/a.jsonl")}
    gone, weights = put("results/mine/tables/old.parquet"), put("results/weights/logs/old.log")
    lines = [
        "output_file\tdate\trule\tlog-file(s)\tstatus\tplan",
        f"{output}\tnow\tjoin_summaries\t{log if recorded else '-'}\tok\tno update",
        "results/weights/missing.safetensors\t-\tfetch_weights\t-\tmissing\tupdate pending",
    ]
    summary = subprocess.CompletedProcess([], 0, "\n".join(lines), "")
    monkeypatch.setattr(garbage.subprocess, "run", lambda *arguments, **options: summary)
    result = invoke("gc", "--delete")
    assert result.exit_code == 0, result.output
    note = "Note: nothing in results/mine/logs or results/mine/benchmarks is touched, since Snakemake has no record"
    assert (note in result.output) != recorded
    assert everything() == of_it | (set() if recorded else old)
    assert not gone.exists()
    assert not weights.exists()


@pytest.mark.parametrize("content", ["models: {}", "study: [a, b]", "{", ""])
def test_a_config_of_no_study_stops_it(project, content):
    put("studies/odd.yaml", content)
    old = put("results/weights/old.safetensors")
    result = invoke("gc", "--delete", "--studies")
    assert result.exit_code == 1
    assert "studies/odd.yaml: " in result.output
    assert old.exists()


def test_nothing_is_removed_during_a_run(project):
    old = put("results/mine/tables/old.parquet")
    with Path("results/mine/.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = invoke("gc", "--delete")
    assert result.exit_code == 1
    assert "study 'mine' is being run (twelve bytes)" in result.output
    assert old.exists()


def test_gc_needs_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no Snakefile here" in invoke("gc").output
    Path("Snakefile").touch()
    assert "neither config.yaml nor studies/*.yaml" in invoke("gc").output


def test_a_finished_study_has_no_garbage_until_it_changes(finished, tmp_path):
    """Snakemake itself is asked; a model less leaves its files behind, and what is left needs no job."""
    project = finished.clone(tmp_path / "project")

    def gc(*options):
        command = [sys.executable, "-c", "from withstand.cli import main; main()", "gc", "config.yaml", *options]
        environment = {**os.environ, "PYTHONPATH": str(project.folder / "workflow")}
        return subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)

    whole = gc("--delete")
    assert (whole.returncode, whole.stdout) == (0, "Nothing to delete.\nFreed 0 B.\n"), whole.stderr
    study = yaml.safe_load((project.folder / "config.yaml").read_text())
    del study["models"]["vit"]
    project.configure(study)
    planned = project.planned()
    removed = gc("--delete")
    assert removed.returncode == 0, removed.stderr
    left = [str(path.relative_to(project.folder)) for path in project.folder.glob("results/**/*") if path.is_file()]
    assert not [path for path in left if "vit" in path]
    assert "results/weights/zoo-resnet_gn_base.safetensors" in left
    assert "results/weights/zoo-vit_p8_base.safetensors" in removed.stdout
    assert not [line for line in removed.stdout.splitlines() if "resnet" in line]
    assert (project.folder / "results/small/run.json").exists()
    assert project.planned() == planned
