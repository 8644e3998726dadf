"""Rotation and translation: pixels, the search, and what is written."""

import eagerpy as ep
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from foolbox.attacks.spatial_attack_transformations import rotate_and_shift

from attacked import pictures, zoo_model
from test_attack_steps import folder, image_set  # noqa: F401 - a fixture
from test_models import own
from withstand import predictions, zoo
from withstand.attacks.spatial import Answers, Search, SpatialGrid, Transformation, transform_all, transform_each
from withstand.errors import WithstandError
from withstand.inference import Passes
from withstand.steps.attack_spatial import attack_spatial
from withstand.steps.models import write_card

GRID = {"rotation": 30, "translation": 0.125, "angles": 3, "shifts": 3, "draws": 4, "seed": 0}
GRID |= {"padding": "zeros", "interpolation": "bilinear"}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return (pictures(6)[0].float() / 255).permute(0, 3, 1, 2).contiguous()


def grid(**options) -> SpatialGrid:
    return SpatialGrid(**{"rotation": 30, "translation": 8, "angles": 5, "shifts": 3} | options)


def test_the_grid_is_every_combination_from_end_to_end():
    found = grid().transformations
    assert len(set(found)) == 5 * 3 * 3
    assert found[0] == (-30, -8, -8) and found[-1] == (30, 8, 8) and (0, 0, 0) in found
    assert grid(angles=1, shifts=1).transformations == ((0, 0, 0),)
    assert sorted({transformation.angle for transformation in found}) == [-30, -15, 0, 15, 30]


def test_whole_shifts_and_quarter_turns_are_exact(images):
    # float32 coordinates of 64 pixels round at 2^-18 or so, times steps of brightness
    still, right, down, quarter = (
        transform_all(images, [Transformation(*move)], grid()) for move in ((0, 0, 0), (0, 5, 0), (0, 0, 3), (90, 0, 0))
    )
    assert torch.allclose(still, images, atol=1e-4)
    assert torch.allclose(right[..., 5:], images[..., :-5], atol=1e-4) and not right[..., :4].any()
    assert torch.allclose(down[..., 3:, :], images[..., :-3, :], atol=1e-4) and not down[..., :2, :].any()
    assert torch.allclose(quarter, torch.rot90(images, 1, (2, 3)), atol=1e-4), "counter-clockwise"


@pytest.mark.parametrize("angle", [-30, 7.5, 30])
def test_rotations_and_shifts_equal_foolbox(images, angle):
    """Its shifts are the other way round, and in units of (n - 1) / n pixels."""
    shift = 8 * 63 / 64
    ours = transform_all(images, [Transformation(angle, 0, 0), Transformation(0, shift, -shift)], grid())
    turned = rotate_and_shift(ep.astensor(images), rotation=angle).raw
    shifted = rotate_and_shift(ep.astensor(images), translation=(-8, 8)).raw
    assert torch.allclose(ours[:6], turned, atol=1e-4) and torch.allclose(ours[6:], shifted, atol=1e-4)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_what_is_seen_beyond_the_border(images, padding):
    moved = transform_all(images, [Transformation(0, 4, 0)], grid(padding=padding))[..., :4]
    expected = {"zeros": torch.zeros_like(moved), "border": images[..., :1].expand(-1, -1, -1, 4)}
    expected["reflection"] = images[..., 1:5].flip(3)
    assert torch.allclose(moved, expected[padding], atol=1e-4)


def test_each_image_can_have_its_own(images):
    how = grid(draws=6)
    own_ones = [how.drawn(f"s{number}")[0] for number in range(6)]
    each = transform_each(images, own_ones, how)
    for number, transformation in enumerate(own_ones):
        alone = transform_all(images[number : number + 1], [transformation], how)
        assert torch.allclose(each[number], alone[0], atol=1e-5)
    drawn = np.array([how.drawn(f"s{number}") for number in range(2000)]).reshape(-1, 3) / (30, 8, 8)
    assert np.abs(drawn).max() <= 1 and np.abs(drawn.mean(0)).max() < 0.03  # five standard errors of 12,000
    assert drawn.std(0) == pytest.approx(3**-0.5, abs=0.01)
    assert how.drawn("s1") == grid(draws=6).drawn("s1") != how.drawn("s2")


