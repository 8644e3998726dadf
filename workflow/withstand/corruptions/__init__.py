"""The corruptions of ImageNet-C as functions of (images, severity, sample ids, seed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from withstand.corruptions.registry import corrupt

__all__ = ["corrupt"]


def __getattr__(name: str):
    """``corrupt``, when it is asked for: the constants alone are read without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from withstand.corruptions.registry import corrupt

    return corrupt
