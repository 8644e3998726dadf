"""The command ``withstand``: one subcommand a step of the pipeline. Steps read files and write files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from withstand import cli_planning, cli_rehearsal, cli_results
from withstand.cli_errors import Step
from withstand.devices import VARIABLE
from withstand.errors import WithstandError

INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


class Json(click.ParamType):
    """A JSON value on the command line."""

    name = "json"

    def convert(self, value, param, ctx):
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"not JSON: {error}", param, ctx)


class Range(click.ParamType):
    """``start:stop``, the stop not included."""

    name = "start:stop"

    def convert(self, value, param, ctx):
        start, colon, stop = value.partition(":")
        if not colon or not start.isdecimal() or not stop.isdecimal() or int(start) >= int(stop):
            self.fail(f"'{value}' is not start:stop with start < stop", param, ctx)
        return int(start), int(stop)


class OptionalFile(click.Path):
    """An existing file, or nothing for an empty text."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value, param, ctx):
        return super().convert(value, param, ctx) if value else None


JSON, RANGE = Json(), Range()

output_option = click.option("--output", "-o", required=True, type=OUTPUT, help="File to write.")
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar=VARIABLE,
    show_envvar=True,
    help="auto, cpu, gpu (one that no other job has), cuda or cuda:<number>.",
)
weights_option = click.option("--weights", type=OptionalFile(), help="Weights file; none where it is empty.")
codec_option = click.option("--codec", type=click.Choice(["raw", "jpeg"]), default="raw", show_default=True)
index_option = click.option("--index", type=OptionalFile(), help="What index-source wrote; none for images drawn.")
choice_option = click.option(
    "--choice-seed", type=int, help="Seed of a random choice of samples; the first ones are taken without it."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that read and decode images."
)
unreadable_option = click.option(
    "--unreadable", type=click.Choice(["stop", "skip"]), default="stop", show_default=True, help="Images not to decode."
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(min=1), default=128, show_default=True, help="Images in a forward pass."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Seed of the study.")
code_option = click.option("--code", default=None, help="Digest of the code, kept with what it makes.")


class Command(click.Group):
    """Turns errors that a user can act on into a line without a traceback."""

    command_class = Step

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except WithstandError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.strerror is None or isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(f"{error.filename or 'input or output'}: {error.strerror}") from error


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="withstand")
def main() -> None:
    """How robust image classifiers are, and why.

    Each subcommand is one step of the workflow: it reads files and writes files. To run a whole study, use snakemake.
    """
    from withstand.run import begin_log, die_with_run

    begin_log()
    die_with_run()


@main.command()
@click.argument("config", type=INPUT, default="config.yaml")
def check(config: Path) -> None:
    """Check the config of a study and say what it will run."""
    from withstand.config import load_study, read_config
    from withstand.dag import Dag
    from withstand.gates import gates, without_gate

    study = load_study(read_config(config))
    Dag(study)
    sets = study.evaluation_sets()
    click.echo(f"{config}: study '{study.study}', {len(study.models)} models on {len(sets)} image sets")
    for dataset, family in sets:
        click.echo(f"  {dataset}/{family}: {study.sample_count(dataset)} samples")
    for model, gate in gates(study).items():
        click.echo(f"  {model} has a gate: {gate}")
    for model, reason in without_gate(study).items():
        click.echo(f"  {model} has no gate: {reason}")


@main.command()
@click.option("--schema", type=OUTPUT, required=True, help="JSON Schema to write.")
@click.option("--reference", type=OUTPUT, required=True, help="Reference page (Markdown) to write.")
def document_config(schema: Path, reference: Path) -> None:
    """Write the JSON Schema and the reference page of the config."""
    from withstand.config_docs import json_schema, reference_page
    from withstand.files import write_text

    write_text(schema, json_schema())
    write_text(reference, reference_page())


@main.command()
@click.option("--zoo", help="Name of a model that comes with withstand.")
@click.option("--url", help="Address of a checkpoint; of .npz, with the timm architecture to read it into.")
@click.option("--sha256", help="Digest that the zoo's weights or the checkpoint must have.")
@click.option("--timm", help="Name of a timm model with its tag.")
@click.option("--kwargs", type=JSON, default="{}", help="Arguments of the timm architecture (JSON).")
@output_option
def fetch_weights(zoo: str | None, url: str | None, sha256: str | None, timm: str | None, kwargs: dict, output) -> None:
    """Fetch the weights of a model of the zoo, of timm or from an address, once, as safetensors."""
    from withstand.steps.models import fetch_checkpoint, fetch_timm_weights, fetch_zoo_weights

    if (zoo is None) == (timm is None and url is None):
        raise click.UsageError("give one of --zoo, --timm and --url")
    if zoo is not None:
        fetch_zoo_weights(zoo, sha256, output)
    elif url is not None:
        fetch_checkpoint(url, sha256, {"timm": timm, "kwargs": kwargs} if timm else None, output)
    else:
        fetch_timm_weights(timm, kwargs, output)


