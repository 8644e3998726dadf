"""How numbers, intervals and names are written: one way for the whole report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

MISSING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"

LABEL_MODES = {
    "all": "top-1 over all outputs",
    "subset": "top-1 over the set's classes",
    "categories": "the category with the highest mean probability",
}
POLICIES = {
    "stored": "the study's images, resized on the device",
    "published": "corrupted images as published",
    "corrupt_after_resize": "corrupted after the model's own resize",
    "model": "each model's own resize and crop",
}
SHORT = {"subset": "the set's classes", "published": "as published", "corrupt_after_resize": "corrupted after resize"}
"""Choices of protocol that are told apart in headings; the others are the rule."""

_ABBREVIATIONS = {
    **{name: name.upper() for name in ("fgsm", "pgd", "mlp", "ece", "nll", "cka", "ce")},
    **{"mce": "mCE", "jpeg": "JPEG", "linf": "L∞", "l2": "L2", "autoattack": "AutoAttack"},
}


@dataclass(frozen=True)
class Names:
    """What models and datasets are called, and the order of models; ids stand for themselves where nothing is given."""

    models: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)

    def model(self, name: str) -> str:
        return self.models.get(name) or name

    def dataset(self, name: str) -> str:
        return self.datasets.get(name) or name

    def in_order(self, rows: pd.DataFrame) -> list[str]:
        """The models of rows, in the order of the study."""
        found = set(rows["model"])
        return [model for model in dict.fromkeys([*self.models, *rows["model"]]) if model in found]


def given(value: object) -> bool:
    """Whether a cell of a table holds something."""
    return value is not None and not pd.isna(value)


def share(value: float) -> str:
    """A share from 0 to 1 in percent."""
    return f"{minus(f'{100 * value:.1f}')}%" if given(value) else MISSING


def number(value: float, digits: int = 2) -> str:
    return minus(f"{value:.{digits}f}") if given(value) else MISSING


def signed(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return minus(f"{100 * value:+.1f}") if given(value) else MISSING


def minus(text: str) -> str:
    """Text of a number with a typographic minus, and no negative zero."""
    if not text.strip("-+0.%"):
        text = text.lstrip("-+")
    return text.replace("-", MINUS)


def interval(row: Mapping, scale: float = 100, digits: int = 1, low: str = "low", high: str = "high") -> str:
    """The interval of a row in brackets; nothing where it has none."""
    if not (given(row.get(low)) and given(row.get(high))):
        return ""
    return "[" + ", ".join(minus(f"{scale * row[end]:.{digits}f}") for end in (low, high)) + "]"


def with_interval(text: str, bounds: str) -> str:
    return f"{text} {bounds}" if bounds else text


def p_value(value: float) -> str:
    """'p = 0.004', to two digits that count; nothing where there is none."""
    if not given(value):
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def counted(count: float, what: str) -> str:
    """'1,200 images', '1 image'."""
    return f"{int(count):,} {what}{'' if int(count) == 1 else 's'}"


def basis(row: Mapping) -> str:
    """What a value rests on: images, and conditions of them where there are several; or some of the images."""
    images = row.get("images")
    if not given(images):
        return counted(row["n"], "image")
    if row["n"] > images and row["n"] % images == 0:
        return f"{counted(images, 'image')}, {counted(row['n'] // images, 'condition')}"
    return counted(images, "image") if row["n"] >= images else f"{row['n']:,} of {counted(images, 'image')}"


def listed(items: Iterable[str], last: str = "and") -> str:
    """'a, b and c'; 'a, 1; b, 2; and c' where items have commas themselves."""
    *others, end = list(items) or [""]
    if not others:
        return end
    if any("," in item for item in (*others, end)):
        return f"{'; '.join(others)}; {last} {end}"
    return f"{', '.join(others)} {last} {end}"


def words(name: str) -> str:
    """A name of the config as words: ``gaussian_noise`` is 'gaussian noise', ``pgd_4`` is 'PGD 4'."""
    return " ".join(_ABBREVIATIONS.get(word, word) for word in name.split("_"))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def magnitude(value: float) -> str:
    """A large number in short: '697k', '86.6M'."""
    if not given(value):
        return MISSING
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.0f}"


def choice(label_mode: object, policy: object = None) -> str:
    """What a heading says of a choice of protocol; nothing where it is the rule."""
    return ", ".join(SHORT[name] for name in (label_mode, policy) if name in SHORT)


def named(dataset: str, label_mode: object = None, policy: object = None) -> str:
    """A dataset with the choices of protocol that are not the rule."""
    about = choice(label_mode, policy)
    return f"{dataset} ({about})" if about else dataset
