"""Figures of a whole study: what they select, what they draw of it, and that labels stay apart with many models."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.container import ErrorbarContainer
from PIL import Image

from withstand import predictions
from withstand.errors import WithstandError
from withstand.figures import (
    accuracy_by_severity,
    calibration,
    claims,
    clean_against_corrupted,
    comparisons,
    disagreements,
    held_out,
    overview,
    scaling,
)
from withstand.figures.sets import short
from withstand.figures.style import PALETTE, Style, figure_style
from withstand.images import ImageFile
from withstand.metrics import answers
from withstand.metrics.answers import Answers
from withstand.metrics.conditions import Condition
from withstand.steps.draw import draw_table
from withstand.steps.draw_disagreements import draw_disagreements

SIZES = {"ResNet": (25, 45, 217, 387, 936), "ViT": (86, 87, 304, 306, 632)}
MINUS = "\N{MINUS SIGN}"
PRETRAINING = (("small set", 1_281_167), ("larger set", 14_197_122), ("largest set", 303_000_000))


def models_of(count=30):
    """The table of the first models of a study, of two families and three pre-training sets."""
    rows = [
        {"model": f"{family}_{size}_{images}".lower(), "family": family, "parameters": size * 1_000_000}
        | {
            "patch_size": 16.0 if family == "ViT" else None,
            "pretraining_dataset": dataset,
            "pretraining_images": images,
        }
        for dataset, images in PRETRAINING
        for family, sizes in SIZES.items()
        for size in sizes
    ]
    return pd.DataFrame(rows[:count])


def estimate(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half, "n": 1000, "images": 1000}


def accuracy_of(models):
    """Clean and corrupted images of one dataset, and a held-out one in both label modes; larger models are better."""
    rows = []
    for number, model in enumerate(models["model"]):
        skill = 0.4 + 0.015 * number

        def row(dataset, family, severity, value, mode="all", model=model):
            corruption = "clean" if family == "clean" else "fog" if family else None
            keys = {"model": model, "dataset": dataset, "family": family, "corruption": corruption}
            return keys | {"severity": severity, "label_mode": mode, "policy": "stored", "metric": "accuracy"} | value

        rows += [row("test", "clean", 0, estimate(skill + 0.1)), row("test", None, None, estimate(skill))]
        rows += [row("drawn", "clean", 0, estimate(skill - 0.3)), row("drawn", "clean", 0, estimate(skill), "subset")]
        for severity in (1, 2, 3):
            rows += [row("test", family, severity, estimate(skill - 0.1 * severity)) for family in ("natural", None)]
    return pd.DataFrame(rows)


def style_of(models, **more):
    labels = {model: f"{model.split('_')[0].title()}-{number}, pre-trained" for number, model in enumerate(models)}
    return Style(models=sorted(models), labels=labels, **more)


@pytest.fixture(autouse=True)
def look():
    with figure_style():
        yield
    plt.close("all")


def unseen(figure):
    """Labels of ticks outside a panel."""
    for axis in figure.axes:
        for side in (axis.xaxis, axis.yaxis):
            low, high = sorted(side.get_view_interval())
            for tick in side.get_major_ticks():
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    yield from (tick.label1, tick.label2)


def level_texts(figure):
    """All that is written level or upright, and its box in pixels."""
    figure.canvas.draw()
    hidden = set(unseen(figure))
    for text in figure.findobj(plt.Text):
        if text.get_visible() and text.get_text().strip() and text.get_rotation() % 90 == 0 and text not in hidden:
            yield text.get_text(), plt.Text.get_window_extent(text)  # without the line that joins it to its point


def overlapping(figure):
    """Pairs of texts that cover each other by more than a pixel."""
    return [
        (one, other)
        for (one, first), (other, second) in combinations(level_texts(figure), 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]


def intervals(axis):
    """The vertical or horizontal bars of a panel as (low, high)."""
    ends = []
    for container in axis.containers:
        if isinstance(container, ErrorbarContainer):
            for bars in container.lines[2]:
                for segment in bars.get_segments():
                    along = int(np.ptp(segment[:, 1]) > np.ptp(segment[:, 0]))
                    ends.append(tuple(sorted(segment[:, along])))
    return np.array(sorted(ends))


def footnote_of(figure):
    return " ".join(figure.texts[-1].get_text().split())


def test_the_overview_has_a_panel_a_set_and_a_place_a_model():
    models = models_of()
    accuracy = accuracy_of(models)
    data = overview.select(accuracy, models)
    assert len(data) == 30 * 3
    assert list(data[["dataset", "condition"]].drop_duplicates().itertuples(index=False, name=None)) == [
        ("test", "clean"),
        ("test", "corrupted"),
        ("drawn", "clean"),
    ]
    assert set(data["label_mode"]) == {"all"}
    figure = overview.draw(data, style_of(models["model"], datasets={"drawn": "Drawings"}))
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles == ["test", "test, corrupted", "Drawings"]
    for axis, (_, rows) in zip(figure.axes, data.groupby(["dataset", "condition"], sort=False), strict=True):
        assert intervals(axis) == pytest.approx(rows[["low", "high"]].sort_values("low").to_numpy())
        low, high = axis.get_ylim()
        assert low <= rows["low"].min() < rows["high"].max() <= high
    names = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert len(set(names)) == 30
    assert overlapping(figure) == []


@pytest.mark.parametrize("label", ["Drawings", "Drawings of shapes", "Drawings of shapes (made up), " * 3])
def test_titles_of_the_overview_leave_room_for_their_notes(label):
    models = models_of().head(3)
    figure = overview.draw(
        overview.select(accuracy_of(models), models),
        style_of(models["model"], datasets=dict.fromkeys(("test", "drawn"), label.strip(", "))),
    )
    # a line that is left free for a note counts as the title's
    assert [pair for pair in overlapping(figure) if not any(text.endswith("\n") for text in pair)] == []


def test_names_at_an_angle_keep_their_distance():
    models = models_of()
    style = style_of(models["model"])
    overview_figure = overview.draw(overview.select(accuracy_of(models), models), style)
    matrix = comparisons.draw(comparisons.select(comparisons_of(models["model"]), models), style)
    for figure, axis in ((overview_figure, overview_figure.axes[-1]), (matrix, matrix.axes[0])):
        labels = axis.get_xticklabels()
        assert len(labels) == 30
        places = axis.transData.transform([(label.get_position()[0], 0) for label in labels])[:, 0]
        across = np.diff(np.sort(places)).min() * np.sin(np.radians(labels[0].get_rotation()))
        assert across > labels[0].get_fontsize() * figure.dpi / 72


def test_models_stand_by_their_pretraining_then_family_then_size():
    models = models_of()
    data = overview.select(accuracy_of(models).sample(frac=1, random_state=0), models)
    figure = overview.draw(data, Style())
    names = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert names == list(models["model"])
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["small set\n1.3M images", "larger set\n14M images", "largest set\n303M images"]


def test_what_is_not_stated_is_said_so():
    models = models_of(4).assign(pretraining_dataset=None, pretraining_images=np.nan)
    for module in (overview, scaling):
        figure = module.draw(module.select(accuracy_of(models), models), Style())
        assert overlapping(figure) == []
    figure = overview.draw(overview.select(accuracy_of(models), models), Style())
    assert [text.get_text() for text in figure.axes[0].texts] == ["pre-training not stated"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(120, "120"), (4000, "4k"), (1_281_167, "1.3M"), (14_197_122, "14M"), (2_000_000_000, "2B"), (697_066, "697k")],
)
def test_large_numbers_are_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize("module", [overview, scaling, clean_against_corrupted, held_out])
def test_one_model_alone_is_drawn(module):
    models = models_of(1)
    data = module.select(accuracy_of(models), models)
    assert overlapping(module.draw(data, style_of(models["model"]))) == []


def test_a_model_without_corrupted_images_stands_where_it_has_results():
    models = models_of(3)
    accuracy = accuracy_of(models)
    failed = (accuracy["model"] == models["model"][0]) & (accuracy["family"] != "clean")
    data = overview.select(accuracy[~failed], models)
    assert data.groupby("condition")["model"].nunique().to_dict() == {"clean": 3, "corrupted": 2}
    figure = overview.draw(data, Style())
    assert len(intervals(figure.axes[1])) == 2


def power_laws(models, slopes):
    """Accuracies whose errors are exact power laws of the number of parameters."""
    accuracy = accuracy_of(models).merge(models[["model", "family", "parameters"]], on="model", suffixes=("", "_model"))
    errors = 0.3 * (accuracy["parameters"] / 25e6) ** accuracy["family_model"].map(slopes)
    values = pd.DataFrame([estimate(1 - error, 0.001) for error in errors])
    return accuracy.drop(columns=["family_model", "parameters"]).assign(**values)


def test_lines_have_the_slope_of_the_errors():
    models = models_of()
    data = scaling.select(power_laws(models, {"ResNet": -0.2, "ViT": -0.35}), models)
    slopes = data.groupby("family")["slope"].agg(["min", "max"])
    assert slopes.loc["ResNet"].tolist() == pytest.approx([-0.2, -0.2])
    assert slopes.loc["ViT"].tolist() == pytest.approx([-0.35, -0.35])
    figure = scaling.draw(data, Style())
    assert len(figure.axes) == 3 * 3
    axis = figure.axes[0]
    assert axis.get_xscale() == axis.get_yscale() == "log"
    keys = [text.get_text() for text in axis.get_legend().get_texts()]
    assert keys == ["ResNet", "ViT"], "lines of few models have no number"
    (line,) = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_color() == PALETTE[0]]
    x, y = line.get_xdata(), line.get_ydata()
    assert np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(-0.2)
    assert "three sizes" in footnote_of(figure)
    assert overlapping(figure) == []


@pytest.mark.parametrize("sizes", [9, 10])
def test_a_slope_is_told_of_ten_models(sizes):
    models = pd.DataFrame({"model": [f"m{n}" for n in range(sizes)], "parameters": np.geomspace(1e6, 1e8, sizes)})
    models = models.assign(family="ViT", patch_size=8.0, pretraining_dataset="big", pretraining_images=1000)
    figure = scaling.draw(scaling.select(power_laws(models, {"ViT": -0.2}), models), Style())
    axis = figure.axes[0]
    (key,) = [text.get_text() for text in axis.get_legend().get_texts()]
    (line,) = [line for line in axis.lines if len(line.get_xdata()) == 2]
    if sizes < 10:
        assert (key, line.get_linestyle()) == ("ViT", "--")
        assert "too few for a slope" in footnote_of(figure)
    else:
        assert key.startswith(f"ViT {MINUS}0.20 [") and line.get_linestyle() == "-"
        assert "over models and images" in footnote_of(figure)


def test_two_sizes_have_no_line():
    models = models_of(2)
    data = scaling.select(accuracy_of(models), models)
    assert data["slope"].isna().all()
    figure = scaling.draw(data, Style())
    assert "No family has three sizes" in footnote_of(figure)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["ResNet"]


def test_no_error_is_an_arrow_at_the_end_of_its_interval():
    models = models_of(5)
    accuracy = power_laws(models, {"ResNet": -0.2})
    whole = (
        (accuracy["model"] == models["model"][0]) & (accuracy["dataset"] == "test") & (accuracy["family"] == "clean")
    )
    accuracy.loc[whole, ["value", "low", "high"]] = (1.0, 0.96, 1.0)
    data = scaling.select(accuracy, models)
    fitted = data[(data["dataset"] == "test") & (data["condition"] == "clean")]
    assert fitted["slope"].tolist() == pytest.approx([-0.2] * 5)
    figure = scaling.draw(data, Style())
    arrows = [line for line in figure.axes[0].lines if "arrow" in str(line.get_marker())]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in arrows] == [(25e6, pytest.approx(0.04))]
    assert "no error was seen" in footnote_of(figure)


def reproduction_of(data, shift):
    conditions = data["condition"].map({"clean": "clean", "corrupted": "corruptions"})
    keys = data[["model", "dataset", "label_mode", "policy"]]
    return keys.assign(
        experiment=conditions,
        metric="accuracy",
        published=data["value"] + shift,
        reading_error=0.007,
        same_protocol=data["dataset"] == "test",
        source="bhojanapalli2021",
    )


@pytest.mark.parametrize("module", [overview, scaling])
def test_published_values_stand_beside_measured_ones(module):
    models = models_of(3)
    data = module.select(accuracy_of(models), models)
    joined = module.with_published(data, reproduction_of(data, 0.02), models)
    assert (joined["published"] - joined["value"]).tolist() == pytest.approx([0.02] * len(data))
    figure = module.draw(joined, Style())
    expected = joined.loc[(joined["dataset"] == "test") & (joined["condition"] == "clean"), "published"]
    expected = 1 - expected if module is scaling else expected
    drawn = {round(float(y), 6) for line in figure.axes[0].lines for y in np.atleast_1d(line.get_ydata())}
    assert {round(value, 6) for value in expected} <= drawn
    low, high = figure.axes[0].get_ylim()
    assert low < expected.min() <= expected.max() < high
    assert "published values (Bhojanapalli" in footnote_of(figure)
    assert "published" not in module.with_published(data, reproduction_of(data, 0.02).iloc[:0], models)


def comparisons_of(models, gap=0.02, families=("clean", None)):
    """Every pair once; the first model is the most accurate, and differs from all but the next beyond chance."""
    rows = []
    for family in families:
        for (place, model), (other_place, other) in combinations(enumerate(models), 2):
            value = gap * (other_place - place) * (1 if family else 2)
            keys = {"model": model, "other_model": other, "dataset": "test", "family": family, "label_mode": "all"}
            rows.append(
                keys
                | {"policy": "stored", "metric": "accuracy", **estimate(value), "only_model": 5.0, "only_other": 3.0}
                | {"test": "mcnemar" if family else "bootstrap", "p": 0.01, "p_holm": 0.2 if value < 0.03 else 0.001}
            )
    return pd.DataFrame(rows)


def test_comparisons_stand_in_both_directions():
    models = models_of(4)
    names = list(models["model"])
    data = comparisons.select(comparisons_of(names), models)
    assert len(data) == 2 * 4 * 3
    indexed = data.set_index(["condition", "model", "other_model"])
    one, other = indexed.loc[("clean", names[0], names[2])], indexed.loc[("clean", names[2], names[0])]
    assert one[["value", "low", "high"]].tolist() == pytest.approx([0.04, 0.03, 0.05])
    assert other[["value", "low", "high"]].tolist() == pytest.approx([-0.04, -0.05, -0.03])
    assert data.drop_duplicates("model").set_index("model")["place"].to_dict() == dict(
        zip(names, range(4), strict=True)
    )


def test_a_matrix_has_clean_images_above_and_grey_cells_where_nothing_differs():
    models = models_of(4)
    names = list(models["model"])
    figure = comparisons.draw(comparisons.select(comparisons_of(names), models), Style())
    axis = figure.axes[0]
    colored = axis.images[0].get_array()
    assert colored[0, 2] == pytest.approx(0.04)
    assert colored[2, 0] == pytest.approx(-0.08)
    grey = {(round(patch.get_y() + 0.5), round(patch.get_x() + 0.5)) for patch in axis.patches}
    assert grey == {(0, 1), (1, 2), (2, 3)}, "clean neighbours, 2 points apart; corrupted ones are 4 apart"
    assert all(np.ma.is_masked(colored[cell]) or np.isnan(colored[cell]) for cell in grey)
    written = {text.get_text() for text in axis.texts}
    assert {"+2", "+4", "+6", f"{MINUS}4", f"{MINUS}12", "±1"} <= written
    assert "mean over corruptions" in " ".join(written)
    assert overlapping(figure) == []


def test_a_matrix_of_thirty_models_has_no_numbers():
    models = models_of()
    figure = comparisons.draw(comparisons.select(comparisons_of(models["model"]), models), style_of(models["model"]))
    assert not any(text.get_text().startswith(("+", MINUS, "±")) for text in figure.axes[0].texts)
    assert overlapping(figure) == []
    assert "reach at most 1.0 points" in footnote_of(figure)
    width, height = figure.get_size_inches()
    assert max(width, height) < 9


def test_a_pair_that_is_missing_is_a_dot():
    models = models_of(3)
    rows = comparisons_of(models["model"], families=["clean"])
    figure = comparisons.draw(comparisons.select(rows.iloc[:2], models), Style())
    assert [text.get_text() for text in figure.axes[0].texts].count("·") == 4, "one pair, and the half below"


def calibration_of(models, conditions=("clean", None)):
    rows = []
    for number, model in enumerate(models["model"]):
        for family in conditions:
            for metric, value in (("ece", 0.05), ("brier", 0.4), ("nll", 1.2)):
                shift = 0.001 * number + (0.05 if family is None else 0)
                keys = {"model": model, "dataset": "test", "family": family, "corruption": family, "metric": metric}
                keys |= {"severity": None if family is None else 0.0, "label_mode": "all", "policy": "stored"}
                rows.append(keys | estimate(value + shift))
    return pd.DataFrame(rows).astype({"severity": float})


def test_calibration_shows_every_metric_clean_and_corrupted():
    models = models_of()
    data = calibration.select(calibration_of(models), models)
    assert data.groupby(["metric", "condition"]).size().tolist() == [30] * 6
    figure = calibration.draw(data, style_of(models["model"]))
    assert len(figure.axes) == 3
    ece = data[data["metric"] == "ece"]
    assert intervals(figure.axes[0]) == pytest.approx(ece[["low", "high"]].sort_values("low").to_numpy())
    assert overlapping(figure) == []
    assert "hollow: mean over all corruptions" in footnote_of(figure)


def test_calibration_of_clean_images_alone():
    models = models_of(1)
    rows = calibration_of(models, ["clean"])
    rows.loc[rows["metric"] == "nll", "value"] = np.nan
    rows.loc[rows["metric"] == "ece", "high"] = np.inf  # of one image
    figure = calibration.draw(calibration.select(rows, models), Style())
    assert [axis.get_xlabel() for axis in figure.axes] == ["expected calibration error", "Brier score"]
    assert "hollow" not in footnote_of(figure)


def claims_of(count=22, tests=2):
    rows = []
    for number in range(count):
        unit = ("points", "correlation", "slope", "ratio")[number % 4]
        for part in range(tests):
            effect = {"points": 0.2, "correlation": 0.8, "slope": -0.2, "ratio": 1.5}[unit]
            outcome = ("supported", "refuted", "undecided")[(number + part) % 3]
            told = {"effect": effect, "low": effect * 0.8, "high": effect * 1.2, "n": 50_000, "reason": None}
            if number == count - 1:
                outcome = "undecided"
                told = dict.fromkeys(("effect", "low", "high")) | {
                    "n": 0,
                    "reason": "this study has " + "no such " * 12,
                }
            rows.append(
                {"claim": f"claim_{number}", "section": "Figure 2", "criterion": "its interval must be above zero"}
                | {"statement": f"Claim number {number} says that one thing is better than another thing of its size."}
                | {"dataset": "test" if part else None, "subject": "mean over corruptions" if part else "pgd_4"}
                | {"outcome": outcome, "unit": unit, "models": "a,b", "label_mode": "all", "policy": "stored", **told}
                | {"pretraining_dataset": None if part else "JFT-300M", "pretraining_images": None if part else 3e8}
            )
    return pd.DataFrame(rows).astype({"effect": float, "low": float, "high": float})


def test_claims_are_legible_with_many_rows():
    data = claims.select(claims_of(), pd.DataFrame())
    assert len(data) == 44
    figure = claims.draw(data, Style(datasets={"test": "Test set"}))
    texts = [text.get_text() for text in figure.axes[0].texts]
    counts = data.loc[data["effect"].notna(), "outcome"].value_counts()
    assert counts.sum() == 42
    assert "claims not tested: 1" in texts
    assert {f"{outcome}: {count}" for outcome, count in counts.items()} <= set(texts)
    assert texts.count("Test set, corrupted") == 22
    assert sum("images" in text for text in texts) == sum("trained on" in text for text in texts) == 22, "in lines"
    assert "+20 [+16, +24] points" in texts
    assert "\N{MULTIPLICATION SIGN}1.50 [1.20, 1.80]" in texts
    assert "-0.20 [-0.16, -0.24] slope".replace("-", MINUS) in texts
    reason = " ".join(text for text in texts if "not tested: this" in text or "no such" in text)
    assert reason.count("no such") == 24, "it is not cut"
    assert overlapping(figure) == []


def test_effects_stand_on_the_scale_of_their_unit():
    rows = claims_of(4, tests=1).iloc[:3]  # points, correlation, slope
    rows.loc[rows["unit"] == "points", ["effect", "low", "high"]] = (0.1, -0.2, 0.2)
    figure = claims.draw(claims.select(rows, pd.DataFrame()), Style())
    marks = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1][len(claims.OUTCOMES) :]
    shares = [(float(line.get_xdata()[0]) - claims.MIDDLE) / claims.HALF for line in marks]
    assert shares == pytest.approx([0.5, 1 / 1.2, -1 / 1.2]), "of the furthest end of an interval in that unit"
    looks = [(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in marks]
    assert looks == [claims.OUTCOMES[outcome] for outcome in rows["outcome"]]


def test_claims_without_any_effect_or_with_endless_intervals():
    rows = claims_of(1, tests=1)
    figure = claims.draw(claims.select(rows, pd.DataFrame()), Style())
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any("not tested: this study" in text for text in texts)
    assert {"supported: 0", "refuted: 0", "undecided: 0", "claims not tested: 1"} <= set(texts)
    endless = claims_of(2, tests=1).iloc[:1].assign(low=-np.inf, high=np.inf)
    figure = claims.draw(claims.select(endless, pd.DataFrame()), Style())
    assert f"+20 [{MINUS}∞, +∞] points" in [text.get_text() for text in figure.axes[0].texts]


def test_tests_of_claims_under_several_policies_are_told_apart():
    rows = claims_of(4).assign(policy=["stored", "published"] * 4)
    figure = claims.draw(claims.select(rows, pd.DataFrame()), Style(datasets={"test": "A set of a long name"}))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("A set of a long name,") == 4
    assert texts.count("corrupted, as published") == 4
    assert sum(text.startswith("pgd 4, trained on") for text in texts) == 4
    assert overlapping(figure) == []
    every = claims.draw(claims.select(rows[rows["effect"].notna()], pd.DataFrame()), Style())
    assert not any("not tested" in text.get_text() for text in every.axes[0].texts)


@pytest.mark.parametrize("module", [clean_against_corrupted, accuracy_by_severity, held_out])
def test_names_of_thirty_models_stay_apart(module):
    models = models_of()
    accuracy = accuracy_of(models)
    data = module.select(accuracy[accuracy["dataset"] == "test"] if module is not held_out else accuracy, models)
    figure = module.draw(data, style_of(models["model"]))
    assert overlapping(figure) == []
    sizes = {text.get_fontsize() for text in figure.findobj(plt.Text) if "pre-trained" in text.get_text()}
    assert min(sizes) >= 6


def test_more_models_than_colours_have_those_of_their_families():
    models = models_of()
    families = dict(zip(models["model"], models["family"], strict=True))
    colors = Style(models=list(families), families=families).model_colors(families)
    by_family = {family: {colors[model] for model in families if families[model] == family} for family in SIZES}
    assert by_family == {"ResNet": {PALETTE[0]}, "ViT": {PALETTE[1]}}
    few = list(families)[:3]
    assert len(set(Style(models=few, families=families).model_colors(few).values())) == 3


def answers_of(right, corruption="clean", trials=1):
    """Answers of models a and b to as many images as there are columns."""
    right = np.array(right, dtype=np.int16)
    ids = np.array([f"image-{number}" for number in range(right.shape[1])], dtype=object)
    keys = {"dataset": "test", "policy": "stored", "label_mode": "all"}
    return Answers(keys, ["a", "b"], ids, {corruption: right}, {corruption: trials})


def test_images_that_models_disagree_on_most_come_first():
    clean = answers_of([[1, 1, 0, 1, 1, 0], [0, 0, 1, 1, 1, 0]])
    corrupted = answers_of([[2, 5, 0, 3, 4, 5], [0, 0, 1, 1, 4, 1]], "fog", 5)
    named = {"a": dict.fromkeys(clean.ids, 0), "b": dict.fromkeys(clean.ids, 1)}
    data = disagreements.select(clean, corrupted, named)
    ahead = data[data["right"] == "a"]
    assert ahead["sample_id"].tolist() == ["image-1", "image-0", "image-5", "image-3"], (
        "never image 4, where they agree"
    )
    assert ahead["right_corrupted"].tolist() == [5, 2, 5, 3]
    assert ahead["other_corrupted"].tolist() == [0, 0, 1, 1]
    assert ahead["right_clean"].tolist() == [True, True, False, True]
    assert set(ahead["only"]) == {2}
    assert data.loc[data["right"] == "b", "sample_id"].tolist() == ["image-2"]
    assert data[["right_answer", "other_answer"]].iloc[-1].tolist() == [1, 0]
    alone = disagreements.select(clean, None, named)
    assert alone["sample_id"].tolist() == ["image-0", "image-1", "image-2"], "in the order of the samples"
    assert set(alone["trials"]) == {0}


def test_a_row_of_images_ends():
    count = 3 * disagreements.COLUMNS
    clean = answers_of([[1] * count, [0] * count])
    data = disagreements.select(clean, None, {name: dict.fromkeys(clean.ids, 0) for name in "ab"})
    assert len(data) == disagreements.COLUMNS
    assert set(data["only"]) == {count}


@pytest.fixture
def answered(tmp_path, clean_file):
    """Predictions of two models on the twelve images and on two foggy copies, and how often each image was right."""

    def write(model, wrong, foggy, failure=None):
        path, kept = tmp_path / f"{model}.predictions.parquet", tmp_path / f"{model}.parquet"
        facts = {"model": model, "dataset": "test", "family": "clean", "policy": "stored"}
        if failure:
            predictions.write_failure(path, facts, failure)
            with answers.create(kept):
                pass
            return kept, path
        with ImageFile(clean_file) as file:
            ids, labels = file.samples.ids, file.samples.labels
        count, right = len(ids), ~np.isin(np.arange(len(ids)), wrong)
        top = np.stack([np.where(right, labels, (labels + 1) % 10), *[labels] * 4], 1).astype(np.int32)
        even = np.full(count, 0.2, dtype=np.float32)
        with predictions.create(path, predictions.schema(10, ("all",), facts)) as writer:
            writer.write(
                {"sample_id": ids, "label": labels, "corruption": ["clean"] * count, "severity": [0] * count}
                | {"loss": even, "entropy": even, "top5_all": top, "top5_probability_all": np.tile(even[:, None], 5)}
                | {"label_probability_all": even, "squared_probability_all": even, "correct_all": right}
                | {"logits": np.zeros((count, 10), dtype=np.float16)}
            )
        keys = {"dataset": "test", "policy": "stored", "label_mode": "all"}
        conditions = [Condition("clean", "clean", 0, right, even, even, even, even)]
        harmed = right & ~np.isin(np.arange(count), foggy)
        conditions += [Condition("weather", "fog", severity, harmed, even, even, even, even) for severity in (1, 2)]
        with answers.create(kept) as writer:
            writer.write(keys, pa.array(ids), conditions)
        return kept, path

    return write


def drawn(folder):
    return {key: folder / f"figure.{suffix}" for key, suffix in (("svg", "svg"), ("png", "png"), ("data", "csv"))}


def test_disagreements_are_drawn_from_files(tmp_path, clean_file, answered):
    (first, said), (second, also_said) = answered("a", [3], []), answered("b", [0, 5], [7])
    style = {"labels": {"a": "Model A"}, "colors": {"b": "#123456"}}
    draw_disagreements([clean_file], first, second, said, also_said, style, **drawn(tmp_path))
    data = pd.read_csv(tmp_path / "figure.csv")
    ahead = data[data["right"] == "a"]
    with ImageFile(clean_file) as file:
        names, labels, ids = file.samples.class_names, file.samples.labels, list(file.samples.ids)
    places = [ids.index(sample) for sample in ahead["sample_id"]]
    assert places == [0, 5, 7], "wrong as they are, then in fog alone"
    assert ahead["class"].tolist() == [names[labels[place]] for place in places]
    assert ahead["other_answer"].tolist() == [
        *(names[(labels[place] + 1) % 10] for place in places[:2]),
        names[labels[7]],
    ]
    text = (tmp_path / "figure.svg").read_text()
    assert "Model A is right, b is wrong: 2 of 12 images" in text
    assert "b is right, Model A is wrong: 1 of 12 images" in text
    assert "as it is, both right" in text
    assert text.count("#123456") == 2 * len(names[0].splitlines())
    before = (tmp_path / "figure.png").read_bytes()
    draw_disagreements([clean_file], first, second, said, also_said, style, **drawn(tmp_path))
    assert (tmp_path / "figure.png").read_bytes() == before


def test_without_disagreements_the_figure_says_so(tmp_path, clean_file, answered):
    (first, said), (second, also_said) = answered("a", [3], []), answered("b", [3], [])
    draw_disagreements([clean_file], first, second, said, also_said, {}, **drawn(tmp_path))
    assert "no image of test that a and b" in " ".join((tmp_path / "figure.svg").read_text().split())
    failed = answered("c", [], [], failure="out of memory")
    style = {"labels": {"c": "Model C"}, "datasets": {"test": "the test set"}}
    draw_disagreements([clean_file], first, failed[0], said, failed[1], style, **drawn(tmp_path))
    assert "Model C failed on the test set." in (tmp_path / "figure.svg").read_text()
    assert Image.open(tmp_path / "figure.png").size[0] > 100
    with pytest.raises(WithstandError, match="a cannot disagree with itself"):
        draw_disagreements([clean_file], first, first, said, said, {}, **drawn(tmp_path))


def test_names_beneath_images_stay_apart(clean_file):
    with ImageFile(clean_file) as file:
        count = len(file)
        clean = Answers(
            {"dataset": "test", "policy": "stored", "label_mode": "all"},
            ["a", "b"],
            np.array(file.samples.ids, dtype=object),
            {"clean": np.stack([np.ones(count), np.zeros(count)])},
            {"clean": 1},
        )
        corrupted = Answers(clean.keys, clean.models, clean.ids, {"fog": clean.right["clean"] * 5}, {"fog": 5})
        named = {name: dict.fromkeys(clean.ids, 8) for name in "ab"}
        data, pixels = disagreements.pictured(disagreements.select(clean, corrupted, named), [file])
    long = ["great white shark, man-eater, Carcharodon carcharias", "Staffordshire bullterrier, Staffordshire bull"]
    data["class"] = (long * len(data))[: len(data)]
    assert overlapping(disagreements.draw(data, pixels, Style())) == []


@pytest.mark.parametrize(
    ("kind", "table", "more"),
    [
        ("overview", accuracy_of, {}),
        ("scaling", accuracy_of, {}),
        ("calibration", calibration_of, {"policy": "stored"}),
    ],
)
def test_a_figure_keeps_its_data(kind, table, more, tmp_path):
    models = models_of(6)
    models.to_parquet(tmp_path / "models.parquet")
    table(models).to_parquet(tmp_path / "table.parquet")
    paths = tmp_path / "table.parquet", tmp_path / "models.parquet"
    draw_table(kind, *paths, ["test", "drawn"], {}, **drawn(tmp_path), **more)
    data = pd.read_csv(tmp_path / "figure.csv")
    assert data["model"].nunique() == 6
    assert {"value", "low", "high", "n"} <= set(data)
    first = (tmp_path / "figure.svg").read_bytes()
    draw_table(kind, *paths, ["test", "drawn"], {}, **drawn(tmp_path), **more)
    assert (tmp_path / "figure.svg").read_bytes() == first
    draw_table(kind, *paths, ["nowhere"], {}, **drawn(tmp_path), **more)
    assert f"that {kind} shows" in " ".join((tmp_path / "figure.svg").read_text().split())