@main.command()
@click.option("--recipe", type=JSON, required=True, help="Recipe (JSON).")
@click.option("--training", type=INPUT, required=True, multiple=True, help="Training images, one option a shard.")
@click.option("--validation", type=INPUT, required=True, multiple=True, help="Validation images.")
@code_option
@device_option
@output_option
def train(recipe: dict, training, validation, code: str | None, device: str, output: Path) -> None:
    """Train a small architecture from a recipe; goes on where it was interrupted."""
    from withstand.devices import choose_device
    from withstand.steps.train import train_or_record

    train_or_record(recipe, training, validation, output, choose_device(device), code)


@main.command()
@click.argument("weights", type=INPUT, nargs=-1, required=True)
def publish(weights: tuple[Path, ...]) -> None:
    """Copy trained weights into the package, in float16, with their recipe, accuracy and digest.

    A model is named by its recipe: <recipe>-<digest>.safetensors becomes <recipe>.
    """
    from withstand.steps.publish import publish as run
    from withstand.steps.publish import published_name

    names = [published_name(path) for path in weights]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise click.UsageError(f"two of the files would become '{twice[0]}'; name the one to publish")
    for path in weights:
        click.echo(run(path))


@main.command()
@click.option("--model", required=True, help="Id of the model.")
@click.option("--spec", type=JSON, required=True, help="Its entry, as far as it shapes outputs (JSON).")
@weights_option
@output_option
def describe_model(model: str, spec: dict, weights: Path | None, output: Path) -> None:
    """Write a model's card: parameters, FLOPs, depth, grid, preprocessing, label space, weights digest."""
    from withstand.steps.models import write_card

    write_card(model, spec, weights, output)


@main.command()
@click.argument("description", type=INPUT)
@click.argument("predictions", type=INPUT)
@click.option("--gate", type=JSON, required=True, help="The dataset, and what is expected on it (JSON).")
@click.option("--card", type=OUTPUT, required=True, help="Card to write.")
@click.option("--verdict", type=OUTPUT, required=True, help="What was found, to write as JSON.")
def judge_gate(description: Path, predictions: Path, gate: dict, card: Path, verdict: Path) -> None:
    """Write the card of a model that passes its gate, or why it does not.

    DESCRIPTION is its card before that, PREDICTIONS are its answers to the images of the gate. The gate is {"dataset":
    NAME, "expected": [{"accuracy": SHARE, "input_size": PIXELS or null, "source": WHO SAYS SO}]}.
    """
    from withstand.steps.gate import judge_gate as run

    run(description, predictions, gate, card, verdict)


@main.command()
@click.argument("output", type=OUTPUT)
def download(output: Path) -> None:
    """Download an archive of a published set; goes on where it was cut off.

    OUTPUT is the file to write, named as the set's archive: results/downloads/imagenet_a/imagenet-a.tar, say.

    WITHSTAND_MIRROR names a folder, or an address, where archives are looked for first; with WITHSTAND_OFFLINE=1
    nothing touches the network.
    """
    from withstand.datasets.catalogue import archives
    from withstand.errors import nearest
    from withstand.steps.download import fetch_archive

    known = {archive.stored: archive for archive in archives()}
    if output.name not in known:
        raise click.UsageError(f"no published set has an archive '{output.name}'{nearest(output.name, known)}")
    fetch_archive(known[output.name], output)


@main.command()
@click.option("--source", type=JSON, required=True, help="Source, clean or corrupted (JSON).")
@output_option
def index_source(source: dict, output: Path) -> None:
    """Look through the files of a source: what there is, of which class, and where its bytes lie."""
    from withstand.steps.index import index_source as run

    run(source, output)


