"""Pretrained weights by timm: from the Hugging Face hub or an address that timm knows, offline from their caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from timm.models import get_pretrained_cfg
from torch import nn

from withstand.compat import forget_connections
from withstand.errors import ModelError, WithstandError, in_one_line

_REFUSED = frozenset({401, 403, 404, 410})
"""HTTP answers that another attempt does not change."""

_NO_WEIGHTS = (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, DisabledRepoError)
"""What the hub says of weights that are not there, or, as a kind of the first, not for everybody. A file that no cache
has is a kind of the third, and says nothing of the hub."""

_AT_FAULT = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError),
    *(LookupError, RuntimeError, TypeError, ValueError),
)
"""What an architecture raises that cannot be built, or that the weights do not fit."""


class NotCachedError(WithstandError):
    """Weights that would have to be fetched, where nothing may be."""


def pretrained(name: str, kwargs: Mapping, *, offline: bool) -> nn.Module:
    """A timm model with pretrained weights, which timm fits to ``kwargs``.

    Args:
        offline: touch no network; weights come from the caches of the hub (HF_HOME) and of torch (TORCH_HOME).

    Raises:
        ModelError: if there are no such weights, they are not for everybody, or they do not fit.
        NotCachedError: if they are in no cache, offline.
        WithstandError: if they cannot be fetched now.
    """
    try:
        with _hub_mode(offline or constants.HF_HUB_OFFLINE):
            if constants.HF_HUB_OFFLINE and _lies_elsewhere(name):
                raise OfflineModeIsEnabled
            return timm.create_model(name, pretrained=True, **kwargs)
    except MemoryError:
        raise
    except Exception as error:
        told = _cause(error)
        if isinstance(told, OfflineModeIsEnabled):
            raise NotCachedError(f"{name}: nothing is fetched offline, and no cache here has its weights") from error
        if _is_final(error):
            raise ModelError(f"{name}: no pretrained weights to be had: {in_one_line(told)}") from error
        raise WithstandError(f"{name}: pretrained weights cannot be fetched: {in_one_line(told)}") from error


@contextmanager
def _hub_mode(offline: bool) -> Iterator[None]:
    """Let the hub's library, which reads its environment when it is imported, use its cache alone, or the network."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, offline
    forget_connections()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        forget_connections()


def _lies_elsewhere(name: str) -> bool:
    """Whether weights would come from outside the hub, as timm's few oldest do, and are not in torch's cache."""
    known = get_pretrained_cfg(name)
    if known is None or known.hf_hub_id or not known.url:
        return False
    return not Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(known.url).path).name).exists()


def _is_final(error: Exception) -> bool:
    """Whether another attempt would end alike: weights are refused, or do not fit."""
    if isinstance(error, _NO_WEIGHTS) and not isinstance(error, LocalEntryNotFoundError):
        return True
    if isinstance(error, HTTPError):
        return error.code in _REFUSED
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        answer = cause.response
        wrong_token = "credentials" in answer.headers.get("X-Error-Message", "")
        return answer.request.method == "HEAD" and answer.status_code in _REFUSED and not wrong_token
    return isinstance(error, _AT_FAULT) and not isinstance(error, OSError)


def _cause(error: Exception) -> Exception:
    """What the hub's library hides behind its hope for a cached file."""
    return error.__cause__ or error if isinstance(error, LocalEntryNotFoundError) else error
