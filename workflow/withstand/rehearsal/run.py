"""A rehearsal from end to end: a folder of its own, the small study in it, Snakemake, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from withstand import rehearsed, zoo
from withstand.config import ConfigError, Study, load_study, read_config, short_digest
from withstand.dag import Dag
from withstand.datasets.registry import FILE_KINDS
from withstand.environment import COMMANDS_VARIABLE
from withstand.errors import WithstandError
from withstand.explore.garbage import in_bytes
from withstand.files import try_lock
from withstand.planning import anatomy, disk
from withstand.planning import rates as planned_rates
from withstand.rehearsal import choose, images, rates, sets, shrink, weights
from withstand.rehearsal.outcome import Outcome, summary
from withstand.rehearsal.server import Server
from withstand.rehearsal.warm import warm

FOLDER = Path("results/.rehearsal")
"""Where rehearsals lie, each in a folder with the name of its study. Nothing else reads it."""

PATHS = ("path", "images_path", "labels_path", "labels")
"""Options of sources that name files or folders."""


def rehearse(config: Path, cores: int, covered: set[choose.Case], *, full_size: bool) -> Outcome:
    """Rehearse the study of a config in the project of the working directory.

    Args:
        cores: for Snakemake.
        covered: cases that other studies have rehearsed, which are left out; those of this one are added.
        full_size: whether random weights are of the architectures as they are, however large.

    Raises:
        ConfigError: if the config is wrong, missing files apart.
        WithstandError: if the same study is being rehearsed, or cannot be.
    """
    given = json.loads(json.dumps(read_config(config), default=str))  # anchors of YAML share what must differ here
    name = str(given.get("study"))
    with _emptied(name) as (folder, lock), Server().running() as server:
        placed, missing = _without_missing_files(given, folder)
        study = load_study(placed)
        Dag(study)
        if not study.evaluated():
            raise WithstandError(f"{config}: trains models and evaluates none, so there is nothing to rehearse")
        outcome = Outcome(study.study, folder, missing=[*missing, *_to_fetch(study), *_disk(study)])
        wanted = choose.cases(study) - covered
        if not wanted:
            return outcome
        reduced = choose.reduce(placed, wanted)
        chosen = load_study(reduced)
        covered |= choose.cases(chosen)
        small = shrink.shrink(reduced, chosen)
        outcome.left_out = _left_out(study, chosen)
        facts = {"weights": _weights(outcome, chosen, small, folder, server, full_size=full_size)}
        facts |= sets.fill(outcome, load_study(small), small, missing, folder, server)
        facts |= {"summary": summary(outcome)}
        _label(outcome, small)
        _write(folder, small, facts)
        began = time.monotonic()
        _run(outcome, cores, server, lock)
        outcome.seconds = time.monotonic() - began
    _measure(outcome, load_study(small))
    return outcome


def delete(study: str) -> Path:
    """Delete the rehearsal of a study.

    Raises:
        WithstandError: if there is none.
    """
    folder = FOLDER / study
    if not (folder / "config.yaml").is_file():
        found = ", ".join(sorted(path.name for path in FOLDER.glob("*") if path.is_dir())) or "none"
        raise WithstandError(f"no rehearsal of '{study}' lies in {FOLDER}; there are: {found}")
    with _emptied(study):
        pass
    folder.rmdir()
    return folder


@contextlib.contextmanager
def _emptied(study: str) -> Iterator[tuple[Path, int]]:
    """The folder of a study's rehearsal, emptied, with nobody else in it; and the descriptor of its lock."""
    folder = FOLDER / study
    if not study.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"config: study: '{study}' is not a name")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f".{study}.lock", "a", encoding="utf-8") as lock:
        if not try_lock(lock):
            raise WithstandError(f"study '{study}' is being rehearsed already; wait for that, or stop it")
        shutil.rmtree(folder, ignore_errors=True)  # links in it are removed, not followed
        folder.mkdir()
        yield folder, lock.fileno()