@main.command()
@click.option("--source", type=JSON, required=True, help="Source (JSON).")
@index_option
@click.option("--samples", type=RANGE, required=True, help="Which samples, by position.")
@click.option("--size", type=click.IntRange(min=8), required=True, help="Height and width in pixels.")
@click.option(
    "--preparation", type=JSON, default="{}", help="How other sizes are fitted, and unreadable images (JSON)."
)
@codec_option
@choice_option
@click.option("--selection", type=OptionalFile(), help="Take the samples that find-missed wrote here.")
@code_option
@threads_option
@output_option
def prepare_images(
    source: dict,
    index: Path | None,
    samples: tuple[int, int],
    size: int,
    preparation: dict,
    codec,
    choice_seed: int | None,
    selection: Path | None,
    code: str | None,
    threads: int,
    output: Path,
) -> None:
    """Write one shard of the clean images of a source."""
    from withstand.datasets.registry import open_samples
    from withstand.steps.datasets import Preparation
    from withstand.steps.datasets import prepare_images as run

    selected = None
    if selection is not None:
        from withstand.steps.missed import read_missed

        selected = read_missed(selection)
    run(
        open_samples(source, index),
        *samples,
        size=size,
        codec=codec,
        output=output,
        preparation=Preparation(**preparation),
        choice_seed=choice_seed,
        selected=selected,
        origin={"source": source, "code": code},
        threads=threads,
    )


@main.command()
@click.option("--source", type=JSON, required=True, help="Source (JSON).")
@index_option
@click.option("--pool", type=RANGE, required=True, help="Which of its samples to ask about, by position.")
@choice_option
@click.option("--count", type=click.IntRange(min=1), required=True, help="How many missed samples to find.")
@click.option("--spec", type=JSON, required=True, help="Entry of the reference model (JSON).")
@weights_option
@unreadable_option
@device_option
@threads_option
@output_option
def find_missed(
    source: dict,
    index: Path | None,
    pool,
    choice_seed: int | None,
    count: int,
    spec: dict,
    weights: Path | None,
    unreadable: str,
    device: str,
    threads: int,
    output: Path,
) -> None:
    """Find the natural adversarial examples of a source: samples that a reference model gets wrong."""
    from withstand.datasets.registry import open_samples
    from withstand.devices import choose_device
    from withstand.steps.missed import find_missed as run

    run(
        open_samples(source, index),
        pool,
        count,
        spec=spec,
        weights=weights,
        output=output,
        choice_seed=choice_seed,
        device=choose_device(device),
        unreadable=unreadable,
        threads=threads,
        origin={"source": source},
    )


@main.command()
@click.argument("clean", type=INPUT)
@click.option("--corruptions", type=JSON, required=True, help="Names, categories and constants (JSON).")
@seed_option
@codec_option
@code_option
@device_option
@output_option
def corrupt_images(clean: Path, corruptions, seed: int, codec, code: str | None, device: str, output: Path) -> None:
    """Write a family of corruptions of one shard of clean images."""
    from withstand.devices import choose_device
    from withstand.steps.perturb import corrupt_images as run

    device = choose_device(device)
    run(clean, corruptions, seed=seed, codec=codec, output=output, origin={"code": code}, device=device)


@main.command()
@click.argument("clean", type=INPUT)
@click.option("--index", type=INPUT, required=True, help="What index-source wrote of the corrupted set.")
@click.option("--wanted", type=JSON, required=True, help="Corruptions and severities (JSON).")
@codec_option
@code_option
@threads_option
@output_option
def take_images(clean: Path, index: Path, wanted: dict, codec, code: str | None, threads: int, output: Path) -> None:
    """Write the corrupted copies, as published, of one shard of clean images."""
    from withstand.steps.take import take_images as run

    run(clean, index, wanted, codec=codec, output=output, origin={"code": code}, threads=threads)


def _model_options(command: Callable) -> Callable:
    """Options of a step that runs a model over images."""
    card = click.option("--card", type=INPUT, required=True, help="The model's card.")
    for option in (threads_option, device_option, batch_option, weights_option, card):
        command = option(command)
    return command


@main.command()
@click.argument("image_sets", type=JSON)
@click.option(
    "--computing",
    type=JSON,
    default="{}",
    help='What differs from {"precision": "float32", "channels_last": false, "compile": false}.',
)
@_model_options
@code_option
def predict(
    image_sets,
    computing: dict,
    card: Path,
    weights: Path | None,
    batch_size: int,
    code: str | None,
    device: str,
    threads: int,
) -> None:
    """Run a model over image sets, those apart whose predictions are up to date.

    IMAGE_SETS is JSON, a list of {"dataset": NAME, "family": NAME, "images": [FILE of a shard, ...], "output": FILE}.
    With "corruptions" (a plan), "seed" and "codec", images are clean ones that are corrupted here; with "index",
    "corruptions" and "severities", the corrupted copies are read where a published set has them; with "source",
    "range" and "policy" instead of "images", they are read from the source and put through the model's own resize. With
    "subset", {"count": N, "seed": N}, only so many of the samples are taken, the same whatever the order.
    """
    from withstand.computing import Computing
    from withstand.steps.predict import predict as run

    try:
        how = Computing(**computing)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"--computing: {error}") from None
    sets = [_image_set(given, threads) for given in image_sets]
    run(card, weights, sets, batch_size=batch_size, device=device, code=code, computing=how)


