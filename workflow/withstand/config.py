"""The config of a study: one model that checks it, and from which its schema and its reference page are generated.

Parsing a study must stay cheap, since every cluster job does it: nothing heavy is imported here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema

from withstand import lineage, timm_index, zoo
from withstand.computing import Computing, Precision
from withstand.config_attacks import ATTACK_KINDS, AttackSettings
from withstand.config_internals import INTERVENTION_KINDS, InternalsSettings, Intervention
from withstand.config_sources import CorruptedEntry, Id, SourceEntry, Strict, are_unique
from withstand.corruptions.constants import CORRUPTIONS, SEVERITIES
from withstand.datasets.registry import CORRUPTED_KINDS, FILE_KINDS, KINDS, ONLY_CORRUPTED_KINDS, open_source
from withstand.errors import WithstandError, nearest
from withstand.files import file_name

CLEAN = "clean"
SHEET = 100
"""Images that the figure of a set's first images chooses from, where the set is not stored."""

SUBSET = 1000
"""Images that models are attacked on, or looked into with, where the config does not say how many."""

POLICIES = ("stored", "published", "corrupt_after_resize", "model")
"""How images come to a model: the study's, resized; a corrupted set's own, resized; corrupted after the model's own
resize and crop; by the model's own resize and crop of the image in the source. Resizing to a model's size is the rest.
"""

_LONGEST_STEM = 100
"""Most characters of a fetched file's name that its weights are named by."""


class ConfigError(WithstandError):
    """A config that cannot be run: one line for each problem, with key, value and the nearest right one."""


def _is_known(known: Iterable[str], kind: str):
    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"unknown {kind}{nearest(text, known)}")
        return text

    return check


def _is_expectation(value: object) -> object:
    given = list(value.values()) if isinstance(value, Mapping) else [value]
    numbers = [number for number in given if isinstance(number, (int, float)) and 0 < number < 1]
    if value is not None and (len(given) != 1 or numbers != given):
        raise ValueError("expected an accuracy between 0 and 1, or {dataset: accuracy} with one dataset")
    return value


def _is_digest(value: object) -> object:
    if isinstance(value, (int, float)):
        raise ValueError("put it in quotes, YAML takes it for a number")
    if isinstance(value, str) and not re.fullmatch(r"[0-9a-fA-F]{8,64}", value):
        raise ValueError("give the 64 hex digits of a SHA-256, or the first of them, 8 at least")
    return value.lower() if isinstance(value, str) else value


Unit = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Severity = Annotated[int, Field(ge=SEVERITIES[0], le=SEVERITIES[-1])]
CorruptionName = Annotated[str, AfterValidator(_is_known(CORRUPTIONS, "corruption"))]


def _check_address(text: str, scheme: str) -> None:
    if text.startswith("gs://"):
        advice = f"; did you mean '{text.replace('gs://', 'https://storage.googleapis.com/')}'?"
        raise ValueError(f"checkpoint: {text} cannot be fetched{advice}")
    if scheme.lower() not in ("http", "https"):
        advice = nearest(scheme, ("https", "http"))
        raise ValueError(f"checkpoint: {text}: files are fetched by http and https, not by '{scheme}'{advice}")
    if not urlsplit(text).netloc or text.endswith("/") or not file_name(text).name:
        raise ValueError(f"checkpoint: {text} is not the address of a file")


class Preprocessing(Strict):
    """What a model wants of an image, where it differs from what timm says or timm does not know it."""

    input_size: int | None = Field(None, ge=1)
    """Height and width in pixels."""
    mean: tuple[Unit, Unit, Unit] | None = None
    """Mean of each channel, on the scale 0 to 1."""
    std: tuple[Unit, Unit, Unit] | None = None
    """Standard deviation of each channel, on the scale 0 to 1."""
    interpolation: Literal["bilinear", "bicubic"] | None = None
    """How images of another size are resized."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the resized image that the centre crop of the model's own transform keeps."""
    crop_mode: Literal["center", "squash", "border"] | None = None
    """How the model's own transform crops, as timm calls it."""
    test_size: bool = True
    """Take the size, and the share to crop, at which timm tests a model, as its validation script does; for many it is
    larger than the one they were trained at, which `false` takes."""


class InferenceSettings(Strict):
    """How models compute their predictions on image sets. All else, that is attacks, rotations and translations, and
    the inside of models, is computed in float32."""

    precision: Precision = "float32"
    """Numbers of products: `float32`; `tf32`, with 10 bits of mantissa, on NVIDIA cards since Ampere; or `bfloat16`,
    with 7 bits, by automatic mixed precision."""
    channels_last: bool = False
    """Keep weights and activations in memory as images are, on a card, which may suit convolutions; CPUs always do."""
    compile: bool = False
    """Let `torch.compile` make kernels for each model, which takes minutes a model."""


class Pretraining(Strict):
    """What a model was trained on, for tables and figures."""

    dataset: str
    """Name of the (largest) training set."""
    images: int = Field(ge=1)
    """Number of its images."""


