"""The steps of attacks on files: what they write, keep, leave out and record."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from attacked import pictures
from test_models import own
from withstand import images, perturbations, predictions, zoo
from withstand.attacks.auto import AutoAttack
from withstand.attacks.doubts import PROBABILITIES, RANDOM, VANISHING
from withstand.attacks.run import GradientMethod
from withstand.attacks.space import apply
from withstand.errors import WithstandError
from withstand.hdf5 import Hdf5Error
from withstand.parquet import read_notes
from withstand.perturbations import PerturbationFile
from withstand.report import sentences
from withstand.report.formats import Names
from withstand.steps.attack import AttackRun, attack
from withstand.steps.models import write_card
from withstand.steps.predict import ImageSet, predict
from withstand.steps.tabulate import warnings
from withstand.steps.tabulate_attacks import tabulate_attacks
from withstand.steps.transfer import Source, transfer
from withstand.subsets import Subset

PGD = {"kind": "gradient", "name": "pgd", "norm": "linf", "eps": "2/255", "step_size": "1/1020", "steps": 3}
PGD |= {"random_start": False, "restarts": 1, "target": "none", "seed": 0}
SUBSET = Subset(20, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Cards of two models of the zoo, and 30 images in two shards."""
    folder = tmp_path_factory.mktemp("attacks")
    for name in ("vit_p16_base", "resnet_gn_base"):
        write_card(name, {"zoo": name}, zoo.weights(name), folder / f"{name}.json")
    pixels, labels, ids = pictures(30)
    for number, part in enumerate((slice(0, 18), slice(18, 30))):
        samples = images.Samples(ids[part], labels[part].numpy(), list("abcdefghij"), np.arange(10), "shapetex")
        with images.create(folder / f"{number}.h5", samples, size=64, codec="raw", origin={}) as writer:
            writer.add("clean", [0])
            writer.write("clean", 0, 0, pixels[part].numpy())
    return folder


def image_set(folder: Path, output: Path, family: str = "pgd", subset: Subset | None = SUBSET) -> ImageSet:
    return ImageSet("test", family, [folder / "0.h5", folder / "1.h5"], output, subset=subset)


def run_attack(folder: Path, model: str, output: Path, given=PGD, *, code=None, weights=None) -> AttackRun:
    run = AttackRun(image_set(folder, output.with_suffix(".parquet")), given, output.with_suffix(".h5"))
    card = folder / f"{model}.json"
    attack(card, weights or zoo.weights(model), [run], batch_size=8, device="cpu", code=code)
    return run


@pytest.fixture(scope="module")
def attacked(folder) -> dict[str, AttackRun]:
    return {name: run_attack(folder, name, folder / "made" / name) for name in ("vit_p16_base", "resnet_gn_base")}


def test_a_subset_is_fixed_and_part_of_larger_ones():
    ids = [f"s{number}" for number in range(100)]
    small, large = ({ids[place] for place in Subset(count, 7).positions(ids)} for count in (10, 30))
    assert small < large and len(large) == 30
    assert {ids[::-1][place] for place in Subset(10, 7).positions(ids[::-1])} == small
    assert {ids[place] for place in Subset(10, 8).positions(ids)} != small
    assert len(Subset(200, 7).positions(ids)) == 100


def test_files_hold_the_subset_in_its_order(folder, attacked):
    run = attacked["vit_p16_base"]
    table = pq.read_table(run.image_set.output)
    with PerturbationFile(run.perturbations) as file:
        assert file.sample_ids == table["sample_id"].to_pylist()
        assert (file.unit, file.read(slice(None)).dtype) == (Fraction(1, 1020), np.int8)
        stored = file.read(slice(None)).astype(float) / 1020
        assert np.allclose(file.magnitude(), np.abs(stored).mean((0, 3)), atol=1e-12)
        assert np.array_equal(file.examples()[1], file_image(folder, file.sample_ids[1]))
        assert np.array_equal(file.read(np.array([4, 2])), file.read(slice(None))[[4, 2]])
    assert np.allclose(table["linf"], np.abs(stored).max((1, 2, 3)), rtol=1e-6)
    assert np.allclose(table["l2"], np.sqrt((stored**2).sum((1, 2, 3))), rtol=1e-5)
    ids = [f"test-{number:06d}" for number in range(30)]
    assert table["sample_id"].to_pylist() == [ids[place] for place in SUBSET.positions(ids)]
    facts = predictions.read_facts(run.image_set.output)
    assert facts["attack"] == PGD and facts["weights"]["sha256"]


def file_image(folder: Path, sample_id: str) -> np.ndarray:
    for path in (folder / "0.h5", folder / "1.h5"):
        with images.ImageFile(path) as file:
            if sample_id in file.samples.ids:
                place = file.samples.ids.index(sample_id)
                return file.read("clean", 0, slice(place, place + 1))[0]
    raise LookupError(sample_id)


