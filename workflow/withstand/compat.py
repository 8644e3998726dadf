"""What other libraries do not promise: private names, and names that their lowest version lacks.

Each function says what happens without the name. No other module uses a private name of another library.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING

from withstand.errors import WithstandError

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn


def replace_planning(workflow, plan: Callable[[Callable[[], None]], None]) -> None:
    """Have Snakemake call ``plan``, with its own function, when it plans jobs. No public hook comes before that.

    Raises:
        WithstandError: if this Snakemake plans jobs in another way: a run could not be locked.
    """
    own = getattr(workflow, "_build_dag", None)
    if own is None:
        raise WithstandError(_without("snakemake", "Workflow._build_dag, where a run takes its lock"))
    workflow._build_dag = lambda: plan(own)


def children(module: nn.Module) -> dict[str, nn.Module | None]:
    """A module's children by name, to change; ``named_children`` gives a copy, without those that appear twice."""
    return module._modules


def mbconv() -> ModuleType:
    """Where timm keeps the blocks of EfficientNets and MobileNets, which it exports from nowhere else.

    Raises:
        WithstandError: if this timm has them elsewhere: blocks would be missed in silence.
    """
    try:
        from timm.models import _efficientnet_blocks
    except ImportError:
        raise WithstandError(_without("timm", "timm.models._efficientnet_blocks, by which blocks are told")) from None
    return _efficientnet_blocks


def need_bool_masks() -> None:
    """Make sure that timm's attention takes a mask of bool for what it is; older ones add it to the scores.

    Raises:
        WithstandError: if it does not.
    """
    if not has_bool_masks():
        raise WithstandError(f"limited attention needs timm 1.0.26, and timm {metadata.version('timm')} is installed")


def has_bool_masks() -> bool:
    from timm.layers import attention

    return hasattr(attention, "resolve_self_attn_mask")


def forget_connections() -> None:
    """Let huggingface_hub read again whether it is offline. Below 1.0 open sessions remember it; later ones ask."""
    from huggingface_hub import utils

    getattr(utils, "reset_sessions", lambda: None)()


def _without(library: str, name: str) -> str:
    return f"{library} {metadata.version(library)} has no {name}; install the version in requirements.lock"
