"""Tables and figures of attacks: against closed forms, and as pictures that can be drawn."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from withstand import perturbations
from withstand.claims.answers import read_errors
from withstand.claims.evidence import Evidence
from withstand.metrics.attacks import attack_rows, spatial_rows, transfer_rows
from withstand.metrics.intervals import mean_interval, wilson
from withstand.metrics.patch_alignment import edge_ratios, geometric_mean, has_both, patch_borders, ratios, step_borders
from withstand.predictions import METADATA
from withstand.steps.draw import draw_perturbations, draw_table
from withstand.steps.models import write_card
from withstand.steps.tabulate import tabulate_shape_bias
from withstand.steps.tabulate_attacks import (
    tabulate_attacks,
    tabulate_patch_alignment,
    tabulate_spatial,
    tabulate_transfer,
)


def answers(correct, loss=None, ids=None) -> pd.DataFrame:
    n = len(correct)
    ids = [f"s{number}" for number in range(n)] if ids is None else ids
    loss = np.arange(n, dtype=float) if loss is None else loss
    return pd.DataFrame({"sample_id": ids, "correct_all": correct, "loss": loss})


def of(rows: pd.DataFrame, **keys) -> pd.Series:
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    (row,) = rows.to_dict("records")
    return row


def test_rows_of_an_attack():
    clean = answers([True] * 8 + [False] * 2).iloc[::-1]  # in another order
    attacked = answers([True] * 3 + [False] * 6 + [True]).assign(
        **{"fell_at": [-1, -1, 2, 1, 1, 2, 2, 2, 0, 0], "l2": np.arange(10) / 10, "target": -1},
        without_gradient=[True] * 3 + [False] * 7,
    )
    rows = attack_rows(clean, attacked, steps=2)
    assert of(rows, metric="clean_accuracy")["value"] == 0.8
    row = of(rows, metric="accuracy")
    assert (row["value"], row["low"], row["high"], row["n"]) == (0.4, *wilson(4, 10), 10)
    row = of(rows, metric="fooled")
    assert (row["value"], row["n"]) == (5 / 8, 8), "of those right before"
    surviving = [of(rows, metric="surviving", step=step)["value"] for step in range(3)]
    assert surviving == [0.8, 0.6, 0.2]
    row = of(rows, metric="without_gradient")
    assert (row["value"], row["low"], row["high"], row["n"]) == (0.3, *wilson(3, 10), 10)
    row = of(rows, metric="l2")
    low, high = stats.t.interval(0.95, 9, attacked["l2"].mean(), stats.sem(attacked["l2"]))
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.45, low, high), abs=1e-12)


def test_a_target_that_is_reached_is_counted_in_the_end():
    attacked = answers([False] * 4).assign(
        fell_at=[1, 2, -1, 1],
        l2=0.1,
        without_gradient=False,
        target=[3, 3, 4, 4],
        top5_all=[[3, 1], [3, 0], [1, 4], [0, 4]],
    )
    row = of(attack_rows(answers([True] * 4), attacked, steps=2), metric="reached")
    assert (row["value"], row["n"]) == (0.5, 4), "the last one was reached, and left again"


def test_a_mean_of_one_has_no_bounds():
    assert np.isnan(mean_interval(np.array([3.0]))).all()


def test_rows_of_transfer():
    clean = answers([True, True, True, False])
    shown = pd.concat(
        [
            answers([False, True, True, False]).assign(source="a", attack="pgd"),
            answers([True, True, True, True]).assign(source="b", attack="pgd"),
        ]
    )
    rows = transfer_rows(clean, shown)
    assert of(rows, source="a", metric="fooled")["value"] == pytest.approx(1 / 3)
    assert of(rows, source="b", metric="fooled")["value"] == 0
    assert of(rows, source="b", metric="accuracy")["value"] == 1
    nothing = transfer_rows(answers([False] * 4), shown)
    row = of(nothing, source="a", metric="fooled")
    assert row["n"] == 0 and pd.isna(row["value"])


def test_rows_of_rotations_and_translations():
    clean = answers([True, True, True, True])
    table = answers([True] * 4).assign(
        correct_all=[[True, True], [True, False], [False, False], [True, True]],
        drawn_correct_all=[[True], [True], [False], [True]],
        worst_all=[0, 1, 1, 1],
    )
    rows = spatial_rows(clean, table, [[0.0, 0.0, 0.0], [30.0, 1.0, -1.0]])
    assert of(rows, metric="clean_accuracy")["value"] == 1
    assert of(rows, metric="worst")["value"] == 0.5 and of(rows, metric="worst_of_draws")["value"] == 0.75
    row = of(rows, metric="mean")
    assert (row["value"], row["n"], row["images"]) == (5 / 8, 8, 4)
    assert row["high"] - row["low"] > np.subtract(*wilson(5, 8)[::-1]), "clustered by image"
    assert [of(rows, metric="accuracy", angle=angle)["value"] for angle in (0, 30)] == [0.75, 0.5]
    assert [of(rows, metric="worst_at", shift_x=shift)["value"] for shift in (0, 1)] == [0.25, 0.75]


IDS = [f"test-{number:06d}" for number in range(60)]


def answered(path, facts, order=IDS, **columns):
    """A file of answers, images in some order."""
    about = {"dataset": "test", "policy": "stored", "versions": {}} | facts
    table = pa.table({"sample_id": list(order), "loss": [0.1] * len(order), **columns})
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(about)}), path)
    return path


@pytest.fixture
def two_models(tmp_path):
    """Whether two models were right on clean, attacked, transformed and conflicting images, and files of it."""
    random, right, files = np.random.default_rng(0), {}, {}
    for model in ("vit", "resnet"):
        about = {"model": model, "family": "clean"}
        clean, attacked, foreign = (random.random((3, len(IDS))) < [[0.9], [0.5], [0.7]]).tolist()
        turned = (random.random((len(IDS), 3)) < 0.8).tolist()
        right[model] = {"attacks": attacked, "spatial": [all(each) for each in turned], "shape_bias": foreign}
        right[model]["transfer"] = [not after for before, after in zip(clean, foreign, strict=True) if before]
        more = {"top5_all": [[0]] * len(IDS)}
        attack = {"name": "pgd", "norm": "linf", "eps": "1/255", "steps": 8, "step_size": "1/2040", "target": "none"}
        fell = {"fell_at": [-1] * len(IDS), "l2": [0.1] * len(IDS), "target": [-1] * len(IDS)} | {
            "without_gradient": [False] * len(IDS)
        }
        other = {"source": ["resnet" if model == "vit" else "vit"] * len(IDS), "attack": ["pgd"] * len(IDS)}
        backwards = dict(zip(("order", "correct_all"), (IDS[::-1], attacked[::-1]), strict=True))
        files[model] = {
            "clean": answered(tmp_path / f"{model}_clean", about, correct_all=clean, **more),
            "attacks": answered(
                tmp_path / f"{model}_pgd", about | {"family": "pgd", "attack": attack}, **backwards, **more, **fell
            ),
            "transfer": answered(
                tmp_path / f"{model}_transfer",
                about | {"attacks": {"pgd": attack}, "left_out": {}},
                **{"correct_all": foreign, **other},
            ),
            "spatial": answered(
                tmp_path / f"{model}_spatial",
                about | {"transformations": [[0.0, 0, 0]] * 3, "grid": GRID},
                **{"correct_all": turned, "drawn_correct_all": turned, "worst_all": [0] * len(IDS)},
            ),
            "shape_bias": answered(
                tmp_path / f"{model}_conflict",
                about | {"dataset": "conflict"},
                **{"correct_all": foreign, "texture_correct_all": attacked, **more},
            ),
        }
    return right, files


GRID = {"rotation": 30.0, "translation": 0.1, "draws": 3, "padding": "zeros", "interpolation": "bilinear"}


def test_answers_behind_rows_of_attacks(two_models, tmp_path):
    """Accuracies of two models differ image by image, in whatever order the images are."""
    right, files = two_models
    clean = [files[model]["clean"] for model in files]
    tabulate_attacks([*clean, *(files[model]["attacks"] for model in files)], tmp_path / "attacks")
    tabulate_transfer([files[model]["transfer"] for model in files], clean, tmp_path / "transfer")
    tabulate_spatial([files[model]["spatial"] for model in files], clean, tmp_path / "spatial")
    tabulate_shape_bias([files[model]["shape_bias"] for model in files], tmp_path / "shape_bias")
    metrics = {"attacks": "accuracy", "transfer": "fooled", "spatial": "worst", "shape_bias": "shape_accuracy"}
    tables = {name: pd.read_parquet(tmp_path / name) for name in metrics}
    evidence = Evidence(tables, read_errors(path for model in files for path in files[model].values()))
    assert len(evidence.errors) == 2 * len(metrics)
    for table, metric in metrics.items():
        rows = {row["model"]: row for row in evidence.rows(table, metric=metric).to_dict("records")}
        one, other = (evidence.estimate(table, rows[model]) for model in ("vit", "resnet"))
        found = one - other
        assert [one.value, other.value] == pytest.approx([np.mean(right[model][table]) for model in ("vit", "resnet")])
        (errors,) = found.errors.values()
        if table == "transfer":
            # of a ratio, by leaving out each image in turn: the jackknife's errors, to the order of 1/n
            with_clean = pd.read_parquet(files["vit"]["clean"])["correct_all"].to_numpy()
            fooled = with_clean & ~pd.read_parquet(files["vit"]["transfer"])["correct_all"].to_numpy()
            without = [np.delete(fooled, n).sum() / np.delete(with_clean, n).sum() for n in range(len(IDS))]
            pseudo = (len(IDS) - 1) * (one.value - np.array(without))
            (errors,) = one.errors.values()
            assert errors == pytest.approx(pseudo, abs=2 / len(IDS))
        else:
            by_hand = np.subtract(*(np.array(right[model][table], dtype=float) for model in ("vit", "resnet")))
            assert found.value + errors == pytest.approx(by_hand)


def test_borders_of_patches():
    borders = patch_borders(16, 8)
    # without the rim of the image: rows and columns 7 and 8 of 1 to 14
    assert borders.shape == (14, 14) and borders.sum() == 2 * 2 * 14 - 4
    assert borders[6, 2] and borders[7, 2] and not borders[2, 2] and not borders[0, 0]
    assert np.array_equal(np.flatnonzero(step_borders(16, 8)), [7])
    # patches of 9.33 px, as those of 16 px of a model that wants 384 px are on an image of 224 px
    scaled = np.flatnonzero(step_borders(28, 28 / 3))
    assert np.array_equal(scaled, [8, 18])
    assert [has_both(16, patch) for patch in (2, 4, 8, 16, 32)] == [False, True, True, False, False]


def test_the_rim_of_the_image_is_no_border_of_patches():
    rim = np.ones((2, 64, 64, 3))
    rim[:, 1:-1, 1:-1] = 0.5
    assert ratios(rim.mean(3)[:, 1:-1, 1:-1], patch_borders(64, 8)) == pytest.approx([1, 1])


def test_ratios_of_known_patterns():
    borders = patch_borders(16, 8)
    doubled = np.where(borders, 2.0, 1.0)[None].repeat(3, 0)
    assert ratios(doubled, borders) == pytest.approx([2, 2, 2])
    masks = np.zeros((3, 16, 16))
    masks[:, :8] = 1
    assert ratios(np.where(masks > 0, 3.0, 2.0), masks) == pytest.approx([1.5] * 3)
    # steps of 1 everywhere, and of 3 across borders, along both axes
    line = np.cumsum([0, *np.where(step_borders(16, 8), 3, 1)])
    pattern = (line[:, None] + line[None, :])[None, :, :, None].repeat(3, 3)
    assert edge_ratios(pattern.astype(float), 8) == pytest.approx([3])
    assert edge_ratios(np.random.default_rng(0).normal(size=(400, 16, 16, 3)), 8).mean() == pytest.approx(1, abs=0.02)
    row = geometric_mean([np.array([2.0, 0.5]), np.array([4.0, np.nan, 0.0])])
    assert (row["value"], row["n"]) == (pytest.approx(4 ** (1 / 3)), 3)
    assert geometric_mean([np.array([np.nan])])["value"] is None


@pytest.fixture
def study(tmp_path):
    """Two models' perturbations, one of which breaks off at borders of patches, and all tables of them."""
    rng = np.random.default_rng(0)
    ids = [f"test-{number:06d}" for number in range(12)]
    for model, patch in (("vit", 8), ("resnet", None)):
        noise = rng.integers(-8, 9, (12, 64, 64, 3)).astype(np.int8)
        if patch:
            noise = np.kron(rng.integers(-8, 9, (12, 8, 8, 1)), np.ones((1, 8, 8, 3))).astype(np.int8)
        about = {"name": "pgd", "norm": "linf", "eps": "1/255", "steps": 8, "step_size": "1/2040", "target": "none"}
        facts = {"model": model, "dataset": "test", "policy": "stored", "family": "pgd", "attack": about}
        with perturbations.create(tmp_path / f"{model}.h5", 12, 1 / 2040, facts) as writer:
            writer.write(ids, rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8), noise)
        patches = {"grid": [8, 8], "patch_size": [8, 8]} if patch else {"grid": None, "patch_size": None}
        card = {"model": model, **patches, "preprocessing": {"input_size": 64}, "failure": None}
        (tmp_path / f"{model}.json").write_text(json.dumps(card))
    models = [
        {"model": name, "family": family, "parameters": 1, "pretraining_images": 1, "input_size": 64}
        for name, family in (("vit", "ViT"), ("resnet", "ResNet"))
    ]
    pd.DataFrame(models).to_parquet(tmp_path / "models.parquet")
    files = [tmp_path / "vit.h5", tmp_path / "resnet.h5"]
    cards = [tmp_path / "vit.json", tmp_path / "resnet.json"]
    source = {"kind": "shapetex", "split": "test"}
    tabulate_patch_alignment(files, cards, source, [16], tmp_path / "patch_alignment.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("kwargs", "patch"),
    [
        ({"img_size": 64, "patch_size": 12}, 12),  # of which five fill 60 of 64 pixels
        ({"patch_size": 16, "dynamic_img_size": True}, 16),  # built for 224 px, with 14 patches a side
        ({"patch_size": 24, "dynamic_img_size": True, "dynamic_img_pad": True}, 24),  # 72 pixels, 8 of them padding
    ],
)
def test_alignment_is_with_the_patches_that_the_network_has(tmp_path, kwargs, patch):
    """Steps of perturbations that break off at a network's patches, and are zero where it sees nothing, are those of
    its own patches, and of no other squares."""
    small = {"embed_dim": 48, "depth": 1, "num_heads": 3, "num_classes": 10}
    spec = {"timm": "vit_tiny_patch16_224", "kwargs": small | kwargs, "label_space": "shapetex"}
    write_card("vit", spec | {"preprocessing": {"input_size": 64}}, None, tmp_path / "vit.json")
    rng = np.random.default_rng(0)
    side = 3 if patch == 24 else 64 // patch
    blocks = np.kron(rng.integers(-60, 61, (12, side, side, 3)), np.ones((1, patch, patch, 1), int))[:, :64, :64]
    noise = np.zeros((12, 64, 64, 3), int)
    noise[:, : blocks.shape[1], : blocks.shape[2]] = blocks + rng.integers(-8, 9, blocks.shape)
    about = {"name": "pgd", "norm": "linf", "eps": "16/255", "steps": 8, "step_size": "1/2040", "target": "none"}
    facts = {"model": "vit", "dataset": "test", "policy": "stored", "family": "pgd", "attack": about}
    ids = [f"test-{number:06d}" for number in range(12)]
    with perturbations.create(tmp_path / "vit.h5", 12, 1 / 2040, facts) as writer:
        writer.write(ids, rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8), noise.astype(np.int8))
    source = {"kind": "shapetex", "split": "test"}
    tabulate_patch_alignment([tmp_path / "vit.h5"], [tmp_path / "vit.json"], source, [20], tmp_path / "t.parquet")
    table = pd.read_parquet(tmp_path / "t.parquet")
    steps = table[table["metric"] == "edge_ratio"].set_index("patch_size")
    assert steps.loc[patch, "own"] and steps.loc[patch, "low"] > 4
    assert not steps.loc[20, "own"] and steps.loc[20, "high"] < 1.5