@pytest.mark.parametrize("size", [1, 4, 7, 128])
def test_the_search_equals_one_transformation_after_the_other(size):
    model, (pixels, labels, ids) = zoo_model("vit_p16_base"), pictures(6)
    how = grid(draws=3)
    modes = {"all": torch.arange(10), "subset": torch.tensor([0, 1, 2, 3, 4, 5, 7])}
    on_grid, at_random = Search(model, 10, how, modes, Passes(size))(pixels, labels, ids)
    images = (pixels.float() / 255).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for number, transformation in enumerate(how.transformations):
            logits = model(transform_all(images, [transformation], how))
            losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            assert np.allclose(on_grid.loss[:, number], losses, atol=1e-3)  # other batches
            assert (on_grid.correct["all"][:, number] == (logits.argmax(1) == labels).numpy()).all()
            masked = logits.clone()
            masked[:, [6, 8, 9]] = -torch.inf
            assert (on_grid.correct["subset"][:, number] == (masked.argmax(1) == labels).numpy()).all()
        for number in range(3):
            logits = model(transform_each(images, [how.drawn(sample_id)[number] for sample_id in ids], how))
            assert (at_random.correct["all"][:, number] == (logits.argmax(1) == labels).numpy()).all()


def test_the_worst_is_a_wrong_one_if_there_is_one():
    loss = np.array([[0.1, 5.0, 0.9], [0.1, 0.3, 0.2], [0.5, 3.0, 2.0]], dtype=np.float32)
    correct = np.array([[True, True, False], [True, True, True], [False, False, False]])
    assert Answers(loss, {"all": correct}).worst("all").tolist() == [2, 1, 1]
    tiny = np.array([[1e-7, 9e-7, 5e-7]], dtype=np.float32)
    for others in ([], [[20.0, 20.0, 20.0]]):
        loss = np.concatenate([tiny, np.array(others, dtype=np.float32).reshape(-1, 3)])
        assert Answers(loss, {"all": np.ones_like(loss, dtype=bool)}).worst("all")[0] == 1, "whatever others lose"


def test_pixels_stay_in_their_range():
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 1
    seen = transform_all(edge, [Transformation(10, 0.4, 0.3)], grid(interpolation="bicubic"))
    assert seen.min() >= 0 and seen.max() <= 1


@pytest.mark.parametrize(("name", "value"), [("angles", 0), ("shifts", 1.5), ("draws", -1), ("rotation", -1)])
def test_grids_of_nothing_are_refused(name, value):
    with pytest.raises(WithstandError, match=f"{name}: {value}"):
        grid(**{name: value})


def test_what_is_written(folder, tmp_path):  # noqa: F811
    name = "vit_p16_base"
    output = tmp_path / "s.parquet"
    attack_spatial(folder / f"{name}.json", zoo.weights(name), image_set(folder, output), GRID, batch_size=16)
    facts, table = predictions.read_facts(output), pq.read_table(output).to_pandas()
    assert len(table) == 20 and len(facts["transformations"]) == 27
    assert facts["transformations"][0] == [-30, -8, -8], "an eighth of 64 px"
    correct, loss = np.stack(table["correct_all"]), np.stack(table["loss"])
    assert correct.shape == loss.shape == (20, 27) and np.stack(table["drawn_correct_all"]).shape == (20, 4)
    worst = table["worst_all"].to_numpy()
    assert (correct[np.arange(20), worst] == correct.all(1)).all()
    again = tmp_path / "again.parquet"
    attack_spatial(folder / f"{name}.json", zoo.weights(name), image_set(folder, again), GRID, batch_size=3)
    assert (np.stack(pq.read_table(again).to_pandas()["correct_all"]) == correct).mean() > 0.99  # other batches


def test_a_model_that_fails_is_recorded(folder, tmp_path):  # noqa: F811
    write_card("m", own("not_finite") | {"label_space": "shapetex"}, None, tmp_path / "m.json")
    output = tmp_path / "s.parquet"
    attack_spatial(tmp_path / "m.json", None, image_set(folder, output), GRID, batch_size=16)
    assert "not finite" in predictions.read_facts(output)["failure"] and pq.read_table(output).num_rows == 0


@pytest.mark.gpu
def test_a_gpu_turns_images_as_a_cpu_does(images):
    transformations = grid().transformations
    on_cpu, on_gpu = (transform_all(pixels, transformations, grid()) for pixels in (images, images.cuda()))
    assert torch.allclose(on_cpu, on_gpu.cpu(), atol=1e-4)  # coordinates round otherwise
    model, (pixels, labels, ids) = zoo_model("vit_p16_base").cuda(), pictures(6)
    modes = {"all": torch.arange(10)}
    answers, _ = Search(model, 10, grid(), modes, Passes(128, "cuda"))(pixels.cuda(), labels, ids)
    ours, _ = Search(zoo_model("vit_p16_base"), 10, grid(), modes, Passes(128))(pixels, labels, ids)
    assert (answers.correct["all"] == ours.correct["all"]).mean() > 0.99