class ModelEntry(Strict):
    """One model: exactly one of timm, zoo, recipe and function says what it is."""

    timm: str | None = None
    """A timm model; with its tag (`deit_small_patch16_224.fb_in1k`) the pretrained weights are fetched."""
    zoo: str | None = None
    """A model that comes with withstand."""
    recipe: str | None = None
    """A recipe of this study, which trains the model."""
    function: str | None = None
    """`module:function` of your own, called with kwargs, that returns a torch module."""
    kwargs: dict[str, Any] = Field({})
    """Arguments of the architecture (timm or function)."""
    checkpoint: str | None = None
    """Weights, a file or its http(s) address, which is fetched once: safetensors, a state dict saved by torch.save
    (loaded without pickle), or, with timm, a ViT or BiT of Google's (`.npz`)."""
    sha256: Annotated[str, BeforeValidator(_is_digest)] | None = None
    """SHA-256 of what lies at a checkpoint's address: 64 hex digits, or the first of them, 8 at least, as they stand
    in the names of torchvision's files."""
    preprocessing: Preprocessing | None = None
    """Overrides of the model's own preprocessing; needed whole (size, mean, std) for a function."""
    label_space: str | None = None
    """What the outputs mean, e.g. `imagenet-1k`; needed for a function."""
    inference: InferenceSettings | None = None
    """How it computes its predictions, where that differs from the study's `inference`."""
    interventions: tuple[Intervention, ...] = ()
    """Changes of the model at inference, one after the other: lesions, limits of attention. With other ones it is
    another model, with the same weights."""
    label: str | None = None
    """Name in figures; the model's id where it is not given."""
    color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] | None = None
    """Colour in figures, `#rrggbb`."""
    family: str | None = None
    """Group of architectures in tables and figures, e.g. `ViT`; where it is not given, that of the timm architecture,
    and `other` without one."""
    kind: Literal["ViT", "ResNet", "other"] | None = None
    """What the paper's claims count the model as; where it is not given, its architecture says."""
    pretraining: Pretraining | None = None
    """What the model was trained on; where it is not given, what the tag of timm's weights says, or the recipe."""
    expect: Annotated[float | dict[str, float] | None, BeforeValidator(_is_expectation)] = None
    """Top-1 accuracy that it should have on clean images, for its gate (see `gates`): of the study's reference set, or
    `{dataset: accuracy}` of another one. Without it, the published accuracy of exactly this model counts."""

    @model_validator(mode="after")
    def _check_source(self) -> ModelEntry:
        sources = [name for name in ("timm", "zoo", "recipe", "function") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"give exactly one of timm, zoo, recipe and function, not {sources or 'none'}")
        if sources[0] in ("zoo", "recipe"):
            keys = ("kwargs", "checkpoint", "sha256", "preprocessing", "label_space")
            unused = [key for key in keys if getattr(self, key)]
            if unused:
                raise ValueError(f"{unused[0]} has no meaning beside {sources[0]}")
        if self.zoo is not None and self.zoo not in zoo.names():
            raise ValueError(f"zoo: no model '{self.zoo}' comes with withstand{nearest(self.zoo, zoo.names())}")
        if self.timm is not None:
            self._check_timm()
        if self.function is not None:
            self._check_function()
        if self.checkpoint is not None:
            self._check_checkpoint()
        if self.sha256 is not None and self.address is None:
            raise ValueError("sha256 has no meaning without the address of a checkpoint")
        return self

    def _check_timm(self) -> None:
        architecture, _, tag = self.timm.partition(".")
        known = timm_index.architectures()
        if architecture not in known:
            raise ValueError(f"timm: no model '{architecture}'{nearest(architecture, known)}")
        tags = timm_index.tags().get(architecture, ())
        if tag and tags and tag not in tags:
            raise ValueError(f"timm: {architecture} has no weights '{tag}', but {', '.join(tags)}")
        if self.checkpoint is None and "num_classes" in self.kwargs:
            raise ValueError("kwargs.num_classes: pretrained weights would lose their outputs; give a checkpoint")
        if self.checkpoint is not None and "num_classes" in self.kwargs and self.label_space is None:
            raise ValueError("label_space: say what the outputs mean, since kwargs.num_classes changes them")
        if not tag and self.checkpoint is None:
            advice = f" (timm: {architecture}.{tags[0]})" if tags else ""
            raise ValueError(f"timm: {architecture} needs weights: name a tag{advice} or a checkpoint")

    def _check_function(self) -> None:
        if not re.fullmatch(r"[\w.]+:\w+", self.function):
            raise ValueError(f"function: '{self.function}' is not 'module:function'")
        given = self.preprocessing or Preprocessing()
        missing = [key for key in ("input_size", "mean", "std") if getattr(given, key) is None]
        missing = [f"preprocessing.{key}" for key in missing] + ([] if self.label_space else ["label_space"])
        if "test_size" in given.model_fields_set:
            raise ValueError("preprocessing.test_size: only timm knows a size for tests; give preprocessing.input_size")
        if missing:
            raise ValueError(f"a function says nothing about its inputs and outputs: give {', '.join(missing)}")

    def _check_checkpoint(self) -> None:
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", self.checkpoint)
        if scheme:
            _check_address(self.checkpoint, scheme.group(1))
        elif not Path(self.checkpoint).is_file():
            raise ValueError(f"checkpoint: no file {self.checkpoint}")
        if not self.is_npz:
            return
        if self.function is not None:
            raise ValueError(f"checkpoint: {self.checkpoint} is read by timm; give timm instead of function")
        if self.timm.partition(".")[0] not in timm_index.npz_architectures():
            raise ValueError(f"checkpoint: timm reads .npz into ViTs and BiTs only, not into {self.timm}")

    @property
    def address(self) -> str | None:
        """The address of a checkpoint that is fetched."""
        return self.checkpoint if re.match(r"https?://", self.checkpoint or "", re.IGNORECASE) else None

    @property
    def is_npz(self) -> bool:
        """Whether the checkpoint is one of Google's."""
        return self.checkpoint is not None and file_name(self.checkpoint).suffix == ".npz"

    @property
    def fetched(self) -> dict:
        """The slice that shapes weights which are fetched from an address; .npz is read into its architecture."""
        keys = {"checkpoint", "sha256"} | ({"timm", "kwargs"} if self.is_npz else set())
        return self.model_dump(mode="json", include=keys, exclude_none=True, exclude_defaults=True)

    @property
    def source(self) -> dict:
        """The slice of the entry that shapes the model's outputs; what tables and figures need is left out."""
        keys = {"timm", "zoo", "recipe", "function", "kwargs", "preprocessing", "label_space", "interventions"}
        return self.model_dump(mode="json", include=keys, exclude_none=True, exclude_defaults=True)