def test_the_table_of_patch_alignment(study):
    table = pd.read_parquet(study / "patch_alignment.parquet")
    rows = table[(table["model"] == "vit") & (table["metric"] == "border_ratio") & (table["patch_size"] == 8)]
    assert rows["own"].tolist() == [True] and rows["value"].iloc[0] == pytest.approx(1, abs=0.05)
    assert table.groupby("model")["patch_size"].nunique().to_dict() == {"vit": 2, "resnet": 1}
    resnet = table[(table["model"] == "resnet") & (table["metric"] == "edge_ratio")].iloc[0]
    assert resnet["low"] < 1 < resnet["high"] and not resnet["own"]
    foreground = table[table["metric"] == "foreground_ratio"]
    assert len(foreground) == 2 and ((foreground["low"] < 1) & (foreground["high"] > 1)).all()
    assert (table["n"] <= 12).all()


@pytest.mark.parametrize("kind", ["patch_alignment", "perturbations"])
def test_figures_of_perturbations_are_drawn(study, kind):
    places = {"svg": study / "f.svg", "png": study / "f.png", "data": study / "f.csv"}
    table, models = study / "patch_alignment.parquet", study / "models.parquet"
    if kind == "perturbations":
        draw_perturbations([study / "vit.h5", study / "resnet.h5"], table, models, {}, **places)
        assert pd.read_csv(study / "f.csv")["patch_size"].fillna(0).tolist() == [0, 8]
    else:
        draw_table(kind, table, models, ["test"], {}, **places)
        assert {"value", "low", "high", "n"} <= set(pd.read_csv(study / "f.csv"))
    assert all(places[kind].stat().st_size > 1000 for kind in ("svg", "png"))


