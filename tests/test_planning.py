"""What a study costs beforehand, and how far a run is."""

import fcntl
import json
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from test_studies import PLANNED
from withstand.attacks.run import method_of
from withstand.cli import main
from withstand.config import load_study, read_config
from withstand.interventions import lesion_draws
from withstand.planning import anatomy, costs, counts, disk, jobs, told
from withstand.planning import status as status_step
from withstand.planning.anatomy import Facts
from withstand.planning.counts import Work
from withstand.planning.jobs import Job
from workflow_project import PROJECT, STUDY, Project

VIT = Facts(
    flops=111 * 10**9,
    values=173 * 10**6,
    parameters=86 * 10**6,
    outputs=1000,
    input_size=384,
    removable=tuple(range(12)),
    saved={"block": 0.08, "mlp": 0.05, "attention": 0.03},
    limits=frozenset({"local", "random", "class_only"}),
    blocks=(577 * 768,) * 12,
    heads=144,
)
RESNET = Facts(flops=33 * 10**9, values=149 * 10**6, outputs=1000, input_size=448)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def paper(tmp_path, monkeypatch):
    (tmp_path / "data/imagenet/val").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return load_study(read_config(PROJECT / "studies/paper.yaml"))


def paper_models(study) -> dict[str, Facts]:
    return {key: VIT if "vit" in key else RESNET for key in study.entries()}


def by_rule(works, model: str) -> dict[str, list[Work]]:
    found: dict[str, list[Work]] = {}
    for each in works:
        if each.wildcards.get("model") == model:
            found.setdefault(each.rule, []).append(each)
    return found


# Counts


def test_the_papers_passes_are_those_of_its_protocol(paper):
    works = by_rule(counts.work(paper, paper_models(paper)), "vit_b16")
    (streamed,) = works["predict_streamed"]
    assert (streamed.forward, streamed.decoded) == (75 * 50_000, 75 * 50_000)
    assert {each.wildcards["dataset"]: each.forward for each in works["predict_from_source"]} == {
        **{"val": 50_000, "a": 7_500, "r": 30_000}
    }
    (clean,) = works["predict_clean"]
    assert clean.forward == 50_000 + 5_000 + 1_200
    (attack,) = works["attack_model"]  # FGSM, and PGD of eight steps, each with an answer in the end
    assert (attack.forward, attack.backward) == (1_000 * (2 + 9), 1_000 * (1 + 8))
    assert works["transfer_perturbations"][0].forward == 16 * 2 * 1_000
    assert works["attack_spatial"][0].forward == (775 + 10) * 1_000


def test_the_papers_looks_inside_are_those_of_its_protocol(paper):
    models = paper_models(paper)
    (inside,) = by_rule(counts.work(paper, models), "vit_b16")["measure_internals"]
    several = sum(len(lesion_draws(0, 12, removed)) for removed in range(2, 11))
    assert several == 8 * 25 + 11
    lesions = 1 + 3 * (12 + several)
    limits = 1 + 6 * (1 + 5) + 2 * 6
    assert inside.forward == 1_000 * (lesions + limits + 1 + 1)
    assert 0 < inside.spared < 1_000 * lesions
    (resnet,) = by_rule(counts.work(paper, models), "r50x1")["measure_internals"]
    assert resnet.forward == 1_000  # the intact one, as nothing is known of its blocks


def test_layers_that_do_not_fit_into_memory_take_turns():
    gigabyte = Facts(blocks=(2**28,) * 5)  # numbers of one image, in four bytes each
    assert counts.turns(gigabyte, 1) == 3  # two at a time in two gigabytes
    assert counts.turns(gigabyte, 50) == 5
    assert counts.turns(VIT, 50) == 1
    assert counts.turns(Facts(), 50) == 0


