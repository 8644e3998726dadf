"""What made a result: digests of the code behind it, and the versions of the libraries.

Snakemake reruns a job when its params change, and sees no change in an imported module. So params carry
:func:`code_digest` of the functions that shape the job's result: a digest of their syntax trees and of all that
they refer to in this package, their own closure. Comments, docstrings, layout and neighbours do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from withstand import rehearsed
from withstand.random import GENERATOR

PACKAGE = "withstand"

_NEUTRAL = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        *("datasets.archives", "datasets.catalogue", "datasets.download", "datasets.partial", "datasets.splits"),
        *("cards", "datasets.transfer", "devices", "errors", "files", "integrity", "parquet", "prefetch", "progress"),
        *("gpu_messages", "provenance", "rehearsed", "run"),
    )
)
"""Modules that carry results, or say how many there are, but do not shape them."""

_LIBRARIES = (
    *("withstand", "torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "h5py", "pillow"),
    *("opencv-python", "corrupt-tta", "pyautoattack", "snakemake"),
)


@lru_cache
def versions() -> dict[str, str]:
    """Versions of the libraries that a result may depend on, without importing them, and the generator of random
    numbers; those of a rehearsal say so."""
    found = {"generator": GENERATOR}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found | rehearsed.mark()


@lru_cache
def code_digest(*functions: str) -> str:
    """Digest of the closures of functions named ``module:function``, without importing them.

    A module outside the package is looked up in the working directory, and only its own code counts.

    Raises:
        LookupError: if there is no such module, or it defines no such name at its top level.
    """
    closure: dict[tuple[str, str], str] = {}
    for function in functions:
        module, _, name = function.partition(":")
        _module(module)
        _collect(module, name, closure)
        if not closure:
            raise LookupError(f"{module} defines no {name}")
    text = "\n".join(f"{module}:{name} {tree}" for (module, name), tree in sorted(closure.items()))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def is_at_hand(module: str) -> bool:
    """Whether a module's source is of this package or lies in the working directory."""
    return _source_file(module) is not None


@dataclass
class _Module:
    """A module's top level by name: the statements that define it, and what its imports stand for."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)


def _collect(module: str, name: str, closure: dict[tuple[str, str], str]) -> None:
    """Add a top-level name and all that it refers to."""
    if (module, name) in closure:
        return
    table = _module(module)
    if name not in table.definitions:
        _follow(table, name, (), closure)
        return
    statements = table.definitions[name]
    closure[module, name] = "\n".join(_normal_form(statement) for statement in statements)
    for statement in statements:
        for base, attributes in _references(statement):
            if base in table.definitions:
                _collect(module, base, closure)
            else:
                _follow(table, base, attributes, closure)


def _follow(table: _Module, name: str, attributes: tuple[str, ...], closure: dict) -> None:
    """Follow a name that a module imports, with the attributes taken from it, as far as its code is at hand."""
    if name in table.imports:
        module, imported = table.imports[name]
        path = (imported, *attributes) if imported else attributes
        while path and _source_file(f"{module}.{path[0]}"):
            module, path = f"{module}.{path[0]}", path[1:]
        if path and _source_file(module):
            _collect(module, path[0], closure)
        return
    for star in table.stars:
        if _source_file(star):
            _collect(star, name, closure)


def _references(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names that a tree reads, each with the attributes taken from it: ``a.b.c`` is ("a", ("b", "c"))."""
    for node in ast.walk(tree):
        attributes: tuple[str, ...] = ()
        base = node
        while isinstance(base, ast.Attribute):
            attributes = (base.attr, *attributes)
            base = base.value
        if isinstance(base, ast.Name) and isinstance(base.ctx, ast.Load):
            yield base.id, attributes


@lru_cache
def _module(name: str) -> _Module:
    path = _source_file(name)
    if path is None:
        raise LookupError(f"no Python source for the module {name}")
    table = _Module()
    parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for statement in _top_level(tree.body):
        for defined in _defined_names(statement):
            table.definitions.setdefault(defined, []).append(statement)
    for node in ast.walk(tree):
        _add_import(table, node, parent)
    return table


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under ``if``, ``try`` and ``with`` included."""
    for statement in body:
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _top_level(handler.body)
        else:
            yield statement


def _add_import(table: _Module, node: ast.AST, parent: str) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.partition(".")[0]
            table.imports[alias.asname or first] = (alias.name if alias.asname else first, None)
    elif isinstance(node, ast.ImportFrom):
        folder = parent.rsplit(".", node.level - 1)[0] if node.level > 1 else parent
        origin = ".".join(part for part in (folder if node.level else "", node.module) if part)
        for alias in node.names:
            if alias.name == "*":
                table.stars.append(origin)
            else:
                table.imports[alias.asname or alias.name] = (origin, alias.name)


def _defined_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    names = (node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name))
    return list(dict.fromkeys(names))


@lru_cache
def _source_file(module: str) -> Path | None:
    """The source of a module of this package, or of one in the working directory; none for others and neutral ones."""
    if module in _NEUTRAL:
        return None
    first, *rest = module.split(".")
    folder = Path(__file__).parent.joinpath(*rest) if first == PACKAGE else Path.cwd().joinpath(first, *rest)
    candidates = (folder.with_suffix(".py"), folder / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _normal_form(node: object) -> str:
    """A syntax tree as text: no positions, docstrings or empty fields, the same for every Python version."""
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields if name not in ("ctx", "kind"))
        kept = (f"{name}={_normal_form(value)}" for name, value in fields if value not in (None, []))
        return f"{type(node).__name__}({','.join(kept)})"
    if isinstance(node, list):
        return f"[{','.join(_normal_form(item) for item in node if not _is_bare_string(item))}]"
    return repr(node)


def _is_bare_string(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