def _image_set(given: dict, threads: int):
    try:
        return _open_image_set(given, threads)
    except (KeyError, TypeError) as error:
        raise click.UsageError(f"an image set needs dataset, family, images and output ({error})") from error


def _open_image_set(given: dict, threads: int):
    from withstand.steps.predict import ImageSet
    from withstand.steps.stream import DownloadedSet, ResizedSet, StreamedSet

    paths = {key: [Path(path) for path in given[key]] for key in ("images", "selection") if key in given}
    paths |= {key: Path(given[key]) for key in ("index", "output") if key in given}
    if "subset" in given:
        from withstand.subsets import Subset

        paths["subset"] = Subset(**given["subset"])
    if "source" in given:
        return ResizedSet(**{**given, **paths, "threads": threads})
    if "severities" in given:
        return DownloadedSet(**{**given, **paths, "threads": threads})
    return (StreamedSet if "corruptions" in given else ImageSet)(**{**given, **paths})


@main.command()
@click.argument("runs", type=JSON)
@_model_options
@code_option
def attack(
    runs, card: Path, weights: Path | None, batch_size: int, code: str | None, device: str, threads: int
) -> None:
    """Attack a model: perturbations, and its answers to them; those apart that are up to date.

    RUNS is JSON, a list of image sets (see predict) that have besides "attack", {"kind": "gradient", "name": NAME,
    "norm": "linf" or "l2", "eps": "1/255", "step_size": "1/2040", "steps": 8, "random_start": false, "restarts": 1,
    "target": "none", "seed": 0} or {"kind": "autoattack", "name": NAME, "norm": ..., "eps": ..., "version": "standard",
    "attacks": [], "seed": 0}, and "perturbations", the file to write.
    """
    from withstand.steps.attack import AttackRun
    from withstand.steps.attack import attack as run

    if not isinstance(runs, list) or not all(isinstance(each, dict) for each in runs):
        raise click.UsageError("RUNS is no list of image sets")
    given = [(_without(each, "attack", "perturbations"), each) for each in runs]
    found = [
        AttackRun(_image_set(images, threads), each["attack"], Path(each["perturbations"])) for images, each in given
    ]
    run(card, weights, found, batch_size=batch_size, device=device, code=code)


def _without(given: dict, *keys: str) -> dict:
    missing = [key for key in keys if key not in given]
    if missing:
        raise click.UsageError(f"'{missing[0]}' is missing")
    return {key: value for key, value in given.items() if key not in keys}


@main.command()
@click.argument("image_set", type=JSON)
@click.option("--sources", type=JSON, required=True, help="List of [model, attack, file of perturbations] (JSON).")
@_model_options
@code_option
def transfer(
    image_set, sources, card: Path, weights: Path | None, batch_size: int, code: str | None, device: str, threads: int
) -> None:
    """Show a model the perturbations that were made for others; what was computed before is kept.

    IMAGE_SET is JSON, the clean images (see predict); its output is the file to write.
    """
    from withstand.steps.transfer import Source
    from withstand.steps.transfer import transfer as run

    try:
        found = [Source(model, name, Path(path)) for model, name, path in sources]
    except (TypeError, ValueError):
        raise click.UsageError("--sources is no list of [model, attack, file of perturbations]") from None
    run(card, weights, _image_set(image_set, threads), found, batch_size=batch_size, device=device, code=code)


@main.command()
@click.argument("image_set", type=JSON)
@click.option("--grid", type=JSON, required=True, help="Rotations and translations (JSON).")
@_model_options
@code_option
def attack_spatial(
    image_set, grid, card: Path, weights: Path | None, batch_size: int, code: str | None, device: str, threads: int
) -> None:
    """Show a model every rotation and translation of images.

    IMAGE_SET is JSON, the clean images (see predict); its output is the file to write. The grid is {"rotation":
    DEGREES, "translation": SHARE, "angles": N, "shifts": N, "draws": N, "padding": ..., "interpolation": ...,
    "seed": N}.
    """
    from withstand.steps.attack_spatial import attack_spatial as run

    missing = [key for key in ("rotation", "translation", "angles", "shifts") if key not in grid]
    if missing:
        raise click.UsageError(f"--grid: '{missing[0]}' is missing")
    run(card, weights, _image_set(image_set, threads), grid, batch_size=batch_size, device=device, code=code)


