"""What the rules ask of a study: targets, inputs and params of each job, as plain paths and canonical JSON.

A job's params hold the slice of the config that shapes its result, and a digest of the code that does, so that a job
runs again when, and only when, one of them changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from withstand import zoo
from withstand.config import CLEAN, ConfigError, DatasetEntry, Study, canonical, short_digest
from withstand.corruptions.constants import CORRUPTIONS
from withstand.provenance import code_digest, is_at_hand

ACCURACY_FIGURES = ("accuracy_by_severity", "clean_against_corrupted")
PERTURBATIONS_FIGURE = "perturbations"
FIGURE_FORMATS = ("svg", "png", "csv")
TABLES = ("accuracy", "failures", "models")


def alternatives(names: Iterable[str]) -> str:
    """A regular expression that matches just these names; one that matches nothing for none."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


class Dag:
    """Targets, inputs and params of one study's jobs. Input functions take Snakemake's wildcards."""

    def __init__(self, study: Study) -> None:
        """Raises ``ConfigError`` where a model's function is in the working directory but cannot be read."""
        self.study = study
        for name in study.models:
            try:
                code_digest(*self._model_code(name))
            except (LookupError, SyntaxError) as error:
                raise ConfigError(f"config: models.{name}.function: {error}") from None
        self._results = f"results/{study.study}"

    # Targets

    def tables(self) -> list[str]:
        """The study's tables."""
        return [f"{self._results}/tables/{table}.parquet" for table in TABLES]

    def figures(self) -> list[str]:
        """The study's figures, in all their formats, with the data drawn."""
        kinds = (*ACCURACY_FIGURES, PERTURBATIONS_FIGURE)
        corrupted = [name for name, dataset in self.study.datasets.items() if self._is_drawn(dataset)]
        return [
            f"{self._results}/figures/{kind}-{dataset}.{suffix}"
            for dataset in corrupted
            for kind in kinds
            for suffix in FIGURE_FORMATS
        ]

    def weights(self) -> list[str]:
        """The shared weights that the study's models need."""
        names = (self.study.weights_name(model) for model in self.study.models)
        return sorted({f"results/weights/{name}.safetensors" for name in names if name})

    # Inputs

    def model_weights(self, wildcards) -> list[str]:
        """The weights of a model: shared, or the user's checkpoint; none where a function brings its own."""
        name = self.study.weights_name(wildcards.model)
        if name is not None:
            return [f"results/weights/{name}.safetensors"]
        checkpoint = self.study.models[wildcards.model].checkpoint
        return [] if checkpoint is None else [str(checkpoint)]

    def image_shards(self, wildcards) -> list[str]:
        """The shards of an image set."""
        return self._shards(wildcards.dataset, wildcards.family)

    def drawn_shards(self, wildcards) -> list[str]:
        """The first shard of a dataset, clean and under each family."""
        families = (CLEAN, *self.study.datasets[wildcards.dataset].families)
        return [self._shards(wildcards.dataset, family)[0] for family in families]

    def training_shards(self, wildcards) -> list[str]:
        """The training images of a recipe, by the name of its weights."""
        return self._training_shards(self._recipe(wildcards.weights).dataset)

    def validation_shards(self, wildcards) -> list[str]:
        """The validation images of a recipe, by the name of its weights."""
        return self._training_shards(self._recipe(wildcards.weights).validation)

    def model_predictions(self, wildcards) -> list[str]:
        """The predictions of a model on all image sets."""
        folder = f"{self._results}/predictions/{wildcards.model}"
        return [f"{folder}/{dataset}/{family}.parquet" for dataset, family in self.study.evaluation_sets()]

    def summaries(self, wildcards) -> list[str]:
        """The accuracies of each model."""
        return [f"{self._results}/tables/accuracy/{model}.parquet" for model in self.study.models]

    def cards(self, wildcards) -> list[str]:
        """The card of each model."""
        return [f"{self._results}/models/{model}.json" for model in self.study.models]

    # Wildcards

    def fetched_weights(self) -> list[str]:
        """Names of weights that are fetched: of the zoo and of timm."""
        return sorted(self._weights_sources())

    def training_images(self) -> list[str]:
        """Names of image sets that recipes are trained on."""
        return sorted(self._training_sets())

    def trained_weights(self) -> list[str]:
        """Names of weights that recipes train."""
        return sorted(self._recipes_by_weights())

    # Params

    def fetch_arguments(self, wildcards) -> list[str]:
        """Arguments of `withstand fetch-weights`."""
        return self._weights_sources()[wildcards.weights]

    def recipe_spec(self, wildcards) -> str:
        """A recipe and the sets it is trained on."""
        return canonical(self.study.training(self._recipes_by_weights()[wildcards.weights]))

    def training_options(self, wildcards) -> list[str]:
        """The images of a recipe as options of `withstand train`."""
        training = [f"--training={path}" for path in self.training_shards(wildcards)]
        return training + [f"--validation={path}" for path in self.validation_shards(wildcards)]

    def model_spec(self, wildcards) -> str:
        """The slice of a model's entry that shapes its outputs."""
        return canonical(self.study.models[wildcards.model].source)

    def model_descriptions(self, wildcards) -> str:
        """What the config says of the models for tables."""
        return canonical({name: model.description for name, model in self.study.models.items()})

    def source_spec(self, wildcards) -> str:
        """Where the images of a dataset come from."""
        return canonical(self._dataset(wildcards).source.model_dump(mode="json"))

    def sample_range(self, wildcards) -> str:
        """The samples of a shard, as `start:stop`."""
        start, stop = self.study.shards(wildcards.dataset)[wildcards.shard]
        return f"{start}:{stop}"

    def training_range(self, wildcards) -> str:
        """The samples of a shard of training images, as `start:stop`."""
        dataset = self._training_sets()[wildcards.images]
        start, stop = self.study.whole_shards(dataset)[wildcards.shard]
        return f"{start}:{stop}"

    def corruptions_spec(self, wildcards) -> str:
        """The corruptions of a family with the constants for the study's size of images."""
        return _corruptions(self.study.families[wildcards.family], self.study.images.size)

    def figure_style(self, wildcards) -> str:
        """Labels, colours and resolution of figures."""
        models = self.study.models.items()
        return canonical(
            {
                "models": sorted(self.study.models),
                "labels": {name: model.label for name, model in models if model.label},
                "colors": {name: model.color for name, model in models if model.color},
                "datasets": {name: dataset.label for name, dataset in self.study.datasets.items() if dataset.label},
                "dpi": self.study.figures.dpi,
            }
        )

    def resolution(self, wildcards) -> str:
        """Resolution of figures that show no models."""
        return canonical({"dpi": self.study.figures.dpi})

    # Digests of the code that shapes a result

    def fetch_code(self, wildcards) -> str:
        kind = "zoo" if self._weights_sources()[wildcards.weights][0] == "--zoo" else "timm"
        return code_digest(f"withstand.steps.models:fetch_{kind}_weights")

    def card_code(self, wildcards) -> str:
        return code_digest("withstand.steps.models:write_card", *self._model_code(wildcards.model))

    def prediction_code(self, wildcards) -> str:
        return code_digest("withstand.steps.predict:predict", *self._model_code(wildcards.model))

    def source_code(self, wildcards) -> str:
        kind = self._dataset(wildcards).source.kind
        return code_digest("withstand.steps.datasets:prepare_images", f"withstand.datasets.{kind}:Source")

    def corruption_code(self, wildcards) -> str:
        names = self.study.families[wildcards.family].corruptions
        functions = (f"withstand.corruptions.{CORRUPTIONS[name].category}:{name}" for name in names)
        return code_digest("withstand.steps.perturb:corrupt_images", *sorted(functions))

    def figure_code(self, wildcards) -> str:
        module = f"withstand.figures.{wildcards.figure}"
        return code_digest("withstand.steps.draw:draw_accuracy", f"{module}:select", f"{module}:draw")

    def _is_drawn(self, dataset) -> bool:
        return dataset.role == "evaluation" and bool(dataset.families)

    def _shards(self, dataset: str, family: str) -> list[str]:
        folder = f"{self._results}/images/{dataset}/{family}"
        return [f"{folder}/{shard}.h5" for shard in self.study.shards(dataset)]

    def _training_shards(self, dataset: str) -> list[str]:
        folder = f"results/weights/images/{self._training_name(dataset)}"
        return [f"{folder}/{shard}.h5" for shard in self.study.whole_shards(dataset)]

    def _training_name(self, dataset: str) -> str:
        layout = {"shard_size": self.study.images.shard_size}
        return f"{dataset}-{short_digest(self.study.image_set(dataset) | layout)}"

    def _dataset(self, wildcards) -> DatasetEntry:
        """The dataset of a job, by its name or that of its training images."""
        name = wildcards.get("dataset") or self._training_sets()[wildcards.images]
        return self.study.datasets[name]

    @lru_cache  # noqa: B019 - one instance a process
    def _training_sets(self) -> dict[str, str]:
        recipes = self.study.recipes.values()
        names = {name for recipe in recipes for name in (recipe.dataset, recipe.validation)}
        return {self._training_name(name): name for name in names}

    def _model_code(self, model: str) -> list[str]:
        """A model's own function, where its code lies in the working directory; installed packages have versions."""
        function = self.study.models[model].function
        return [function] if function and is_at_hand(function.partition(":")[0]) else []

    def _recipe(self, weights: str):
        return self.study.recipes[self._recipes_by_weights()[weights]]

    @lru_cache  # noqa: B019 - one instance a process
    def _recipes_by_weights(self) -> dict[str, str]:
        models = self.study.models.items()
        return {self.study.weights_name(name): model.recipe for name, model in models if model.recipe}

    @lru_cache  # noqa: B019
    def _weights_sources(self) -> dict[str, list[str]]:
        sources = {}
        for name, model in self.study.models.items():
            weights = self.study.weights_name(name)
            if model.zoo:
                sources[weights] = ["--zoo", model.zoo, "--sha256", zoo.index()[model.zoo]["sha256"]]
            elif model.timm and weights:
                sources[weights] = ["--timm", model.timm, "--kwargs", canonical(model.kwargs)]
        return sources


@lru_cache
def _corruptions(family, size: int) -> str:
    return canonical(
        [
            {
                "name": name,
                "category": CORRUPTIONS[name].category,
                "constants": f"{CORRUPTIONS[name].nearest_size(size)} px",
                "arguments": [
                    [severity, CORRUPTIONS[name].arguments(size, severity)] for severity in family.severities
                ],
            }
            for name in family.corruptions
        ]
    )
