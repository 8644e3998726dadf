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

PACKAGE = "withstand"

_NEUTRAL = frozenset(f"{PACKAGE}.{name}" for name in ("errors", "files", "prefetch", "progress", "provenance", "run"))
"""Modules that carry results but do not shape them."""

_LIBRARIES = ("withstand", "torch", "torchvision", "timm", "numpy", "pandas", "pyarrow", "h5py", "pillow", "snakemake")


@lru_cache
def versions() -> dict[str, str]:
    """Versions of the libraries that a result may depend on, without importing them."""
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


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
        if name not in _module(module).definitions:
            raise LookupError(f"{module} defines no {name}")
        _collect(module, name, closure)
    text = "\n".join(f"{module}:{name} {tree}" for (module, name), tree in sorted(closure.items()))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def is_at_hand(module: str) -> bool:
    """Whether a module's source is of this package or lies in the working directory."""
    return _source_file(module) is not None


@dataclass
class _Module:
    """A module's top level by name: statements that define it, and what its imports stand for."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)


def _collect(module: str, name: str, closure: dict[tuple[str, str], str]) -> None:
    """Add a top-level name and all that it refers to."""
    if (module, name) in closure:
        return
    table = _module(module)
    if name not in table.definitions:
        if name in table.imports:
            _collect_import(*table.imports[name], None, closure)
        return
    statements = table.definitions[name]
    closure[module, name] = "\n".join(_normal_form(statement) for statement in statements)
    for statement in statements:
        for base, attribute in _references(statement):
            if base in table.definitions:
                _collect(module, base, closure)
            elif base in table.imports:
                _collect_import(*table.imports[base], attribute, closure)


def _collect_import(module: str, name: str | None, attribute: str | None, closure: dict) -> None:
    """Follow ``import module`` or ``from module import name`` as far as it stays in the code at hand."""
    if name is not None and _source_file(f"{module}.{name}"):
        module, name = f"{module}.{name}", None
    name = name or attribute
    if name is not None and _source_file(module):
        _collect(module, name, closure)


def _references(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Names that a tree reads, with the attribute taken from them, if any."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, None


@lru_cache
def _module(name: str) -> _Module:
    path = _source_file(name)
    if path is None:
        raise LookupError(f"no Python source for the module {name}")
    table = _Module()
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        for node in ast.walk(statement):
            _add_import(table, node, name)
        for defined in _defined_names(statement):
            table.definitions.setdefault(defined, []).append(statement)
    return table


def _add_import(table: _Module, node: ast.AST, module: str) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            table.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, None)
    elif isinstance(node, ast.ImportFrom):
        parent = module.rsplit(".", node.level)[0] if node.level else ""
        origin = ".".join(part for part in (parent, node.module) if part)
        for alias in node.names:
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
