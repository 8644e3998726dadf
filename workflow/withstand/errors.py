"""Errors that a user can act on."""


class WithstandError(Exception):
    """Bad input or a bad environment, told in one or two lines that name the culprit."""


class ModelError(WithstandError):
    """A model that cannot be evaluated: its code, its weights or its outputs are at fault.

    It is an outcome of the study, recorded with its reason, and leaves the other models' results whole.
    """
