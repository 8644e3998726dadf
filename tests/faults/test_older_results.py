"""Results of another version: made again, read properly, or named in a line; never silently wrong."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import h5py
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from contents import differences, of_study
from studies import TABLES

from withstand.cli import main

SAYS = "; delete it and run again"


def without_column(path: Path, name: str) -> None:
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(name), path)


def without_fact(path: Path, name: str) -> None:
    """Leave out what a Parquet file or a model card says of itself."""
    if path.read_bytes().startswith(b"{"):
        facts = json.loads(path.read_text())
        del facts[name]
        path.write_text(json.dumps(facts))
        return
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"withstand"])
    del facts[name]
    pq.write_table(table.replace_schema_metadata({b"withstand": json.dumps(facts)}), path)


def without_part(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        del (file.attrs if name in file.attrs else file)[name]


def of_older_format(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = name


PREDICT = """[{"dataset": "test", "family": "digital", "images": ["images/test/digital/0000.h5"], "output": "new"}]"""
READ_IMAGES = f"predict '{PREDICT}' --card models/vit.json"
SUMMARISE = "summarise FILE --accuracy new --calibration other --images more"

LACKING = [
    ("images/test/digital/0000.h5", of_older_format, "withstand-images-1", READ_IMAGES),
    ("images/test/digital/0000.h5", without_part, "content", READ_IMAGES),
    ("images/test/clean/0000.h5", without_part, "labels", "corrupt-images FILE --corruptions [] --output new"),
    (
        "attacks/vit/pgd.h5",
        *(without_part, "magnitude"),
        "draw-perturbations FILE --table tables/patch_alignment.parquet --models tables/models.parquet"
        ' --style \'{"models": ["vit"]}\' --svg new --png n --data d',
    ),
    ("internals/vit/grams.h5", of_older_format, "withstand-grams-0", "tabulate-similarity FILE --output new"),
    ("predictions/vit/test/clean.parquet", without_column, "loss", SUMMARISE),
    ("predictions/vit/test/clean.parquet", without_column, "sample_id", SUMMARISE),
    ("predictions/vit/test/clean.parquet", without_fact, "policy", SUMMARISE),
    ("internals/vit/lesions.parquet", without_column, "draw", "tabulate-internals lesions FILE --output new"),
    (
        "tables/accuracy.parquet",
        *(without_column, "policy"),
        "tabulate-trends --accuracy FILE --models tables/models.parquet --reference test --dataset test"
        " --trends new --effective-robustness other",
    ),
    ("tables/accuracy/vit.parquet", without_fact, "versions", "join-summaries FILE --output new"),
    ("tables/images/vit.parquet", without_column, "trials", "tabulate-comparisons FILE --output new"),
    ("models/vit.json", without_fact, "parameters", "tabulate-models FILE --descriptions {} --output new"),
]


@pytest.fixture
def results(finished, tmp_path, monkeypatch) -> Path:
    """The results of a study, which the tests may change one file of."""
    folder = shutil.copytree(finished.folder / "results/small", tmp_path / "small", copy_function=os.link)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(("name", "age", "missing", "command"), LACKING)
def test_a_step_names_the_file_of_another_version(results, name, age, missing, command):
    own = Path(shutil.copyfile(name, f"{name}.own"))
    age(own, missing)
    own.replace(name)
    outcome = CliRunner().invoke(main, [part.replace("FILE", name) for part in shlex.split(command)])
    assert outcome.exit_code == 1, outcome.output
    assert isinstance(outcome.exception, SystemExit), outcome.exception
    assert re.fullmatch(rf"Error: {re.escape(name)}: [^\n]+{SAYS}\n", outcome.output), outcome.output
    assert missing in outcome.output
    assert not Path("new").exists()


def test_results_without_records_are_taken_as_they_are_and_that_is_told(tiny, tmp_path):
    project = tiny.clone(tmp_path / "project")
    before = of_study(project.folder)
    shutil.rmtree(project.folder / ".snakemake")
    files = sum(len(list(project.folder.glob(f"results/{kind}"))) for kind in OUTPUTS)
    told = f"Snakemake has no record of how {files} files were made, and takes them as they are; with --forceall"
    for arguments in (("--dry-run",), ("--cores", "1")):
        code, output = project.run(*arguments, *TABLES)
        assert code == 0
        assert told in output and "Nothing to be done" in output
    assert differences(of_study(project.folder), before) == []


OUTPUTS = ("weights/*.safetensors", "small/models/*", "small/images/**/*.h5", "small/predictions/**/*.parquet")
OUTPUTS += ("small/tables/*.parquet", "small/tables/*/*.parquet")


def test_what_rules_that_are_gone_have_left_disturbs_nothing(tiny, tmp_path, monkeypatch):
    project = tiny.clone(tmp_path / "project")
    results = project.folder / "results/small"
    left = [
        *("tables/of_old.parquet", "predictions/vit/of_old.parquet", "predictions/vit/test/of_old.parquet"),
        *("images/test/of_old.h5", "models/of_old.json", "figures/of_old.svg"),
    ]
    for name in left:
        (results / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(results / "tables/failures.parquet", results / name)
    (results / "images/test/of_old.h5").write_bytes(b"")
    code, output = project.run("--cores", "1", *TABLES)
    assert code == 0 and "Nothing to be done" in output
    named = re.findall(r"^(\S+) is damaged .*, and no job of this run makes it$", output, re.MULTILINE)
    assert named == [f"results/small/{name}" for name in ("images/test/of_old.h5", "models/of_old.json")]
    monkeypatch.chdir(project.folder)
    garbage = CliRunner().invoke(main, ["gc", "config.yaml"]).stdout
    assert {name for name in left if f"results/small/{name}" in garbage} == set(left)
    asked = CliRunner().invoke(main, ["query", "select count(*) from predictions", "--results", "results/small"])
    assert asked.exit_code == 0, asked.output
