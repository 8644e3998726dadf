"""What lies in ``results/`` although no config refers to it any more.

Snakemake itself says, for each config, which files its study is made of (``snakemake --summary``). Of the folders that
the workflow writes, everything else is garbage; what users put beside them is left alone.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from withstand.config import read_config
from withstand.errors import WithstandError
from withstand.run import RunningError

RESULTS = Path("results")
SHARED = ("weights", "downloads")
"""Folders that studies share."""

RECORDS = ("logs", "benchmarks")
"""Folders of what jobs leave besides their outputs."""

STAGES = (
    *("models", "gates", "images", "predictions", "attacks", "transfer", "spatial", "internals"),
    *("tables", "figures", *RECORDS),
)
"""Folders of a study that the workflow writes, and nobody else."""

_UNKNOWN = "-"
"""What Snakemake says of logs that it has no record of."""
_DAY = 24 * 3600.0


class GarbageError(WithstandError):
    """It cannot be told what is garbage."""


@dataclass
class Garbage:
    """What no config refers to.

    Attributes:
        files: files, and links, of studies that there are configs of and of shared folders, with their size in bytes.
        studies: folders of studies that no config is of, with the size of all that is in them.
        notes: what was left alone, and why.
    """

    files: dict[Path, int] = field(default_factory=dict)
    studies: dict[Path, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def told(garbage: Garbage, *, studies: bool) -> str:
    """Garbage as people read it."""
    lines = [f"Note: {note}" for note in garbage.notes]
    lines += [f"{in_bytes(size):>9}  {file}" for file, size in garbage.files.items()]
    lines += [f"{in_bytes(size):>9}  {folder}/  a study of no config" for folder, size in garbage.studies.items()]
    total, count = in_bytes(sum(garbage.files.values())), len(garbage.files)
    lines.append(f"{count} files that no config refers to: {total}." if count else "Nothing to delete.")
    if garbage.studies:
        whole, kept = in_bytes(sum(garbage.studies.values())), "" if studies else "; kept without --studies"
        lines.append(f"Studies that no config is of: {len(garbage.studies)}, {whole}{kept}.")
    return "\n".join(lines)


def in_bytes(size: float) -> str:
    """A number of bytes as people read it: 4.6 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.{0 if unit == 'B' else 1}f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def default_configs() -> list[Path]:
    """The configs of the project in the working directory."""
    return [path for path in (Path("config.yaml"), *sorted(Path("studies").glob("*.yaml"))) if path.is_file()]


@dataclass(frozen=True)
class Plan:
    """What a config's study is made of.

    Attributes:
        files: its files, their logs and benchmarks, whether they are there or not.
        unrecorded: the folders of results with files that Snakemake has no record of, say since they were copied. Which
            logs and benchmarks are theirs is not known.
    """

    files: set[Path]
    unrecorded: set[Path] = field(default_factory=set)


def find_garbage(configs: Sequence[Path], *, named: bool, studies: bool = False) -> Garbage:
    """Find what none of the configs refers to.

    Args:
        configs: those of all studies that are kept.
        named: whether the user has named them. If not, one may not apply here, say for lack of its images. Then its
            study is left alone, and so are shared files, some of which may be its own.
        studies: whether studies of no config go too. If they are kept, so are shared files, for the same reason.

    Raises:
        GarbageError: if a config that is named cannot be planned, or one does not even say its study.
    """
    if not Path("Snakefile").is_file():
        raise GarbageError("no Snakefile here: run this in the folder of the project")
    if not configs:
        raise GarbageError("neither config.yaml nor studies/*.yaml is here: name the configs")
    contents = {path: read_config(path) for path in configs}
    planned = {path: _study(path, content) for path, content in contents.items()}
    garbage = Garbage()
    plans, failed = _plans(configs)
    if failed and named:
        raise next(iter(failed.values()))
    unplanned = {planned[path] for path in failed}
    garbage.notes += [
        f"{RESULTS / planned[path]} is left alone: {error}"
        for path, error in failed.items()
        if (RESULTS / planned[path]).exists()
    ]
    needed = set(_mentioned(list(contents.values()))).union(*(plan.files for plan in plans))
    others = [folder for folder in _study_folders() if folder.name not in planned.values()]
    for folder in others:
        if not folder.is_symlink() and not any(path.is_relative_to(folder) for path in needed):
            garbage.studies[folder] = sum(_size(file) for file in _files(folder))
    kept = [folder for folder in others if not (studies and folder in garbage.studies)]
    unclear = _why_shared_stay(failed, kept)
    if unclear:
        garbage.notes.append(unclear)
    needed |= _unknown_records(set().union(*(plan.unrecorded for plan in plans)), garbage)
    for study in sorted(set(planned.values()) - unplanned):
        for stage in STAGES:
            _sweep(RESULTS / study / stage, needed, garbage)
    for name in () if unclear else SHARED:
        _sweep(RESULTS / name, needed, garbage, since=_DAY)
    return garbage


