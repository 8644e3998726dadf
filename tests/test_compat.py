"""What the package needs of other libraries: their lowest versions, and names that they do not promise."""

import ast
import importlib
import pkgutil
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version

import withstand
from withstand.compat import mbconv, replace_planning
from withstand.errors import WithstandError
from withstand.interventions import Masked
from workflow_project import PROJECT

MODULES = [module.name for module in pkgutil.walk_packages(withstand.__path__, "withstand.")]

DOCUMENTED = {"_exit", "_fields"}
"""Names of the standard library that are private only by their looks."""


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_every_module_can_be_imported(module):
    importlib.import_module(module)


def private_names(path: Path) -> set[str]:
    """Private attributes of what is not the module's own, and imports from private modules."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found |= set() if ast.unparse(node.value) in ("self", "cls") else {node.attr}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            found |= {part.value for part in node.args[1:2] if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.Import):
            found |= {part for name in node.names for part in name.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(name.name for name in node.names)}
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in found if re.match(r"_[a-z]", name)} - own - DOCUMENTED


def test_private_names_of_other_libraries_stand_in_one_module():
    package = Path(withstand.__file__).parent
    found = {path.name: private_names(path) for path in package.rglob("*.py")}
    assert {name: names for name, names in found.items() if names} == {
        "compat.py": {"_build_dag", "_modules", "_efficientnet_blocks"}
    }


def test_a_snakemake_that_plans_in_another_way_is_an_error_in_one_line():
    with pytest.raises(WithstandError, match=r"^snakemake 9\.\S+ has no Workflow\._build_dag, .* requirements\.lock$"):
        replace_planning(SimpleNamespace(), lambda own: own())


def test_a_timm_without_its_blocks_is_an_error_in_one_line(monkeypatch):
    monkeypatch.delattr("timm.models._efficientnet_blocks")
    monkeypatch.setitem(sys.modules, "timm.models._efficientnet_blocks", None)
    with pytest.raises(
        WithstandError, match=r"^timm 1\.\S+ has no timm\.models\._efficientnet_blocks, .* requirements\.lock$"
    ):
        mbconv()


def test_limited_attention_needs_a_timm_with_bool_masks(monkeypatch):
    monkeypatch.delattr("timm.layers.attention.resolve_self_attn_mask", raising=False)
    with pytest.raises(WithstandError, match=r"^limited attention needs timm 1\.0\.26, and timm 1\.\S+ is installed$"):
        Masked(torch.nn.Identity(), torch.ones(2, 2, dtype=torch.bool))


def test_planning_is_called_with_snakemakes_own():
    called = []
    workflow = SimpleNamespace(_build_dag=lambda: called.append("own"))
    replace_planning(workflow, lambda own: (called.append("first"), own()))
    workflow._build_dag()
    assert called == ["first", "own"]


def pins(name: str) -> dict[str, Version]:
    found = re.findall(r"^([\w-]+)==(\S+)", (PROJECT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {library: Version(version) for library, version in found}


def dependencies() -> list[Requirement]:
    described = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Requirement(text) for text in described["project"]["dependencies"]]


@pytest.mark.parametrize("requirement", dependencies(), ids=lambda requirement: requirement.name)
def test_the_lowest_version_of_each_library_is_the_one_tested(requirement):
    lowest = next(Version(part.version) for part in requirement.specifier if part.operator == ">=")
    ours = pins("tests/floors.in").get(requirement.name, lowest)
    assert pins("tests/floors.lock")[requirement.name] == ours >= lowest, "after a change of pyproject.toml: make lock"
    assert pins("requirements.lock")[requirement.name] in requirement.specifier