@main.command()
@click.argument("experiments", type=JSON)
@_model_options
def measure_internals(
    experiments, card: Path, weights: Path | None, batch_size: int, device: str, threads: int
) -> None:
    """Look into a model: similarity of layers, lesions, limits of attention; what is up to date is left as it is.

    EXPERIMENTS is JSON, a list of image sets (see predict) that have besides "kind" (grams, lesions, attention_limit or
    attention_distance), "seed", and, if they differ from the defaults, choices of the "protocol"; "code" is kept with
    the result.
    """
    from withstand.steps.internals import Experiment
    from withstand.steps.internals import measure_internals as run

    own = ("kind", "seed", "protocol", "code")
    given = [(_without({"protocol": {}, "code": None} | each, *own), each) for each in experiments]
    found = [
        Experiment(_image_set(images, threads), **{key: each[key] for key in own if key in each})
        for images, each in given
    ]
    run(card, weights, found, batch_size=batch_size, device=device)


@main.command()
@click.argument("predictions", type=INPUT, nargs=-1, required=True)
@click.option("--accuracy", type=OUTPUT, required=True, help="Table of accuracies to write.")
@click.option("--calibration", type=OUTPUT, required=True, help="Table of calibration to write.")
@click.option("--images", type=OUTPUT, required=True, help="Table to write of how often each image was right.")
def summarise(predictions: tuple[Path, ...], accuracy: Path, calibration: Path, images: Path) -> None:
    """Write what one model's predictions on all its image sets come to."""
    from withstand.steps.tabulate import summarise as run

    run(predictions, accuracy, calibration, images)


@main.command()
@click.argument("summaries", type=INPUT, nargs=-1, required=True)
@output_option
def join_summaries(summaries: tuple[Path, ...], output: Path) -> None:
    """Join the tables of all models to that of the study."""
    from withstand.steps.tabulate import join_summaries as run

    run(summaries, output)


@main.command()
@click.argument("images", type=INPUT, nargs=-1, required=True)
@output_option
def tabulate_comparisons(images: tuple[Path, ...], output: Path) -> None:
    """Compare every pair of models on the same images.

    IMAGES say how often each image was right (see summarise), one file a model, named by the model.
    """
    from withstand.steps.tabulate_statistics import tabulate_comparisons as run

    run(images, output)


@main.command()
@click.argument("images", type=INPUT, nargs=-1, required=True)
@click.option("--baseline", help="The model whose errors are 100%.")
@click.option("--imagenet", multiple=True, help="A dataset of ImageNet's images, where AlexNet's errors are 100% too.")
@output_option
def tabulate_corruption_error(
    images: tuple[Path, ...], baseline: str | None, imagenet: tuple[str, ...], output: Path
) -> None:
    """Write errors under corruption in percent of a reference's, and their mean (mCE).

    IMAGES say how often each image was right (see summarise), one file a model, named by the model.
    """
    from withstand.steps.tabulate_statistics import tabulate_corruption_error as run

    run(images, output, baseline=baseline, imagenet=imagenet)


@main.command()
@click.option("--accuracy", type=INPUT, required=True, help="Table of accuracies.")
@click.option("--models", type=INPUT, required=True, help="Table of models.")
@click.option("--reference", required=True, help="Dataset whose clean images others are compared with.")
@click.option("--dataset", "datasets", multiple=True, required=True, help="Datasets with one right answer an image.")
@click.option("--unshifted", multiple=True, help="A dataset of the reference's images, in another size, say.")
@click.option("--trends", type=OUTPUT, required=True, help="Rank correlations and slopes to write.")
@click.option("--effective-robustness", type=OUTPUT, required=True, help="Accuracies beyond what is predicted.")
def tabulate_trends(
    accuracy: Path,
    models: Path,
    reference: str,
    datasets: tuple[str, ...],
    unshifted: tuple[str, ...],
    trends: Path,
    effective_robustness: Path,
) -> None:
    """Write what accuracy on clean images and size tell of accuracy elsewhere, over models."""
    from withstand.steps.tabulate_statistics import tabulate_trends as run

    run(accuracy, models, reference, datasets, trends, effective_robustness, unshifted=unshifted)