def test_applying_them_again_gives_the_same_predictions(folder, attacked):
    from attacked import zoo_model

    run = attacked["resnet_gn_base"]
    table = pq.read_table(run.image_set.output).to_pandas()
    with PerturbationFile(run.perturbations) as file:
        pixels = torch.from_numpy(np.stack([file_image(folder, sample_id) for sample_id in file.sample_ids]))
        found = apply(pixels, torch.from_numpy(file.read(slice(None))), file.unit)
    with torch.inference_mode():
        logits = zoo_model("resnet_gn_base")(found.permute(0, 3, 1, 2))
    assert [top[0] for top in table["top5_all"]] == logits.argmax(1).tolist()
    # float16 in the file, and other batches
    assert np.allclose(np.stack(table["logits"]), logits.numpy(), atol=2e-2)


def test_what_is_there_is_left_as_it_is(folder, tmp_path, capsys):
    run = run_attack(folder, "vit_p16_base", tmp_path / "a", code="1")
    before = run.perturbations.stat().st_ino
    run_attack(folder, "vit_p16_base", tmp_path / "a", code="1")
    assert run.perturbations.stat().st_ino == before and "is up to date" in capsys.readouterr().err
    for changed in ({"code": "2"}, {"code": "2", "given": PGD | {"steps": 2}}):
        run_attack(folder, "vit_p16_base", tmp_path / "a", **changed)
        assert run.perturbations.stat().st_ino != before
        before = run.perturbations.stat().st_ino
    run.perturbations.write_bytes(run.perturbations.read_bytes()[:-100])
    run_attack(folder, "vit_p16_base", tmp_path / "a", **changed)
    with PerturbationFile(run.perturbations) as file:
        assert len(file.sample_ids) == 20


def test_memory_that_runs_out_halves_the_batch(folder, attacked, tmp_path, monkeypatch, capsys):
    whole = GradientMethod.__call__

    def small(self, model, batch, labels, ids):
        if len(ids) > 3:
            raise torch.OutOfMemoryError("no room")
        return whole(self, model, batch, labels, ids)

    monkeypatch.setattr(GradientMethod, "__call__", small)
    run = run_attack(folder, "vit_p16_base", tmp_path / "a")
    assert "going on with batches of 2" in capsys.readouterr().err
    ours, theirs = (pq.read_table(each.image_set.output) for each in (run, attacked["vit_p16_base"]))
    # another batch may round otherwise in the network, and turn the sign of a gradient of nearly zero
    assert np.abs(np.array(ours["loss"]) - np.array(theirs["loss"])).max() < 0.1

    monkeypatch.setattr(GradientMethod, "__call__", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(WithstandError, match="out of memory on cpu with a single image"):
        run_attack(folder, "vit_p16_base", tmp_path / "b")
    assert not list(tmp_path.glob("b*"))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("not_finite", "not finite"),
        ("hides_its_gradient", "no gradient"),
        ("flat", "gradient is zero everywhere"),
        ("broken", "this model is broken"),
        ("averaging", r"returns (1, 10) for a batch of 8, expected (8, outputs)"),
    ],
)
def test_models_that_cannot_be_attacked_are_recorded(folder, tmp_path, function, reason):
    write_card("m", own(function) | {"label_space": "shapetex"}, None, tmp_path / "m.json")
    run = AttackRun(image_set(folder, tmp_path / "a.parquet"), PGD, tmp_path / "a.h5")
    attack(tmp_path / "m.json", None, [run], batch_size=8, device="cpu")
    assert reason in predictions.read_facts(tmp_path / "a.parquet")["failure"]
    with PerturbationFile(tmp_path / "a.h5") as file:
        assert reason in file.failure
    target = tmp_path / "vit.parquet"
    card, weights = folder / "vit_p16_base.json", zoo.weights("vit_p16_base")
    sources = [Source("m", "pgd", tmp_path / "a.h5")]
    transfer(card, weights, image_set(folder, target, "clean"), sources, batch_size=8, device="cpu")
    facts = predictions.read_facts(target)
    assert (
        reason in facts["left_out"]["m/pgd"]["reason"] and facts["cells"] == {} and pq.read_table(target).num_rows == 0
    )


def show(folder: Path, model: str, attacked: dict[str, AttackRun], output: Path, code: str = "1") -> pd.DataFrame:
    sources = [Source(name, "pgd", run.perturbations) for name, run in attacked.items()]
    card, weights = folder / f"{model}.json", zoo.weights(model)
    given = image_set(folder, output, "clean")
    transfer(card, weights, given, sources, batch_size=8, device="cpu", code=code)
    return pq.read_table(output).to_pandas()


