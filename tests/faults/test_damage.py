"""Files among the results that are not whole: found, named and made again, whatever their time says."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner
from contents import differences, of_study
from studies import TABLES

from withstand import zoo
from withstand.cli import main
from withstand.integrity import damage, find_damaged
from workflow_project import Project

SUFFIXES = (".h5", ".parquet", ".safetensors", ".json")

DAMAGE = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "head": lambda content: content[:50],
    "half": lambda content: content[: len(content) // 2],
    "but the last bytes": lambda content: content[:-9],
    "zeros from the middle": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
}


def results_of(project: Project) -> list[Path]:
    """One file of every kind that says itself how long it is."""
    found = sorted(path for path in project.folder.glob("results/**/*.*") if path.suffix in SUFFIXES)
    return list({(path.parent.name, path.name): path for path in found}.values())


def spoil(path: Path, how: str) -> None:
    """Damage a file, and leave its times as they are."""
    times = path.stat()
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("how", DAMAGE)
def test_all_kinds_of_files_are_whole_or_found(finished, tmp_path, how):
    for number, path in enumerate(results_of(finished)):
        assert damage(path) is None, path
        if how == "zeros from the middle" and path.suffix in (".h5", ".safetensors"):
            continue  # their ends say nothing
        copied = tmp_path / f"{number}{path.suffix}"
        shutil.copyfile(path, copied)
        spoil(copied, how)
        assert damage(copied), path
    found = find_damaged([tmp_path])
    assert len(found) == len(list(tmp_path.iterdir())) > 10
    assert {path.suffix for path in found} >= {".parquet", ".json"}


@pytest.mark.parametrize("version", ["earliest", "v108", "v110", "latest"])
def test_hdf5_of_every_version_says_how_long_it_is(tmp_path, version):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version) as file:
        file["x"] = range(1000)
    size = path.stat().st_size
    assert damage(path) is None
    os.truncate(path, size - 1)
    assert damage(path) == f"it ends at {size - 1:,} of {size:,} bytes"


def test_temporary_files_and_files_of_others_are_not_judged(tmp_path):
    for name in (".a.h5.0123.tmp", ".b.parquet", "notes.txt", "plain"):
        (tmp_path / name).write_bytes(b"")
    assert find_damaged([tmp_path, tmp_path / "nowhere", tmp_path / "nothing.h5"]) == {}


def test_damaged_files_are_named_and_made_again(tiny, tmp_path):
    project = tiny.clone(tmp_path / "project")
    before, results = of_study(project.folder), project.folder / "results"
    spoiled = {
        "weights/zoo-vit_p16_base.safetensors": "half",
        "small/models/vit.json": "zeros",
        "small/images/test/clean/0000.h5": "half",
        "small/images/test/digital/0000.h5": "empty",
        "small/predictions/vit/test/clean.parquet": "half",
        "small/predictions/vit/test/digital.parquet": "zeros",
        "small/tables/accuracy.parquet": "but the last bytes",
    }
    sizes = {name: (results / name).stat().st_size for name in spoiled}
    for name, how in spoiled.items():
        spoil(results / name, how)
    (results / "small/predictions/gone").mkdir()
    (results / "small/predictions/gone/digital.parquet").write_bytes(b"")

    code, looked = project.run("--dry-run", *TABLES)
    assert code == 0
    assert "predict_clean" in looked and "fetch_weights" in looked
    assert (results / "small/images/test/digital/0000.h5").stat().st_size == 0, "a dry-run changes nothing"
    output = project.complete(*TABLES)
    for text in (looked, output):
        told = dict(re.findall(r"^results/(\S+) is damaged \((.*)\), and is made again$", text, re.MULTILINE))
        assert told.keys() == spoiled.keys()
        half = sizes["small/images/test/clean/0000.h5"]
        assert told["small/images/test/clean/0000.h5"] == f"it ends at {half // 2:,} of {half:,} bytes"
        assert told["small/images/test/digital/0000.h5"] == "it is empty"
        gone = (
            "results/small/predictions/gone/digital.parquet is damaged (it is empty), and no job of this run makes it"
        )
        assert gone in text
    assert "Traceback" not in output
    (results / "small/predictions/gone/digital.parquet").unlink()
    assert differences(of_study(project.folder), before) == []
    assert project.planned(*TABLES) == {}


def test_status_names_damaged_files(tiny, tmp_path, monkeypatch):
    project = tiny.clone(tmp_path / "project")
    spoil(project.folder / "results/small/images/test/digital/0000.h5", "empty")
    monkeypatch.chdir(project.folder)
    told = CliRunner().invoke(main, ["status"], catch_exceptions=False).stdout
    line = "Damaged: results/small/images/test/digital/0000.h5 (it is empty); the next run makes it again"
    assert line in " ".join(told.split())


def test_a_users_own_damaged_checkpoint_is_a_failure_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = {"timm": "vit_tiny_patch16_224", "kwargs": {"depth": 1, "embed_dim": 24, "num_heads": 2}}
    shutil.copyfile(zoo.weights("vit_p16_base"), "mine.safetensors")
    spoil(Path("mine.safetensors"), "half")
    arguments = ["describe-model", "--model", "mine", "--spec", json.dumps(spec), "--weights", "mine.safetensors"]
    outcome = CliRunner().invoke(main, [*arguments, "--output", "card.json"])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(Path("card.json").read_text())["failure"].startswith("mine.safetensors: not a safetensors file")


PREDICT = """[{"dataset": "test", "family": "digital", "images": ["images/test/digital/0000.h5"], "output": "new"}]"""

STEPS = {
    "images/test/clean/0000.h5": "corrupt-images FILE --corruptions [] --output new",
    "images/test/digital/0000.h5": f"predict '{PREDICT}' --card models/vit.json",
    "images/missed/missed.parquet": (
        "prepare-images --source SOURCE --selection FILE --samples 0:5 --size 64 --output new"
    ),
    "predictions/vit/test/clean.parquet": "summarise FILE --accuracy new --calibration other --images more",
    "predictions/vit/conflict/clean.parquet": "tabulate-shape-bias FILE --output new",
    "attacks/vit/pgd.h5": "tabulate-patch-alignment FILE --card models/vit.json --source {} --patch-sizes [] -o new",
    "transfer/vit.parquet": "tabulate-transfer FILE --clean predictions/vit/test/clean.parquet --output new",
    "spatial/vit.parquet": "tabulate-spatial FILE --clean predictions/vit/test/clean.parquet --output new",
    "internals/vit/grams.h5": "tabulate-similarity FILE --output new",
    "internals/vit/lesions.parquet": "tabulate-internals lesions FILE --output new",
    "models/vit.json": "tabulate-models FILE --descriptions {} --output new",
    "tables/accuracy/vit.parquet": "join-summaries FILE --output new",
    "tables/failures.parquet": "tabulate-failures FILE --output new",
    "tables/models.parquet": (
        "draw model_similarity --table tables/similarity.parquet --models FILE --style {} --svg new --png n --data d"
    ),
    "tables/images/vit.parquet": "tabulate-comparisons FILE --output new",
    "tables/attention_limit.parquet": "write-report FILE --spec {} --output new",
}
"""A step that reads each kind of file."""


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("how", ["half", "zeros"])
def test_a_step_names_the_damaged_file_that_it_reads(finished, tmp_path, monkeypatch, name, how):
    """In the middle of a run, which looks at files only at its beginning."""
    monkeypatch.chdir(shutil.copytree(finished.folder / "results/small", tmp_path / "small", copy_function=os.link))
    content = Path(name).read_bytes()
    Path(name).unlink()  # the others are those of the fixture
    Path(name).write_bytes(DAMAGE[how](content))
    source = '{"kind": "shapetex", "split": "pool"}'
    arguments = [part.replace("FILE", name).replace("SOURCE", source) for part in shlex.split(STEPS[name])]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 1, outcome.output
    assert isinstance(outcome.exception, SystemExit), outcome.exception
    assert re.fullmatch(rf"Error: {re.escape(name)}: [^\n]+; delete it and run again\n", outcome.output)
    assert not Path("new").exists()
