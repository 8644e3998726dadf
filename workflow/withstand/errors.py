"""Errors that a user can act on."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten


class WithstandError(Exception):
    """Bad input or a bad environment, told in one or two lines that name the culprit."""


class ModelError(WithstandError):
    """A model that cannot be evaluated: its code, its weights or its outputs are at fault.

    It is an outcome of the study, recorded with its reason, and leaves the other models' results whole.
    """


class NotApplicableError(ModelError):
    """What has no meaning for a model's architecture, such as a lesion of a network without attention.

    It is no fault of the model: tables leave it out by name.
    """


def nearest(text: object, known: Iterable[str]) -> str:
    """The known name that a wrong one may stand for, as the end of a message; nothing where none is near."""
    match = get_close_matches(str(text), list(known), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def in_one_line(error: BaseException) -> str:
    """Type and text of somebody else's error, in one line that is not too long for a table."""
    return shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")
