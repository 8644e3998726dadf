"""The names that timm knows, read from its sources: importing timm would cost seconds."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

_ENTRYPOINT = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
_NPZ_CLASS = re.compile(r"^class (\w+)\((?:(?!^class ).*\n)*?    def load_pretrained\(self", re.MULTILINE)
_TAG = re.compile(r"""^\s+['"](\w+)\.(\w+)['"]\s*:""", re.MULTILINE)


@lru_cache
def modules() -> dict[str, str]:
    """The module of ``timm.models`` that defines each name that ``timm.create_model`` accepts, without tags."""
    return {name: module for module, text in _sources().items() for name in _ENTRYPOINT.findall(text)}


def architectures() -> frozenset[str]:
    """Every name that ``timm.create_model`` accepts, without tags."""
    return frozenset(modules())


@lru_cache
def tags() -> dict[str, tuple[str, ...]]:
    """The pretrained tags of each architecture, timm's default first."""
    found: dict[str, list[str]] = {}
    for text in _sources().values():
        for name, tag in _TAG.findall(text):
            if tag == "untrained":
                continue
            found.setdefault(name, []).append(tag)
    return {name: tuple(names) for name, names in found.items()}


@lru_cache
def npz_architectures() -> frozenset[str]:
    """The architectures that can read Google's ``.npz``, and some beside them: all of the modules that name a class
    with a loader for them."""
    classes = {name for text in _sources().values() for name in _NPZ_CLASS.findall(text)}
    named = re.compile(rf"\b(?:{'|'.join(sorted(classes)) or '(?!)'})\b")
    return frozenset(name for text in _sources().values() if named.search(text) for name in _ENTRYPOINT.findall(text))


@lru_cache
def _sources() -> dict[str, str]:
    package = find_spec("timm")
    if package is None or package.origin is None:
        return {}
    folder = Path(package.origin).parent / "models"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}
