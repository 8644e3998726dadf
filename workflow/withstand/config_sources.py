"""The sources that a config can name: one class a kind, from which the reference page is generated."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from withstand.datasets.label_spaces import IMAGENET, KNOWN, LabelError, NamedBy, check_classes


class Strict(BaseModel):
    """Knows its keys, and refuses others."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def are_unique(values: tuple) -> tuple:
    """The values, if none stands there twice."""
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"{twice[0]} stands there twice")
    return values


def _is_id(text: str) -> str:
    if text in ("weights", "downloads"):
        raise ValueError(f"the name '{text}' is taken")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise ValueError("a name is letters, digits, '_' and '-', beginning with a letter or digit")
    return text


def exact(value: object, expected: str) -> Fraction:
    """A number as YAML gives it, or a text such as ``1/255``, without rounding.

    Raises:
        ValueError: if it is none; what was ``expected`` stands in it.
    """
    if not isinstance(value, bool) and isinstance(value, (int, float, str, Fraction)):
        with suppress(ValueError, ZeroDivisionError):
            return Fraction(str(value))
    raise ValueError(f"expected {expected}")


Id = Annotated[str, AfterValidator(_is_id)]
"""A name of the user's choice that becomes part of paths."""


def _is_there(path: str) -> str:
    if not Path(path).exists():
        raise ValueError("no such file or folder")
    if set(path) & set("{}"):
        raise ValueError("braces in a path mean wildcards to Snakemake; rename it")
    return path


ExistingPath = Annotated[str, AfterValidator(_is_there)]


class _Published(Strict):
    path: ExistingPath | None = None
    """Where it lies: a folder, or an archive (not compressed as a whole); downloaded where it is not given."""


class Shapetex(Strict):
    """Generated photographs of objects of ten classes, 64 px, that both shape and texture tell apart."""

    kind: Literal["shapetex"]
    """The kind of source."""
    split: Literal["train", "validation", "test", "pool"]
    """Which of its disjoint splits."""


class ShapetexRenditions(Strict):
    """Six of the classes of shapetex, drawn in ink, in hatching or in flat colours, 64 px."""

    kind: Literal["shapetex_renditions"]
    """The kind of source."""


class ShapetexCueConflict(Strict):
    """The shape of one class of shapetex with the texture of another, every pair equally often, 64 px."""

    kind: Literal["shapetex_cue_conflict"]
    """The kind of source."""


GeneratedEntry = Shapetex | ShapetexRenditions | ShapetexCueConflict


class ImageNet(Strict):
    """The 50,000 validation images of ILSVRC-2012, which nobody may redistribute."""

    kind: Literal["imagenet"]
    """The kind of source."""
    path: ExistingPath
    """Folder or tar archive: a folder for each WordNet id, or all images flat."""
    labels: ExistingPath | None = None
    """For flat images: `LOC_val_solution.csv`, a text file with a WordNet id a line, or the development kit."""


class ImageNetA(_Published):
    """ImageNet-A: 7,500 natural adversarial examples of 200 classes of ImageNet-1k."""

    kind: Literal["imagenet_a"]
    """The kind of source."""


class ImageNetR(_Published):
    """ImageNet-R: 30,000 renditions of 200 classes of ImageNet-1k."""

    kind: Literal["imagenet_r"]
    """The kind of source."""


class ImageNetV2(_Published):
    """ImageNet-V2: 10,000 new test images of ImageNet-1k."""

    kind: Literal["imagenet_v2"]
    """The kind of source."""
    variant: Literal["matched-frequency", "threshold0.7", "top-images"]
    """Which sampling."""


class ImageNetSketch(_Published):
    """ImageNet-Sketch: 50,889 sketches of all classes of ImageNet-1k."""

    kind: Literal["imagenet_sketch"]
    """The kind of source."""


class Imagenette(_Published):
    """Imagenette: ten easy classes of ImageNet-1k."""

    kind: Literal["imagenette"]
    """The kind of source."""
    split: Literal["train", "val"] = "val"
    """Which of its splits, which are not ImageNet's."""
    side: Literal["full", "320", "160"] = "320"
    """Short side of its images in pixels."""


class CueConflict(_Published):
    """1,200 stimuli with the shape of one of 16 categories and the texture of another, 224 px, for ImageNet-1k."""

    kind: Literal["cue_conflict"]
    """The kind of source."""


class Cifar(_Published):
    """CIFAR-10 or CIFAR-100, 32 px."""

    kind: Literal["cifar"]
    """The kind of source."""
    classes: Literal[10, 100]
    """Which of the two."""
    split: Literal["train", "test"] = "test"
    """Which of its splits."""


class TinyImageNet(_Published):
    """The 10,000 validation images of Tiny ImageNet, 200 classes, 64 px."""

    kind: Literal["tiny_imagenet"]
    """The kind of source."""
    labels: Literal["tiny-imagenet-200", "imagenet-1k"] = "tiny-imagenet-200"
    """The label space: its own classes in the order of their WordNet ids, or ImageNet's."""


