"""Commands for people who run studies: what one costs, and how far it is."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

config_option = click.option("--configfile", type=FILE, help="Config of the study.  [default: config.yaml]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@config_option
@click.option(
    "--gpu",
    "device",
    type=click.Choice(["h100", "h200", "a100", "rtx4090", "cpu"]),
    help="Device that models run on.  [default: the one at hand]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bfloat16"]),
    help="Numbers that models compute predictions with, as the config's inference.precision.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Samples of each set, as the config's limit: a pilot's cost.")
@json_option
def plan(configfile: Path | None, device: str | None, precision: str | None, limit: int | None, as_json: bool) -> None:
    """Say what a study costs before it runs: jobs, passes, hours, disk.

    Times are estimated from models' FLOPs, and from past jobs on this machine if there are any. No weights and no
    images are needed, only that the paths of the config exist: an empty folder is enough.
    """
    from withstand.config import load_study, read_config
    from withstand.planning import costs, jobs, told
    from withstand.planning.estimate import estimate

    config = configfile or Path("config.yaml")
    given = read_config(config)
    changed = {} if limit is None else {"limit": limit}
    if precision is not None:
        changed["inference"] = {**(given.get("inference") or {}), "precision": precision}
    study = load_study(given | changed)
    planned = jobs.plan(config, **changed)
    device = device or costs.device_at_hand()
    with _progress(len(study.entries()) + len(study.recipes)) as advance:
        found = estimate(study, planned, device, advance=advance)
    click.echo(json.dumps(told.plan_data(found), indent=1) if as_json else told.plan(found))


@click.command()
@config_option
@click.option("--results", type=FOLDER, help="A study's results, whose last run says the config.")
@json_option
def status(configfile: Path | None, results: Path | None, as_json: bool) -> None:
    """Say how far a run is: what is done, runs, failed (with which log) or is missing, and how long the rest takes.

    It may be asked at any time, also while a run is under way.
    """
    from withstand.config import load_study, read_config
    from withstand.planning import jobs, told
    from withstand.planning import status as step

    if configfile and results:
        raise click.UsageError("give --configfile or --results, not both")
    with _config_of(results) if results else _given(configfile or Path("config.yaml")) as config:
        study = load_study(read_config(config))
        found = step.status(study, jobs.plan(config))
    click.echo(json.dumps(step.as_data(found), indent=1) if as_json else told.status(found))


@contextmanager
def _given(config: Path) -> Iterator[Path]:
    yield config


@contextmanager
def _config_of(results: Path) -> Iterator[Path]:
    """The config of the last run in a folder of results, as a file."""
    from withstand.errors import WithstandError

    try:
        config = json.loads((results / "run.json").read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError) as error:
        raise WithstandError(f"{results}: no run has ended here ({type(error).__name__}): give --configfile") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{results.name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        yield path


@contextmanager
def _progress(total: int):
    """A bar on a terminal, told each model before it is looked into."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    from tqdm import tqdm

    with tqdm(total=total, leave=False, unit=" models") as bar:

        def advance(name: str) -> None:
            bar.set_description(name)
            bar.update()

        yield advance


COMMANDS = (plan, status)
"""What the command ``withstand`` takes over."""