@main.command()
@click.argument("tables", type=INPUT, nargs=-1, required=True)
@click.option("--settings", type=JSON, required=True, help="Sets of the reference, of cue conflict, margin (JSON).")
@click.option("--answers", type=INPUT, multiple=True, help="Answers behind the tables, to pair differences by image.")
@output_option
def tabulate_claims(tables: tuple[Path, ...], settings: dict, answers: tuple[Path, ...], output: Path) -> None:
    """Test the paper's claims on the tables of a study, each named as what it holds."""
    from withstand.claims.findings import Settings
    from withstand.steps.tabulate_statistics import tabulate_claims as run

    run(
        tables,
        Settings(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}),
        output,
        answers=answers,
    )


@main.command()
@click.argument("tables", type=INPUT, nargs=-1, required=True)
@output_option
def tabulate_failures(tables: tuple[Path, ...], output: Path) -> None:
    """Write what failed, and why, as tables remember it."""
    from withstand.steps.tabulate import tabulate_failures as run

    run(tables, output)


@main.command()
@click.argument("predictions", type=INPUT, nargs=-1, required=True)
@output_option
def tabulate_attacks(predictions: tuple[Path, ...], output: Path) -> None:
    """Write the table of attacks, from predictions on clean and on perturbed images."""
    from withstand.steps.tabulate_attacks import tabulate_attacks as run

    run(predictions, output)


clean_option = click.option(
    "--clean", type=INPUT, multiple=True, required=True, help="Predictions on the clean images, one option a model."
)


@main.command()
@click.argument("transfers", type=INPUT, nargs=-1, required=True)
@clean_option
@output_option
def tabulate_transfer(transfers: tuple[Path, ...], clean: tuple[Path, ...], output: Path) -> None:
    """Write the table of models on the perturbations made for others."""
    from withstand.steps.tabulate_attacks import tabulate_transfer as run

    run(transfers, clean, output)


@main.command()
@click.argument("answers", type=INPUT, nargs=-1, required=True)
@clean_option
@output_option
def tabulate_spatial(answers: tuple[Path, ...], clean: tuple[Path, ...], output: Path) -> None:
    """Write the table of models on rotated and translated images."""
    from withstand.steps.tabulate_attacks import tabulate_spatial as run

    run(answers, clean, output)


@main.command()
@click.argument("perturbations", type=INPUT, nargs=-1, required=True)
@click.option("--card", "cards", type=INPUT, multiple=True, required=True, help="Card of a model.")
@click.option("--source", type=JSON, required=True, help="Source of the images (JSON).")
@click.option("--patch-sizes", type=JSON, default="[]", help="Squares besides models' own patches, in pixels (JSON).")
@output_option
def tabulate_patch_alignment(
    perturbations: tuple[Path, ...], cards: tuple[Path, ...], source: dict, patch_sizes, output: Path
) -> None:
    """Write where perturbations are large: at the borders of patches, and on the object."""
    from withstand.steps.tabulate_attacks import tabulate_patch_alignment as run

    run(perturbations, cards, source, patch_sizes, output)


@main.command()
@click.argument("grams", type=INPUT, nargs=-1, required=True)
@click.option("--between-models/--within-models", default=True, show_default=True, help="Which layers to compare.")
@click.option(
    "--flattening",
    type=click.Choice(["joint", "per_sample"]),
    multiple=True,
    default=["joint", "per_sample"],
    show_default=True,
    help="How activations become observations of Pearson's correlation.",
)
@output_option
def tabulate_similarity(
    grams: tuple[Path, ...], between_models: bool, flattening: tuple[str, ...], output: Path
) -> None:
    """Write the table of similarity of layers, from the Gram matrices of all models."""
    from withstand.steps.tabulate_internals import tabulate_similarity as run

    run(grams, output, between_models=between_models, flattenings=flattening)


@main.command()
@click.option("--models", type=INPUT, required=True, help="Table of models.")
@click.option("--identities", type=JSON, required=True, help="Public weights and image sets of the study (JSON).")
@click.option("--accuracy", type=INPUT, help="Table of accuracies.")
@click.option("--corruption-error", type=INPUT, help="Table of corruption errors.")
@click.option("--attacks", type=INPUT, help="Table of attacks.")
@click.option("--spatial", type=INPUT, help="Table of rotations and translations.")
@click.option("--shape-bias", type=INPUT, help="Table of shape bias.")
@click.option("--lesions", type=INPUT, help="Table of lesions.")
@click.option("--attention-limit", type=INPUT, help="Table of limits of attention.")
@output_option
def tabulate_reproduction(models: Path, identities: dict, output: Path, **tables: Path | None) -> None:
    """Write measured values beside published ones of the same models."""
    from withstand.steps.tabulate_reproduction import tabulate_reproduction as run

    run(models, identities, output, **tables)