class DatasetEntry(Strict):
    """One image set: some samples of a source, clean and under families of corruptions."""

    source: SourceEntry
    """Where the images come from."""
    samples: int | None = Field(None, ge=1)
    """How many; all where it is not given, which only sets of known size allow. A larger number adds samples and
    changes none; `choose` says which are taken."""
    choose: Literal["first", "random"] = "first"
    """Which samples are taken: the `first` in the source's order, or a `random` choice by the study's seed. In folders
    and archives classes take turns, each in the order of its file names, so the first ones are balanced; arrays and
    Parquet files keep their own order. With `missed_by`, the order in which the model is asked about them."""
    missed_by: ModelEntry | None = None
    """Natural adversarial examples: take only samples that this model, none of the study's, gets wrong."""
    pool: int | None = Field(None, ge=1)
    """With `missed_by`: the model is asked about at most so many samples, which `choose` orders; all by default."""
    size: int | None = Field(None, ge=8)
    """Height and width of its stored images in pixels; `images.size` where it is not given."""
    families: Annotated[tuple[str, ...], AfterValidator(are_unique)] = ()
    """Families of corruptions to apply; the clean images are always there."""
    policy: Literal["stored", "model"] = "stored"
    """How models get the images: `stored`, resized and cropped to the study's size once and from there to each model's
    own; or `model`, by each model's own resize and crop of the image in the source, as timm's validation does it."""
    unreadable: Literal["stop", "skip"] = "stop"
    """What to do about an image that cannot be decoded: stop and name it, or leave it out, name it and count it."""
    role: Literal["evaluation", "training"] = "evaluation"
    """Training sets are for recipes only: no model is evaluated on them."""
    label: str | None = None
    """Name in figures; the dataset's id where it is not given."""

    @property
    def has_clean(self) -> bool:
        """Whether there are clean images, and not corrupted copies alone."""
        return self.source.kind not in ONLY_CORRUPTED_KINDS

    @model_validator(mode="after")
    def _check_missed_by(self) -> DatasetEntry:
        if self.missed_by is None:
            if self.pool is not None:
                raise ValueError("pool has no meaning without missed_by")
            return self
        if self.role == "training":
            raise ValueError("missed_by has no meaning for a training set")
        if self.missed_by.inference is not None:
            raise ValueError("missed_by.inference has no meaning: samples are chosen in float32")
        if self.missed_by.expect is not None:
            raise ValueError("missed_by.expect has no meaning: only models of the study have gates")
        if self.samples is None:
            raise ValueError("samples: say how many, since nobody knows yet how many samples missed_by gets wrong")
        return self


class Family(Strict):
    """A group of corruptions that are made, evaluated and rerun together."""

    corruptions: Annotated[tuple[CorruptionName, ...], Field(min_length=1), AfterValidator(are_unique)]
    """Names of corruptions."""
    severities: Annotated[tuple[Severity, ...], Field(min_length=1), AfterValidator(are_unique)] = SEVERITIES
    """Which severities, 1 to 5."""
    materialize: bool = True
    """Whether corrupted images are kept in files. If not, every inference job makes them itself, with the same
    predictions: no disk, but the work again for each model."""
    policy: Literal["stored", "corrupt_after_resize"] = "stored"
    """Whether the study's images are corrupted, and resized for each model, or the image as the model itself resizes
    and crops it from the source, with the constants for the model's size; such images are never kept."""

    source: CorruptedEntry | None = None
    """A corrupted set as published, for the clean set that it was made of; without it the corruptions are made here."""

    @model_validator(mode="after")
    def _check_source(self) -> Family:
        if self.source is not None and self.policy != "stored":
            raise ValueError(f"policy: the images of {self.source.kind} are of one size; only new ones can be of any")
        return self

    @property
    def named_policy(self) -> str:
        """The transform policy as results name it."""
        return self.policy if self.source is None else "published"

    @property
    def is_stored(self) -> bool:
        """Whether its images lie in files of this study."""
        return self.materialize and self.policy == "stored"

    @property
    def source_spec(self) -> dict | None:
        """The downloaded set that it is taken from, with what is wanted of it."""
        if self.source is None:
            return None
        wanted = {"corruptions": sorted(self.corruptions), "severities": sorted(self.severities)}
        return self.source.model_dump(mode="json") | wanted


class Recipe(Strict):
    """How to train a small timm architecture on datasets of this study."""

    timm: Annotated[str, AfterValidator(_is_known(timm_index.architectures(), "timm model"))]
    """Architecture."""
    kwargs: dict[str, Any] = Field({})
    """Its arguments."""
    dataset: str
    """The dataset to train on (role `training`)."""
    validation: str
    """The dataset on which the accuracy is measured in the end (role `training` or `evaluation`)."""
    epochs: int = Field(8, ge=1)
    """Passes over the training set."""
    batch_size: int = Field(128, ge=1)
    """Images in a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.05, ge=0)
    """Weight decay of matrices and kernels."""
    warmup: Unit = 0.1
    """Share of the steps with a rising learning rate; a cosine down to zero follows."""
    label_smoothing: Unit = 0.0
    """Share of the target spread over all classes."""
    max_shift: int = Field(4, ge=0)
    """Random shift of the images in pixels, beside mirroring."""
    seed: int = 0
    """Seed of initial weights and order of the images."""


class ImageSettings(Strict):
    """How images are stored."""

    size: int = Field(224, ge=8)
    """Height and width in pixels."""
    codec: Literal["raw", "jpeg"] = "raw"
    """`raw`: exact, fast, large. `jpeg`: quality 85 as in ImageNet-C's own files, about a tenth of the space."""
    shard_size: int = Field(5000, ge=1)
    """Most samples in a file."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 0.875
    """Images of another size: the short side is resized to `size / crop_pct`, and the centre kept. 0.875 is what
    ImageNet-C was made with (256 to 224); images that are all of one size must have the study's."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How such images are resized."""


