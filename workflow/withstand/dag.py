"""What the rules ask of a study: targets, inputs and params of each job, as plain paths and canonical JSON.

A job's params hold the slice of the config that shapes its result, and a digest of the code that does, so that a job
runs again when, and only when, one of them changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from withstand import published, zoo
from withstand.config import CLEAN, ConfigError, DatasetEntry, Family, ModelEntry, Study, canonical, short_digest
from withstand.corruptions.constants import CORRUPTIONS, nearest_size
from withstand.dag_attacks import AttacksDag
from withstand.dag_gates import GatesDag
from withstand.dag_internals import InternalsDag
from withstand.dag_report import ReportDag
from withstand.dag_resources import ResourcesDag
from withstand.dag_statistics import SUMMARIES, StatisticsDag
from withstand.datasets.archives import Archive
from withstand.datasets.registry import open_source
from withstand.provenance import code_digest, is_at_hand

CLEAN_AGAINST_CORRUPTED = "clean_against_corrupted"
ACCURACY_FIGURES = ("accuracy_by_severity", CLEAN_AGAINST_CORRUPTED)
"""Figures of each dataset that has families of corruptions, for each of their policies; the last needs clean images."""

FIGURE_FORMATS = ("svg", "png", "csv")
TABLES = (*SUMMARIES, "failures", "models")
SHAPE_BIAS = "shape_bias"
"""A table, and a figure of each set of cue conflict."""

READING_THREADS = 8
"""Threads that decode images for one job, where there are so many cores; Snakemake lowers it to those at hand."""


def alternatives(names: Iterable[str]) -> str:
    """A regular expression that matches just these names; one that matches nothing for none."""
    return "|".join(re.escape(name) for name in sorted(names)) or "(?!)"


class _Names(dict):
    """Names of an image set, for functions that take Snakemake's wildcards."""

    __getattr__ = dict.__getitem__


