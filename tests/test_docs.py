"""What the pages show must be true: configs that load, files that exist, commands that are there."""

import re

import pytest
import yaml

from withstand.cli import main
from withstand.config import load_study
from workflow_project import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]

BASE = {
    "study": "page",
    "models": {"vit": {"zoo": "vit_p8_base"}},
    "datasets": {"test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 1000}},
    "images": {"size": 64},
}


def blocks() -> list:
    found = []
    for page in PAGES:
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)):
            found.append(pytest.param(block, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("block", blocks())
def test_configs_on_pages_are_valid(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("weights", "data/imagenet/val", "data/pets"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("weights/mine", "weights/small", "mine"):
        (tmp_path / f"{name}.safetensors").touch()
    assert load_study(BASE | yaml.safe_load(block)).models


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'<img src="([^"]+)"', text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_targets_exist(page):
    text = page.read_text()
    commands = set(re.findall(r"`withstand ([a-z][a-z-]+)", text))
    assert commands <= set(main.commands)
    targets = set(re.findall(r"\bmake ([a-z-]+)(?= {2,}#|`|$| NAME)", text, re.MULTILINE))
    makefile = (PROJECT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_lock_file_names_no_index():
    text = (PROJECT / "requirements.lock").read_text()
    assert "://" not in text
    assert text.count("--hash=sha256:") > 500