class GateSettings(Strict):
    """What each model must show before anything else is computed with it. A model whose top-1 accuracy is more than
    three standard errors below the expected one is left out; everything else goes on."""

    clean: int = Field(ge=1)
    """Clean images that each model predicts first: a seeded choice from the study's reference set, or from the set that
    the model's `expect` names. A model without `expect` and without a published accuracy has no gate."""


class StatisticsSettings(Strict):
    """What models and sets are compared with."""

    reference: str | None = None
    """The dataset whose clean images predict accuracy on other datasets; by default the first by name that has families
    of corruptions, or the first at all."""
    baseline: str | None = None
    """The model whose errors under corruption are 100%, beside AlexNet on ImageNet-C; by default there is none."""
    margin: Share = 0.05
    """Accuracies that differ by less are called equal where a claim is that something makes no difference."""


class FigureSettings(Strict):
    """How figures are drawn."""

    dpi: int = Field(150, ge=50, le=1200)
    """Resolution of the PNG files."""


class Study(Strict):
    """A study: which models, on which images, under which corruptions."""

    study: Id
    """Name of the study; everything it makes lies in `results/<study>`."""
    seed: int = 0
    """Seed of all that is random."""
    limit: int | None = Field(None, ge=1)
    """Use at most so many samples of each evaluation set, the first of those it would take: turns any study into a
    pilot."""
    models: dict[Id, ModelEntry] = Field(min_length=1)
    """The models by id."""
    datasets: dict[Id, DatasetEntry] = Field(min_length=1)
    """The image sets by id."""
    families: dict[Id, Family] = Field({})
    """Families of corruptions by id."""
    recipes: dict[Id, Recipe] = Field({})
    """How models of this study are trained, by id."""
    attacks: AttackSettings | None = None
    """Attacks on models: adversarial perturbations, and worst-case rotation and translation."""
    internals: InternalsSettings | None = None
    """The inside of models: similarity of layers, lesions, limits of attention."""
    gates: GateSettings | None = None
    """A first look at each model, on a few clean images, that stops models with wrong weights or preprocessing."""
    inference: InferenceSettings = InferenceSettings()
    """How models compute their predictions; a model's own `inference` goes before it, key by key."""
    statistics: StatisticsSettings = StatisticsSettings()
    """What models and sets are compared with."""
    images: ImageSettings = ImageSettings()
    """How images are stored."""
    figures: FigureSettings = FigureSettings()
    """How figures are drawn."""

    @model_validator(mode="after")
    def _check_names(self) -> Study:
        checks = (
            *(self._check_models, self._check_datasets, self._check_references, self._check_label_spaces),
            *(self._check_attacks, self._check_internals, self._check_statistics, self._check_gates),
        )
        problems = list(dict.fromkeys(problem for check in checks for problem in check()))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _check_models(self) -> Iterable[str]:
        for key, model in self.entries().items():
            if model.recipe is not None and model.recipe not in self.recipes:
                yield f"{key}.recipe: no recipe '{model.recipe}'{nearest(model.recipe, self.recipes)}"
        for name, recipe in self.recipes.items():
            for key in ("dataset", "validation"):
                dataset = getattr(recipe, key)
                if dataset not in self.datasets:
                    yield f"recipes.{name}.{key}: no dataset '{dataset}'{nearest(dataset, self.datasets)}"
            if recipe.dataset in self.datasets and self.datasets[recipe.dataset].role != "training":
                yield f"recipes.{name}.dataset: '{recipe.dataset}' would be evaluated on too; give it role: training"
            if recipe.validation in self.datasets and self.datasets[recipe.validation].missed_by:
                yield f"recipes.{name}.validation: '{recipe.validation}' holds only what another model gets wrong"
            yield from self._check_outputs(name, recipe)
        if CLEAN in self.families:
            yield "families.clean: the name is taken by the clean images"

    def _check_attacks(self) -> Iterable[str]:
        if self.attacks is None:
            return
        yield from self._check_subset("attacks", self.attacks.dataset, self.attacks.samples, self.attacks.models)
        if not self.attacks.perturbations and self.attacks.spatial is None:
            yield "attacks: give perturbations, spatial, or both"
        for name in self.attacks.perturbations:
            if name == CLEAN or name in self.families:
                yield f"attacks.perturbations.{name}: the name is taken by images of the study; take another one"

    def _check_internals(self) -> Iterable[str]:
        given = self.internals
        if given is None:
            return
        yield from self._check_subset("internals", given.dataset, given.samples, given.models)
        if not given.experiments:
            yield "internals: give similarity, lesions, attention_limit, attention_distance, or several of them"
        if given.dataset not in self.datasets:
            return
        known = self.datasets[given.dataset].families
        for family in given.families:
            if family not in known:
                yield f"internals.families: {given.dataset} has no family '{family}'{nearest(family, known)}"
        found = min(given.samples or SUBSET, self._whole_count(given.dataset))
        if given.similarity and found < given.similarity.minibatch:
            yield (
                f"internals.similarity.minibatch: {given.similarity.minibatch}, but {found} samples are looked at,"
                " which fill none"
            )
        if given.similarity and self.limit is not None and self.limit < 4:
            yield f"limit: {self.limit}, but internals.similarity needs 4 samples at least"

    def _check_statistics(self) -> Iterable[str]:
        given = self.statistics
        if given.baseline is not None and given.baseline not in self.models:
            yield f"statistics.baseline: no model '{given.baseline}'{nearest(given.baseline, self.models)}"
        if given.reference is None:
            return
        if given.reference not in self.datasets:
            yield f"statistics.reference: no dataset '{given.reference}'{nearest(given.reference, self.datasets)}"
        elif given.reference not in self.judged_by_accuracy():
            yield (
                f"statistics.reference: '{given.reference}' cannot predict accuracy elsewhere; take a dataset of clean"
                " images with one right answer each, on which models are evaluated"
            )

    def _check_gates(self) -> Iterable[str]:
        for name, model in self.models.items():
            if model.expect is None:
                continue
            judged = self.judged_by_accuracy()
            dataset = self.gate_dataset(name)
            if self.gates is None:
                yield f"models.{name}.expect: the study has no gates; add gates: {{clean: 1000}}"
            elif not judged:
                yield f"models.{name}.expect: the study has no clean images with one right answer each"
            elif dataset not in judged:
                advice = nearest(dataset, judged)
                yield f"models.{name}.expect: no clean images with one right answer in '{dataset}'{advice}"

    def _check_subset(self, section: str, name: str, samples: int | None, models: Iterable[str]) -> Iterable[str]:
        """What a section says of the images and models that it is about."""
        for model in models:
            if model not in self.models:
                yield f"{section}.models: no model '{model}'{nearest(model, self.models)}"
        if name not in self.datasets:
            yield f"{section}.dataset: no dataset '{name}'{nearest(name, self.datasets)}"
            return
        if self.datasets[name].role == "training":
            yield f"{section}.dataset: {name} is for training only"
        if not self.datasets[name].has_clean:
            yield f"{section}.dataset: {self.datasets[name].source.kind} has no clean images"
        if self._source(name).is_cue_conflict or self._source(name).categories() is not None:
            yield f"{section}.dataset: {name} has no one right output for each image"
        if samples is not None and samples > self._whole_count(name):
            yield f"{section}.samples: {samples} samples asked for, {name} has {self._whole_count(name)}"

    def _check_label_spaces(self) -> Iterable[str]:
        """One name of a label space must stand for one list of classes."""
        seen: dict[str, tuple[str, tuple]] = {}
        for name, dataset in self.datasets.items():
            classes = self._source(name).own_classes()
            if classes is not None:
                other, known = seen.setdefault(dataset.source.label_space, (name, classes))
                if classes != known:
                    space = dataset.source.label_space
                    yield f"datasets.{name}.source.classes: not those that {other} has of the same label space {space}"

    def _check_outputs(self, name: str, recipe: Recipe) -> Iterable[str]:
        for key in ("dataset", "validation"):
            dataset = getattr(recipe, key)
            if dataset not in self.datasets:
                continue
            source = self._source(dataset)
            if source.is_cue_conflict:
                yield f"recipes.{name}.{key}: images of {dataset} have two answers each, there is nothing to learn"
            if source.native_size() not in (None, self.image_size(dataset)):
                yield self._wrong_size(dataset, f"{dataset} has images", source.native_size())
        if recipe.dataset in self.datasets:
            classes = self._source(recipe.dataset).outputs()
            outputs = recipe.kwargs.get("num_classes", 1000)
            if outputs != classes:
                yield f"recipes.{name}.kwargs.num_classes: {outputs}, but {recipe.dataset} has {classes} classes"
            known = [key for key in (recipe.dataset, recipe.validation) if key in self.datasets]
            spaces = {key: self._source(key).label_space() for key in known}
            if len(set(spaces.values())) > 1:
                told = " but ".join(f"{key} is of {space}" for key, space in spaces.items())
                yield f"recipes.{name}.validation: {told}"

    def computing(self, model: str) -> Computing:
        """How a model computes its predictions."""
        own = self.models[model].inference
        given = own.model_dump(exclude_unset=True) if own else {}
        return Computing(**(self.inference.model_dump() | given))

    def entries(self) -> dict[str, ModelEntry]:
        """Every model that the study uses, by the key under which it stands."""
        models = {f"models.{name}": model for name, model in self.models.items()}
        return models | {f"datasets.{name}.missed_by": model for name, model in self.references().items()}

    def references(self) -> dict[str, ModelEntry]:
        """The reference models by the datasets of samples that they get wrong."""
        return {name: dataset.missed_by for name, dataset in self.datasets.items() if dataset.missed_by}

    def _check_references(self) -> Iterable[str]:
        studied = {(canonical(model.source), model.checkpoint): name for name, model in self.models.items()}
        for name, reference in self.references().items():
            model = studied.get((canonical(reference.source), reference.checkpoint))
            if model is not None:
                yield f"datasets.{name}.missed_by: the model '{model}' of the study would be judged by its own errors"
            dataset, available = self.datasets[name], self._source(name).available()
            if self._source(name).is_cue_conflict:
                yield f"datasets.{name}.missed_by: on cue conflict there is no wrong answer"
            if available is None and dataset.pool is None:
                yield f"datasets.{name}.pool: say how many samples there are to ask about"
            elif available is not None and (dataset.pool or 0) > available:
                yield f"datasets.{name}.pool: {dataset.pool} samples asked for, the source has {available}"
            if dataset.pool and dataset.samples > dataset.pool:
                yield f"datasets.{name}.samples: {dataset.samples} asked for out of a pool of {dataset.pool}"

    def _check_datasets(self) -> Iterable[str]:
        for name, dataset in self.datasets.items():
            for family in dataset.families:
                if family not in self.families:
                    yield f"datasets.{name}.families: no family '{family}'{nearest(family, self.families)}"
                else:
                    yield from self._check_family(name, dataset, family)
            yield from self._check_overlap(name, dataset)
            source = self._source(name)
            available = source.available()
            if available is None and dataset.samples is None:
                yield f"datasets.{name}.samples: say how many, since nobody knows yet how many {name} has"
            elif available is not None and (dataset.samples or 0) > available:
                yield f"datasets.{name}.samples: {dataset.samples} samples asked for, {name} has {available}"
            if dataset.policy == "stored" and source.native_size() not in (None, self.image_size(name)):
                yield self._wrong_size(name, f"{name} has images", source.native_size())
            if dataset.policy == "model" and dataset.size is not None:
                yield f"datasets.{name}.size: under the policy model every model has its own"
            if dataset.policy == "model" and dataset.role == "training":
                yield f"datasets.{name}.policy: a training set is stored"
            if not dataset.has_clean:
                yield from self._check_only_corrupted(name, dataset)

    def _check_only_corrupted(self, name: str, dataset: DatasetEntry) -> Iterable[str]:
        """A set that was published only corrupted can be evaluated under families of its kind, and no more."""
        kind = dataset.source.kind
        for key in ("missed_by", "role"):
            if getattr(dataset, key) not in (None, "evaluation"):
                yield f"datasets.{name}.{key}: {kind} has no clean images"
        if any(name in (recipe.dataset, recipe.validation) for recipe in self.recipes.values()):
            yield f"datasets.{name}: {kind} has no clean images, and can be in no recipe"
        if not dataset.families:
            yield f"datasets.{name}.families: {kind} has no clean images; name families of it (source.kind: {kind})"
        if dataset.policy == "model":
            yield f"datasets.{name}.policy: {kind} has no clean images that models could resize; take stored"

    def _check_overlap(self, name: str, dataset: DatasetEntry) -> Iterable[str]:
        """Families of one policy are pooled, which would count a condition twice."""
        seen: dict[tuple, str] = {}
        for key in (key for key in dataset.families if key in self.families):
            family = self.families[key]
            for condition in ((c, s) for c in family.corruptions for s in family.severities):
                other = seen.setdefault((family.named_policy, *condition), key)
                if other != key:
                    corruption, severity = condition
                    yield f"datasets.{name}.families: '{other}' and '{key}' both have {corruption}, severity {severity}"
                    return

    def _check_family(self, name: str, dataset: DatasetEntry, key: str) -> Iterable[str]:
        family = self.families[key]
        if family.source is None and not dataset.has_clean:
            yield f"datasets.{name}.families: '{key}' is made of clean images, and {dataset.source.kind} has none"
            return
        if dataset.policy == "model" and family.policy == "stored":
            yield (
                f"datasets.{name}.families: the images of '{key}' are of the study's size, those of {name} of each"
                " model's own; give the dataset the policy stored, or the family corrupt_after_resize"
            )
        if family.source is not None:
            source = open_source(family.source_spec)
            wanted, size = source.clean(), source.native_size()
            strangers = [corruption for corruption in family.corruptions if corruption not in source.known()]
            if strangers:
                yield f"families.{key}.corruptions: {family.source.kind} has no {strangers[0]}"
            if family.is_stored and self.images.codec == "jpeg" and not source.is_encoded:
                yield f"families.{key}.materialize: with images.codec jpeg its pixels would change; read them in place"
            if size != self.image_size(name):
                yield self._wrong_size(name, f"the images of '{key}' are", size)
            if not wanted.items() <= self.source_spec(name).items():
                told = ", ".join(f"{option}: {value}" for option, value in wanted.items())
                yield f"datasets.{name}.families: '{key}' is {family.source.kind}, made of another set ({told})"

    def _wrong_size(self, dataset: str, whose: str, size: int | None) -> str:
        given = "images.size" if self.datasets[dataset].size is None else f"datasets.{dataset}.size"
        return f"{given}: {self.image_size(dataset)}, but {whose} of {size} px"

    def image_size(self, dataset: str) -> int:
        """Height and width of the stored images of a dataset."""
        return self.datasets[dataset].size or self.images.size

    def choice_seed(self, dataset: str) -> int | None:
        """The seed by which the samples of an image set are chosen; None for the first ones."""
        return self.seed if self.datasets[dataset].choose == "random" else None

    def about(self, model: str) -> dict:
        """What tables and figures say of a model: ``family``, ``kind`` and ``pretraining``, as far as the config or its
        architecture says; and ``inferred``, those of family and pre-training that the config leaves to the latter."""
        entry = self.models[model]
        given = entry.model_dump(mode="json", include={"family", "kind", "pretraining"}, exclude_none=True)
        inferred = self._inferred(entry)
        return inferred | given | {"inferred": sorted(inferred.keys() - given.keys() - {"kind"})}

    def _inferred(self, entry: ModelEntry) -> dict:
        if entry.function is not None:
            return {}
        if entry.zoo is not None:
            recipe = zoo.index()[entry.zoo]["recipe"]
            name, data = recipe["timm"], recipe["dataset"]
            pretraining = {"dataset": data["source"]["kind"], "images": data["samples"]}
        elif entry.recipe is not None:
            recipe = self.recipes[entry.recipe]
            name, pretraining = recipe.timm, {"dataset": recipe.dataset, "images": self.sample_count(recipe.dataset)}
        else:
            name = entry.timm  # whose tag says nothing of the weights of a checkpoint
            pretraining = lineage.pretraining_of(name) if entry.checkpoint is None else None
        kind = {"kind": lineage.kind_of(name)} if lineage.kind_of(name) else {}
        return {"family": lineage.family_of(name)} | kind | ({"pretraining": pretraining} if pretraining else {})

    def sample_count(self, dataset: str) -> int:
        """Number of samples of an image set, known before anything is made."""
        count = self._whole_count(dataset)
        whole = self.limit is None or self.datasets[dataset].role == "training"
        return count if whole else min(count, self.limit)

    def _whole_count(self, dataset: str) -> int:
        entry = self.datasets[dataset]
        return entry.samples or self._source(dataset).available() or 0

    def shards(self, dataset: str) -> dict[str, tuple[int, int]]:
        """The stored shards of an image set: name to first sample and the one past the last.

        Of a set that models read from its source, only the first images are stored, to be looked at.
        """
        count = self.sample_count(dataset)
        return self._split(count if self.datasets[dataset].policy == "stored" else min(count, SHEET))

    def whole_shards(self, dataset: str) -> dict[str, tuple[int, int]]:
        """The shards of an image set that is trained on, whatever the limit."""
        return self._split(self._whole_count(dataset))

    def _split(self, count: int) -> dict[str, tuple[int, int]]:
        starts = range(0, count, self.images.shard_size)
        return {f"{number:04d}": (start, min(start + starts.step, count)) for number, start in enumerate(starts)}

    def source_spec(self, dataset: str) -> dict:
        """The options of a dataset's source (see ``datasets.registry.open_source``)."""
        return self.datasets[dataset].source.model_dump(mode="json", by_alias=True)

    def indexed_sets(self) -> list[str]:
        """The datasets whose samples lie in files, which must be scanned."""
        return sorted(name for name, dataset in self.datasets.items() if dataset.source.kind in FILE_KINDS)

    def downloaded_families(self) -> list[str]:
        """The families that are taken from corrupted sets as published."""
        return sorted(name for name, family in self.families.items() if family.source is not None)

    def model_policy_sets(self) -> list[str]:
        """Those whose clean images every model resizes and crops itself."""
        return [name for name in self.clean_sets() if self.datasets[name].policy == "model"]

    def stored_sets(self) -> list[str]:
        """Those whose clean images models get from the store."""
        return [name for name in self.clean_sets() if self.datasets[name].policy == "stored"]

    def evaluation_sets(self) -> list[tuple[str, str]]:
        """(dataset, family) of every image set that models are evaluated on."""
        clean = self.clean_sets()
        families = {name: (CLEAN,) * (name in clean) + self.datasets[name].families for name in self.evaluated()}
        return [(name, family) for name in families for family in families[name]]

    def clean_sets(self) -> list[str]:
        """Those of which there are clean images, and not corrupted copies alone."""
        return [name for name in self.evaluated() if self.datasets[name].has_clean]

    def stored_families(self) -> list[str]:
        """The families whose images lie in files."""
        return sorted(name for name, family in self.families.items() if family.is_stored)

    def made_families(self) -> list[str]:
        """Those of them that are made here, by corrupting clean images."""
        return sorted(set(self.stored_families()) - set(self.downloaded_families()))

    def streamed_families(self) -> list[str]:
        """The families whose images are made inside inference jobs."""
        return sorted(self.families.keys() - self.stored_families())

    def policies(self, dataset: str) -> list[str]:
        """The transform policies under which a dataset is corrupted."""
        families = (self.families[name] for name in self.datasets[dataset].families)
        return sorted({family.named_policy for family in families}, key=POLICIES.index)

    def evaluated(self) -> list[str]:
        """The datasets that models are evaluated on, by name, since the order of keys does not count."""
        return sorted(name for name, dataset in self.datasets.items() if dataset.role == "evaluation")

    def pool_size(self, dataset: str) -> int:
        """How many samples of a dataset's source its reference model is asked about at most."""
        entry = self.datasets[dataset]
        return entry.pool or self._source(dataset).available() or entry.samples

    def attacked(self) -> list[str]:
        """The models that are attacked, by name."""
        return [] if self.attacks is None else sorted(self.attacks.models or self.models)

    def attacked_subset(self) -> dict:
        """Which of the attacked dataset's samples (see ``subsets.Subset``)."""
        return self._subset(self.attacks.dataset, self.attacks.samples)

    def examined(self) -> list[str]:
        """The models that are looked into, by name."""
        return [] if self.internals is None else sorted(self.internals.models or self.models)

    def examined_subset(self) -> dict:
        """Which of the samples models are looked into with (see ``subsets.Subset``)."""
        return self._subset(self.internals.dataset, self.internals.samples)

    def examined_families(self) -> list[str]:
        """The families of images that models are looked into with, the clean ones first."""
        return [] if self.internals is None else [CLEAN, *sorted(self.internals.families)]

    def experiments(self) -> dict[str, dict]:
        """What is done to the inside of models, by kind; a pilot with fewer samples has smaller minibatches."""
        if self.internals is None:
            return {}
        found, count = dict(self.internals.experiments), self.examined_subset()["count"]
        if "grams" in found:
            found["grams"] = {**found["grams"], "minibatch": min(found["grams"]["minibatch"], count)}
        return found

    def _subset(self, dataset: str, samples: int | None) -> dict:
        return {"count": min(samples or SUBSET, self.sample_count(dataset)), "seed": self.seed}

    def judged_by_accuracy(self) -> list[str]:
        """Those whose clean images have one right answer: all but the sets of cue conflict."""
        conflicts = self.cue_conflict_sets()
        return [name for name in self.clean_sets() if name not in conflicts]

    def reference(self) -> str | None:
        """The dataset whose clean images predict accuracy on others; none where there are no such images."""
        judged = self.judged_by_accuracy()
        first = sorted(judged, key=lambda name: (not self.datasets[name].families, name))
        return self.statistics.reference or next(iter(first), None)

    def gate_dataset(self, model: str) -> str | None:
        """The dataset on whose clean images a model's gate is: the reference, or the one that its `expect` names."""
        expect = self.models[model].expect
        return next(iter(expect)) if isinstance(expect, dict) else self.reference()

    def gate_subset(self, dataset: str) -> dict:
        """Which of a dataset's samples a gate is judged by (see ``subsets.Subset``)."""
        return self._subset(dataset, self.gates.clean)

    def unshifted_sets(self) -> list[str]:
        """Those whose clean images are the reference's, in whatever size."""
        reference = self.reference()
        if reference is None:
            return []
        source = self.source_spec(reference)
        return [
            name
            for name in self.clean_sets()
            if self.source_spec(name) == source and self.datasets[name].missed_by == self.datasets[reference].missed_by
        ]

    def cue_conflict_sets(self) -> list[str]:
        """Those with a label for the texture beside that for the shape."""
        return [name for name in self.evaluated() if self._source(name).is_cue_conflict]

    def _source(self, dataset: str):
        return open_source(self.source_spec(dataset))

    def preparation(self, dataset: str) -> dict:
        """What shapes the stored images of a dataset besides its source: how they are fitted to the study's size, and
        what happens to unreadable ones; nothing for images that are drawn."""
        entry = self.datasets[dataset]
        if entry.source.kind not in FILE_KINDS:
            return {}
        if not entry.has_clean:
            return {"with_images": False}
        given = {"unreadable": entry.unreadable}
        if self._source(dataset).native_size() != self.image_size(dataset):
            given |= {"crop_pct": self.images.crop_pct, "interpolation": self.images.interpolation}
        return given

    def weights_name(self, entry: ModelEntry) -> str | None:
        """The file name (without suffix) of a model's weights in the shared folder, if they are kept there."""
        if entry.zoo is not None:
            return f"zoo-{entry.zoo}"
        if entry.recipe is not None:
            return f"{entry.recipe}-{short_digest(self.training(entry.recipe))}"
        if entry.address is not None:
            stem = re.sub(r"[^\w.-]+", "_", file_name(entry.address).stem, flags=re.ASCII)[:_LONGEST_STEM]
            return f"{stem}-{short_digest(entry.fetched)}"
        if entry.timm is not None and entry.checkpoint is None:
            return f"{entry.timm}-{short_digest(entry.kwargs)}" if entry.kwargs else entry.timm
        return None

    def training(self, recipe: str) -> dict:
        """All that shapes the weights of a recipe: itself and its datasets."""
        entry = self.recipes[recipe]
        sets = {key: self.image_set(getattr(entry, key)) for key in ("dataset", "validation")}
        return entry.model_dump(mode="json") | sets

    def image_set(self, dataset: str) -> dict:
        """All that shapes the clean images of a dataset, `limit` apart."""
        seed = self.choice_seed(dataset)
        return {
            "source": self.source_spec(dataset),
            "samples": self._whole_count(dataset),
            "size": self.image_size(dataset),
            "codec": self.images.codec,
            **({} if seed is None else {"choice_seed": seed}),
            **self.preparation(dataset),
        }


