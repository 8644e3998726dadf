"""The parts of the config that are about the inside of models: what is looked at, and changes of a model."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from withstand.config_sources import Strict, are_unique, exact

Part = Literal["block", "mlp", "attention"]
Count = Annotated[int, Field(ge=1)]


def _share(value: object) -> Fraction:
    share = exact(value, "a share of the grid, from 0 to 1, or a fraction such as 2/14")
    if not 0 <= share <= 1:
        raise ValueError("expected a share of the grid, from 0 to 1")
    return share


Share = Annotated[
    Fraction,
    BeforeValidator(_share),
    PlainSerializer(float, return_type=float),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]}),
]
"""A distance on the grid of patches as a share of its longer side; a number or a fraction such as `2/14`."""


class Lesion(Strict):
    """Parts of some blocks are removed, each with its norm; the residual path stays."""

    kind: Literal["lesion"]
    """A lesion."""
    part: Part
    """What is removed: whole blocks, their MLPs, or their attentions."""
    blocks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(are_unique)]
    """Numbers of the blocks, from 0. A block that changes the shape cannot be removed."""


class LocalAttention(Strict):
    """Patches attend to patches within a distance, and to themselves; the class token stays connected to all."""

    kind: Literal["local_attention"]
    """Attention within a distance."""
    distance: Share
    """Chebyshev distance, as a share of the grid's longer side, in whole patches rounded down."""


class RandomAttention(Strict):
    """As many pairs of patches are masked as by a distance, at random."""

    kind: Literal["random_attention"]
    """Attention under a random mask."""
    distance: Share
    """The distance whose number of pairs is masked."""
    seed: int = 0
    """Seed of the mask."""
    draw: int = Field(0, ge=0)
    """Which of the masks of a seed."""
    shared_by_layers: bool = True
    """Whether all layers have one mask."""
    shared_by_heads: bool = True
    """Whether all heads have one mask."""


class PatchToClass(Strict):
    """In the first or the last blocks, patches attend to the class token (and other prefix tokens) alone."""

    kind: Literal["patch_to_class"]
    """Attention to the class token alone."""
    first: int | None = Field(None, ge=0)
    """In so many of the first blocks; give this or `last`."""
    last: int | None = Field(None, ge=0)
    """In so many of the last blocks."""
    keep_self: bool = False
    """Whether patches attend to themselves, too."""

    @model_validator(mode="after")
    def _check_ends(self) -> PatchToClass:
        if (self.first is None) == (self.last is None):
            raise ValueError("give either first or last, the number of blocks")
        return self


INTERVENTION_KINDS = ("lesion", "local_attention", "random_attention", "patch_to_class")

Intervention = Annotated[Lesion | LocalAttention | RandomAttention | PatchToClass, Field(discriminator="kind")]


class SimilaritySettings(Strict):
    """Similarity of layers: linear CKA within and between models, Pearson correlation within a model."""

    minibatch: int = Field(50, ge=4)
    """Samples in a minibatch, over which similarity is summed up; a rest that fills none is left out."""
    flattening: Annotated[
        tuple[Literal["joint", "per_sample"], ...], Field(min_length=1), AfterValidator(are_unique)
    ] = ("joint", "per_sample")
    """How activations become observations of Pearson's correlation: all samples, tokens and features together; or the
    tokens and features of each sample, averaged over samples. The first one is drawn."""
    between_models: bool = True
    """Whether layers are compared between models, too."""
    activations: int = Field(0, ge=0)
    """How many samples' activations are kept themselves, in float16: large."""

    @property
    def protocol(self) -> dict:
        """What shapes a model's own file."""
        return {"minibatch": self.minibatch, "activations": self.activations}


class LesionSettings(Strict):
    """Accuracy of models without some of their blocks, MLPs or attentions, at inference."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1), AfterValidator(are_unique)] = ("block", "mlp", "attention")
    """What is removed: whole blocks, their MLPs, their attentions."""
    single: bool = True
    """Whether each one is removed alone."""
    counts: Annotated[tuple[Count, ...], AfterValidator(are_unique)] | None = None
    """How many are removed together, at random and without the first block; from 2 to two less than the model's depth
    where it is not given, none for an empty list."""
    draws: int = Field(25, ge=1)
    """Random choices of so many; all choices where there are not more."""
    stop_after: int = Field(2, ge=0)
    """A curve ends after so many numbers in a row at which the mean accuracy is no better than chance (not above the
    one-sided 95% limit of a guess on as many images); 0 never ends it."""

    @property
    def protocol(self) -> dict:
        """The experiment as the step takes it."""
        counts = None if self.counts is None else sorted(self.counts)
        return {**self.model_dump(mode="json"), "counts": counts}


class AttentionLimitSettings(Strict):
    """Accuracy of transformers whose patches attend within a distance only, or to the class token alone."""

    distances: Annotated[tuple[Share, ...], AfterValidator(are_unique)] = tuple(
        Fraction(distance, 14) for distance in (12, 10, 8, 6, 4, 2)
    )
    """Chebyshev distances, as shares of the grid's longer side; the default has the paper's on a grid of 14."""
    draws: int = Field(5, ge=0)
    """Random masks for each distance, with as many masked pairs of patches."""
    shared_by_layers: bool = True
    """Whether a random mask is one for all layers, as that of a distance is."""
    shared_by_heads: bool = True
    """Whether a random mask is one for all heads."""
    class_only: Annotated[tuple[Count, ...], AfterValidator(are_unique)] = (1, 2, 3, 4, 5, 6)
    """In how many of the first, and of the last, blocks patches attend to the class token alone; more than a model has
    are left out."""
    keep_self: bool = False
    """Whether they attend to themselves there."""

    @property
    def protocol(self) -> dict:
        """The experiment as the step takes it."""
        given = self.model_dump(mode="json")
        return {
            **given,
            "distances": sorted(given["distances"], reverse=True),
            "class_only": sorted(given["class_only"]),
        }


class AttentionDistanceSettings(Strict):
    """How far the heads of transformers look, which limits of attention are read against. It has no keys: `{}`."""

    @property
    def protocol(self) -> dict:
        """The experiment as the step takes it."""
        return {}


class InternalsSettings(Strict):
    """The inside of models: which models, on which images, and which experiments; those that are not named are not
    carried out, and `{}` takes the defaults."""

    dataset: str
    """The dataset whose clean images are shown."""
    samples: int | None = Field(None, ge=1)
    """How many of its images, a fixed seeded choice, the same for all models, and the one that attacks take; 1,000 by
    default, or all where there are fewer."""
    models: tuple[str, ...] = ()
    """The models to look into, by id; all by default."""
    families: Annotated[tuple[str, ...], AfterValidator(are_unique)] = ()
    """Families of corruptions of the dataset under which everything is carried out, too; the clean images are always
    there."""
    similarity: SimilaritySettings | None = None
    """Similarity of layers, within and between models."""
    lesions: LesionSettings | None = None
    """Removing blocks, MLPs and attentions."""
    attention_limit: AttentionLimitSettings | None = None
    """Limits of attention."""
    attention_distance: AttentionDistanceSettings | None = None
    """How far heads look."""

    @property
    def experiments(self) -> dict[str, dict]:
        """The experiments by kind, as the step takes them."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        kinds = {"similarity": "grams"}  # what similarity is computed from
        return {kinds.get(name, name): each.protocol for name, each in given.items() if hasattr(each, "protocol")}