@pytest.mark.parametrize("which", ["attack", "clean"])
def test_models_that_failed_are_remembered_by_tables(tmp_path, which):
    clean = pa.table({"sample_id": ["a"], "loss": [0.1], "correct_all": [True]})
    facts = {"model": "m", "dataset": "d", "policy": "stored", "versions": {}}
    clean_facts = facts | ({"failure": "it broke"} if which == "clean" else {})
    pq.write_table(clean.replace_schema_metadata({METADATA: json.dumps(clean_facts)}), tmp_path / "clean.parquet")
    empty = pa.table({"sample_id": pa.array([], pa.string())})
    failure = {"failure": "it broke"} if which == "attack" else {}
    failed = empty.replace_schema_metadata({METADATA: json.dumps(facts | failure)})
    pq.write_table(failed, tmp_path / "failed.parquet")
    for tabulate, family in ((tabulate_transfer, "transfer"), (tabulate_spatial, "spatial")):
        tabulate([tmp_path / "failed.parquet"], [tmp_path / "clean.parquet"], tmp_path / "t.parquet")
        note = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[METADATA])
        assert note["failures"] == [{"model": "m", "dataset": "d", "family": family, "reason": "it broke"}]
        assert pq.read_table(tmp_path / "t.parquet").num_rows == 0
    about = {"family": "pgd", "attack": {"name": "pgd"}}
    pq.write_table(
        empty.replace_schema_metadata({METADATA: json.dumps(facts | failure | about)}), tmp_path / "pgd.parquet"
    )
    tabulate_attacks([tmp_path / "clean.parquet", tmp_path / "pgd.parquet"], tmp_path / "t.parquet")
    note = json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[METADATA])
    assert note["failures"] == [{"model": "m", "dataset": "d", "family": "pgd", "reason": "it broke"}]