def canonical(value: object) -> str:
    """JSON with sorted keys: equal values give equal text, whatever the order of keys in a YAML file."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def short_digest(value: object) -> str:
    """Eight hex digits of the canonical JSON of a value."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=4).hexdigest()


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that refuses a key that stands twice, where others keep the last one in silence."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ConfigError(f"{node.start_mark.name}: line {key_node.start_mark.line + 1}: '{key}' stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_config(path: Path) -> dict:
    """Read a config file.

    Raises:
        ConfigError: if it is not YAML, no mapping, or has a key twice.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _UniqueKeys)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, e.g. 'study: name'")
    return content


def load_study(config: Mapping) -> Study:
    """Check a config.

    Raises:
        ConfigError: with one line for each problem.
    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigError("\n".join(_message(problem) for problem in _first_causes(error.errors()))) from None


def _first_causes(problems: list) -> list:
    """Problems without those that only follow from one inside them, such as a list left empty by a wrong entry."""
    places = [problem["loc"] for problem in problems]

    def holds_another(place: tuple) -> bool:
        return any(len(other) > len(place) and other[: len(place)] == place for other in places)

    return [problem for problem in problems if not holds_another(problem["loc"])]


def _message(problem: Mapping) -> str:
    tag, kinds = _union(problem["loc"])
    key = ".".join(str(part) for place, part in enumerate(problem["loc"]) if place != tag or part not in kinds)
    if problem["type"] == "union_tag_invalid":
        return f"config: {key}.kind: unknown kind '{problem['ctx']['tag']}'{nearest(problem['ctx']['tag'], kinds)}"
    if problem["type"] == "union_tag_not_found":
        return f"config: {key}.kind: missing; one of {', '.join(kinds)}"
    if problem["type"] == "extra_forbidden":
        return f"config: {key}: unknown key{nearest(problem['loc'][-1], _keys_beside(problem['loc']))}"
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"config: {key}: missing"
    if not key or (problem["type"] == "value_error" and isinstance(problem["input"], Mapping)):
        return "\n".join(f"config: {key + ': ' if key else ''}{line}" for line in text.splitlines())
    return f"config: {key}: {text} (got {problem['input']!r})"


