import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import special

from test_models import own
from withstand import images, inference, models, predictions
from withstand.errors import ModelError, WithstandError
from withstand.inference import Forward, score
from withstand.steps.models import read_card, write_card
from withstand.steps.perturb import corrupt_images
from withstand.steps.predict import ImageSet, predict

FACTS = {"model": "m", "dataset": "test", "family": "clean", "policy": "stored"}


@pytest.fixture
def model():
    return models.load(own("mean_color"), None)


def store(path, samples, pictures):
    """A file of the image store with these as its clean images."""
    with images.create(path, samples, size=64, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
        writer.write("clean", 0, 0, pictures)
    return path


def predict_files(model, paths, output, batch_size):
    """Predictions of a model on files of the store."""
    given = ImageSet("test", "clean", paths, output)
    shards, counts = given.shards({}, "cpu"), {"images": given.samples(), "outputs": 10}
    inference.predict_set(model, shards, output, **counts, facts=FACTS, batch_size=batch_size)


def test_columns_against_scipy(samples):
    logits = torch.randn(12, 10, generator=torch.Generator().manual_seed(1)) * 3
    some = images.Samples(samples.ids, np.arange(12) % 4, samples.class_names, np.array([0, 1, 2, 3, 7, 9]), "shapetex")
    columns = score(logits, some, ("all", "subset"))
    rows = np.arange(12)
    for mode, classes in (("all", np.arange(10)), ("subset", some.subset)):
        masked = np.full((12, 10), -np.inf)
        masked[:, classes] = logits.double().numpy()[:, classes]
        expected = special.softmax(masked, axis=1)
        order = np.argsort(-expected, axis=1)[:, :5]
        assert np.array_equal(columns[f"top5_{mode}"], order)
        # float32 in the file
        assert np.allclose(columns[f"top5_probability_{mode}"], np.take_along_axis(expected, order, 1), atol=1e-6)
        assert np.allclose(columns[f"label_probability_{mode}"], expected[rows, some.labels], atol=1e-6)
        assert np.allclose(columns[f"squared_probability_{mode}"], (expected**2).sum(1), atol=1e-6)
        assert np.array_equal(columns[f"correct_{mode}"], order[:, 0] == some.labels)
    log_probabilities = special.log_softmax(logits.double().numpy(), axis=1)
    assert np.allclose(columns["loss"], -log_probabilities[rows, some.labels], atol=1e-5)
    assert np.allclose(columns["entropy"], special.entr(np.exp(log_probabilities)).sum(1), atol=1e-5)
    assert np.allclose(columns["logits"], logits.numpy(), rtol=1e-3)


def test_a_small_subset_is_padded(samples):
    two = images.Samples(samples.ids, np.full(12, 3), samples.class_names, np.array([3, 8]), "shapetex")
    columns = score(torch.randn(12, 10), two, ("all", "subset"))
    assert columns["top5_subset"].shape == (12, 5)
    assert set(columns["top5_subset"][:, 2:].ravel()) == {-1}
    assert columns["top5_probability_subset"].sum(1) == pytest.approx(1, abs=1e-6)


def test_the_file_has_a_row_for_each_sample_and_condition(tmp_path, clean_file, model):
    family = [{"name": "contrast", "category": "digital", "severities": [2, 5], "constants": {"64": [[0.3], [0.05]]}}]
    corrupt_images(clean_file, family, seed=0, codec="raw", output=tmp_path / "digital.h5")
    path = tmp_path / "out.parquet"
    predict_files(model, [tmp_path / "digital.h5"], path, 5)
    table = pq.read_table(path)
    assert table.schema.equals(predictions.schema(10, ("all",), FACTS))
    assert table.num_rows == 24
    assert sorted(set(zip(table["corruption"].to_pylist(), table["severity"].to_pylist(), strict=True))) == [
        ("contrast", 2),
        ("contrast", 5),
    ]
    assert predictions.read_facts(path) == FACTS


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_rows_do_not_depend_on_the_batch_or_the_shards(tmp_path, clean_file, samples, pictures, model, batch_size):
    parts = []
    for start, stop in ((0, 7), (7, 12)):
        part = images.Samples(
            samples.ids[start:stop], samples.labels[start:stop], samples.class_names, samples.subset, "shapetex"
        )
        parts.append(store(tmp_path / f"{start}.h5", part, pictures[start:stop]))
    for name, paths, size in (("whole", [clean_file], 12), ("parts", parts, batch_size)):
        predict_files(model, paths, tmp_path / name, size)
    whole, split = (pq.read_table(tmp_path / name).to_pandas() for name in ("whole", "parts"))
    assert whole["sample_id"].tolist() == split["sample_id"].tolist()
    # float32 sums in another order
    assert np.allclose(whole["loss"], split["loss"], atol=1e-5)
    assert whole["correct_all"].tolist() == split["correct_all"].tolist()


def on_the_cpu():
    """What torch raises when the machine has no memory left: asked for 100 TB."""
    return torch.empty(25 * 10**12)


def on_a_card():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("run_out", [on_the_cpu, on_a_card])
def test_batches_step_down_when_memory_runs_out(model, pictures, run_out):
    sizes = []

    def hungry(images):
        sizes.append(len(images))
        if len(images) > 3:
            run_out()
        return model(images)

    forward = Forward(hungry, 10, 12)
    logits = forward(pictures)
    assert torch.equal(logits, Forward(model, 10, 3)(pictures))
    assert sizes == [12, 6, 3, 3, 3, 3]
    assert forward.passes.batch_size == 3


def test_no_memory_for_one_image_is_an_error_of_the_machine(pictures):
    def starving(images):
        on_the_cpu()

    with pytest.raises(WithstandError, match="out of memory on cpu with a single image") as error:
        Forward(starving, 10, 4)(pictures)
    assert not isinstance(error.value, ModelError)


def failure(tmp_path, clean_file, function, **kwargs):
    write_card("m", own(function, **kwargs), None, tmp_path / "m.json")
    output = tmp_path / "out.parquet"
    predict(tmp_path / "m.json", None, [ImageSet("test", "clean", [clean_file], output)], batch_size=4, device="cpu")
    assert pq.read_table(output).num_rows == 0
    return predictions.read_facts(output)["failure"]


def test_a_model_that_mixes_its_batch_is_a_failure(tmp_path, clean_file):
    reason = failure(tmp_path, clean_file, "averaging")
    assert reason == "the model returns (1, 10) for a batch of 4, expected (4, 10)"


def test_another_name_of_the_label_space_is_a_failure(tmp_path, clean_file):
    spec = own("mean_color") | {"label_space": "cifar-10"}
    write_card("m", spec, None, tmp_path / "m.json")
    predict(tmp_path / "m.json", None, [ImageSet("test", "clean", [clean_file], tmp_path / "o.parquet")], batch_size=4)
    reason = predictions.read_facts(tmp_path / "o.parquet")["failure"]
    assert reason == "the model answers in the label space cifar-10, the images are of shapetex"


def test_a_broken_model_leaves_its_reason(tmp_path, clean_file):
    assert failure(tmp_path, clean_file, "broken") == "the model fails: ValueError: this model is broken"


def test_logits_that_are_not_finite_are_a_failure(tmp_path, clean_file):
    assert failure(tmp_path, clean_file, "not_finite") == "logits are not finite, first for sample test-000000"


def test_another_label_space_is_a_failure(tmp_path, clean_file):
    reason = failure(tmp_path, clean_file, "mean_color", outputs=7)
    assert reason == "the model has 7 outputs, the label space shapetex 10"


def test_a_failed_card_is_a_failure_without_work(tmp_path, clean_file):
    assert "cannot be imported" in failure(tmp_path, clean_file, "nothing")
    assert read_card(tmp_path / "m.json")["failure"]


def test_an_unreadable_image_file_is_an_error_not_a_failure(tmp_path, clean_file):
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    with pytest.raises(WithstandError, match=r"bad\.h5: not a readable HDF5 file"):
        failure(tmp_path, tmp_path / "bad.h5", "mean_color")
    assert not (tmp_path / "out.parquet").exists()


def test_cue_conflict_keeps_both_decisions(tmp_path, model, pictures, picture_ids, samples):
    textures = (samples.labels + 1 + np.arange(12) % 3) % 10
    conflict = images.Samples(
        picture_ids, samples.labels, samples.class_names, samples.subset, "shapetex", texture_labels=textures
    )
    path = store(tmp_path / "conflict.h5", conflict, pictures)
    predict_files(model, [path], tmp_path / "o.parquet", 5)
    table = pq.read_table(tmp_path / "o.parquet").to_pandas()
    answers = np.stack(table["top5_all"])[:, 0]
    assert table["texture_label"].tolist() == textures.tolist()
    assert table["texture_correct_all"].tolist() == (answers == textures).tolist()
    assert table["correct_all"].tolist() == (answers == samples.labels).tolist()


def test_only_what_is_out_of_date_is_predicted_again(tmp_path, clean_file, samples, pictures):
    write_card("m", own("mean_color"), None, tmp_path / "m.json")
    other = store(tmp_path / "other.h5", samples, pictures)
    sets = [
        ImageSet(name, "clean", [path], tmp_path / f"{name}.parquet")
        for name, path in (("a", clean_file), ("b", other))
    ]

    def predicted(code="1") -> list[str]:
        before = {image_set.output: image_set.output.stat().st_ino for image_set in sets if image_set.output.exists()}
        predict(tmp_path / "m.json", None, sets, batch_size=4, device="cpu", code=code)
        return [
            image_set.dataset for image_set in sets if before.get(image_set.output) != image_set.output.stat().st_ino
        ]

    assert predicted() == ["a", "b"]
    assert predicted() == []
    other.touch()
    assert predicted() == [], "the same images in a touched file"
    store(other, samples, 255 - pictures)
    assert predicted() == ["b"]
    assert predicted(code="2") == ["a", "b"]
    write_card("m", own("mean_color", outputs=7), None, tmp_path / "m.json")
    assert predicted(code="2") == ["a", "b"], "another model"
    assert predicted(code="2") == ["a", "b"], "a failure is tried again"