def test_a_models_own_perturbations_do_to_it_what_they_did(folder, attacked, tmp_path):
    shown = show(folder, "vit_p16_base", attacked, tmp_path / "t.parquet")
    before = pq.read_table(attacked["vit_p16_base"].image_set.output).to_pandas()
    diagonal = shown[shown["source"] == "vit_p16_base"].set_index("sample_id").loc[before["sample_id"]]
    assert (diagonal["correct_all"].to_numpy() == before["correct_all"].to_numpy()).all()
    assert np.allclose(diagonal["loss"], before["loss"], atol=1e-4)  # other batches
    assert set(shown["source"]) == {"vit_p16_base", "resnet_gn_base"} and len(shown) == 40


def test_another_model_costs_its_own_cells(folder, attacked, tmp_path, capsys, monkeypatch):
    """A cell is computed where its perturbations, the images, the weights or the code are new, and nowhere else."""
    from withstand.attacks import transfer as module

    counted: list[str] = []
    whole = module.transfer_set

    def counting(model, shards, files, **options):
        counted.extend(files)
        return whole(model, shards, files, **options)

    monkeypatch.setattr(module, "transfer_set", counting)
    output = tmp_path / "t.parquet"
    one = {"vit_p16_base": attacked["vit_p16_base"]}
    first = show(folder, "vit_p16_base", one, output)
    assert counted == ["vit_p16_base/pgd"]
    both = show(folder, "vit_p16_base", attacked, output)
    assert counted == ["vit_p16_base/pgd", "resnet_gn_base/pgd"], "its column"
    show(folder, "resnet_gn_base", attacked, tmp_path / "row.parquet")
    assert counted[2:] == ["vit_p16_base/pgd", "resnet_gn_base/pgd"], "its row"
    del counted[2:]
    kept = both[both["source"] == "vit_p16_base"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)
    show(folder, "vit_p16_base", attacked, output)
    assert len(counted) == 2, "all cells are there"
    assert len(show(folder, "vit_p16_base", one, output)) == 20 and len(counted) == 2, "a cell less"

    # other perturbations under the same name
    other = run_attack(folder, "vit_p16_base", tmp_path / "other", PGD | {"steps": 1})
    show(folder, "vit_p16_base", {"vit_p16_base": other}, output)
    assert counted[2:] == ["vit_p16_base/pgd"]
    show(folder, "vit_p16_base", {"vit_p16_base": other}, output, code="2")
    assert counted[3:] == ["vit_p16_base/pgd"]


