"""Which samples of a source a study takes: the first ones, or a random choice by its seed."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from test_models import own
from withstand.config import load_study
from withstand.dag import Dag
from withstand.datasets.registry import open_samples
from withstand.images import ImageFile
from withstand.predictions import METADATA
from withstand.report.page import names_of
from withstand.report.protocol import protocol
from withstand.steps.datasets import prepare_images
from withstand.steps.missed import find_missed, read_missed
from withstand.steps.stream import ResizedSet
from withstand.subsets import Subset

SPEC = {"kind": "shapetex", "split": "test"}
SOURCE = open_samples(SPEC, None)
STUDY = {
    "study": "small",
    "seed": 7,
    "models": {"vit": {"zoo": "vit_p8_base"}},
    "datasets": {"test": {"source": SPEC, "samples": 30, "choose": "random"}, "first": {"source": SPEC, "samples": 30}},
    "images": {"size": 64, "shard_size": 20},
}


class Wildcards(dict):
    __getattr__ = dict.__getitem__


def test_a_random_choice_is_seeded_and_grows():
    few, more = SOURCE.chosen(100, 7), SOURCE.chosen(300, 7)
    assert more[:100] == few, "a larger number adds samples and changes none"
    assert len({*more}) == 300 and few != sorted(few)
    assert {*few} != {*SOURCE.chosen(100, 8)}, "another seed chooses others"
    assert SOURCE.chosen(100) == SOURCE.sample_ids(100)
    # by chance, classes are no longer balanced: 1,000 samples of ten classes, five standard deviations
    counts = np.bincount(SOURCE.labels(SOURCE.chosen(1000, 7)))
    assert counts.std() > 0 and abs(counts - 100).max() < 5 * np.sqrt(1000 * 0.1 * 0.9)


def test_more_than_there_are_is_all_of_them():
    assert {*SOURCE.chosen(20_000, 7)} == {*SOURCE.sample_ids(SOURCE.available())}


def test_attacks_take_the_same_samples_whatever_the_set_has():
    """A subset's ranks are those that chose the set, so that a set of more samples attacks the same ones."""
    subset = Subset(20, seed=7)
    small, large = (
        [ids[place] for place in subset.shuffled(ids)] for ids in (SOURCE.chosen(50, 7), SOURCE.chosen(400, 7))
    )
    assert small == large == SOURCE.chosen(20, 7)


def test_every_way_to_the_images_takes_the_same_samples(tmp_path):
    expected = SOURCE.chosen(30, 7)
    for number, (start, stop) in enumerate([(0, 20), (20, 30)]):
        output = tmp_path / f"{number}.h5"
        prepare_images(SOURCE, start, stop, size=64, codec="raw", output=output, choice_seed=7)
        with ImageFile(output) as file:
            assert list(file.samples.ids) == expected[start:stop]
            assert file.origin["choice_seed"] == 7
    resized = ResizedSet("test", "clean", SPEC, (0, 30), [], 0, "raw", tmp_path / "x", "model", choice_seed=7)
    assert resized._ids(SOURCE) == expected


def test_natural_adversarial_examples_are_searched_in_random_order(tmp_path):
    found = {}
    for seed in (None, 7):
        output = tmp_path / f"{seed}.parquet"
        find_missed(SOURCE, (0, 600), 20, spec=own("mean_color"), weights=None, output=output, choice_seed=seed)
        found[seed] = read_missed(output)
        assert json.loads(pq.read_metadata(output).metadata[METADATA])["choice_seed"] == seed
        order = SOURCE.chosen(600, seed)
        assert sorted(found[seed], key=order.index) == found[seed]
    assert not {*found[None]} & {*found[7]}


def test_jobs_know_the_choice_and_others_stay_as_they_are():
    dag = Dag(load_study(STUDY))
    chosen, first = (Wildcards(dataset=name) for name in ("test", "first"))
    assert dag.choice(chosen) == ["--choice-seed=7"] and dag.choice(first) == []
    assert dag._read_from_source("test", "clean")["choice_seed"] == 7
    assert "choice_seed" not in dag._read_from_source("first", "clean")
    assert dag.study.image_set("test")["choice_seed"] == 7, "images to train on are shared by studies of all seeds"
    assert "choice_seed" not in dag.study.image_set("first")
    assert dag.source_spec(chosen) == dag.source_spec(first), "nothing is scanned or downloaded again"


@pytest.mark.parametrize(
    ("name", "told"), [("test", "30 images chosen at random by the seed 7"), ("first", "the first 30")]
)
def test_the_report_says_which_samples(name, told):
    spec = json.loads(Dag(load_study(STUDY)).report.spec(SimpleNamespace()))
    entries = {entry.term: entry.text for entry in protocol(spec, {}, names_of(spec, None))}
    assert told in entries[name]