class TinyImageNetCSamples(_Published):
    """The 10,000 photographs that Tiny-ImageNet-C shows, of the classes of Tiny ImageNet, 64 px. Nobody published them
    clean, so there are no clean images: name families of `source: {kind: tiny_imagenet_c}` to evaluate models on."""

    kind: Literal["tiny_imagenet_c"]
    """The kind of source."""
    labels: Literal["tiny-imagenet-200", "imagenet-1k"] = "tiny-imagenet-200"
    """The label space: the classes of Tiny ImageNet in the order of their WordNet ids, or ImageNet's."""


def _read_classes(value: object) -> object:
    """A list, or the lines of a text file."""
    if not isinstance(value, str):
        return value
    if not Path(value).is_file():
        raise ValueError(f"no file {value}; give a list of names, or a text file with one a line")
    return tuple(line.strip() for line in Path(value).read_text(encoding="utf-8").splitlines() if line.strip())


RESERVED = ("shapetex", "tiny-imagenet-200")
"""Label spaces of other kinds, whose classes are not to be given here."""


class _OwnLabels(Strict):
    label_space: str = Field("imagenet-1k", serialization_alias="label_space_name")
    """What labels mean: `imagenet-1k`, `cifar-10`, `cifar-100`, or a name of your own, with `classes`."""
    classes: Annotated[tuple[str, ...] | None, BeforeValidator(_read_classes)] = None
    """For a label space of your own, the name of each output of its models, in their order: a list, or a text file."""

    @model_validator(mode="after")
    def _check_classes(self):
        if self.label_space in RESERVED:
            raise ValueError(f"label_space: '{self.label_space}' is that of a set that comes along; take another name")
        if (self.label_space in KNOWN) != (self.classes is None):
            if self.classes is None:
                known = ", ".join(KNOWN)
                raise ValueError(f"label_space: '{self.label_space}' is none of {known}; say what its classes are")
            raise ValueError(f"classes: those of {self.label_space} are known; give the label space another name")
        if self.classes is not None:
            try:
                check_classes(self.classes)
            except LabelError as error:
                raise ValueError(f"classes: {error}") from None
        return self


class _NamedLabels(_OwnLabels):
    named_by: NamedBy = "name"
    """What the data call a class: `name`, as in the label space; `index`, the number of the output; or `wnid`."""

    @model_validator(mode="after")
    def _check_wnid(self):
        if self.named_by == "wnid" and self.label_space != IMAGENET:
            raise ValueError(f"named_by: WordNet ids are of {IMAGENET}, not of {self.label_space}")
        return self


class Folder(_NamedLabels):
    """Images of your own: a folder for each class, or a flat folder with a table of labels; or an archive of either."""

    kind: Literal["folder"]
    """The kind of source."""
    path: ExistingPath
    """A folder, or a tar or zip archive (not compressed as a whole)."""
    labels: ExistingPath | None = None
    """A CSV with the columns `file` (from `path` on) and `label`, where folders do not name the classes."""


class Arrays(_OwnLabels):
    """Images in a NumPy array, all of one size; labels are indices of outputs."""

    kind: Literal["arrays"]
    """The kind of source."""
    images_path: ExistingPath
    """uint8 (samples, size, size, 3), a `.npy` file."""
    labels_path: ExistingPath
    """Whole numbers (samples), a `.npy` file."""
    size: int = Field(ge=8)
    """Height and width of the images in pixels."""


class Parquet(_NamedLabels):
    """Encoded images in local Parquet files, in the layout of the Hugging Face hub."""

    kind: Literal["parquet"]
    """The kind of source."""
    path: ExistingPath
    """A Parquet file, or a folder of them, read in the order of their names."""
    image_column: str = "image"
    """The column of encoded images."""
    label_column: str = "label"
    """The column of labels: numbers, or names."""


SourceEntry = Annotated[
    GeneratedEntry
    | ImageNet
    | ImageNetA
    | ImageNetR
    | ImageNetV2
    | ImageNetSketch
    | Imagenette
    | CueConflict
    | Cifar
    | TinyImageNet
    | TinyImageNetCSamples
    | Folder
    | Arrays
    | Parquet,
    Field(discriminator="kind"),
]


class ImageNetC(_Published):
    """ImageNet-C as published: the nineteen corruptions of ImageNet's validation images, 224 px."""

    kind: Literal["imagenet_c"]
    """The kind of corrupted set."""


class CifarC(_Published):
    """CIFAR-10-C or CIFAR-100-C as published: the nineteen corruptions of the test images, 32 px."""

    kind: Literal["cifar_c"]
    """The kind of corrupted set."""
    classes: Literal[10, 100]
    """Which of the two."""


class TinyImageNetC(_Published):
    """Tiny-ImageNet-C as published: nineteen corruptions of 10,000 photographs, 64 px; for datasets of this kind."""

    kind: Literal["tiny_imagenet_c"]
    """The kind of corrupted set."""


CorruptedEntry = Annotated[ImageNetC | CifarC | TinyImageNetC, Field(discriminator="kind")]
