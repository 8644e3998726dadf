import json
import math
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import timm
import torch
from scipy import stats
from snakemake.iocontainers import Wildcards

from networks import noise, small
from test_models import own
from withstand import images, internals, models, zoo
from withstand.claims.answers import key, read_errors
from withstand.claims.estimates import Draws, Images
from withstand.claims.evidence import Evidence
from withstand.config import load_study
from withstand.dag import Dag
from withstand.datasets.registry import open_source
from withstand.errors import ModelError, NotApplicableError, WithstandError
from withstand.figures.style import Style, figure_style, save
from withstand.grams import GramFile
from withstand.images import ImageFile
from withstand.inference import Forward
from withstand.internals import GramProtocol, LesionProtocol, LimitProtocol, Shuffled
from withstand.interventions import Lesion, PatchToClass, RandomAttention, intervene, local_pairs, random_pairs
from withstand.metrics.internals import (
    FEWEST_CHOICES,
    FEWEST_MASKS,
    _same_mask,
    lesion_rows,
    over_draws,
    proportion,
)
from withstand.metrics.intervals import clustered_wilson, wilson
from withstand.metrics.similarity import similarity_rows
from withstand.predictions import read_facts
from withstand.random import Stream
from withstand.representations import DistanceMeter, attention_weights, representations
from withstand.shards import PartialShard
from withstand.similarity import cka, gram
from withstand.steps.datasets import prepare_images
from withstand.steps.internals import KINDS, Experiment, measure_internals
from withstand.steps.models import write_card
from withstand.steps.perturb import corrupt_images
from withstand.steps.predict import ImageSet
from withstand.steps.stream import ResizedSet, StreamedSet
from withstand.steps.tabulate_internals import (
    ATTENTION_DISTANCE,
    ATTENTION_LIMIT,
    LESIONS,
    SIMILARITY,
    tabulate_attention_distance,
    tabulate_attention_limit,
    tabulate_lesions,
    tabulate_similarity,
)
from withstand.subsets import Subset