def test_models_that_fail_cost_nothing(paper):
    models = paper_models(paper) | {"models.vit_b16": Facts(failure="no weights")}
    works = by_rule(counts.work(paper, models), "vit_b16")
    assert not any(each.forward or each.decoded for several in works.values() for each in several)
    assert by_rule(counts.work(paper, models), "r50x1")["transfer_perturbations"][0].forward == 15 * 2 * 1_000


def test_perturbations_are_shown_to_models_with_the_same_pixels(paper):
    config = read_config(PROJECT / "studies/paper.yaml")
    config["attacks"] |= {"dataset": "val"}
    models = {key: Facts(transform="a" if "vit" in key else "b") for key in paper.entries()}
    works = by_rule(counts.work(load_study(config), models), "vit_b16")
    assert works["transfer_perturbations"][0].forward == 6 * 2 * 1_000


class Counting(nn.Module):
    """Counts the images that pass through it, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.forward_images = self.backward_images = 0
        self.layer = nn.Linear(3 * 8 * 8, 10)

    def forward(self, images):
        self.forward_images += len(images)
        if images.requires_grad:
            images.register_hook(self.count)
        return self.layer(images.flatten(1))

    def count(self, gradient):
        self.backward_images += len(gradient)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "fgsm"},
        {"kind": "pgd", "steps": 3},
        {"kind": "pgd", "steps": 2, "random_start": True, "restarts": 4},
        {"kind": "pgd", "steps": 3, "target": "random"},
    ],
)
def test_attacks_take_the_passes_that_are_counted(given):
    config = STUDY | {"attacks": {"dataset": "test", "samples": 5, "perturbations": {"one": given}}}
    study = load_study(config)
    model, images = Counting(), torch.full((5, 8, 8, 3), 100, dtype=torch.uint8)
    method = method_of(study.attacks.perturbations["one"].spec | {"name": "one", "seed": 0})
    method(model, images, torch.arange(5), [f"image {number}" for number in range(5)])
    models = {key: Facts(outputs=10) for key in study.entries()}
    (work,) = by_rule(counts.work(study, models), "vit")["attack_model"]
    assert (work.forward, work.backward) == (model.forward_images, model.backward_images)


def test_recipes_are_counted_by_their_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    study = load_study(read_config(PROJECT / "studies/train-zoo.yaml"))
    models = dict.fromkeys([*study.entries(), *(f"recipes.{name}" for name in study.recipes)], VIT)
    trained = [each for each in counts.work(study, models) if each.rule == "train_model"]
    assert len(trained) == PLANNED["train-zoo"]["train_model"]
    for each in trained:
        recipe = study.recipes[each.model.removeprefix("recipes.")]
        steps = study.sample_count(recipe.dataset) // recipe.batch_size
        assert each.backward == recipe.epochs * steps * recipe.batch_size


# Models


@pytest.mark.parametrize(
    ("name", "size", "gigaflops", "images"),
    [  # images a second: timm's results/benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv
        ("resnet50.tv_in1k", 224, 8.2, 4218),
        ("vit_base_patch16_224.augreg_in1k", 224, 35.1, 2787),
        ("vit_base_patch16_384.augreg_in1k", 384, 111.0, 916),
        ("resnetv2_50x1_bit.goog_in21k_ft_in1k", 448, 33, 1019),
        ("resnetv2_152x4_bit.goog_in21k_ft_in1k", 480, 1679, 56.5),
    ],
)
def test_models_are_as_fast_as_timm_measured_them(name, size, gigaflops, images):
    spec = {"timm": name, "preprocessing": {"input_size": size}, "label_space": "imagenet-1k"}
    facts = anatomy.look_into(spec, None)
    assert facts.flops / 1e9 == pytest.approx(gigaflops, rel=0.02)
    # 26% is what the one free number of the estimate leaves at worst on all twelve models of the benchmark
    assert 1 / costs.DEVICES["rtx4090"].seconds(facts, "bfloat16") == pytest.approx(images, rel=0.27)
    transformer = "vit" in name
    assert ("local" in facts.limits, "attention" in facts.saved) == (transformer, transformer)
    assert 0 < facts.saved["block"] < 2 / facts.depth


def test_a_model_that_cannot_be_built_is_told(capsys):
    facts = anatomy.look_into({"timm": "resnet18", "kwargs": {"wrong": 1}, "label_space": "x"}, None)
    assert "wrong" in facts.failure
    assert "not counted" in capsys.readouterr().err


# Costs


@pytest.mark.parametrize(("start", "speed"), [(3.0, 1.0), (20.0, 0.4), (4.0, 3.0)])
def test_past_jobs_tell_the_start_and_the_speed_of_a_machine(start, speed):
    device, models = costs.DEVICES["cpu"], {"models.vit": VIT}
    works = [Work("predict", {"model": "vit"}, "models.vit", forward=number) for number in (10, 40, 300, 2_000)]
    took = [start + speed * costs.passes(each, models, device) for each in works]
    past = [costs.Measured(each, seconds, "here") for each, seconds in zip(works, took, strict=True)]
    rates = costs.calibrate(past, {"here": models}, device)
    for each, seconds in zip(works, took, strict=True):
        assert costs.cost(each, models, device, rates).cores == pytest.approx(seconds)
    other = Work("attack_spatial", {"model": "vit"}, "models.vit", forward=500)  # a rule without past jobs
    expected = start + speed * costs.passes(other, models, device)
    assert costs.cost(other, models, device, rates).cores == pytest.approx(expected)


def test_a_gpu_waits_for_what_is_slower():
    models = {"models.vit": VIT}
    read = Work("predict_streamed", {}, "models.vit", 1_000_000, decoded=1_000_000, precision="bfloat16")
    slow, fast = (costs.cost(read, models, costs.DEVICES[name]).device for name in ("a100", "h100"))
    assert slow == pytest.approx(costs.START + 1e6 * costs.DEVICES["a100"].seconds(VIT, "bfloat16"))
    assert fast == pytest.approx(costs.START + max(1e6 / 3_200, 1e6 * costs.DEVICES["h100"].seconds(VIT, "bfloat16")))


# Jobs, in a project


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    project = Project.fresh(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    return project


def test_the_paper_is_at_most_five_thousand_jobs():
    assert sum(PLANNED["paper"].values()) <= 5_000  # test_studies.py plans it


def test_plan_tells_the_papers_cost(project):
    assert invoke("plan", "--configfile", "studies/paper.yaml").output.startswith(
        "Error: config: datasets.val.source.path: no such file or folder"
    )
    Path("data/imagenet/val").mkdir(parents=True)
    result = invoke("plan", "--configfile", "studies/paper.yaml", "--gpu", "h100", "--json")
    found = json.loads(result.stdout)
    assert found["total"]["jobs"] == sum(PLANNED["paper"].values()) - 1  # `all` is none
    assert list(found["stages"])[:4] == ["weights, cards", "images", "corruptions", "gates"]
    assert found["largest"]["wildcards"] == {"model": "r152x4_21k", "dataset": "val_224", "family": "imagenet_c"}
    assert 0 < found["largest"]["hours"] < found["total"]["gpu_hours"] < found["other_devices"]["a100"]
    assert found["disk"]["needed"] == pytest.approx(86e9, rel=0.1)  # as the study's header says
    assert not found["not_counted"]


def test_plan_fits_a_terminal_and_warns_of_a_small_disk(project, monkeypatch):
    monkeypatch.setattr(disk, "free", lambda: 1_000_000)
    monkeypatch.setattr(costs, "device_at_hand", lambda: "cpu")
    whole = invoke("plan").output
    assert max(map(len, whole.splitlines())) <= 80
    assert "THE DISK IS TOO SMALL by" in whole
    assert "with `materialize: false`" in whole
    assert "predictions in float32, on CPU cores" in whole
    pilot = json.loads(invoke("plan", "--limit", 10, "--json").stdout)
    assert pilot["stages"]["inference"]["forward"] == 2 * (10 * (1 + 6) + 10 + 10 + 5)


def test_a_study_that_is_done_was_counted_right(finished, tmp_path, monkeypatch):
    project = finished.clone(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(costs, "device_at_hand", lambda: "cpu")
    config, results = Path("config.yaml"), Path("results/small")
    study = load_study(read_config(config))
    planned, models = jobs.plan(config), anatomy.models_of(study)
    assert not any(job.pending for job in planned)
    works = counts.work(study, models)
    of_jobs = {job.key: job for job in planned}
    counted = {each.rule for each in works}
    assert {each.key for each in works} == {key for key, job in of_jobs.items() if job.rule in counted}

    # passes are rows of what was found
    for each in works:
        outputs = of_jobs[each.key].outputs
        if each.rule.startswith("predict"):
            assert each.forward == sum(pq.read_metadata(path).num_rows for path in outputs)
        if each.rule == "transfer_perturbations":
            assert each.forward == pq.read_metadata(outputs[0]).num_rows
        if each.rule == "attack_spatial":
            rows = pq.read_table(outputs[0]).to_pylist()
            assert each.forward == sum(len(row["loss"]) + len(row["drawn_loss"]) for row in rows)
        if each.rule == "measure_internals":
            tables = {path.stem: path for path in outputs}
            rows = sum(pq.read_metadata(tables[name]).num_rows for name in ("lesions", "attention_limit"))
            assert each.forward == rows + 12 * (1 + (each.wildcards["model"] == "vit"))

    # the disk, within a quarter where it is not next to nothing
    needed, there = disk.space(study, models), disk.there(planned)
    assert needed.total == pytest.approx(there, rel=0.25)
    kept = disk.there(job for job in planned if job.rule == "corrupt_images")
    assert needed.streamed == pytest.approx(kept, rel=0.25)

    # the hours of each rule, within a factor of two, by what its jobs themselves took
    found = json.loads(invoke("plan", "--json").stdout)
    assert found["calibrated_by"] == {str(results): len(costs.measured(results, works, costs.DEVICES["cpu"]))}
    past = costs.measured(results, works, costs.DEVICES["cpu"])
    rates = costs.calibrate(past, {str(results): models}, costs.DEVICES["cpu"])
    for rule in sorted(counted):
        several = [job for job in past if job.work.rule == rule]
        told_seconds = sum(costs.cost(job.work, models, costs.DEVICES["cpu"], rates).cores for job in several)
        assert 0.5 < told_seconds / sum(job.seconds for job in several) < 2, rule

    result = invoke("status")
    assert "Nothing to be done." in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_status_tells_what_is_missing_and_what_failed(finished, tmp_path, monkeypatch):
    project = finished.clone(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    results = Path("results/small")
    # what is only needed by something that is there is not missed
    for missing in ("predictions/vit/test/digital", "tables/accuracy/vit", "tables/accuracy"):
        (results / f"{missing}.parquet").unlink()
    log = results / "logs/predict/vit.test.digital.log"
    log.write_text("10 images\nError: out of memory on cuda with a single image\n")
    os.utime(log, (time.time() + 1, time.time() + 1))
    for missing in ("spatial/resnet", "tables/spatial"):
        (results / f"{missing}.parquet").unlink()
    card = results / "models/resnet.json"
    failed = json.loads(card.read_text()) | {"failure": "the weights do not fit"}
    result = invoke("status")
    assert max(map(len, result.output.splitlines())) <= 80
    assert "no run is under way" in result.output
    assert f"Failed: predict vit, test, digital\n  {log}\n    Error: out of memory" in result.output
    assert "one after the other" in " ".join(result.output.split())
    card.write_text(json.dumps(failed))
    with (results / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told_data = json.loads(invoke("status", "--results", results, "--json").stdout)
    assert told_data["run"]["since"] <= time.time()
    assert told_data["failed"] == [
        {
            "rule": "predict",
            "wildcards": {"model": "vit", "dataset": "test", "family": "digital"},
            "log": str(log),
            "told": "Error: out of memory on cuda with a single image",
        }
    ]
    assert told_data["models"]["vit"]["inference"] == {"done": 1, "running": 0, "failed": 1, "missing": 0}
    assert told_data["models"]["resnet"]["attacks"]["missing"] >= 1
    assert told_data["failed_models"] == [{"what": "resnet", "reason": "the weights do not fit"}]
    assert told_data["seconds_left"] > 0


# States of jobs


@pytest.fixture
def job(tmp_path) -> Job:
    output, log, benchmark = (tmp_path / name for name in ("out.parquet", "job.log", "job.jsonl"))
    return Job("predict", {"model": "vit"}, (output,), log, benchmark, pending=True)


def write(path: Path, text: str, seconds: float = 0.0) -> None:
    path.write_text(text)
    os.utime(path, (time.time() + seconds, time.time() + seconds))


NOW = status_step.Lock("process 1 on another.host since 2026-01-01 00:00:00", 0.0)


def test_a_job_without_a_log_is_missing(job):
    assert status_step.judge(job, None, set()).state == "missing"


def test_a_job_that_ended_once_and_is_out_of_date_is_missing(job):
    write(job.log, "40 images", -60)
    write(job.benchmark, '{"s": 3}', -59)
    assert status_step.judge(job, None, set()).state == "missing"


@pytest.mark.parametrize(
    "text", ["Error: no", "ValueError: no", "torch.OutOfMemoryError: no", "KeyboardInterrupt", "Aborted!"]
)
def test_a_job_whose_log_ends_with_an_error_failed(job, text):
    write(job.log, f"100 images\n{text}\n\n", -60)
    found = status_step.judge(job, NOW, set())
    assert (found.state, found.told) == ("failed", text)


def test_a_job_that_was_killed_failed_once_its_run_is_over(job):
    write(job.log, "100 images\n", -60)
    assert status_step.judge(job, NOW, set()).state == "running"  # on another machine, for all that is known here
    found = status_step.judge(job, None, set())
    assert (found.state, found.told) == ("failed", "100 images (ended without an error: killed?)")


def test_a_job_runs_if_a_process_writes_its_log(job):
    with job.log.open("w") as file:
        written = status_step.logs_being_written()
        assert job.log not in written
        child = os.posix_spawn(
            "/bin/sleep", ["sleep", "30"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)]
        )
    try:
        write(job.log, "Error: of a try before", -60)
        found = status_step.judge(job, NOW, status_step.logs_being_written())
        assert found.state == "running"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_what_failed_in_an_earlier_run_has_its_turn(job):
    write(job.log, "Error: no", -600)
    lock = status_step.Lock("process 1 on here", time.time() - 60)
    assert status_step.judge(job, lock, set()).state == "missing"


def test_the_last_line_of_a_long_log_with_bars_is_found(job):
    job.log.write_bytes(b"x" * 20_000 + b"\n 10%\r 20%\r 30%\r\n\n")
    assert status_step.last_line(job.log) == "30%"


def test_a_lock_that_nobody_holds_is_no_run(tmp_path):
    assert status_step.find_lock(tmp_path / ".lock") is None
    path = tmp_path / ".lock"
    path.write_text(f"process 1 on here since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    assert status_step.find_lock(path) is None
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = status_step.find_lock(path)
    assert found.holder.startswith("process 1 on here")
    assert abs(found.since - time.time()) < 5


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (80, "80 s"), (200, "3.3 min"), (7_200, "2.0 hours"), (400_000, "111 hours")]
)
def test_times_are_told_as_people_say_them(seconds, text):
    assert told.duration(seconds) == text


def test_stages_are_the_files_of_rules(project):
    found = jobs.stages()
    assert list(dict.fromkeys(found.values()))[:6] == [
        "weights, cards",
        "images",
        "corruptions",
        "training",
        "gates",
        "inference",
    ]
    assert {found[name] for name in ("predict_clean", "predict", "predict_from_source")} == {"inference"}
