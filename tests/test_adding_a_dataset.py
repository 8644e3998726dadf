"""The worked example of docs/adding-a-dataset.md, followed to the letter, gives a set and a study that work."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import ModuleType

import numpy as np

from withstand.datasets import catalogue, splits
from withstand.datasets.registry import CORRUPTED_KINDS, FILE_KINDS, GENERATED_KINDS, open_source
from withstand.images import ImageFile
from withstand.provenance import code_digest
from withstand.steps.datasets import prepare_images
from workflow_project import PROJECT

PAGE = (PROJECT / "docs/adding-a-dataset.md").read_text()
BLOCKS = dict(re.findall(r"```(?:python|yml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
"""What the page says to write, by the file that it names."""

PREPARE = "withstand.steps.datasets:prepare_images"
FACTS = """
import json, sys
from pathlib import Path
from withstand import config, config_docs, provenance
from withstand.datasets import registry
study = config.load_study(config.read_config(Path("studies/gratings.yaml")))
codes = [provenance.code_digest(sys.argv[1], f"withstand.datasets.{kind}:Source") for kind in registry.GENERATED_KINDS]
print(json.dumps([study.evaluation_sets(), "## Gratings" in config_docs.reference_page(), codes]))
"""


def test_the_images_of_the_example_can_be_told_apart_and_made_again(tmp_path, monkeypatch):
    module = ModuleType("withstand.datasets.gratings")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(BLOCKS["workflow/withstand/datasets/gratings.py"], vars(module))
    exec(BLOCKS["workflow/withstand/datasets/splits.py"], sizes := {})
    monkeypatch.setattr(splits, "GRATINGS", sizes["GRATINGS"], raising=False)
    spec = {"kind": "gratings", "split": "test"}
    ids = open_source(spec).sample_ids(40)
    assert ids == sorted(ids) == open_source(spec).sample_ids(60)[:40]
    for start in (0, 30):
        prepare_images(open_source(spec), start, 40, size=64, codec="raw", output=tmp_path / f"{start}.h5")
    with ImageFile(tmp_path / "0.h5") as whole, ImageFile(tmp_path / "30.h5") as part:
        samples, pixels = whole.samples, whole.read("clean", 0, slice(None))
        assert part.samples.ids == ids[30:]
        assert np.array_equal(part.read("clean", 0, slice(None)), pixels[30:]), "a sample is a function of its id"
    assert np.bincount(samples.labels).tolist() == [20, 20]
    assert (samples.label_space, samples.subset.tolist(), samples.texture_labels) == ("gratings", [0, 1], None)
    others = [open_source(spec | {"split": split}).read(f"{split}-000000") for split in ("train", "validation")]
    assert len(np.unique([*pixels, *others], axis=0)) == 42
    down, right = (np.abs(np.diff(pixels.astype(int), axis=axis)).mean((1, 2, 3)) for axis in (1, 2))
    assert [samples.class_names[label] == "horizontal" for label in samples.labels] == (down > right).tolist()


def test_the_study_of_the_example_is_valid_and_other_kinds_stay_as_they_are(tmp_path):
    shutil.copytree(PROJECT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "studies").mkdir()
    for name, block in BLOCKS.items():
        path, last_name = tmp_path / name, re.findall(r"^(\w+)(?: =|:)", block, re.MULTILINE)[-1]
        text = path.read_text() if path.exists() else ""
        changed = re.search(rf"^{last_name} = .*\n([ )].*\n)*", text, re.MULTILINE)
        old = changed[0] if changed else ""
        assert set(re.findall(r"\w+", old)) <= set(re.findall(r"\w+", block)), f"{name}: the page is out of date"
        path.write_text(text.replace(old, block) if old else text + block)
    command, paths = [sys.executable, "-c", FACTS, PREPARE], {"PYTHONPATH": str(tmp_path / "workflow")}
    output = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, stdout=subprocess.PIPE, check=True).stdout
    sets, documented, (*codes, new) = json.loads(output)
    assert (sets, documented) == ([["test", "clean"], ["test", "noise"]], True)
    own = [code_digest(PREPARE, f"withstand.datasets.{kind}:Source") for kind in GENERATED_KINDS]
    assert codes == own, "nothing that is there runs again"
    assert new not in codes


def test_the_page_knows_the_sizes_of_the_sets():
    sizes = [*splits.SHAPETEX.values(), splits.SHAPETEX_RENDITIONS, splits.SHAPETEX_CUE_CONFLICT]
    told = re.findall(r"(?<=[` ])\d+,000(?=[, ])", PAGE[PAGE.index("## Generated sets") :])
    assert [int(size.replace(",", "")) for size in told][:6] == sizes


def test_the_page_knows_every_published_set():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", PAGE, re.MULTILINE)
    told, known = {}, {}
    for kind, text in rows:  # one of them is a set, and corrupted copies of it
        told.setdefault(kind, set()).update(int(number.replace(",", "")) for number in re.findall(r"\d[\d,]+", text))
    for name, count in catalogue.SAMPLES.items():
        known.setdefault(re.sub("_(train|test|val)$", "", name), set()).add(count)
    assert {kind: told.get(kind) for kind in known} == known
    assert told.keys() >= {*FILE_KINDS, *CORRUPTED_KINDS}
