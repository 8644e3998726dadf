"""The worked example of docs/adding-an-analysis.md, followed to the letter, measures what it says."""

import re
import runpy

import numpy as np
import pandas as pd
import torch

from withstand import models, zoo
from withstand.images import ImageFile
from withstand.internals import Subset
from withstand.representations import representations
from workflow_project import PROJECT

PAGE = (PROJECT / "docs/adding-an-analysis.md").read_text()
BLOCKS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


def test_the_example(tmp_path, monkeypatch, capsys):
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path("run_token_norms.py")
    assert "token_norm" in capsys.readouterr().out

    table = pd.read_parquet("norms.parquet")
    with ImageFile("images.h5") as file:
        subset = Subset([file], 100, 0)
        pixels = torch.from_numpy(subset.read(subset.conditions[0], slice(None))).permute(0, 3, 1, 2).float() / 255
    found = representations(models.load({"zoo": "vit_p16_base"}, zoo.weights("vit_p16_base")), pixels)
    for block, layer in enumerate(found):
        rows = table[table["block"] == block].set_index("sample_id").loc[subset.samples.ids]
        # float32, batches of other sizes
        assert np.allclose(rows["norm"], layer.tokens.norm(dim=-1).mean(1), rtol=1e-4)


def test_what_the_page_names_is_there():
    for module, names in re.findall(r"`(withstand(?:\.\w+)+)\.(\w+)`", PAGE):
        assert hasattr(__import__(module, fromlist=[names]), names)
