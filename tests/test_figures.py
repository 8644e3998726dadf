from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from withstand.figures.style import PALETTE, Style, spread
from withstand.steps.draw import draw_corruptions, draw_samples, draw_table


@pytest.fixture
def tables(tmp_path):
    """Accuracies of three models under two corruptions, at two severities, and the table of models."""
    rows = []
    for number, model in enumerate(("a", "b", "c")):

        def row(family, corruption, severity, value, model=model):
            return {
                "model": model,
                "dataset": "test",
                "family": family,
                "corruption": corruption,
                "severity": severity,
                "label_mode": "all",
                "policy": "stored",
                "metric": "accuracy",
                "value": value,
                "low": value - 0.02,
                "high": value + 0.02,
                "n": 100,
                "images": 100,
            }

        rows.append(row("clean", "clean", 0, 0.95 - 0.01 * number))
        for severity in (1, 2):
            rows += [row("noise", name, severity, 0.9 - 0.2 * severity - 0.05 * number) for name in ("fog", "snow")]
            rows.append(row(None, None, severity, 0.9 - 0.2 * severity - 0.05 * number))
        rows.append(row(None, None, None, 0.6 - 0.05 * number))
    pd.DataFrame(rows).to_parquet(tmp_path / "accuracy.parquet")
    models = pd.DataFrame({"model": ["a", "b", "c"], "family": ["ViT", "ViT", "ResNet"], "parameters": [2, 1, 3]})
    models["pretraining_images"] = 1000
    models.to_parquet(tmp_path / "models.parquet")
    return tmp_path / "accuracy.parquet", tmp_path / "models.parquet"


def paths(folder, name="figure"):
    return {key: folder / f"{name}.{suffix}" for key, suffix in (("svg", "svg"), ("png", "png"), ("data", "csv"))}


@pytest.mark.parametrize("kind", ["accuracy_by_severity", "clean_against_corrupted"])
def test_a_figure_shows_all_models_and_keeps_its_data(kind, tables, tmp_path):
    style = {"labels": {"a": "Model A"}, "colors": {"b": "#123456"}, "dpi": 80}
    draw_table(kind, *tables, ["test"], style, **paths(tmp_path))
    text = (tmp_path / "figure.svg").read_text()
    ElementTree.fromstring(text)
    assert "Model A" in text
    assert "#123456" in text
    data = pd.read_csv(tmp_path / "figure.csv")
    assert set(data["model"]) == {"a", "b", "c"}
    assert Image.open(tmp_path / "figure.png").size[0] > 200
    if kind == "accuracy_by_severity":
        assert len(data) == 3 * 3 * 3  # models, panels, severities with the clean images
        assert {"fog", "snow", "mean over corruptions"} == set(data["corruption"])
        assert data[["low", "high", "n"]].notna().all(axis=None)


