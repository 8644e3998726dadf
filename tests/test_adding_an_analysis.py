"""The worked example of docs/adding-an-analysis.md, followed to the letter, measures what it says, by hand and in the
workflow."""

import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from withstand import models, zoo
from withstand.images import ImageFile
from withstand.internals import Shuffled
from withstand.representations import representations
from withstand.shards import PartialShard
from withstand.subsets import Subset
from workflow_project import PROJECT, Project

PAGE = (PROJECT / "docs/adding-an-analysis.md").read_text()
BLOCKS = dict(re.findall(r"```(?:python|yml)\n# (\S+[^\n]*)\n(.*?)```", PAGE, re.DOTALL))
"""What the page says to write, by the file that it names, with the place in it."""

PACKAGE = "workflow/withstand"


def norms(path: Path, count: int) -> tuple[list[str], list[np.ndarray]]:
    """The ids of chosen samples of a file, and the mean norms of their tokens after each block, computed at once."""
    with ImageFile(path) as file:
        subset = Shuffled([PartialShard(file, Subset(count, 0).positions(file.samples.ids))], 0)
        images = torch.from_numpy(subset.read(subset.conditions[0], slice(None))).permute(0, 3, 1, 2).float() / 255
    found = representations(models.load({"zoo": "vit_p16_base"}, zoo.weights("vit_p16_base")), images)
    return subset.samples.ids, [layer.tokens.norm(dim=-1).mean(1).numpy() for layer in found]


def test_by_hand(tmp_path, monkeypatch, capsys):
    for name in ("token_norms.py", "run_token_norms.py"):
        (tmp_path / name).write_text(BLOCKS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path("run_token_norms.py")
    assert "token_norm" in capsys.readouterr().out

    table = pd.read_parquet("norms.parquet")
    ids, expected = norms(Path("images.h5"), 100)
    for block, values in enumerate(expected):
        rows = table[table["block"] == block].set_index("sample_id").loc[ids]
        # float32, batches of other sizes
        assert np.allclose(rows["norm"], values, rtol=1e-4)


def test_in_the_workflow(tmp_path):
    project = Project.fresh(tmp_path / "project")

    def append(name: str, text: str) -> None:
        path = project.folder / PACKAGE / name
        path.write_text((path.read_text() if path.exists() else "") + f"\n\n{text}")

    code = BLOCKS["token_norms.py"]
    fields, measure, rows = code.index("NORM_FIELDS = ["), code.index("def measure_"), code.index("def token_norm_rows")
    append("internals.py", code[fields:measure] + code[measure:rows])
    append("metrics/internals.py", code[rows:])
    for name in ("steps/tabulate_internals.py", "figures/token_norms.py"):
        append(name, BLOCKS[f"{PACKAGE}/{name}"])
    settings = f"{PACKAGE}/config_internals.py"
    heading, field = "class InternalsSettings(Strict):\n", "\n    @property\n    def experiments("
    project.edit(settings, heading, BLOCKS[f"{settings}, before InternalsSettings"] + f"\n\n{heading}")
    project.edit(settings, field, BLOCKS[f"{settings}, the last field of InternalsSettings"] + field)
    project.edit(f"{PACKAGE}/cli.py", "FIGURES = (\n", 'FIGURES = (\n    "token_norms",\n')
    (project.folder / "studies/token-norms.yaml").write_text(BLOCKS["studies/token-norms.yaml"])

    results = "results/token-norms"
    project.complete("--configfile", "studies/token-norms.yaml", "--", f"{results}/figures/token_norms.svg")
    table = pd.read_parquet(project.folder / results / "tables/token_norms.parquet")
    assert table.groupby("model").size().to_dict() == {"resnet": 8, "vit": 6}
    assert (table["images"] == 40).all() and ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    _, expected = norms(project.folder / results / "images/test/clean/0000.h5", 40)
    vit = table[table["model"] == "vit"].sort_values("block")
    assert np.allclose(vit["value"], [values.mean() for values in expected], rtol=1e-4)
    assert "ResNet" in (project.folder / results / "figures/token_norms.svg").read_text()


def test_what_the_page_names_is_there():
    for module, names in re.findall(r"`(withstand(?:\.\w+)+)\.(\w+)`", PAGE):
        assert hasattr(__import__(module, fromlist=[names]), names)
