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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from withstand.config import read_config
from withstand.errors import WithstandError
from withstand.run import RunningError

RESULTS = Path("results")
SHARED = ("weights", "downloads")
"""Folders that studies share."""

STAGES = (
    *("models", "images", "predictions", "attacks", "transfer", "spatial", "internals"),
    *("tables", "figures", "logs", "benchmarks"),
)
"""Folders of a study that the workflow writes, and nobody else."""

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


def find_garbage(configs: Sequence[Path], *, named: bool) -> Garbage:
    """Find what none of the configs refers to.

    Args:
        configs: those of all studies that are kept.
        named: whether the user has named them. If not, one may not apply here, say for lack of its images. Then its
            study is left alone, and so are shared files, some of which may be its own.

    Raises:
        GarbageError: if a config that is named cannot be planned, or one does not even say its study.
    """
    if not Path("Snakefile").is_file():
        raise GarbageError("no Snakefile here: run this in the folder of the project")
    if not configs:
        raise GarbageError("neither config.yaml nor studies/*.yaml is here: name the configs")
    contents = {path: read_config(path) for path in configs}
    studies = {path: _study(path, content) for path, content in contents.items()}
    garbage = Garbage()
    needed = set(_mentioned(list(contents.values())))
    unplanned: dict[Path, str] = {}
    for path, study in studies.items():
        try:
            needed |= files_of(path)
        except GarbageError as error:
            if named:
                raise
            unplanned[path] = study
            if (RESULTS / study).exists():
                garbage.notes.append(f"{RESULTS / study} is left alone: {error}")
    if unplanned:
        shared = " and ".join(str(RESULTS / name) for name in SHARED)
        garbage.notes.append(
            f"{shared} are left alone, since {', '.join(map(str, unplanned))} cannot be planned here; "
            "to look into them, name the configs that are in use"
        )
    for study in sorted(set(studies.values()) - set(unplanned.values())):
        for stage in STAGES:
            _sweep(RESULTS / study / stage, needed, garbage)
    for name in () if unplanned else SHARED:
        _sweep(RESULTS / name, needed, garbage, since=_DAY)
    for folder in _study_folders():
        if folder.name not in studies.values() and not any(path.is_relative_to(folder) for path in needed):
            garbage.studies[folder] = sum(_size(file) for file in _files(folder))
    return garbage


def files_of(config: Path) -> set[Path]:
    """The files that a config's study is made of, their logs and benchmarks, whether they are there or not.

    Raises:
        GarbageError: if Snakemake cannot tell.
    """
    command = [sys.executable, "-m", "snakemake", "--summary", "--configfile", str(config)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    header, *lines = asked.stdout.splitlines() or [""]
    if asked.returncode or not header.startswith("output_file\t"):
        raise GarbageError(f"{config} cannot be planned: {_reason(asked.stderr)}")
    needed = set()
    for line in lines:
        output, _, _, logs, *_ = line.split("\t")
        needed.add(Path(output))
        for log in filter(None, logs.split(",")):
            needed |= {Path(log), Path(log.replace("/logs/", "/benchmarks/")).with_suffix(".jsonl")}
    return needed


@contextmanager
def no_run() -> Iterator[None]:
    """Keep runs from starting, and see to it that none is under way.

    Raises:
        RunningError: if one is.
    """
    with ExitStack() as stack:
        for lock in sorted(RESULTS.glob("*/.lock")):
            file = stack.enter_context(lock.open("r", encoding="utf-8"))
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
    """Folders of results that hold a study, by what runs leave in them."""
    marks = (".lock", "run.json", "tables", "predictions")
    folders = (path for path in sorted(RESULTS.glob("*")) if path.is_dir() and not path.is_symlink())
    return [path for path in folders if path.name not in SHARED and any((path / mark).exists() for mark in marks)]


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