def _without_missing_files(config: dict, folder: Path) -> tuple[dict, list[str]]:
    """A config whose missing files are made up, and a line for each of those."""
    missing = []
    for name, dataset in (config.get("datasets") or {}).items():
        source = dataset.get("source") if isinstance(dataset, Mapping) else None
        if not isinstance(source, dict) or source.get("kind") not in FILE_KINDS:
            continue
        gone = {key: source[key] for key in PATHS if _is_gone(source.get(key))}
        if gone:
            missing += [f"datasets.{name}.source.{key}: {path}" for key, path in gone.items()]
            source |= _placed_source(source, gone, folder / "made_up/images" / short_digest(source))
    for name, family in (config.get("families") or {}).items():
        source = (family or {}).get("source")
        if isinstance(source, dict) and _is_gone(source.get("path")):
            missing.append(f"families.{name}.source.path: {source.pop('path')}")
    for key, entry in _entries(config).items():
        checkpoint = entry.get("checkpoint")
        if isinstance(checkpoint, str) and "://" not in checkpoint and _is_gone(checkpoint):
            missing.append(f"{key}.checkpoint: {checkpoint}")
            place = folder / "made_up/placeholders" / f"{key}{Path(checkpoint).suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
            entry["checkpoint"] = str(place.absolute())
    return config, missing


def _is_gone(path: object) -> bool:
    return isinstance(path, str) and "\n" not in path and not Path(path).exists()


def _entries(config: Mapping) -> dict[str, dict]:
    models = {f"models.{name}": entry for name, entry in (config.get("models") or {}).items()}
    datasets = (config.get("datasets") or {}).items()
    models |= {f"datasets.{name}.missed_by": (given or {}).get("missed_by") for name, given in datasets}
    return {key: entry for key, entry in models.items() if isinstance(entry, dict)}


def _placed_source(source: dict, gone: Mapping, folder: Path) -> dict:
    """The options of a source in the place of files that are not there."""
    folder = folder.absolute()
    if source["kind"] == "imagenet":
        return images.imagenet(source, folder)
    if source["kind"] in ("folder", "arrays", "parquet"):
        defaults = {"named_by": "name", "label_space": "imagenet-1k", "image_column": "image", "label_column": "label"}
        spec = {**defaults, **source, **dict.fromkeys(gone, str(FOLDER))}
        checked = load_study(
            {
                "study": "x",
                "models": {"x": {"zoo": "reference"}},
                "datasets": {
                    "x": {
                        "source": {key: value for key, value in spec.items() if key in source or key in gone},
                        "samples": 1,
                    }
                },
            }
        )
        return images.own_files(checked.source_spec("x") | {"labels": source.get("labels")}, folder)
    return dict.fromkeys(gone)


def _to_fetch(study: Study) -> list[str]:
    """Archives and weights that are still to be downloaded for the real run."""
    archives = [path for path in Dag(study).archives() if not Path(path).exists()]
    names = {
        study.weights_name(entry): key
        for key, entry in study.entries().items()
        if entry.zoo is None and entry.recipe is None and study.weights_name(entry)
    }
    absent = [name for name in names if not Path(f"results/weights/{name}.safetensors").exists()]
    found = [f"{len(archives)} archives to download: {', '.join(archives)}"] if archives else []
    return found + ([f"the weights of {len(absent)} models to fetch: {', '.join(absent)}"] if absent else [])


def _disk(study: Study) -> list[str]:
    """The disk that is missing, if any; what is there already of the study's own results counts as needed again."""
    needed, free = disk.space(study, anatomy.models_of(study)).total, disk.free()
    return [f"disk: {in_bytes(needed)} needed, {in_bytes(free)} free"] if needed > free else []


def _left_out(study: Study, chosen: Study) -> list[str]:
    """What a smaller study lacks, each with what stands for it."""
    stands = {choose.class_of(chosen, entry): name for name, entry in reversed(chosen.models.items())}
    lines = []
    for name in study.models.keys() - chosen.models.keys():
        lines.append(f"model {name}: {stands.get(choose.class_of(study, study.models[name]), 'another study')}")
    for name in sorted(study.datasets.keys() - chosen.datasets.keys()):
        kind = study.datasets[name].source.kind
        alike = [other for other, entry in chosen.datasets.items() if entry.source.kind == kind]
        lines.append(f"dataset {name}: {', '.join(alike) or 'another study'}")
    for section in ("attacks", "internals"):
        if getattr(study, section) and not getattr(chosen, section):
            lines.append(f"{section}: another study")
    return sorted(lines)


