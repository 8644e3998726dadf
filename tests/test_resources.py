"""What jobs ask of a cluster: by hand for known models, and enough of it for each rule that a cluster runs."""

import json
from types import SimpleNamespace

import pytest

from withstand import resources
from withstand.config import load_study
from withstand.dag import Dag
from withstand.resources import ModelSize
from workflow_project import STUDY, rules, whole_rule

VIT_L = ModelSize(parameters=304_000_000, flops=382_000_000_000, input_size=384, depth=24)


class Wildcards(SimpleNamespace):
    """Like Snakemake's."""

    def get(self, name, default=None):
        return getattr(self, name, default)


@pytest.fixture
def dag(tmp_path, monkeypatch) -> Dag:
    monkeypatch.chdir(tmp_path)
    return Dag(load_study(STUDY))


def test_memory_holds_weights_and_a_block_of_images():
    weights, images = 3 * 4 * 304, 1000 * 3 * 384**2 / 1e6
    assert resources.model_memory(VIT_L, 50_000, 1) == pytest.approx(4000 + weights + images, abs=1)
    assert resources.model_memory(VIT_L, 10, 1) == pytest.approx(4000 + weights, abs=5)
    assert resources.image_memory(224, 8, 1) == pytest.approx(2000 + 64 * 24 * 224**2 / 1e6 + 8 * 200, abs=1)


def test_minutes_are_twice_the_work_and_a_start():
    assert resources.minutes(0, 0, 1) == 15
    assert resources.minutes(300 * 60, 0, 1) == 15 + 2
    assert resources.minutes(0, 1e13 * 3600, 1) == 15 + 120


@pytest.mark.parametrize("attempt", [2, 3])
def test_a_retry_asks_for_more_of_everything(attempt):
    assert resources.model_memory(VIT_L, 1000, attempt) == attempt * resources.model_memory(VIT_L, 1000, 1)
    assert resources.image_memory(64, 1, attempt) == attempt * resources.image_memory(64, 1, 1)
    assert resources.minutes(1e6, 1e16, attempt) == attempt * resources.minutes(1e6, 1e16, 1)


def test_without_a_card_a_model_is_a_vit_b16_of_its_size():
    assert ModelSize.of({}, 224) == ModelSize(86_000_000, 35_000_000_000, 224, 12)
    assert ModelSize.of({"failure": "broken", "preprocessing": None}, 448).flops == 4 * 35_000_000_000


def test_passes_are_those_of_the_protocols():
    pgd = {"kind": "gradient", "steps": 8, "restarts": 2}
    fgsm = {"kind": "gradient", "steps": 1, "restarts": 1}
    assert resources.attack_passes([fgsm, pgd]) == (3 + 1) + (3 * 8 * 2 + 1)
    assert resources.attack_passes([{"kind": "autoattack"}]) > 10_000
    assert resources.spatial_passes({"angles": 31, "shifts": 5, "draws": 10}) == 775 + 10
    lesions = {"parts": ["block", "mlp"], "single": True, "counts": None, "draws": 25}
    assert resources.experiment_passes("lesions", lesions, 12) == 1 + 2 * (12 + 25 * len([*range(2, 11)]))
    assert resources.experiment_passes("lesions", lesions | {"counts": [3], "single": False}, 12) == 1 + 2 * 25
    limit = {"distances": [0.5, 0.25], "draws": 5, "class_only": [1, 2, 3]}
    assert resources.experiment_passes("attention_limit", limit, 12) == 1 + 2 * 6 + 2 * 3
    assert resources.experiment_passes("grams", {}, 12) == 1


def test_jobs_read_the_card_once_it_is_there(dag, tmp_path):
    job = Wildcards(model="vit", dataset="test", family="digital")
    before = dag.resources.model_memory(job, attempt=1)
    card = tmp_path / "results/small/models/vit.json"
    card.parent.mkdir(parents=True)
    card.write_text(json.dumps({"parameters": 10**9, "flops": 10**15, "preprocessing": {"input_size": 64}, "depth": 6}))
    assert dag.resources.model_memory(job, attempt=1) > before + 10_000
    # 40 images under two corruptions at three severities
    assert dag.resources.prediction_minutes(job, attempt=1) == resources.minutes(240, 240 * 1e15, 1)
    card.write_text('{"parameters": 10')
    assert dag.resources.model_memory(job, attempt=1) == before


def test_clean_images_of_all_sets_are_one_job(dag):
    every = dag.resources.prediction_minutes(Wildcards(model="vit"), attempt=1)
    flops = ModelSize.of({}, 64).flops
    assert every == resources.minutes(175, 175 * flops, 1)


def test_every_rule_asks_for_memory_and_time_or_stays_on_the_login_node():
    found = rules()
    assert len(found) > 30
    for name in found:
        # a rule made of another takes all from it but whether it is local
        local, asks = "localrule: True" in found[name], "mem_mb=" in whole_rule(name) and "runtime=" in whole_rule(name)
        assert local != asks, name
        assert ("gpu=1" in whole_rule(name)) == ("--weights" in whole_rule(name) or name == "train_model") or local, (
            name
        )
