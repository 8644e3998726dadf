"""No code loads pickles: by what its sources say, and with files that would run code if it did."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from withstand import config, models
from withstand.datasets.files import SourceError
from withstand.datasets.registry import open_source
from withstand.errors import ModelError
from withstand.steps.train import TrainingError, _resume
from workflow_project import PROJECT

SOURCES = [path for folder in ("workflow", "benchmarks") for path in sorted((PROJECT / folder).rglob("*.py"))]

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
LOADERS = {"read_pickle", "load_module", "full_load", "unsafe_load", "load_state_dict_from_url"}
RUNNERS = {"eval", "exec", "compile", "__import__"}


def dangers(source: str) -> Iterator[str]:
    """What in a source loads pickles, or runs what it is given."""
    tree = ast.parse(source)
    safe = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and _names(node.bases) & SAFE_YAML}
    for node in ast.walk(tree):
        imported = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
        yield from (f"import {name}" for name in imported if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from (f"{ast.unparse(node.func)}, line {node.lineno}" for _ in range(_is_dangerous(node, safe)))


SAFE_YAML = {"SafeLoader", "CSafeLoader"}


def _is_dangerous(call: ast.Call, safe_loaders: set[str]) -> bool:
    called, given = ast.unparse(call.func), {key.arg: ast.unparse(key.value) for key in call.keywords}
    name = called.split(".")[-1]
    if called in RUNNERS or name in LOADERS or given.get("shell") == "True" or called == "os.system":
        return True
    if called in ("np.load", "numpy.load"):
        return given.get("allow_pickle") != "False"
    if called == "torch.load":
        return given.get("weights_only") != "True"
    if called in ("torch.jit.load", "torch.package.PackageImporter", "torch.hub.load"):
        return True
    if called in ("yaml.load", "yaml.load_all"):
        return not _names([*call.args[1:], *(key.value for key in call.keywords)]) & (SAFE_YAML | safe_loaders)
    return False


def _names(nodes: list[ast.expr]) -> set[str]:
    return {ast.unparse(node).split(".")[-1] for node in nodes}


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from joblib import load", "import dill as d", "pd.read_pickle(path)"),
        *("torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "eval(text)"),
        *("np.load(path, allow_pickle=True)", "yaml.load(file, yaml.Loader)", "yaml.load(file, Loader=Own)"),
        *("yaml.unsafe_load(file)", "subprocess.run(text, shell=True)", "torch.hub.load(a, b)"),
    ],
)
def test_dangers_are_seen(source):
    assert list(dangers(source))


def test_no_source_loads_pickles_or_runs_what_it_is_given():
    assert len(SOURCES) > 100
    found = {str(path.relative_to(PROJECT)): list(dangers(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path: those for path, those in found.items() if those} == {}


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path) -> Iterator[Payload]:
    """A payload that works, and has not when the test ends."""
    payload = Payload(tmp_path / "pwned")
    pickle.loads(pickle.dumps(payload))
    payload.path.unlink()
    yield payload
    assert not payload.path.exists()


TINY = {
    "timm": "vit_tiny_patch16_224",
    "kwargs": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 10},
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "safetensors"])
def test_a_checkpoint_with_a_pickle_is_refused(tmp_path, trap, suffix):
    for number, write in enumerate((pickle.dump, torch.save)):
        path = tmp_path / f"{number}.{suffix}"
        with path.open("wb") as file:
            write({"state_dict": trap}, file)
        with pytest.raises(ModelError, match=rf"{path.name}: (neither safetensors nor|not a safetensors file)"):
            models.describe(TINY, path)


def test_arrays_with_pickles_are_refused(tmp_path, trap):
    hidden = np.empty(4, dtype=object)
    hidden[:] = [trap] * 4
    np.save(tmp_path / "hidden.npy", hidden)
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(4))
    for images, labels in (("hidden", "labels"), ("images", "hidden")):
        source = {
            **{"kind": "arrays", "images_path": str(tmp_path / f"{images}.npy"), "size": 8, "classes": list("abcd")},
            **{"labels_path": str(tmp_path / f"{labels}.npy"), "label_space_name": "own"},
        }
        with pytest.raises(SourceError, match=r"hidden\.npy: "):
            list(open_source(source).scan())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_state_of_training_with_a_pickle_is_refused(tmp_path, trap):
    torch.save({"origin": {"recipe": trap}, "epoch": 1}, tmp_path / "a.checkpoint.pt")
    with pytest.raises(TrainingError, match=r"a\.checkpoint\.pt: not a training state"):
        _resume(tmp_path / "a.checkpoint.pt", {"recipe": {}}, None, None)


def test_a_config_makes_no_objects(tmp_path, trap):
    path = tmp_path / "config.yaml"
    path.write_text(f"study: !!python/object/apply:os.system ['touch {trap.path}']\n")
    assert issubclass(config._UniqueKeys, yaml.SafeLoader)
    with pytest.raises(config.ConfigError, match=r"config\.yaml"):
        config.read_config(path)
