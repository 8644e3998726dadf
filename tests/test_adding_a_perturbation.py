"""The worked example of docs/adding-a-perturbation.md, followed to the letter, gives a corruption that works."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import torch

from withstand.corruptions import corrupt
from workflow_project import PROJECT

PAGE = (PROJECT / "docs/adding-a-perturbation.md").read_text()
BLOCKS = dict(re.findall(r"```(?:python|yml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
"""What the page says to write, by the file that it names."""

TABLE = "CORRUPTIONS: dict[str, Corruption] = {\n"

FACTS = """
import json
from pathlib import Path
import torch
from withstand import config, dag
from withstand.corruptions import corrupt
study = config.load_study(config.read_config(Path("studies/dead-rows.yaml")))
images = torch.full((2, 400, 64, 3), 200, dtype=torch.uint8)
black = [(corrupt(images, "dead_rows", severity, ["a", "b"], 0) == 0).all(3).all(2) for severity in (1, 5)]
print(json.dumps([study.evaluation_sets(), [rows.float().mean().item() for rows in black]]))
"""


def test_the_example(tmp_path):
    for folder in ("workflow", "tests"):
        skipped = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=skipped)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/dead-rows.yaml").write_text(BLOCKS["studies/dead-rows.yaml"])
    functions = tmp_path / "workflow/withstand/corruptions/digital.py"
    functions.write_text(functions.read_text() + "\n\n" + BLOCKS["workflow/withstand/corruptions/digital.py"])
    constants = tmp_path / "workflow/withstand/corruptions/constants.py"
    text = constants.read_text()
    assert TABLE in text
    constants.write_text(text.replace(TABLE, TABLE + BLOCKS["workflow/withstand/corruptions/constants.py"]))

    run = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path / "workflow")}, "text": True}
    answer = subprocess.run([sys.executable, "-c", FACTS], capture_output=True, check=True, **run)
    sets, (few, many) = json.loads(answer.stdout)
    assert sets == [["test", "clean"], ["test", "sensor"]]
    # 800 rows: four standard errors of a share of 5%, and of a half
    assert abs(few - 0.05) < 0.031
    assert abs(many - 0.5) < 0.071

    command = [sys.executable, "-m", "pytest", "-q", "tests/test_corruptions.py", "-k", "dead_rows"]
    tests = subprocess.run(command, capture_output=True, check=False, **run)
    assert tests.returncode == 0, tests.stdout
    assert " passed" in tests.stdout


def test_the_call_by_hand():
    (call,) = re.findall(r"```python\n(import torch\n.*?)```", PAGE, re.DOTALL)
    exec(call, names := {})
    expected = corrupt(names["images"], "fog", 3, ["a", "b", "c", "d"], 0)
    assert torch.equal(names["foggy"], expected)
    assert not np.array_equal(expected, names["images"])
