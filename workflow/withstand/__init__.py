"""How robust image classifiers are, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from withstand.results import Results, load

__all__ = ["Results", "load"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from withstand import results

        return getattr(results, name)
    raise AttributeError(f"module 'withstand' has no attribute '{name}'")
