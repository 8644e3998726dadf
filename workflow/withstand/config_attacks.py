"""The part of the config that says how models are attacked."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from withstand.config_sources import Id, Strict, are_unique, exact


def _length(value: object) -> Fraction:
    number = exact(value, "a number or a fraction such as 1/255")
    if number <= 0:
        raise ValueError("expected a positive number")
    return number


Length = Annotated[
    Fraction,
    BeforeValidator(_length),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
"""A positive number, or a fraction such as `1/255`, which is kept exact."""


def _is_share(value: Fraction) -> Fraction:
    if value > 1:
        raise ValueError("a share of the image's side, 1 at most")
    return value


def _check_range(norm: str, eps: Fraction) -> None:
    if norm == "linf" and eps > 1:
        raise ValueError(f"eps: {eps} is beyond the range of pixels, which is from 0 to 1; did you mean {eps}/255?")


Norm = Literal["linf", "l2"]
Target = Literal["none", "random", "least_likely"]


class Fgsm(Strict):
    """One step of the size of the budget along the gradient's sign, or, in L2, along the gradient."""

    kind: Literal["fgsm"]
    """The fast gradient sign method (Goodfellow et al. 2015)."""
    norm: Norm = "linf"
    """How a perturbation is measured: its largest change of a colour value, or its length over the whole image."""
    eps: Length = Fraction(1, 255)
    """The most that a perturbation may measure; pixels are from 0 to 1, so `1/255` is one grey level."""
    target: Target = "none"
    """The class that the attack looks for: any but the label; another one drawn for each sample; or the one that the
    model holds least likely."""

    @model_validator(mode="after")
    def _check_range(self) -> Fgsm:
        _check_range(self.norm, self.eps)
        return self

    @property
    def spec(self) -> dict:
        """The attack as the step takes it: PGD of one step."""
        eps = str(self.eps)
        one_step = {"step_size": eps, "steps": 1, "random_start": False, "restarts": 1}
        return {"kind": "gradient", "norm": self.norm, "eps": eps, "target": self.target, **one_step}


class Pgd(Strict):
    """Several steps along the gradient, each brought back into the budget."""

    kind: Literal["pgd"]
    """Projected gradient descent (Madry et al. 2018)."""
    norm: Norm = "linf"
    """How a perturbation is measured: its largest change of a colour value, or its length over the whole image."""
    eps: Length = Fraction(1, 255)
    """The most that a perturbation may measure; pixels are from 0 to 1, so `1/255` is one grey level."""
    steps: int = Field(8, ge=1)
    """Number of gradient steps."""
    step_size: Length | None = None
    """What one step measures; an eighth of `eps` where it is not given."""
    random_start: bool = False
    """Whether steps begin at a random point of the budget, instead of at the image."""
    restarts: int = Field(1, ge=1)
    """How often to try, each time from another random point; the strongest perturbation is kept."""
    target: Target = "none"
    """The class that the attack looks for: any but the label; another one drawn for each sample; or the one that the
    model holds least likely."""

    @model_validator(mode="after")
    def _check_restarts(self) -> Pgd:
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts: every try would be the same without random_start")
        _check_range(self.norm, self.eps)
        return self

    @property
    def spec(self) -> dict:
        """The attack as the step takes it."""
        keys = {"norm", "eps", "steps", "random_start", "restarts", "target"}
        step_size = self.step_size or self.eps / 8
        return {"kind": "gradient", "step_size": str(step_size), **self.model_dump(mode="json", include=keys)}


class Auto(Strict):
    """An ensemble of attacks without parameters, for an estimate of what a strong attacker leaves."""

    kind: Literal["autoattack"]
    """AutoAttack (Croce & Hein 2020), by the package pyautoattack."""
    norm: Norm = "linf"
    """How a perturbation is measured: its largest change of a colour value, or its length over the whole image."""
    eps: Length = Fraction(1, 255)
    """The most that a perturbation may measure; pixels are from 0 to 1, so `1/255` is one grey level."""
    version: Literal["standard", "plus", "rand"] = "standard"
    """Which ensemble; `rand` is for models with random parts."""
    attacks: tuple[Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"], ...] = ()
    """Parts to run instead of a version's, in this order."""

    @model_validator(mode="after")
    def _check_package(self) -> Auto:
        if find_spec("pyautoattack") is None:
            raise ValueError("kind: autoattack needs the package pyautoattack: pip install 'withstand[autoattack]'")
        _check_range(self.norm, self.eps)
        return self

    @property
    def spec(self) -> dict:
        """The attack as the step takes it."""
        return self.model_dump(mode="json")


ATTACK_KINDS = ("fgsm", "pgd", "autoattack")

Perturbation = Annotated[Fgsm | Pgd | Auto, Field(discriminator="kind")]


class Spatial(Strict):
    """Worst-case rotation and translation: every combination on a grid, and some at random."""

    rotation: float = Field(30, ge=0, le=180)
    """The largest angle, in degrees, either way."""
    translation: Annotated[Length, AfterValidator(_is_share)] = Fraction(24, 224)
    """The largest shift along each axis, either way, as a share of the image's side."""
    angles: int = Field(31, ge=1)
    """How many angles, evenly spaced from end to end; one is no rotation."""
    shifts: int = Field(5, ge=1)
    """How many shifts along each axis, evenly spaced from end to end; one is no shift."""
    draws: int = Field(10, ge=1)
    """How many transformations are drawn for each sample, evenly from the whole range: their worst is reported too."""
    padding: Literal["zeros", "border", "reflection"] = "zeros"
    """What is seen beyond the border: black, the border's pixels, or the image mirrored."""
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    """How pixels between pixels are seen."""

    @property
    def spec(self) -> dict:
        """The grid as the step takes it."""
        return self.model_dump(mode="json") | {"translation": float(self.translation)}


class AttackSettings(Strict):
    """Attacks: which models, on which images, and how."""

    dataset: str
    """The dataset whose clean images are attacked."""
    samples: int | None = Field(None, ge=1)
    """How many of its images, a fixed seeded choice, the same for all models and attacks; 1,000 by default, or all
    where there are fewer."""
    models: Annotated[tuple[str, ...], AfterValidator(are_unique)] = ()
    """The models to attack, by id; all by default."""
    perturbations: dict[Id, Perturbation] = Field({})
    """Adversarial perturbations by id. Each is made for every model and shown to every other."""
    patch_sizes: Annotated[tuple[Annotated[int, Field(ge=2)], ...], AfterValidator(are_unique)] = (16, 32)
    """Besides a model's own patches, the squares, in pixels of its input, whose borders perturbations are compared
    with: for convolutional networks, which have no patches, as a contrast."""
    spatial: Spatial | None = None
    """Worst-case rotation and translation."""