@main.command()
@click.argument("kind")
@click.argument("files", type=INPUT, nargs=-1, required=True)
@output_option
def tabulate_internals(kind: str, files: tuple[Path, ...], output: Path) -> None:
    """Write the table of one kind of experiment on the inside of models, from the files of all models.

    KIND is lesions, attention_limit or attention_distance.
    """
    from withstand.errors import nearest
    from withstand.steps import tabulate_internals as step

    known = [name.removeprefix("tabulate_") for name in vars(step) if name.startswith("tabulate_")]
    if kind not in known:
        raise click.UsageError(f"there is no table '{kind}'{nearest(kind, known)}")
    getattr(step, f"tabulate_{kind}")(files, output)


@main.command()
@click.argument("predictions", type=INPUT, nargs=-1, required=True)
@output_option
def tabulate_shape_bias(predictions: tuple[Path, ...], output: Path) -> None:
    """Write the table of shape accuracy, texture accuracy and shape bias from predictions on cue conflicts."""
    from withstand.steps.tabulate import tabulate_shape_bias as run

    run(predictions, output)


@main.command()
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), default="results", show_default=True)
def selftest(results: Path) -> None:
    """Set others' numbers beside those of studies/selftest.yaml and studies/selftest-vit.yaml.

    Fails if a number is off; what was not run is named.
    """
    import pandas as pd

    from withstand.parquet import read_frame
    from withstand.selftest import ANCHORS, STUDIES, measured, verdict

    def read(study: str, table: str) -> pd.DataFrame | None:
        path = results / study / "tables" / f"{table}.parquet"
        return read_frame(path) if path.is_file() else None

    tables = {study: (read(study, "accuracy"), read(study, "shape_bias")) for study in STUDIES}
    found = [
        (anchor, None if tables[anchor.study][0] is None else measured(anchor, *tables[anchor.study]))
        for anchor in ANCHORS
    ]
    for anchor, value in found:
        told = "      -" if value is None else f"{value:7.2f}"
        click.echo(
            f"{verdict(anchor, value):8} {told}  expected {anchor.expected:6.2f} +- {anchor.tolerance:.1f}"
            f"  {anchor.model:9} {anchor.dataset:9} {anchor.metric}, {anchor.label_mode} ({anchor.source})"
        )
    verdicts = [verdict(anchor, value) for anchor, value in found]
    for study in STUDIES:
        if tables[study][0] is None:
            click.echo(f"{results / study} is not there: snakemake --cores all --configfile studies/{study}.yaml")
    failed = [anchor for anchor, value in found if value is None and tables[anchor.study][0] is not None]
    if verdicts.count("not run") == len(verdicts):
        raise click.ClickException("nothing was tested")
    if "off" in verdicts or failed:
        raise click.ClickException(
            f"{verdicts.count('off')} are off, {len(failed)} are missing in tables that are there"
        )


@main.command()
@click.argument("cards", type=INPUT, nargs=-1, required=True)
@click.option("--descriptions", type=JSON, required=True, help="Family and pre-training of each model (JSON).")
@output_option
def tabulate_models(cards: tuple[Path, ...], descriptions: dict, output: Path) -> None:
    """Write the table of models from their cards."""
    from withstand.steps.tabulate import tabulate_models as run

    run(cards, descriptions, output)


def _draw_options(command: Callable) -> Callable:
    for option in (
        click.option("--svg", type=OUTPUT, required=True),
        click.option("--png", type=OUTPUT, required=True),
        click.option("--data", type=OUTPUT, required=True, help="The data drawn (CSV)."),
        click.option("--style", type=JSON, default="{}", help="Labels, colours and resolution (JSON)."),
    ):
        command = option(command)
    return command


FIGURES = (
    *("accuracy_by_severity", "clean_against_corrupted", "held_out", "shape_bias"),
    *("attacks", "transfer", "patch_alignment", "spatial", "spatial_landscape"),
    *("layer_correlation", "layer_similarity", "model_similarity", "lesion_single", "lesion_several"),
    *("attention_limit", "attention_distance"),
    *("overview", "scaling", "comparisons", "calibration", "claims", "reproduction"),
)