@pytest.mark.parametrize("kind", ["accuracy_by_severity", "clean_against_corrupted"])
def test_the_same_data_makes_the_same_files(kind, tables, tmp_path):
    for name in ("one", "two"):
        draw_table(kind, *tables, ["test"], {}, **paths(tmp_path, name))
    for suffix in ("svg", "png", "csv"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_without_results_the_figure_says_so(tables, tmp_path):
    draw_table("accuracy_by_severity", *tables, ["other"], {}, **paths(tmp_path))
    text = " ".join(ElementTree.parse(tmp_path / "figure.svg").getroot().itertext())
    assert "No model has the results on other that accuracy by severity shows." in " ".join(text.split())
    assert pd.read_csv(tmp_path / "figure.csv").empty
    draw_table("lesion_single", *tables, ["other"], {}, **paths(tmp_path))
    assert "that lesion single shows" in paths(tmp_path)["svg"].read_text()


def test_every_corruption_of_a_plan_is_drawn(tmp_path, clean_file):
    plan = [
        {"name": "contrast", "category": "digital", "severities": [1, 5], "constants": {"64": [[0.4], [0.05]]}},
        {"name": "gaussian_noise", "category": "noise", "severities": [5], "constants": {"64": [[0.18]]}},
    ]
    draw_corruptions(clean_file, plan, 0, {}, **paths(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv")
    assert data["corruption"].tolist() == ["clean", "contrast", "contrast", "gaussian_noise"]
    assert data["severity"].tolist() == [0, 1, 5, 5]
    assert set(data["class"]) == {"striped disk"}


def test_a_figure_shows_one_policy(tables, tmp_path):
    accuracy = pd.read_parquet(tables[0])
    other = accuracy.assign(policy="corrupt_after_resize", family="resized", value=accuracy["value"] / 2)
    other.loc[accuracy["family"].isna(), "family"] = None
    pd.concat([accuracy, other]).to_parquet(tables[0])
    means = {}
    for policy in ("stored", "corrupt_after_resize"):
        draw_table("accuracy_by_severity", *tables, ["test"], {}, **paths(tmp_path, policy), policy=policy)
        data = pd.read_csv(tmp_path / f"{policy}.csv")
        assert set(data["policy"]) == {policy}
        assert sorted(data["severity"].unique()) == [0, 1, 2]
        means[policy] = data["value"].mean()
    assert means["corrupt_after_resize"] == pytest.approx(means["stored"] / 2)


def test_held_out_shows_every_dataset_and_label_mode(tables, tmp_path):
    accuracy = pd.read_parquet(tables[0])
    clean = accuracy[accuracy["family"] == "clean"]
    drawn = clean.assign(dataset="drawn", value=0.3, low=0.2, high=0.4)
    pd.concat([accuracy, drawn, drawn.assign(label_mode="subset", value=0.5, high=0.6)]).to_parquet(tables[0])
    draw_table("held_out", *tables, ["test", "drawn"], {"datasets": {"drawn": "Drawings"}}, **paths(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv")
    assert data.groupby(["dataset", "label_mode"]).size().to_dict() == {
        ("drawn", "all"): 3,
        ("drawn", "subset"): 3,
        ("test", "all"): 3,
    }
    assert list(data["model"].unique()) == ["c", "b", "a"], "by family, then by size"
    text = (tmp_path / "figure.svg").read_text()
    assert text.index("test") < text.index("Drawings"), "easy datasets first"


def test_shape_bias_shows_all_three_metrics(tables, tmp_path):
    table = pd.read_parquet(tables[0])
    clean = table[table["family"] == "clean"]
    metrics = {"shape_accuracy": 0.2, "texture_accuracy": 0.6, "shape_bias": 0.25}
    rows = [
        clean.assign(metric=name, value=value, low=value - 0.1, high=value + 0.1) for name, value in metrics.items()
    ]
    bias = pd.concat(rows)
    bias.loc[(bias["model"] == "b") & (bias["metric"] == "shape_bias"), "value"] = None  # it named neither
    bias.to_parquet(tables[0])
    draw_table("shape_bias", *tables, ["test"], {}, **paths(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv")
    assert data.groupby("model")["metric"].nunique().to_dict() == {"a": 3, "b": 2, "c": 3}


def test_a_sample_sheet_has_a_column_a_class(tmp_path, clean_file):
    draw_samples(clean_file, {}, **paths(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv")
    assert data.groupby("column")["class"].nunique().tolist() == [1] * 10
    assert data.groupby("class").size().tolist() == [
        2 if name in ("checkered square", "striped disk") else 1 for name in sorted(set(data["class"]))
    ]


def test_colours_are_the_same_in_all_figures():
    style = Style(models=["a", "b", "c"], colors={"b": PALETTE[0]})
    assert style.model_colors(["a", "b", "c"]) == {"a": PALETTE[1], "b": PALETTE[0], "c": PALETTE[2]}
    assert style.model_colors(["c"]) == {"c": PALETTE[2]}


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.9, 0.1, 0.12], [0.9, 0.06, 0.16]),
    ],
)
def test_labels_are_moved_apart_as_little_as_possible(positions, expected):
    assert spread(positions, 0.1) == pytest.approx(expected)


def test_moved_labels_keep_their_order_and_gap():
    positions = np.random.default_rng(0).uniform(size=30)
    moved = spread(positions, 0.05)
    assert (np.diff(moved[np.argsort(positions)]) >= 0.05 - 1e-9).all()