def _weights(
    outcome: Outcome, study: Study, small: dict, folder: Path, server: Server, *, full_size: bool
) -> dict[str, str]:
    """Put weights in the place of all that are not at hand; returns the public ones that they stand for, by model."""
    stand_for = {}
    for key, entry in study.entries().items():
        name, raw = study.weights_name(entry), _entries(small)[key]
        placeholder = entry.checkpoint is not None and entry.checkpoint.startswith(str(folder.absolute()))
        found = None if placeholder else weights.at_hand(entry, name)
        if found is None:
            place = folder.absolute() / "made_up/weights"
            found = weights.made_up(key, entry, place, server, full_size=full_size or _has_gpu())
        elif name is not None and (file := Path(f"results/weights/{name}.safetensors")).exists() and not entry.zoo:
            sets.link(file, folder / file)
        raw |= found.entry
        short = key.removeprefix("models.")
        outcome.models[short] = found.told
        outcome.real |= {short} if found.is_real else set()
        public = entry.address if entry.checkpoint else entry.timm
        if not found.is_real and public and key.startswith("models.") and not (entry.interventions or entry.kwargs):
            stand_for[short] = public
    return stand_for


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _label(outcome: Outcome, small: dict) -> None:
    """Let every figure and the report say what is made up."""
    told = {
        name: "trained in small" if what == weights.TRAINED else "random weights"
        for name, what in outcome.models.items()
    }
    for section in ("models", "datasets"):
        for name, entry in small[section].items():
            if name not in outcome.real:
                what = told[name] if section == "models" else "made up"
                entry["label"] = f"{entry.get('label') or name} ({what})"


def _write(folder: Path, config: Mapping, facts: Mapping) -> None:
    """The project as links, the small study as its config, and the facts for its steps."""
    for path in Path.cwd().iterdir():
        if not path.name.startswith(".") and path.name not in ("results", "config.yaml"):
            sets.link(path, folder / path.name)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), "utf-8")
    (folder / "rehearsal.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _run(outcome: Outcome, cores: int, server: Server, lock: int) -> None:
    folder = outcome.folder.absolute()
    changed = {
        rehearsed.VARIABLE: str(folder / "rehearsal.json"),
        COMMANDS_VARIABLE: str(folder / "made_up/warm/bin"),
        **{"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "made_up/hub"), "HF_HUB_OFFLINE": "0"},
        **{"TORCH_HOME": str(folder / "made_up/torch"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
    }
    environment = {**os.environ, **changed}
    for variable in ("WITHSTAND_MIRROR", "WITHSTAND_OFFLINE"):
        environment.pop(variable, None)
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--keep-going"]
    with warm(folder / "made_up/warm", environment), (folder / "rehearsal.log").open("w", encoding="utf-8") as log:
        # Snakemake keeps the lock, should it outlive this process
        code = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            pass_fds=(lock,),
            check=False,
        ).returncode
    with contextlib.chdir(folder):
        outcome.failed = _failures(outcome.study)
        if code:
            _look_at_jobs(outcome, environment)


def _measure(outcome: Outcome, study: Study) -> None:
    """Add the speed of the models that were rehearsed at full size to what ``plan`` knows of this machine."""
    found = []
    for name, entry in study.models.items():
        if outcome.models[name] != weights.NARROWED:
            file = zoo.weights(entry.zoo) if entry.zoo else None
            found += [rates.measure(name, entry.source, file, study.computing(name))] if not entry.recipe else []
    planned_rates.add(line for line in found if line)


def _failures(study: str) -> list[str]:
    """What model cards, and predictions without rows, say that failed."""
    from withstand.predictions import read_facts
    from withstand.steps.models import read_card

    folder, found = Path(f"results/{study}"), []
    for path in sorted(folder.glob("models/*.json")):
        card = read_card(path)
        found += [f"{card['model']}: {card['failure']}"] if card["failure"] else []
    for path in sorted(folder.glob("predictions/*/*/*.parquet")):
        facts = read_facts(path)
        if "failure" in facts:
            found.append(f"{facts['model']} {facts['dataset']} {facts['family']}: {facts['failure']}")
    return found


def _look_at_jobs(outcome: Outcome, environment: Mapping[str, str]) -> None:
    """Which jobs failed, and how many wait for them."""
    from withstand.planning import jobs, status

    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    try:
        planned = jobs.plan(Path("config.yaml"))
    except WithstandError as error:
        outcome.failed.append(f"{error} (see {outcome.folder / 'rehearsal.log'})")
        return
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
    found = [status.judge(job, None, set()) for job in planned]
    outcome.failed += [
        f"{each.job.name}: {each.told} (log: {outcome.folder / each.job.log})"
        for each in found
        if each.state == "failed"
    ]
    outcome.unreached = sum(each.state == "missing" for each in found)
    if not outcome.failed:
        outcome.failed.append(f"Snakemake failed; see {outcome.folder / 'rehearsal.log'}")