SAMPLES = 24
FACTS = {"model": "m", "dataset": "test", "family": "clean", "policy": "stored"}
PROTOCOLS = {
    "grams": {"minibatch": 6},
    "lesions": {"draws": 4, "counts": [2, 4]},
    "attention_limit": {"distances": [0.5, 0.25], "draws": 2, "class_only": [1, 6, 7]},
}
NAMES = ("vit_p16_base", "vit_p8_base", "resnet_gn_base")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Forty images in two shards."""
    folder = tmp_path_factory.mktemp("images")
    source = open_source({"kind": "shapetex", "split": "test"})
    for start, stop in ((0, 15), (15, 40)):
        prepare_images(source, start, stop, size=64, codec="raw", output=folder / f"{start}.h5")
    return [folder / "0.h5", folder / "15.h5"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory, shards):
    """The files of three models: by name and kind."""
    folder, found = tmp_path_factory.mktemp("internals"), {}
    for name in NAMES:
        found[name] = look_into(folder / name, {"zoo": name}, zoo.weights(name), shards)
    return found


def look_into(folder, spec, weights, shards, **options):
    """Files by kind; options are those of experiments, or a function of an output that makes an image set."""
    write_card(folder.name, spec, weights, folder / "card.json")
    outputs = {kind: folder / f"{kind}.{'h5' if kind == 'grams' else 'parquet'}" for kind in KINDS}
    chosen = Subset(options.pop("samples", SAMPLES), 0)
    make = options.pop("make", lambda output: ImageSet("test", "clean", shards, output, subset=chosen))
    protocols = PROTOCOLS | options.pop("protocols", {})
    experiments = [
        Experiment(make(output), kind, 0, protocols.get(kind, {}), **options) for kind, output in outputs.items()
    ]
    measure_internals(folder / "card.json", weights, experiments, batch_size=10, device="cpu")
    return outputs


@pytest.fixture
def subset(shards):
    chosen = ImageSet("test", "clean", shards, shards[0], subset=Subset(SAMPLES, 0))
    with ExitStack() as stack:
        yield Shuffled([stack.enter_context(shard) for shard in chosen.opened({}, "cpu")], seed=0)


def pixels(subset):
    images_ = subset.read(subset.conditions[0], slice(None))
    return torch.from_numpy(images_).permute(0, 3, 1, 2).float() / 255


def load(name):
    return models.load({"zoo": name}, zoo.weights(name))


def test_a_subset_depends_on_neither_shards_nor_size(tmp_path, shards, subset):
    source = open_source({"kind": "shapetex", "split": "test"})
    prepare_images(source, 0, 40, size=64, codec="raw", output=tmp_path / "all.h5")
    with ImageFile(tmp_path / "all.h5") as file:

        def taken(count, seed):
            return Shuffled([PartialShard(file, Subset(count, seed).positions(file.samples.ids))], seed)

        whole, fewer, other = taken(SAMPLES, 0), taken(7, 0), taken(SAMPLES, 1)
        assert whole.samples.ids == subset.samples.ids
        assert fewer.samples.ids == subset.samples.ids[:7]
        assert other.samples.ids != subset.samples.ids
        assert np.array_equal(whole.samples.labels, source.labels(whole.samples.ids))
        condition = whole.conditions[0]
        assert np.array_equal(whole.read(condition, slice(3, 9)), subset.read(condition, slice(3, 9)))


def test_the_order_of_samples_is_as_good_as_random_and_that_of_attacks_samples():
    ids = [f"class-{number % 10}-{number:05d}" for number in range(5000)]
    order = Subset(1000, 3).shuffled(ids)
    assert set(order) == set(Subset(1000, 3).positions(ids)) and list(order) != sorted(order)
    assert [ids[place] for place in order] == [ids[::-1][place] for place in Subset(1000, 3).shuffled(ids[::-1])]
    assert list(Subset(300, 3).shuffled(ids)) == list(order[:300])
    # Spearman's correlation of n independent ranks has the variance 1 / (n - 1); a random run of them each class
    assert abs(stats.spearmanr(order, np.arange(1000)).statistic) < 4 / np.sqrt(999)
    classes = np.bincount(order[:100] % 10, minlength=10)
    assert stats.chisquare(classes).pvalue > 1e-3


def test_what_is_there_is_left_as_it_is(tmp_path, shards, capsys):
    folder, spec, weights = tmp_path / "vit", {"zoo": "vit_p16_base"}, zoo.weights("vit_p16_base")
    outputs = look_into(folder, spec, weights, shards, code="1")
    before = {kind: path.stat().st_ino for kind, path in outputs.items()}
    capsys.readouterr()

    def made_again(**options) -> set[str]:
        look_into(folder, spec, weights, shards, **({"code": "1"} | options))
        found = {kind for kind, path in outputs.items() if path.stat().st_ino != before[kind]}
        before.update({kind: path.stat().st_ino for kind, path in outputs.items()})
        assert capsys.readouterr().err.count("is up to date") == len(KINDS) - len(found)
        return found

    assert made_again() == set()
    assert made_again(protocols={"lesions": {"draws": 5, "counts": [2]}}) == {"lesions"}
    assert made_again() == {"lesions"}
    assert made_again(samples=12) == made_again(code="2") == set(KINDS)
    assert made_again() == set(KINDS)
    outputs["grams"].write_bytes(outputs["grams"].read_bytes()[:-200])
    assert made_again() == {"grams"}


def test_corrupted_images_may_be_made_on_the_way(tmp_path, shards):
    """Streamed, they give what stored ones give, to the bit of every pixel."""
    plan = Dag(load_study(CORRUPTED)).corruptions_spec(Wildcards(fromdict={"family": "dark", "dataset": "test"}))
    plan, stored = json.loads(plan), []
    for shard in shards:
        stored.append(tmp_path / shard.name)
        corrupt_images(shard, plan, seed=0, codec="raw", output=stored[-1])
    chosen = Subset(SAMPLES, 0)

    def streamed(output):
        return StreamedSet("test", "dark", shards, plan, 0, "raw", output, subset=chosen)

    found = {}
    for name, make in (("stored", lambda it: ImageSet("test", "dark", stored, it, subset=chosen)), ("new", streamed)):
        protocols = {"lesions": {"counts": [], "parts": ["mlp"]}}
        vit = zoo.weights("vit_p16_base")
        found[name] = look_into(tmp_path / name, {"zoo": "vit_p16_base"}, vit, [], make=make, protocols=protocols)
    for kind in ("lesions", "attention_limit", "attention_distance"):
        one, other = (pd.read_parquet(outputs[kind]) for outputs in found.values())
        pd.testing.assert_frame_equal(one, other)
    with h5py.File(found["stored"]["grams"]) as one, h5py.File(found["new"]["grams"]) as other:
        assert np.array_equal(one["contrast/3/all_tokens"][()], other["contrast/3/all_tokens"][()])

    rows = lesion_rows(found["new"]["lesions"])
    pooled = rows[rows["corruption"].isna() & (rows["block"] == 2)].iloc[0]
    apart = rows[rows["corruption"].notna() & (rows["block"] == 2)]
    assert len(apart) == 2 and pooled["value"] == pytest.approx(apart["value"].mean())
    assert (pooled["n"], pooled["images"]) == (2 * SAMPLES, SAMPLES)
    table = pd.read_parquet(found["new"]["lesions"])
    right = table[table["blocks"].map(list).map(lambda blocks: blocks == [2])].groupby("sample_id", observed=True)
    # two copies of an image are no two images
    assert (pooled["low"], pooled["high"]) == pytest.approx(clustered_wilson(right["correct_all"].sum().to_numpy(), 2))


CORRUPTED = {
    "study": "s",
    "models": {"vit": {"zoo": "vit_p16_base"}},
    "datasets": {"test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 40, "families": ["dark"]}},
    "families": {"dark": {"corruptions": ["contrast"], "severities": [1, 3]}},
    "images": {"size": 64},
}


def test_models_may_resize_images_themselves(tmp_path, shards, measured):
    """Those of shapetex have the size that the model wants, so they are the stored ones."""
    chosen, source = Subset(SAMPLES, 0), {"kind": "shapetex", "split": "test"}
    given = {"source": source, "range": (0, 40), "corruptions": [], "seed": 0, "codec": "raw", "policy": "model"}
    outputs = look_into(
        tmp_path / "vit_p16_base",
        {"zoo": "vit_p16_base"},
        zoo.weights("vit_p16_base"),
        [],
        make=lambda output: ResizedSet("test", "clean", output=output, subset=chosen, **given),
    )
    one, other = (pd.read_parquet(paths["lesions"]) for paths in (outputs, measured["vit_p16_base"]))
    assert one["sample_id"].tolist() == other["sample_id"].tolist()
    assert facts_of("grams", outputs["grams"])["policy"] == "model"


def test_rows_of_lesions_are_what_the_lesioned_model_answers(measured, subset):
    table = pd.read_parquet(measured["vit_p16_base"]["lesions"])
    model, batch = load("vit_p16_base"), pixels(subset)
    several = table[(table["design"] == "several") & (table["removed"] == 4) & (table["part"] == "mlp")]
    assert several["draw"].nunique() == 4
    for rows in (
        table[table["part"] == "none"],
        table[(table["design"] == "single") & (table["part"] == "attention") & (table["blocks"].str[0] == 0)],
        several[several["draw"] == 3],
    ):
        assert rows["sample_id"].tolist() == subset.samples.ids
        chosen = tuple(int(block) for block in rows["blocks"].iloc[0])
        part = rows["part"].iloc[0]
        with torch.no_grad(), intervene(model, *([] if part == "none" else [Lesion(part, chosen)])):
            logits = model(batch)
        labels = torch.from_numpy(subset.samples.labels)
        assert rows["label"].tolist() == labels.tolist()
        assert np.array_equal(rows["correct_all"], (logits.argmax(1) == labels).numpy())
        # float32, other batches
        assert np.allclose(rows["loss"], torch.nn.functional.cross_entropy(logits, labels, reduction="none"), atol=1e-4)


def test_every_lesion_is_there_once(measured):
    table = pd.read_parquet(measured["vit_p16_base"]["lesions"])
    trials = table.groupby(["part", "design", "removed", "draw", table["blocks"].map(tuple)], observed=True)
    assert (trials.size() == SAMPLES).all()
    assert len(trials) == 1 + 3 * (6 + 4 + 4)
    resnet = pd.read_parquet(measured["resnet_gn_base"]["lesions"])
    assert set(resnet["part"]) == {"none", "block"}
    assert {blocks[0] for blocks in resnet.loc[resnet["design"] == "single", "blocks"]} == {1, 3, 5, 7}
    reasons = {
        entry["what"]: entry["reason"] for entry in read_facts(measured["resnet_gn_base"]["lesions"])["not_applicable"]
    }
    assert sorted(reasons) == ["lesion of attention", "lesion of mlp"] and "BasicBlock" in reasons["lesion of mlp"]


def test_rows_of_limits_are_what_the_limited_model_answers(measured, subset):
    table = pd.read_parquet(measured["vit_p8_base"]["attention_limit"])
    assert table.groupby(["arm", "distance", "blocks", "draw"], dropna=False, observed=True).size().eq(SAMPLES).all()
    assert sorted(table.loc[table["arm"] == "first", "blocks"].unique()) == [1, 6]  # of 6 blocks
    rows = table[(table["arm"] == "random") & (table["distance"] == 0.25) & (table["draw"] == 1)]
    model = load("vit_p8_base")
    with torch.no_grad(), intervene(model, RandomAttention(0.25, 0, draw=1)):
        logits = model(pixels(subset))
    labels = torch.from_numpy(subset.samples.labels)
    assert np.allclose(rows["loss"], torch.nn.functional.cross_entropy(logits, labels, reduction="none"), atol=1e-4)
    from_hand = sum(max(abs(a - c), abs(b - d)) > 2 for a, b, c, d in np.ndindex(8, 8, 8, 8)) / 8**4
    assert rows["masked"].unique() == [from_hand]


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (2, 2), (2, 3), (4, 4), (7, 7)])
@pytest.mark.parametrize("distance", [0, 0.125, 0.25, 0.5, 0.99, 1])
def test_masks_that_are_the_same_are_known_as_such(grid, distance):
    local, patches = local_pairs(grid, distance), math.prod(grid)
    random = [random_pairs(grid, distance, Stream(0, draw)) for draw in range(20)]
    about = {"masked": 1 - float(local.mean()), "blocks": None, "patches": patches, "depth": 6}
    one, other = (_same_mask(arm, **about) for arm in ("local", "random"))
    assert (one == "none") == bool(local.all()), "nothing is masked"
    # of 20 draws of some pairs out of more, one at least is another mask
    assert (other is not None) == all((mask == local).all() for mask in random)


def test_blocks_that_are_all_there_are_make_one_mask():
    network = small("vit").network
    depth = len(network.blocks)
    for count in range(1, depth + 1):
        limits = (PatchToClass(**{end: count}) for end in ("first", "last"))
        first, last = ({swap[0] for swap in limit.swaps(network, network.patch_embed.img_size[0])} for limit in limits)
        about = {"masked": None, "blocks": count, "patches": 16, "depth": depth}
        assert _same_mask("first", **about) is None
        assert (_same_mask("last", **about) == "first") == (first == last)


def test_a_mask_that_is_the_same_has_no_control(tables, measured):
    limits = pd.read_parquet(tables["attention_limit"])
    last = limits[limits["arm"] == "last"].set_index("blocks")["same_as"]
    assert set(last[6]) == {"first"} and last[1].isna().all(), "of six blocks"
    values = limits[(limits["blocks"] == 6) & (limits["model"] == "vit_p8_base") & (limits["family"] == "clean")]
    assert values["value"].nunique() == 1


def test_what_a_network_without_tokens_has_not_is_recorded_by_name(measured):
    for kind in ("attention_limit", "attention_distance"):
        path = measured["resnet_gn_base"][kind]
        assert pq.read_metadata(path).num_rows == 0
        facts = read_facts(path)
        assert "failure" not in facts and "ResNet has no grid" in facts["not_applicable"][0]["reason"]


def test_gram_matrices_are_those_of_representations(measured, subset):
    model = load("resnet_gn_base")
    with torch.no_grad():
        found = representations(model, pixels(subset)[6:12])
    with GramFile(measured["resnet_gn_base"]["grams"]) as file:
        condition = file.conditions[0]
        assert file.sample_ids(condition).ravel().tolist() == subset.samples.ids
        assert file.layers(condition)[3] == "layer2.1"
        for tokens, name in (("all_tokens", "tokens"), ("summary", "summary")):
            for layer, grams in enumerate(file.grams(condition, tokens)):
                features = getattr(found[layer], name).flatten(1).double()
                expected = gram(features - features.mean(0))
                # float32 features and products, batches of other sizes
                assert torch.allclose(grams[1].double(), expected, atol=1e-4 * expected.abs().max())


def test_similarity_between_models_is_that_of_their_representations(measured, subset):
    with torch.no_grad():
        grams = {}
        for name in ("vit_p8_base", "resnet_gn_base"):
            found = representations(load(name), pixels(subset))
            parts = [[gram(part.flatten(1).double()) for part in layer.tokens.split(6)] for layer in found]
            grams[name] = torch.stack([torch.stack(part) for part in parts])
    expected = cka(grams["vit_p8_base"], grams["resnet_gn_base"])
    with GramFile(measured["vit_p8_base"]["grams"]) as one, GramFile(measured["resnet_gn_base"]["grams"]) as other:
        rows = similarity_rows(one, other)
    rows = rows[(rows["tokens"] == "all_tokens") & (rows["metric"] == "cka")]
    assert rows["value"].to_numpy().reshape(6, 8) == pytest.approx(expected.value, abs=1e-4)
    assert rows["low"].to_numpy().reshape(6, 8) == pytest.approx(expected.low, abs=1e-3)
    assert set(rows["summary"]) == {"class_token"} and set(rows["other_summary"]) == {"mean"}


def test_correlation_within_a_model_is_numpys(measured, subset):
    with torch.no_grad():
        found = representations(load("vit_p16_base"), pixels(subset))
    expected = np.corrcoef([layer.tokens.flatten().double().numpy() for layer in found])
    with GramFile(measured["vit_p16_base"]["grams"]) as file:
        rows = similarity_rows(file)
    joint = rows[(rows["tokens"] == "all_tokens") & (rows["metric"] == "pearson_joint")]
    assert joint["value"].to_numpy().reshape(6, 6) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["vit_p16_base", "resnet_gn_base"])
def test_layers_that_take_turns_give_the_same(tmp_path, subset, name):
    model, passes = load(name), []
    model.register_forward_hook(lambda *_: passes.append(1))
    forwards = {}
    for label, memory, batch in (("at once", 2 << 30, 24), ("turns", 1 << 18, 4)):
        passes.clear()
        protocol = GramProtocol(minibatch=12, memory=memory, activations=5)
        internals.measure_grams(
            model, subset, tmp_path / label, outputs=10, facts=FACTS, batch_size=batch, protocol=protocol
        )
        forwards[label] = len(passes)
    assert forwards["turns"] > 2 * 3 * 2 and forwards["at once"] == 2 + 1
    with h5py.File(tmp_path / "at once") as one, h5py.File(tmp_path / "turns") as other:
        for path in ("all_tokens", "summary", "pearson/all_tokens/product", "pearson/summary/per_sample"):
            first, second = (file[f"clean/0/{path}"][()] for file in (one, other))
            assert np.allclose(first, second, rtol=1e-4, atol=1e-4 * np.nanmax(np.abs(first)), equal_nan=True)
        kept = one["clean/0/activations"]
        last = list(one["clean/0/layers"].asstr())[-1]
        with torch.no_grad():
            expected = representations(model, pixels(subset)[:5])[-1].tokens.numpy()
        assert kept[last].dtype == np.float16 and np.allclose(kept[last], expected, rtol=2e-3, atol=2e-3)


def test_attention_distances_are_those_of_the_weights(measured, subset):
    model = load("vit_p8_base")
    meter, found = DistanceMeter(model), {}
    with torch.no_grad(), attention_weights(model, lambda number, weights: found.update({number: meter(weights)})):
        model(pixels(subset))
    table = pd.read_parquet(measured["vit_p8_base"]["attention_distance"])
    heads = found[0].euclidean.shape[1]
    assert len(table) == SAMPLES * 6 * heads
    for name in ("euclidean", "chebyshev", "prefix_share"):
        wide = table.pivot(index="sample_id", columns=["block", "head"], values=name).loc[subset.samples.ids]
        expected = np.stack([getattr(found[block], name).numpy() for block in range(6)], axis=1).reshape(SAMPLES, -1)
        assert np.allclose(wide.to_numpy(), expected, atol=1e-4)


def test_memory_that_runs_out_costs_no_pass(subset, tmp_path):
    model, hungry = load("vit_p16_base"), []

    def run_out(module, inputs):
        if len(inputs[0]) > 3:
            hungry.append(len(inputs[0]))
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.network.blocks[3].register_forward_pre_hook(run_out)
    internals.measure_grams(
        model, subset, tmp_path / "a", outputs=10, facts=FACTS, batch_size=8, protocol=GramProtocol(minibatch=8)
    )
    handle.remove()
    assert hungry == [8, 4]
    internals.measure_grams(
        model, subset, tmp_path / "b", outputs=10, facts=FACTS, batch_size=8, protocol=GramProtocol(minibatch=8)
    )
    with h5py.File(tmp_path / "a") as one, h5py.File(tmp_path / "b") as other:
        first, second = (file["clean/0/all_tokens"][()] for file in (one, other))
    assert np.allclose(first, second, rtol=1e-4, atol=1e-4 * np.abs(second).max())


def test_memory_that_runs_out_beside_the_model_costs_no_sample(subset, tmp_path, monkeypatch):
    add, hungry = internals.Correlator.add, []

    def run_out(self, layers):
        if len(layers[0]) > 3:
            hungry.append(len(layers[0]))
            raise torch.OutOfMemoryError("CUDA out of memory")
        add(self, layers)

    settings = {"outputs": 10, "facts": FACTS, "batch_size": 8, "protocol": GramProtocol(minibatch=8, memory=1 << 18)}
    internals.measure_grams(load("vit_p16_base"), subset, tmp_path / "b", **settings)
    monkeypatch.setattr(internals.Correlator, "add", run_out)
    internals.measure_grams(load("vit_p16_base"), subset, tmp_path / "a", **settings)
    assert hungry == [8, 4]
    with h5py.File(tmp_path / "a") as one, h5py.File(tmp_path / "b") as other:
        for path in ("all_tokens", "summary", "pearson/all_tokens/product"):
            first, second = (file[f"clean/0/{path}"][()] for file in (one, other))
            assert np.allclose(first, second, rtol=1e-4, atol=1e-4 * np.abs(second).max())  # sums in another order


def test_a_class_token_that_is_the_same_for_all_samples_has_no_similarity(subset, tmp_path):
    model = load("vit_p16_base")
    facts, protocol = FACTS | {"summary": "class_token"}, GramProtocol(minibatch=8)
    with intervene(model, Lesion("attention", (0, 1))):  # without attention it hears nothing of the image
        internals.measure_grams(model, subset, tmp_path / "x", outputs=10, facts=facts, batch_size=8, protocol=protocol)
    with GramFile(tmp_path / "x") as file:
        rows = similarity_rows(file)
    for metric in ("cka", "cka_biased"):
        found = rows[rows["metric"] == metric]
        counts = found.groupby("tokens")["layer"].unique().map(list)
        assert counts["all_tokens"] == [0, 1, 2, 3, 4, 5] and counts["summary"] == [2, 3, 4, 5]


@pytest.mark.parametrize("part", ["attention", "block"])
def test_heads_that_a_lesion_has_left_are_measured(subset, tmp_path, part):
    model, settings = load("vit_p16_base"), {"outputs": 10, "facts": FACTS, "batch_size": 10}
    with intervene(model, Lesion(part, (0, 3))):
        internals.measure_attention_distance(model, subset, tmp_path / "x", **settings)
    table = pd.read_parquet(tmp_path / "x")
    assert table.groupby("block").size().index.tolist() == [1, 2, 4, 5]
    assert len(table) == SAMPLES * 4 * (table["head"].max() + 1)
    with intervene(model, Lesion(part, range(6))), pytest.raises(NotApplicableError, match="left no attention"):
        internals.measure_attention_distance(model, subset, tmp_path / "y", **settings)
    assert not (tmp_path / "y").exists()


def test_a_network_whose_blocks_all_change_the_shape_has_no_lesions(subset, tmp_path):
    network = timm.create_model("resnet14t", num_classes=10)
    model = models.Classifier(network, models.Preprocessing(64, (0.5,) * 3, (0.5,) * 3), "shapetex").eval()
    internals.measure_lesions(model, subset, tmp_path / "x", outputs=10, facts=FACTS, seed=0, batch_size=24)
    assert set(pd.read_parquet(tmp_path / "x")["part"]) == {"none"}
    reasons = read_facts(tmp_path / "x")["not_applicable"]
    assert [entry["reason"] for entry in reasons] == ["no block keeps the shape"] * 3


def test_chance_is_that_of_the_label_mode():
    about = {"subset": np.arange(200), "categories": None}
    assert internals.chance(SimpleNamespace(**about), 1000, ("all", "subset")) == {"all": 0.001, "subset": 0.005}
    about = {"subset": np.arange(16), "categories": [[0], [1, 2]] * 8}
    assert internals.chance(SimpleNamespace(**about), 1000, ("categories",)) == {"categories": 1 / 16}


@pytest.mark.parametrize("function", ["broken", "not_finite"])
def test_a_model_that_fails_is_recorded(tmp_path, shards, function):
    outputs = look_into(tmp_path / function, own(function), None, shards)
    failures = {kind: facts_of(kind, path) for kind, path in outputs.items()}
    assert "failure" in failures["lesions"]
    # without known blocks there is nothing to fail at
    assert "has no residual blocks" in failures["grams"]["not_applicable"][0]["reason"]
    assert pq.read_metadata(outputs["lesions"]).num_rows == 0


def test_a_model_that_cannot_be_built_is_recorded_everywhere(tmp_path, shards):
    outputs = look_into(tmp_path / "no_module", own("no_module"), None, shards)
    for kind, path in outputs.items():
        assert "not a torch module" in facts_of(kind, path)["failure"]
    tabulate_similarity([outputs["grams"]], tmp_path / "similarity.parquet")
    notes = read_facts(tmp_path / "similarity.parquet")
    assert (
        notes["failures"][0]["model"] == "no_module" and pq.read_metadata(tmp_path / "similarity.parquet").num_rows == 0
    )


def facts_of(kind, path):
    if kind != "grams":
        return read_facts(path)
    with GramFile(path) as file:
        return file.facts


def test_activations_that_are_not_finite_are_told(subset, tmp_path):
    model = load("vit_p16_base")
    with torch.no_grad():
        model.network.blocks[2].mlp.fc2.bias[0] = float("nan")
    with pytest.raises(ModelError, match=r"after block 2 \(blocks.2\) are not finite, first for") as error:
        internals.measure_grams(
            model, subset, tmp_path / "x", outputs=10, facts=FACTS, batch_size=8, protocol=GramProtocol(minibatch=8)
        )
    assert subset.samples.ids[0] in str(error.value) and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("minibatch", "line"), [(3, "at least 4 samples"), (30, "24 samples do not fill a minibatch of 30")]
)
def test_too_few_samples_are_told(subset, tmp_path, minibatch, line):
    with pytest.raises(WithstandError, match=line):
        internals.measure_grams(
            load("vit_p16_base"),
            *(subset, tmp_path / "x"),
            **{"outputs": 10, "facts": FACTS, "batch_size": 8, "protocol": GramProtocol(minibatch=minibatch)},
        )


def test_a_curve_that_has_stayed_at_chance_ends(tmp_path, subset):
    model = small("vit")  # which guesses
    settings = {"outputs": 10, "facts": FACTS, "seed": 0, "batch_size": 24}
    for stop_after in (0, 1, 2):
        protocol = LesionProtocol(parts=("mlp",), single=False, counts=(0, 1, 2, 3), draws=3, stop_after=stop_after)
        internals.measure_lesions(model, subset, tmp_path / str(stop_after), protocol=protocol, **settings)
    run = {stop: sorted(set(pd.read_parquet(tmp_path / str(stop))["removed"])) for stop in (0, 1, 2)}
    assert run == {0: [0, 1, 2, 3], 1: [0], 2: [0, 1]}
    # of 1,000 guesses at 10%, more than this are right in 5% of cases, by the binomial distribution
    assert internals.at_chance(0.1, 1000) * 1000 == pytest.approx(stats.binom.ppf(0.95, 1000, 0.1), abs=1)


def test_corrupted_copies_are_conditions(tmp_path, shards, samples, pictures):
    path = tmp_path / "noise.h5"
    with images.create(path, samples, size=64, codec="raw", origin={}) as writer:
        writer.add("dark", [1, 3])
        writer.write("dark", 0, 0, pictures // 2)
        writer.write("dark", 1, 0, pictures // 8)
    outputs = look_into(tmp_path / "vit", {"zoo": "vit_p16_base"}, zoo.weights("vit_p16_base"), [path], samples=12)
    table = pd.read_parquet(outputs["lesions"])
    assert table.groupby(["corruption", "severity"], observed=True).size().to_dict() == {
        ("dark", 1): 12 * 43,
        ("dark", 3): 12 * 43,
    }
    with GramFile(outputs["grams"]) as file:
        assert file.conditions == [("dark", 1), ("dark", 3)]


def test_accuracy_of_lesions_and_its_intervals(measured):
    path = measured["vit_p16_base"]["lesions"]
    table, rows = pd.read_parquet(path), lesion_rows(path)
    single = rows[(rows["design"] == "single") & (rows["part"] == "block") & (rows["block"] == 0)].iloc[0]
    chosen = table[(table["design"] == "single") & (table["part"] == "block") & (table["blocks"].str[0] == 0)]
    assert single["value"] == chosen["correct_all"].mean()
    assert (single["low"], single["high"]) == pytest.approx(wilson(chosen["correct_all"].sum(), SAMPLES))
    several = rows[(rows["design"] == "several") & (rows["part"] == "attention") & (rows["removed"] == 4)]
    mean, draws = several[several["draw"].isna()].iloc[0], several[several["draw"].notna()]
    assert mean["value"] == pytest.approx(draws["value"].mean()) and mean["n"] == 4 * SAMPLES
    assert mean["standard_error"] == pytest.approx(draws["value"].std(ddof=1) / 2)
    assert (mean["lowest"], mean["highest"]) == (draws["value"].min(), draws["value"].max())


def test_answers_behind_rows_of_lesions_and_limits(measured, tables):
    """Every mean over draws has the errors of its images; two of them differ image by image."""
    paths = [outputs[kind] for outputs in measured.values() for kind in ("lesions", "attention_limit")]
    errors = read_errors(paths)
    found = {}
    for name in ("lesions", "attention_limit"):
        rows = pd.read_parquet(tables[name])
        for row in rows[rows["draw"].isna() & (rows["family"] == "clean")].to_dict("records"):
            found[key(name, row)] = row
    assert found.keys() == errors.keys()
    for name, samples in errors.items():
        of_images = [each for sample, each in samples.items() if isinstance(sample, Images)]
        assert [len(each) for each in of_images] == [SAMPLES]
        assert all(abs(each.mean()) < 1e-12 for each in samples.values())
        drawn = [each for sample, each in samples.items() if isinstance(sample, Draws)]
        assert [len(each) for each in drawn] == ([found[name]["draws"]] if found[name]["standard_error"] >= 0 else [])
    evidence = Evidence({name: pd.read_parquet(path) for name, path in tables.items()}, errors)
    rows = evidence.rows("lesions", model="vit_p16_base", draw=None)
    intact, first = rows[rows["design"] == "intact"], rows[(rows["part"] == "block") & (rows["block"] == 0)]
    estimate = evidence.averaged("lesions", intact) - evidence.averaged("lesions", first)
    answers = pd.read_parquet(measured["vit_p16_base"]["lesions"])
    one = answers["design"] == "intact"
    other = (answers["design"] == "single") & (answers["part"] == "block") & (answers["blocks"].str[0] == 0)
    sides = [answers[which].set_index("sample_id")["correct_all"].astype(int).sort_index() for which in (one, other)]
    by_hand = (sides[0] - sides[1]).to_numpy(dtype=float)
    assert estimate.value == pytest.approx(by_hand.mean())
    assert next(iter(estimate.errors.values())) == pytest.approx(by_hand - by_hand.mean())


def test_intervals_over_draws():
    generator = np.random.default_rng(0)
    correct = generator.random((8, 50)) < generator.random(50)
    found = proportion(correct)
    assert (found["low"], found["high"]) == pytest.approx(clustered_wilson(correct.sum(0), 8))
    scattered = generator.random((8, 50)) < np.linspace(0.1, 0.9, 8)[:, None]  # draws differ, images do not
    assert np.ptp([over_draws(scattered, complete=False)[end] for end in ("low", "high")]) > 0.3
    assert np.ptp([over_draws(scattered, complete=True)[end] for end in ("low", "high")]) < 0.15
    assert over_draws(scattered, complete=True)["standard_error"] is None


@pytest.mark.parametrize("fewest", [FEWEST_MASKS, FEWEST_CHOICES])
def test_few_draws_have_a_range_and_no_interval(fewest):
    correct = np.random.default_rng(0).random((fewest, 1, 50)) < 0.6
    enough = over_draws(correct, complete=False, fewest=fewest)
    few = over_draws(correct[1:], complete=False, fewest=fewest)
    assert enough["low"] < enough["value"] < enough["high"]
    assert np.isnan([few["low"], few["high"]]).all()
    assert few["lowest"] < few["value"] < few["highest"]


@pytest.fixture(scope="module")
def tables(measured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    files = {kind: [outputs[kind] for outputs in measured.values()] for kind in KINDS}
    tabulate_similarity(files["grams"], folder / "similarity")
    tabulate_lesions(files["lesions"], folder / "lesions")
    tabulate_attention_limit(files["attention_limit"], folder / "attention_limit")
    tabulate_attention_distance(files["attention_distance"], folder / "attention_distance")
    return {path.name: path for path in folder.iterdir()}


SCHEMAS = {
    "similarity": SIMILARITY,
    "lesions": LESIONS,
    "attention_limit": ATTENTION_LIMIT,
    "attention_distance": ATTENTION_DISTANCE,
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_tables_are_tidy(tables, kind):
    assert pq.read_schema(tables[kind]).equals(SCHEMAS[kind])
    table = pd.read_parquet(tables[kind])
    known = table["low"].notna()
    assert (known == table["high"].notna()).all()
    assert (table["low"] <= table["value"] + 1e-12)[known].all() and (table["value"] <= table["high"] + 1e-12)[
        known
    ].all()
    assert known.all() or table.loc[~known, "draw"].isna().all(), "only a mean over few draws has no interval"
    assert table[["model", "dataset", "family", "policy", "metric", "n", "images"]].notna().all(axis=None)
    absent = {(entry["model"], entry["what"]) for entry in read_facts(tables[kind])["not_applicable"]}
    assert (
        absent
        == {
            "similarity": set(),
            "lesions": {("resnet_gn_base", "lesion of mlp"), ("resnet_gn_base", "lesion of attention")},
            "attention_limit": {("resnet_gn_base", what) for what in ("local", "random", "class_only")},
            "attention_distance": {("resnet_gn_base", "attention_distance")},
        }[kind]
    )


def test_similarity_is_of_every_two_models_once(tables):
    table = pd.read_parquet(tables["similarity"])
    found = set(zip(table["model"], table["other_model"], strict=True))
    assert found == {(a, b) for i, a in enumerate(NAMES) for b in NAMES[i:]}
    itself = table[(table["model"] == table["other_model"]) & (table["layer"] == table["other_layer"])]
    assert np.allclose(itself["value"], 1, atol=1e-5)
    both = table[
        (table["metric"] == "cka") & (table["model"] == "vit_p8_base") & (table["other_model"] == "vit_p8_base")
    ]
    wide = both[both["tokens"] == "all_tokens"].pivot(index="layer", columns="other_layer", values="value").to_numpy()
    assert np.allclose(wide, wide.T)


@pytest.mark.parametrize(
    ("figure", "kind", "count"),
    [
        ("layer_correlation", "similarity", 3),
        ("layer_similarity", "similarity", 3),
        ("model_similarity", "similarity", 3),
        ("lesion_single", "lesions", 3),
        ("lesion_several", "lesions", 3),
        ("attention_limit", "attention_limit", 2),
        ("attention_distance", "attention_distance", 2),
    ],
)
def test_figures_show_every_model_that_has_it(tmp_path, tables, figure, kind, count):
    module = import_module(f"withstand.figures.{figure}")
    described = pd.DataFrame({"model": NAMES, "family": ["ViT", "ViT", "ResNet"], "parameters": [1, 2, 3]})
    drawn = module.select(pd.read_parquet(tables[kind]), described.assign(pretraining_images=None))
    assert drawn["model"].nunique() == count
    with figure_style():
        save(module.draw(drawn, Style(models=NAMES)), tmp_path / "a.svg", tmp_path / "a.png", 80)
    text = (tmp_path / "a.svg").read_text()
    assert all(f">{model}<" in text for model in drawn["model"].unique())
    assert f"{SAMPLES} images" in text


def test_figures_of_corrupted_images_show_what_is_pooled(tmp_path, tables):
    clean = pd.read_parquet(tables["lesions"])
    parts = [clean.assign(corruption=name, severity=3, value=clean["value"] / 2) for name in ("fog", "snow")]
    both = pd.concat([*parts, clean.assign(corruption=None, severity=None)]).assign(family="weather")
    models_ = pd.DataFrame({"model": NAMES, "family": "ViT", "parameters": 1, "pretraining_images": None})
    for figure in ("lesion_single", "lesion_several"):
        module = import_module(f"withstand.figures.{figure}")
        drawn = module.select(both, models_)
        assert drawn["corruption"].isna().all() and len(drawn) == len(module.select(clean, models_))
        with figure_style():
            save(module.draw(drawn, Style(models=NAMES)), tmp_path / "a.svg", tmp_path / "a.png", 80)
        assert (
            f"test, weather: {SAMPLES} images under every corruption and severity" in (tmp_path / "a.svg").read_text()
        )


@pytest.mark.parametrize("figure", ["layer_correlation", "layer_similarity", "model_similarity"])
def test_layers_without_similarity_stay_grey(tmp_path, tables, figure):
    table = pd.read_parquet(tables["similarity"])
    tokens = "all_tokens" if figure == "model_similarity" else "summary"
    gone = (table["tokens"] == tokens) & (table["model"] == NAMES[0]) & (table["other_model"] == NAMES[0])
    module = import_module(f"withstand.figures.{figure}")
    models_ = pd.DataFrame({"model": NAMES, "family": "ViT", "parameters": 1, "pretraining_images": None})
    drawn = module.select(table[~gone], models_)
    with figure_style():
        save(module.draw(drawn, Style(models=NAMES)), tmp_path / "a.svg", tmp_path / "a.png", 80)
    text = (tmp_path / "a.svg").read_text()
    assert all(f">{name}<" in text for name in NAMES)


def test_the_flattening_that_stands_first_is_drawn(tables):
    table = pd.read_parquet(tables["similarity"])
    module = import_module("withstand.figures.layer_correlation")
    models_ = pd.DataFrame({"model": NAMES, "family": "ViT", "parameters": 1, "pretraining_images": None})
    assert set(module.select(table, models_)["metric"]) == {"pearson_joint"}
    other = table[table["metric"] != "pearson_joint"]
    assert set(module.select(other, models_)["metric"]) == {"pearson_per_sample"}
    assert module.select(table[table["metric"] == "cka"], models_).empty


def test_limits_of_attention_without_a_control_are_drawn(tables, tmp_path):
    table = pd.read_parquet(tables["attention_limit"])
    module = import_module("withstand.figures.attention_limit")
    models_ = pd.DataFrame({"model": NAMES, "family": "ViT", "parameters": 1, "pretraining_images": None})
    drawn = module.select(table[table["arm"] != "random"], models_)
    with figure_style():
        save(module.draw(drawn, Style(models=NAMES)), tmp_path / "a.svg", tmp_path / "a.png", 80)
    text = (tmp_path / "a.svg").read_text()
    assert "within" in text and "at random" not in text


def test_forward_of_an_intervened_model_serves_any_caller(subset):
    model = small("vit")
    forward = Forward(model, 10, 8)
    with intervene(model, Lesion("attention", (0,))):
        logits = forward((noise(model, 5).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8))
    assert logits.shape == (5, 10)


def test_protocols_are_in_the_files(measured):
    facts = read_facts(measured["vit_p16_base"]["lesions"])
    assert (
        facts["protocol"] == json.loads(json.dumps(dict(vars(LesionProtocol(draws=4, counts=(2, 4))))))
        and facts["seed"] == 0
    )
    limits = LimitProtocol(distances=(0.5, 0.25), draws=2, class_only=(1, 6, 7))
    assert read_facts(measured["vit_p8_base"]["attention_limit"])["protocol"] == json.loads(json.dumps(asdict(limits)))


def test_summaries_do_not_keep_all_tokens_in_memory(subset, tmp_path, monkeypatch):
    added, add = [], internals.Correlator.add
    monkeypatch.setattr(internals.Correlator, "add", lambda self, layers: (added.append(layers), add(self, layers)))
    settings = {"outputs": 10, "facts": FACTS, "batch_size": 4, "protocol": GramProtocol(minibatch=12)}
    internals.measure_grams(load("vit_p16_base"), subset, tmp_path / "x", **settings)
    summaries = added[1::2]
    assert len(summaries) == 6 and all(tensor.ndim == 2 for layers in summaries for tensor in layers)
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for layers in summaries for tensor in layers)