@main.command()
@click.argument("kind", type=click.Choice(FIGURES))
@click.option("--table", type=INPUT, required=True, help="The table that is drawn.")
@click.option("--models", type=INPUT, required=True, help="Table of models.")
@click.option("--dataset", "datasets", multiple=True, help="Which datasets; all by default.")
@click.option(
    "--policy",
    type=click.Choice(["stored", "published", "corrupt_after_resize", "model"]),
    help="Transform policy of the rows to draw; any by default.",
)
@click.option("--attack", help="The attack whose rows are drawn; any by default.")
@click.option("--family", help="The family of images whose rows are drawn; any by default.")
@click.option("--reproduction", type=INPUT, help="Table of published values to show beside measured ones.")
@_draw_options
def draw(
    kind: str,
    table: Path,
    models: Path,
    datasets,
    policy: str | None,
    attack: str | None,
    family: str | None,
    reproduction: Path | None,
    svg: Path,
    png: Path,
    data: Path,
    style: dict,
) -> None:
    """Draw a figure of a table."""
    from withstand import published
    from withstand.steps.draw import draw_table

    if kind == "transfer" and attack is None:
        raise click.UsageError("transfer shows one attack: give --attack")
    if reproduction is not None and kind not in published.FIGURES:
        raise click.UsageError(f"{kind} shows no published values: leave --reproduction out")
    chosen = {"policy": policy, "attack": attack, "family": family, "reproduction": reproduction}
    draw_table(kind, table, models, datasets, style, svg=svg, png=png, data=data, **chosen)


@main.command()
@click.argument("perturbations", type=INPUT, nargs=-1, required=True)
@click.option("--table", type=INPUT, required=True, help="Table of patch alignment, which knows models' patches.")
@click.option("--models", type=INPUT, required=True, help="Table of models.")
@_draw_options
def draw_perturbations(
    perturbations: tuple[Path, ...], table: Path, models: Path, svg: Path, png: Path, data: Path, style: dict
) -> None:
    """Draw perturbations: their mean size at each pixel, and those of some images.

    PERTURBATIONS are files of one attack, one a model.
    """
    from withstand.steps.draw import draw_perturbations as run

    run(perturbations, table, models, style, svg=svg, png=png, data=data)


@main.command()
@click.argument("images", type=INPUT)
@_draw_options
def draw_samples(images: Path, svg: Path, png: Path, data: Path, style: dict) -> None:
    """Draw the first images of a file of clean images, a column a class."""
    from withstand.steps.draw import draw_samples as run

    run(images, style, svg=svg, png=png, data=data)


@main.command()
@click.argument("images", type=INPUT, nargs=-1, required=True)
@click.option("--first", type=INPUT, required=True, help="How often a model was right on each image (see summarise).")
@click.option("--second", type=INPUT, required=True, help="The same of another model.")
@click.option("--first-predictions", type=INPUT, required=True, help="The one's predictions on the clean images.")
@click.option("--second-predictions", type=INPUT, required=True, help="Those of the other.")
@_draw_options
def draw_disagreements(
    images: tuple[Path, ...],
    first: Path,
    second: Path,
    first_predictions: Path,
    second_predictions: Path,
    svg: Path,
    png: Path,
    data: Path,
    style: dict,
) -> None:
    """Draw images that one of two models gets right and the other wrong.

    IMAGES are the files of the clean images of one dataset, all shards.
    """
    from withstand.steps.draw_disagreements import draw_disagreements as run

    run(images, first, second, first_predictions, second_predictions, style, svg=svg, png=png, data=data)


@main.command()
@click.argument("images", type=INPUT)
@click.option("--corruptions", type=JSON, required=True, help="Names, categories, severities and constants (JSON).")
@seed_option
@_draw_options
def draw_corruptions(images: Path, corruptions, seed: int, svg: Path, png: Path, data: Path, style: dict) -> None:
    """Draw the first of a file of clean images under every corruption at every severity."""
    from withstand.steps.draw import draw_corruptions as run

    run(images, corruptions, seed, style, svg=svg, png=png, data=data)


for command in (*cli_results.COMMANDS, *cli_planning.COMMANDS, *cli_rehearsal.COMMANDS):
    main.add_command(command)


@main.command()
@click.argument("tables", type=INPUT, nargs=-1, required=True)
@click.option("--figure", "figures", type=INPUT, multiple=True, help="A figure; its PNG and CSV lie beside it.")
@click.option("--spec", type=JSON, required=True, help="What the study is: its config, models, datasets (JSON).")
@click.option(
    "--benchmarks", type=click.Path(file_okay=False, path_type=Path), help="Folder of the rules' timings (JSON lines)."
)
@output_option
def write_report(tables: tuple[Path, ...], figures: tuple[Path, ...], spec: dict, benchmarks, output: Path) -> None:
    """Write the report of a study: one page that stands alone, from its tables, each named as what it holds."""
    from withstand.steps.report import write_report as run

    run(spec, tables, figures, output, benchmarks)


if __name__ == "__main__":
    sys.exit(main())