def _union(location: tuple) -> tuple[int | None, Iterable[str]]:
    """Where pydantic puts the kind of an entry of several kinds into a location, and the kinds that there are."""
    if location[:2] == ("attacks", "perturbations"):
        return 3, ATTACK_KINDS
    for place in (2, 3):  # of a model, or of a reference
        if location[place : place + 1] == ("interventions",):
            return place + 2, INTERVENTION_KINDS
    if "source" in location:
        return location.index("source") + 1, CORRUPTED_KINDS if location[0] == "families" else KINDS
    return None, ()


class _Defaults(GenerateJsonSchema):
    """Tells defaults that hold fractions, which some versions of pydantic leave out with a warning."""

    def encode_default(self, dft: object) -> object:
        return (
            list(map(str, dft))
            if isinstance(dft, tuple) and Fraction in map(type, dft)
            else super().encode_default(dft)
        )


def json_schema() -> dict:
    """The JSON Schema of a config."""
    return Study.model_json_schema(schema_generator=_Defaults)


def _keys_beside(location: tuple) -> list[str]:
    """The keys that the schema knows at the place of a wrong one."""
    schema = json_schema()
    node = schema
    for part in location[:-1]:
        node = _resolve(schema, node)
        if "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][part]}
            continue
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or node.get("items") or {}
    return list(_resolve(schema, node).get("properties", {}))


def _resolve(schema: Mapping, node: Mapping) -> Mapping:
    for option in node.get("anyOf", ()):
        if "$ref" in option:
            node = option
    reference = node.get("$ref")
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node