def test_perturbations_of_other_pixels_are_left_out(folder, attacked, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for number in (0, 1):
        with images.ImageFile(folder / f"{number}.h5") as file:
            pixels = file.read("clean", 0, slice(None)).copy()
            samples = file.samples
        pixels[-1, 0, 0, 0] ^= 1
        with images.create(other / f"{number}.h5", samples, size=64, codec="raw", origin={}) as writer:
            writer.add("clean", [0])
            writer.write("clean", 0, 0, pixels)
    sources = [Source("vit_p16_base", "pgd", attacked["vit_p16_base"].perturbations)]
    output, weights = tmp_path / "t.parquet", zoo.weights("vit_p16_base")
    given = ImageSet("test", "clean", [other / "0.h5", other / "1.h5"], output, subset=SUBSET)
    transfer(folder / "vit_p16_base.json", weights, given, sources, batch_size=8, device="cpu")
    facts = predictions.read_facts(output)
    assert "other pixels" in facts["left_out"]["vit_p16_base/pgd"]["reason"] and not facts["cells"]
    assert pq.read_table(output).num_rows == 0


def test_files_of_another_kind_are_refused(folder, tmp_path):
    with pytest.raises(Hdf5Error, match=r"0\.h5: .* withstand-images-\d+, not of the format withstand-perturb"):
        PerturbationFile(folder / "0.h5")


def test_a_full_disk_is_told_and_leaves_nothing(small_disk):
    noise = np.random.default_rng(0).integers(-8, 8, (300, 64, 64, 3)).astype(np.int8)
    ids = [str(number) for number in range(300)]
    with (
        pytest.raises(Hdf5Error, match=r"a\.h5: cannot be written \(No space left on device\)"),
        perturbations.create(small_disk / "a.h5", 300, None, {}) as writer,
    ):
        writer.write(ids[:150], noise[:150].astype(np.uint8), noise[:150])
        writer.write(ids[150:], noise[150:].astype(np.uint8), noise[150:])
    assert list(small_disk.iterdir()) == []


def test_an_attacked_subset_can_be_predicted_alone(folder, tmp_path):
    """Image sets know subsets, so that every step that reads one can take the same samples."""
    output = tmp_path / "clean.parquet"
    card, weights = folder / "vit_p16_base.json", zoo.weights("vit_p16_base")
    predict(card, weights, [image_set(folder, output, "clean")], batch_size=8, device="cpu")
    assert pq.read_table(output).num_rows == 20
    assert predictions.read_facts(output)["inputs"]["subset"] == {"count": 20, "seed": 0}


AUTO = {"kind": "autoattack", "name": "auto", "norm": "linf", "eps": "2/255", "version": "standard", "seed": 0}
ATTACKS = {"fgsm": PGD | {"steps": 1, "step_size": "2/255"}, "pgd": PGD, "auto": AUTO | {"attacks": ["apgd-ce"]}}
"""Every kind of attack."""


def attack_own(folder: Path, output: Path, function: str, given: dict) -> Path:
    """The predictions of a model of helper_models under an attack."""
    write_card("m", own(function) | {"label_space": "shapetex"}, None, output / "m.json")
    run = AttackRun(image_set(folder, output / "a.parquet"), given, output / "a.h5")
    attack(output / "m.json", None, [run], batch_size=20, device="cpu")
    return output / "a.parquet"


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize(
    ("function", "reason"), [("hides_its_gradient", "no gradient"), ("flat", "gradient is zero everywhere")]
)
def test_no_attack_by_gradients_has_results_without_any(folder, tmp_path, kind, function, reason):
    """Full robustness would stand in the table."""
    assert reason in predictions.read_facts(attack_own(folder, tmp_path, function, ATTACKS[kind]))["failure"]


@pytest.mark.parametrize("kind", ATTACKS)
def test_samples_without_a_gradient_are_counted_alike(folder, tmp_path, kind):
    table = pq.read_table(attack_own(folder, tmp_path, "partly_flat", ATTACKS[kind])).to_pandas()
    dark = [file_image(folder, sample_id).mean() < 127.5 for sample_id in table["sample_id"]]
    assert table["without_gradient"].tolist() == dark and 0 < sum(dark) < len(dark)


@pytest.mark.parametrize("kind", ATTACKS)
@pytest.mark.parametrize(
    ("function", "doubts"), [("shares", {PROBABILITIES}), ("noisy", {RANDOM}), ("mean_color", set())]
)
def test_what_makes_a_result_doubtful_is_recorded(folder, tmp_path, capsys, kind, function, doubts):
    path = attack_own(folder, tmp_path, function, ATTACKS[kind])
    assert set(predictions.read_doubts(path)) == doubts
    assert all(doubt in capsys.readouterr().err for doubt in doubts)


def test_doubts_reach_the_table_its_reader_and_the_report(folder, tmp_path, monkeypatch):
    """Of a model without a gradient, of which an attack that needs none leaves all."""
    monkeypatch.setattr("pyautoattack.square.SquareAttack.perturb", lambda self, images, labels: images.clone())
    path = attack_own(folder, tmp_path, "flat", AUTO | {"attacks": ["apgd-dlr", "square"]})
    predict(tmp_path / "m.json", None, [image_set(folder, tmp_path / "clean.parquet", "clean")], batch_size=8)
    tabulate_attacks([tmp_path / "clean.parquet", path], tmp_path / "attacks.parquet")
    table, notes = pd.read_parquet(tmp_path / "attacks.parquet"), read_notes(tmp_path / "attacks.parquet")
    values = table.set_index("metric")["value"]
    assert values["without_gradient"] == 1
    assert notes["doubts"] == [{"model": "m", "dataset": "test", "attack": "auto", "doubt": VANISHING}]
    zero = "under auto on test: the gradient is zero for 100% of 20 images, where attacks by gradients say nothing of"
    pd.DataFrame({"model": [], "reason": [], "dataset": [], "family": []}).to_parquet(tmp_path / "failures.parquet")
    lines = warnings(tmp_path / "attacks.parquet", tmp_path / "failures.parquet", tmp_path / "attacks.parquet")
    assert lines == [f"m {zero} robustness", f"m under auto on test: {VANISHING}"]
    said = sentences.doubts({"attacks": table}, {"attacks": notes}, Names({"m": "Model"}, {}))
    assert [each.text for each in said] == [
        f"Doubtful: Model {zero} robustness.",
        f"Doubtful: Model under auto on test: {VANISHING}.",
    ]


def test_autoattack_needs_gradients_but_for_square():
    needs = [
        AutoAttack("linf", Fraction(1, 255), **given).needs_gradients
        for given in (
            {},
            {"version": "plus"},
            {"version": "rand"},
            {"attacks": ["square"]},
            {"attacks": ["fab", "apgd-t"]},
        )
    ]
    assert needs == [False, False, True, False, True]