def plan_of(config: Path) -> Plan:
    """What a config's study is made of.

    Raises:
        GarbageError: if Snakemake cannot tell.
    """
    command = [sys.executable, "-m", "snakemake", "--summary", "--configfile", str(config)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    header, *lines = asked.stdout.splitlines() or [""]
    if asked.returncode or not header.startswith("output_file\t"):
        raise GarbageError(f"{config} cannot be planned: {_reason(asked.stderr)}")
    files, unrecorded = set(), set()
    for line in lines:
        output, _, _, logs, *_ = line.split("\t")
        file = Path(output)
        files.add(file)
        if logs == _UNKNOWN and file.exists() and file.is_relative_to(RESULTS):
            unrecorded.add(RESULTS / file.relative_to(RESULTS).parts[0])
        for log in logs.split(",") if logs not in ("", _UNKNOWN) else ():
            files |= {Path(log), Path(log.replace("/logs/", "/benchmarks/")).with_suffix(".jsonl")}
    return Plan(files, unrecorded)


@contextmanager
def no_run() -> Iterator[None]:
    """Keep runs from starting, and see to it that none is under way.

    Raises:
        RunningError: if one is.
    """
    with ExitStack() as stack:
        for lock in sorted(RESULTS.glob("*/.lock")):
            file = stack.enter_context(lock.open("r+", encoding="utf-8"))  # NFS locks no file that is open to be read
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = file.read().strip() or "unknown"
                study = lock.parent.name
                raise RunningError(f"study '{study}' is being run ({holder}); wait for that run or stop it") from None
        yield


def remove(garbage: Garbage, *, studies: bool) -> int:
    """Remove files, and folders that they leave empty; with ``studies`` also the studies of no config.

    Returns the number of bytes freed.
    """
    files = dict(garbage.files)
    for folder in garbage.studies if studies else ():
        files |= {file: _size(file) for file in _files(folder)}
    for file in files:
        file.unlink(missing_ok=True)
    for folder in sorted({parent for file in files for parent in _parents(file)}, key=lambda path: -len(path.parts)):
        if not any(folder.iterdir()):
            folder.rmdir()
    return sum(files.values())


def _plans(configs: Iterable[Path]) -> tuple[list[Plan], dict[Path, GarbageError]]:
    """The plans of configs, and why some have none."""
    plans, failed = [], {}
    for path in configs:
        try:
            plans.append(plan_of(path))
        except GarbageError as error:
            failed[path] = error
    return plans, failed


def _unknown_records(folders: Iterable[Path], garbage: Garbage) -> set[Path]:
    """The folders of logs and benchmarks that are not looked into, and told of."""
    found = set()
    for folder in sorted(folders):
        records = [folder / name for name in RECORDS if (folder / name).exists()]
        found |= set(records)
        if records:
            garbage.notes.append(
                f"nothing in {' or '.join(map(str, records))} is touched, since Snakemake has no record of how some of "
                f"{folder} was made, say because it was copied here"
            )
    return found


def _why_shared_stay(unplanned: Iterable[Path], kept: Iterable[Path]) -> str | None:
    """Why it cannot be told which shared files are in use; None where it can."""
    shared = " or ".join(str(RESULTS / name) for name in SHARED if (RESULTS / name).exists())
    if shared and unplanned:
        return (
            f"nothing in {shared} is touched, since {_listed(unplanned)} cannot be planned here; "
            "to look into them, name the configs that are in use"
        )
    if shared and kept:
        return (
            f"nothing in {shared} is touched, since studies of no config given may use it: {_listed(kept)}; "
            "to look into them, name the configs of all studies"
        )
    return None


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths))


def _study(path: Path, config: Mapping) -> str:
    study = config.get("study")
    if not isinstance(study, str):
        raise GarbageError(f"{path}: does not say which study it is of, so it may be of any")
    return study


def _sweep(folder: Path, needed: set[Path], garbage: Garbage, *, since: float = 0.0) -> None:
    """Add what is not needed in a folder; hidden files only if they have not been written for so many seconds."""
    links = [path for path in (folder, folder.parent) if path.is_symlink() and path != RESULTS]
    if links:
        garbage.notes.append(f"{links[-1]} is a link, and left alone")
        return
    missing: dict[Path, list[str]] = {}
    for path in needed:
        if path.is_relative_to(folder) and not path.exists():
            missing.setdefault(path.parent, []).append(path.stem)
    for file in _files(folder):
        if file in needed or not needed.isdisjoint(file.parents):
            continue
        # what a download, or training, has so far of a file that is needed
        if any(file.name.lstrip(".").startswith(stem) for stem in missing.get(file.parent, ())):
            continue
        if file.name.startswith(".") and time.time() - file.lstat().st_mtime < since:
            continue
        garbage.files[file] = _size(file)


def _mentioned(config: object) -> Iterator[Path]:
    """The files and folders in results/ that values of a config name, such as weights of another study."""
    if isinstance(config, str):
        path = Path(os.path.relpath(config)) if config and "\0" not in config else None
        if path and path.is_relative_to(RESULTS) and path != RESULTS:
            yield path
    elif isinstance(config, Mapping):
        yield from _mentioned(list(config.values()))
    elif isinstance(config, list):
        for value in config:
            yield from _mentioned(value)


def _study_folders() -> list[Path]:
    """Folders of results, and links to folders, that hold a study, by what runs leave in them."""
    marks = (".lock", "run.json", "tables", "predictions")
    folders = (path for path in sorted(RESULTS.glob("*")) if path.is_dir() and path.name not in SHARED)
    return [path for path in folders if any((path / mark).exists() for mark in marks)]


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, in order; links are files, and not followed."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*files, *links]):
            yield Path(place) / name


def _size(file: Path) -> int:
    return file.lstat().st_size


def _parents(file: Path) -> list[Path]:
    """The folders of a file below that of all results."""
    return [parent for parent in file.parents if parent.is_relative_to(RESULTS) and parent != RESULTS]


def _reason(errors: str) -> str:
    """What went wrong, of all that Snakemake says."""
    chatter = ("Using ", "Building ", "File ", "WorkflowError in file")
    lines = [line.strip() for line in errors.splitlines()]
    told = [line for line in lines if line and not line.startswith(chatter)]
    return "; ".join(told[:2]) or "Snakemake says nothing"