class Dag:
    """Targets, inputs and params of one study's jobs. Input functions take Snakemake's wildcards."""

    def __init__(self, study: Study) -> None:
        """Raises ``ConfigError`` where a model's function is in the working directory but cannot be read."""
        self.study = study
        for key, entry in study.entries().items():
            try:
                code_digest(*self._entry_code(entry))
            except (LookupError, SyntaxError) as error:
                raise ConfigError(f"config: {key}.function: {error}") from None
        self._results = f"results/{study.study}"
        self.gates = GatesDag(self, self._results)
        self.attacks = AttacksDag(self, self._results)
        self.internals = InternalsDag(self, self._results)
        self.statistics = StatisticsDag(self, self._results)
        self.report = ReportDag(self, self._results)
        self.resources = ResourcesDag(self, self._results)

    # Targets

    def targets(self) -> list[str]:
        """All that the study is for; a study that only trains is for its weights."""
        return [*self.tables(), *self.figures(), self.report.path()] if self.study.evaluated() else self.weights()

    def tables(self) -> list[str]:
        """The study's tables."""
        tables = [*TABLES, SHAPE_BIAS] if self.study.cue_conflict_sets() else [*TABLES]
        tables += self.attacks.tables()
        tables += self.internals.tables()
        tables += self.statistics.tables()
        return [f"{self._results}/tables/{table}.parquet" for table in tables]

    def figures(self) -> list[str]:
        """The study's figures, in all their formats, with the data drawn."""
        corrupted = [name for name in self.study.evaluated() if self.study.datasets[name].families]
        stored = self.study.stored_sets()
        names = [f"corruptions-{dataset}" for dataset in corrupted if dataset in stored]
        for dataset in corrupted:
            suffixes = ["" if policy == "stored" else f".{policy}" for policy in self.study.policies(dataset)]
            has_clean = self.study.datasets[dataset].has_clean
            kinds = [kind for kind in ACCURACY_FIGURES if has_clean or kind != CLEAN_AGAINST_CORRUPTED]
            names += [f"{kind}-{dataset}{suffix}" for kind in kinds for suffix in suffixes]
        names += [f"{SHAPE_BIAS}-{dataset}" for dataset in self.study.cue_conflict_sets()]
        names += [f"samples-{dataset}" for dataset in self.study.clean_sets()]
        names += ["held_out"] if len(self.study.judged_by_accuracy()) > 1 else []
        names += self.attacks.figures()
        names += self.internals.figures()
        names += self.statistics.figures()
        return [f"{self._results}/figures/{name}.{suffix}" for name in names for suffix in FIGURE_FORMATS]

    def downloads(self) -> list[str]:
        """The archives of published sets that the study needs and no path is given for."""
        return sorted(self.archives())

    def weights(self) -> list[str]:
        """The shared weights that the study's models need."""
        names = (self.study.weights_name(entry) for entry in self.study.entries().values())
        return sorted({f"results/weights/{name}.safetensors" for name in names if name})

    def shared(self) -> list[str]:
        """Files and folders that the study uses besides its own: weights, and what is still to be trained on."""
        untrained = any(not Path(f"results/weights/{name}.safetensors").exists() for name in self.trained_recipes())
        images = [f"results/weights/images/{name}" for name in self.training_images()] if untrained else []
        return self.weights() + images

    # Inputs

    def model_weights(self, wildcards) -> list[str]:
        """The weights of a model: shared, or the user's checkpoint; none where a function brings its own."""
        return self._weights(self.study.models[wildcards.model])

    def reference_weights(self, wildcards) -> list[str]:
        """The weights of the model that misses the samples of a dataset."""
        return self._weights(self.study.references()[wildcards.dataset])

    def selection(self, wildcards) -> list[str]:
        """The samples of a dataset of natural adversarial examples; none for other datasets."""
        return self._selection(wildcards.get("dataset"))

    def source_files(self, wildcards) -> list[str]:
        """The archives, or the user's own files, that hold a dataset or a downloaded family."""
        return open_source(self._scanned(wildcards)).inputs()

    def index(self, wildcards) -> list[str]:
        """What a scan of a dataset's files found; nothing for images that are drawn. Training sets have their own."""
        indexed = self._index(self._name(wildcards))
        if indexed and wildcards.get("images"):
            return [f"results/weights/images/{wildcards.images}/index.parquet"]
        return indexed

    def family_index(self, wildcards) -> str:
        """What a scan of a downloaded corrupted set found."""
        return f"{self._results}/images/{wildcards.dataset}/{wildcards.family}/index.parquet"

    def read_files(self, wildcards) -> list[str]:
        """The files that a job reads samples from."""
        return self._read_files(self._name(wildcards))

    def image_shards(self, wildcards) -> list[str]:
        """The shards of an image set."""
        return self._shards(wildcards.dataset, wildcards.family)

    def streamed_inputs(self, wildcards) -> list[str]:
        """What an inference job makes or reads its images of, besides the files of a source."""
        if self._from_source(wildcards):
            return self.index(wildcards) + self.selection(wildcards)
        clean = self._shards(wildcards.dataset, CLEAN)
        return [*clean, self.family_index(wildcards)] if self._is_downloaded(wildcards.family) else clean

    def streamed_files(self, wildcards) -> list[str]:
        """The files of sources that an inference job reads."""
        if self._from_source(wildcards):
            return self.read_files(wildcards)
        return self.source_files(wildcards) if self._is_downloaded(wildcards.family) else []

    def clean_shards(self, wildcards) -> list[str]:
        """The stored clean images of all datasets that models are evaluated on."""
        return [path for name in self.study.stored_sets() for path in self._shards(name, CLEAN)]

    def sampled_shard(self, wildcards) -> str:
        """The first shard of a dataset's clean images."""
        return self._shards(wildcards.dataset, CLEAN)[0]

    def training_shards(self, wildcards) -> list[str]:
        """The training images of a recipe, by the name of its weights."""
        return self._training_shards(self.recipe(wildcards.weights).dataset)

    def validation_shards(self, wildcards) -> list[str]:
        """The validation images of a recipe, by the name of its weights."""
        return self._training_shards(self.recipe(wildcards.weights).validation)

    def model_predictions(self, wildcards) -> list[str]:
        """The predictions of a model on all image sets."""
        return [self.predictions(wildcards.model, *image_set) for image_set in self.study.evaluation_sets()]

    def cue_conflict_predictions(self, wildcards) -> list[str]:
        """The predictions of all models on the sets whose shape and texture disagree."""
        sets = self.study.cue_conflict_sets()
        return [self.predictions(model, dataset, CLEAN) for model in self.study.models for dataset in sets]

    def cards(self, wildcards) -> list[str]:
        """The card of each model."""
        return [f"{self._results}/models/{model}.json" for model in self.study.models]

    def remembering_tables(self, wildcards) -> list[str]:
        """The tables whose metadata say what failed."""
        names = ("accuracy", "attacks", "transfer", "spatial", *self.internals.tables())
        return [path for path in self.tables() if Path(path).stem in names]

    # Image sets that steps of several kinds take

    def image_set(self, dataset: str, family: str) -> dict:
        """An image set as steps take it, its output apart."""
        names = {"dataset": dataset, "family": family}
        if not self._is_stored(dataset, family):
            return names | self._streamed(_Names(names), family)
        published = {"policy": "published"} if self._is_downloaded(family) else {}
        return names | {"images": self._shards(dataset, family)} | published

    def image_set_inputs(self, dataset: str, family: str) -> list[str]:
        """The shards of an image set, or what a job makes or reads its images of."""
        if self._is_stored(dataset, family):
            return self._shards(dataset, family)
        return self.streamed_inputs(_Names(dataset=dataset, family=family))

    def image_set_files(self, dataset: str, family: str) -> list[str]:
        """The files of sources that a job reads the images of."""
        stored = self._is_stored(dataset, family)
        return [] if stored else self.streamed_files(_Names(dataset=dataset, family=family))

    def image_set_threads(self, dataset: str, family: str) -> int:
        """Threads of a job that reads an image set."""
        stored = self._is_stored(dataset, family)
        return 1 if stored else self.reading_threads(_Names(dataset=dataset, family=family))

    def image_set_code(self, dataset: str, family: str) -> list[str]:
        """The code that makes the images of an image set, or reads them from a source; none for stored ones."""
        if self._is_stored(dataset, family):
            return []
        return self._streaming_code(_Names(dataset=dataset, family=family), family)

    def _is_stored(self, dataset: str, family: str) -> bool:
        return dataset in self.study.stored_sets() if family == CLEAN else family in self.study.stored_families()

    # Outputs

    def clean_predictions(self) -> list[str]:
        """The predictions of one model, a wildcard, on the stored clean images of all datasets."""
        return [f"results/{{study}}/predictions/{{model}}/{name}/{CLEAN}.parquet" for name in self.study.stored_sets()]

    # Wildcards

    def fetched_weights(self) -> list[str]:
        """Names of weights that are fetched: of the zoo, of timm, and from addresses."""
        return sorted(self._weights_sources())

    def training_images(self) -> list[str]:
        """Names of image sets that recipes are trained on."""
        return sorted(self.training_sets())

    def indexed_training_images(self) -> list[str]:
        """Those of them that lie in files."""
        return sorted(name for name, dataset in self.training_sets().items() if self._index(dataset))

    def missed_sets(self) -> list[str]:
        """Names of datasets of natural adversarial examples."""
        return sorted(self.study.references())

    def download_folders(self) -> list[str]:
        """Names of the folders of downloads."""
        return sorted({path.split("/")[-2] for path in self.archives()})

    def downloaded_archives(self) -> list[str]:
        """Names of the archives in them."""
        return sorted({path.split("/")[-1] for path in self.archives()})

    def trained_weights(self) -> list[str]:
        """Names of weights that recipes train."""
        return sorted(self.trained_recipes())

    # Params

    def fetch_arguments(self, wildcards) -> list[str]:
        """Arguments of `withstand fetch-weights`."""
        return self._weights_sources()[wildcards.weights]

    def recipe_spec(self, wildcards) -> str:
        """A recipe and the sets it is trained on."""
        return canonical(self.study.training(self.trained_recipes()[wildcards.weights]))

    def training_options(self, wildcards) -> list[str]:
        """The images of a recipe as options of `withstand train`."""
        training = [f"--training={path}" for path in self.training_shards(wildcards)]
        return training + [f"--validation={path}" for path in self.validation_shards(wildcards)]

    def model_spec(self, wildcards) -> str:
        """The slice of a model's entry that shapes its outputs."""
        return canonical(self.study.models[wildcards.model].source)

    def computing(self, wildcards) -> str:
        """How a model computes its predictions, as far as that differs from the default."""
        return canonical(self.study.computing(wildcards.model).choices())

    def reference_spec(self, wildcards) -> str:
        """The slice of a reference model's entry that shapes its outputs."""
        return canonical(self.study.references()[wildcards.dataset].source)

    def searched_pool(self, wildcards) -> str:
        """The samples that a reference model is asked about, as `start:stop`."""
        return f"0:{self.study.pool_size(wildcards.dataset)}"

    def sample_count(self, wildcards) -> int:
        """Number of samples of a dataset."""
        return self.study.sample_count(wildcards.dataset)

    def predicted_set(self, wildcards) -> str:
        """One image set as `withstand predict` takes it."""
        return canonical([self._image_set(wildcards.model, wildcards.dataset, wildcards.family)])

    def streamed_set(self, wildcards) -> str:
        """One image set whose images `withstand predict` makes, or reads from the source, itself."""
        family = wildcards.get("family", CLEAN)
        names = {"dataset": wildcards.dataset, "family": family}
        output = {"output": self.predictions(wildcards.model, wildcards.dataset, family)}
        return canonical([names | self._streamed(wildcards, family) | output])

    def _streamed(self, wildcards, family: str) -> dict:
        if self._is_downloaded(family):
            entry = self.study.families[family]
            wanted = {"corruptions": entry.corruptions, "severities": entry.severities}
            return {"images": self._shards(wildcards.dataset, CLEAN), "index": self.family_index(wildcards), **wanted}
        made = {"seed": self.study.seed, "codec": self.study.images.codec}
        if not self._from_source(wildcards):
            plan = _plan(self.study.families[family], self.study.image_size(wildcards.dataset))
            return made | {"images": self._shards(wildcards.dataset, CLEAN), "corruptions": plan}
        return made | self._read_from_source(wildcards.dataset, family)

    def _read_from_source(self, dataset: str, family: str) -> dict:
        """Images that each model resizes and crops itself, as `withstand predict` takes them."""
        index = [
            {"index": path, "unreadable": self.study.datasets[dataset].unreadable} for path in self._index(dataset)
        ]
        seed = self.study.choice_seed(dataset)
        return {
            "source": self.study.source_spec(dataset),
            "range": [0, self.study.sample_count(dataset)],
            "selection": self._selection(dataset),
            "corruptions": [] if family == CLEAN else _plan(self.study.families[family]),
            "policy": "model" if family == CLEAN else "corrupt_after_resize",
            **({} if seed is None else {"choice_seed": seed}),
            **(index[0] if index else {}),
        }

    def predicted_clean_sets(self, wildcards) -> str:
        """The clean images of all datasets as `withstand predict` takes them."""
        return canonical([self._image_set(wildcards.model, dataset, CLEAN) for dataset in self.study.stored_sets()])

    def model_descriptions(self, wildcards) -> str:
        """What is known of the models before they run, for tables."""
        models = self.study.models
        return canonical(
            {name: self.study.about(name) | {"precision": self.study.computing(name).precision} for name in models}
        )

    def source_spec(self, wildcards) -> str:
        """Where the images of a dataset come from."""
        return canonical(self.study.source_spec(self._name(wildcards)))

    def scanned_spec(self, wildcards) -> str:
        """The source in files, clean or corrupted, that is scanned."""
        return canonical(self._scanned(wildcards))

    def preparation(self, wildcards) -> str:
        """How images of another size are fitted to the study's, and what happens to unreadable ones."""
        return canonical(self.study.preparation(self._name(wildcards)))

    def reading_threads(self, wildcards) -> int:
        """Threads of a job that decodes images; drawing or corrupting them gains nothing from threads."""
        return READING_THREADS if self._reads_files(wildcards) else 1

    def image_size(self, wildcards) -> int:
        """Height and width of the stored images of a dataset."""
        return self.study.image_size(self._name(wildcards))

    def sample_range(self, wildcards) -> str:
        """The samples of a shard, as `start:stop`."""
        start, stop = self.study.shards(wildcards.dataset)[wildcards.shard]
        return f"{start}:{stop}"

    def choice(self, wildcards) -> list[str]:
        """How the samples of a dataset are chosen, as options; none for the first ones."""
        seed = self.study.choice_seed(self._name(wildcards))
        return [] if seed is None else [f"--choice-seed={seed}"]

    def training_range(self, wildcards) -> str:
        """The samples of a shard of training images, as `start:stop`."""
        dataset = self.training_sets()[wildcards.images]
        start, stop = self.study.whole_shards(dataset)[wildcards.shard]
        return f"{start}:{stop}"

    def unreadable(self, wildcards) -> str:
        """What happens to images that cannot be decoded."""
        return self._dataset(wildcards).unreadable

    def preparing_threads(self, wildcards) -> int:
        """Threads of a job that prepares a shard: many shards are better prepared side by side, a core each."""
        name = self._name(wildcards)
        shards = self.study.whole_shards(name) if wildcards.get("images") else self.study.shards(name)
        return max(1, READING_THREADS // len(shards)) if self._index(name) else 1

    def taken_set(self, wildcards) -> str:
        """The corruptions and severities of a downloaded family."""
        family = self.study.families[wildcards.family]
        return canonical({"corruptions": family.corruptions, "severities": family.severities})

    def corruptions_spec(self, wildcards) -> str:
        """The corruptions of a family with the constants for a dataset's size of images."""
        return canonical(_plan(self.study.families[wildcards.family], self.study.image_size(wildcards.dataset)))

    def all_corruptions(self, wildcards) -> str:
        """Every corruption that there is, as a plan for a dataset, in the order of the categories."""
        order = list(dict.fromkeys(corruption.category for corruption in CORRUPTIONS.values()))
        names = sorted(CORRUPTIONS, key=lambda name: order.index(CORRUPTIONS[name].category))
        return canonical(_plan(Family(corruptions=tuple(names)), self.study.image_size(wildcards.dataset)))

    def figure_policy(self, wildcards) -> str:
        """The transform policy whose results a figure shows: the dataset's own where it is not in the name."""
        return wildcards.get("policy", "").removeprefix(".") or self.study.datasets[wildcards.dataset].policy

    def figure_style(self, wildcards) -> str:
        """Labels, colours and resolution of figures."""
        models = self.study.models.items()
        known = [(name, self.study.about(name)) for name in self.study.models]
        return canonical(
            {
                "models": sorted(self.study.models),
                "labels": {name: model.label for name, model in models if model.label},
                "colors": {name: model.color for name, model in models if model.color},
                "families": {name: about["family"] for name, about in known if "family" in about},
                "datasets": {name: dataset.label for name, dataset in self.study.datasets.items() if dataset.label},
                "dpi": self.study.figures.dpi,
            }
        )

    def resolution(self, wildcards) -> str:
        """Resolution of figures that show no models."""
        return canonical({"dpi": self.study.figures.dpi})

    # Digests of the code that shapes a result

    def card_code(self, wildcards) -> str:
        return code_digest("withstand.steps.models:write_card", *self.model_code(wildcards.model))

    def search_code(self, wildcards) -> str:
        reference = self._entry_code(self.study.references()[wildcards.dataset])
        return code_digest("withstand.steps.missed:find_missed", self._samples_code(wildcards.dataset), *reference)

    def scan_code(self, wildcards) -> str:
        kind = self._scanned(wildcards)["kind"]
        return code_digest("withstand.steps.index:index_source", f"withstand.datasets.{kind}:Source")

    def prediction_code(self, wildcards) -> str:
        return code_digest("withstand.steps.predict:predict", *self.model_code(wildcards.model))

    def streamed_code(self, wildcards) -> str:
        made = self._streaming_code(wildcards, wildcards.get("family", CLEAN))
        return code_digest("withstand.steps.predict:predict", *made, *self.model_code(wildcards.model))

    def _streaming_code(self, wildcards, family: str) -> list[str]:
        if self._is_downloaded(family):
            made = ["withstand.steps.stream:DownloadedSet"]
        elif self._from_source(wildcards):
            made = ["withstand.steps.stream:ResizedSet", self._samples_code(wildcards.dataset)]
        else:
            made = ["withstand.steps.stream:StreamedSet"]
        if family != CLEAN and not self._is_downloaded(family):
            made += self._corruption_functions(family)
        return sorted(made)

    def source_code(self, wildcards) -> str:
        return code_digest("withstand.steps.datasets:prepare_images", self._samples_code(self._name(wildcards)))

    def taking_code(self) -> str:
        return code_digest("withstand.steps.take:take_images")

    def corruption_code(self, wildcards) -> str:
        return code_digest("withstand.steps.perturb:corrupt_images", *self._corruption_functions(wildcards.family))

    def gallery_code(self) -> str:
        functions = sorted(_function(name) for name in CORRUPTIONS)
        return code_digest("withstand.steps.draw:draw_corruptions", *functions)

    def figure_code(self, wildcards) -> str:
        return figure_code(wildcards.figure)

    def _corruption_functions(self, family: str) -> list[str]:
        names = self.study.families[family].corruptions
        return sorted(_function(name) for name in names)

    def _samples_code(self, dataset: str) -> str:
        """The code that reads the samples of a dataset."""
        kind = self.study.datasets[dataset].source.kind
        return "withstand.datasets.files:IndexedSource" if self._index(dataset) else f"withstand.datasets.{kind}:Source"

    def _index(self, dataset: str) -> list[str]:
        indexed = dataset in self.study.indexed_sets()
        return [f"{self._results}/images/{dataset}/index.parquet"] if indexed else []

    def _selection(self, dataset: str | None) -> list[str]:
        chosen = dataset in self.study.references()
        return [f"{self._results}/images/{dataset}/missed.parquet"] if chosen else []

    def _read_files(self, dataset: str) -> list[str]:
        return open_source(self.study.source_spec(dataset)).inputs() if self._index(dataset) else []

    def _is_downloaded(self, family: str) -> bool:
        return family in self.study.downloaded_families()

    def _from_source(self, wildcards) -> bool:
        """Whether an inference job reads the images of the source, rather than those of the store."""
        family = wildcards.get("family", CLEAN)
        return family == CLEAN or self.study.families[family].policy != "stored"

    def _reads_files(self, wildcards) -> bool:
        if self._is_downloaded(wildcards.get("family", CLEAN)):
            return True
        return self._from_source(wildcards) and bool(self._index(self._name(wildcards)))

    def _scanned(self, wildcards) -> dict:
        if wildcards.get("family"):
            return self.study.families[wildcards.family].source_spec
        return self.study.source_spec(self._name(wildcards))

    @lru_cache  # noqa: B019 - one instance a process
    def archives(self) -> dict[str, Archive]:
        """The archives to download, by path."""
        specs = [self.study.source_spec(name) for name in self.study.indexed_sets()]
        used = {family for dataset in self.study.datasets.values() for family in dataset.families}
        specs += [self.study.families[name].source_spec for name in self.study.downloaded_families() if name in used]
        sources = [open_source(spec) for spec in specs]
        return {path: archive for source in sources for path, archive in source.downloads().items()}

    def predictions(self, model: str, dataset: str, family: str) -> str:
        """The file of predictions of a model on an image set."""
        return f"{self._results}/predictions/{model}/{dataset}/{family}.parquet"

    def _image_set(self, model: str, dataset: str, family: str) -> dict:
        published = {"policy": "published"} if self._is_downloaded(family) else {}
        return {
            "dataset": dataset,
            "family": family,
            "images": self._shards(dataset, family),
            "output": self.predictions(model, dataset, family),
            **published,
        }

    def _weights(self, entry: ModelEntry) -> list[str]:
        name = self.study.weights_name(entry)
        if name is not None:
            return [f"results/weights/{name}.safetensors"]
        return [] if entry.checkpoint is None else [str(Path(entry.checkpoint))]

    def _shards(self, dataset: str, family: str) -> list[str]:
        folder = f"{self._results}/images/{dataset}/{family}"
        return [f"{folder}/{shard}.h5" for shard in self.study.shards(dataset)]

    def _training_shards(self, dataset: str) -> list[str]:
        folder = f"results/weights/images/{self._training_name(dataset)}"
        return [f"{folder}/{shard}.h5" for shard in self.study.whole_shards(dataset)]

    def _training_name(self, dataset: str) -> str:
        layout = {"shard_size": self.study.images.shard_size}
        return f"{dataset}-{short_digest(self.study.image_set(dataset) | layout)}"

    def _name(self, wildcards) -> str:
        """The dataset of a job, by its name or that of its training images."""
        return wildcards.get("dataset") or self.training_sets()[wildcards.images]

    def _dataset(self, wildcards) -> DatasetEntry:
        return self.study.datasets[self._name(wildcards)]

    @lru_cache  # noqa: B019 - one instance a process
    def training_sets(self) -> dict[str, str]:
        """The datasets that recipes are trained or validated on, by the name of their images."""
        recipes = self.study.recipes.values()
        names = {name for recipe in recipes for name in (recipe.dataset, recipe.validation)}
        return {self._training_name(name): name for name in names}

    def model_code(self, model: str) -> list[str]:
        return self._entry_code(self.study.models[model])

    @staticmethod
    def _entry_code(entry: ModelEntry) -> list[str]:
        """The code that makes a model what it is: its own function, where that lies in the working directory, since
        installed packages have versions; and what changes the model."""
        function = entry.function
        own = [function] if function and is_at_hand(function.partition(":")[0]) else []
        return [*own, *(["withstand.interventions:apply"] if entry.interventions else [])]

    def recipe(self, weights: str):
        return self.study.recipes[self.trained_recipes()[weights]]

    @lru_cache  # noqa: B019 - one instance a process
    def trained_recipes(self) -> dict[str, str]:
        """The recipes that train weights, by the name of these."""
        entries = self.study.entries().values()
        return {self.study.weights_name(entry): entry.recipe for entry in entries if entry.recipe}

    @lru_cache  # noqa: B019
    def _weights_sources(self) -> dict[str, list[str]]:
        sources = {}
        for model in self.study.entries().values():
            weights = self.study.weights_name(model)
            if model.zoo:
                sources[weights] = ["--zoo", model.zoo, "--sha256", zoo.index()[model.zoo]["sha256"]]
            elif model.address:
                digest = ["--sha256", model.sha256] if model.sha256 else []
                architecture = ["--timm", model.timm, "--kwargs", canonical(model.kwargs)] if model.is_npz else []
                sources[weights] = ["--url", model.address, *digest, *architecture]
            elif model.timm and weights:
                sources[weights] = ["--timm", model.timm, "--kwargs", canonical(model.kwargs)]
        return sources


def figure_code(kind: str) -> str:
    """Digest of the code that draws one kind of figure from a table."""
    module = f"withstand.figures.{kind}"
    functions = ("select", "draw", "with_published") if kind in published.FIGURES else ("select", "draw")
    return code_digest("withstand.steps.draw:draw_table", *(f"{module}:{function}" for function in functions))


def _function(corruption: str) -> str:
    return f"withstand.corruptions.{CORRUPTIONS[corruption].category}:{corruption}"


@lru_cache
def _plan(family: Family, size: int | None = None) -> list[dict]:
    """A family as a plan (see :mod:`withstand.corruptions.plan`), with the constants for a size or those of all."""
    return [
        {
            "name": name,
            "category": CORRUPTIONS[name].category,
            "severities": family.severities,
            "constants": {
                known: [CORRUPTIONS[name].arguments(known, severity) for severity in family.severities]
                for known in sorted(CORRUPTIONS[name].constants)
                if size is None or known == nearest_size(CORRUPTIONS[name].constants, size)
            },
        }
        for name in family.corruptions
    ]
