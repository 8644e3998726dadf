"""Downloads that end whole and right, or not at all.

A download grows in a partial file beside its output and gets its name once size and digest are right. What a cut
connection or a killed process leaves is resumed where something vouches for the whole: the archive's digest, or,
where none is known and within one process, the server's strong ETag.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from withstand.datasets.archives import Archive
from withstand.datasets.partial import DownloadError, Part, RefusedError, held, problem_of
from withstand.files import atomic_output


def settings() -> dict:
    """The arguments of :func:`download` that the environment sets: WITHSTAND_MIRROR and WITHSTAND_OFFLINE."""
    offline = os.environ.get("WITHSTAND_OFFLINE", "").lower() in {"1", "true", "yes"}
    return {"mirror": os.environ.get("WITHSTAND_MIRROR") or None, "offline": offline}


def download(
    archive: Archive,
    output: Path,
    *,
    mirror: str | None = None,
    offline: bool = False,
    timeout: float = 30.0,
    attempts: int = 8,
    wait: float = 1.0,
) -> None:
    """Make ``output`` the archive's file; where it is that already, leave it.

    Args:
        archive: what is wanted, and where it lies.
        output: the file to make. One that is wrong is replaced.
        mirror: a folder or a base URL, where ``<mirror>/<archive.name>`` is tried first.
        offline: touch no network.
        timeout: seconds without a byte after which a connection counts as cut.
        attempts: how often in a row an address may fail without a byte more than before.
        wait: seconds before the second attempt, doubled before each later one.

    Raises:
        DownloadError: if no address has the file, the mirror folder's is wrong, or the disk has no room for it.
    """
    try:
        if output.exists() and not problem_of(output, archive):
            _say(f"{output}: is there already")
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        with held(output.with_name(f".{output.name}.part"), archive) as part:
            problem = problem_of(output, archive) if output.exists() else "is missing"
            if problem:
                _say(f"{output}: {problem}, so it is fetched")
                _obtain(part, output, mirror, offline, {"timeout": timeout, "attempts": attempts, "wait": wait})
            _say(f"{output}: is there" + ("" if archive.digests else ", as far as one can tell without a digest"))
    except OSError as error:
        raise DownloadError(f"{error.filename or output}: {error.strerror or error}") from error


def _obtain(part: Part, output: Path, mirror: str | None, offline: bool, patience: dict) -> None:
    """Make the output from the first source that has it."""
    archive, urls = part.archive, list(part.archive.urls)
    if mirror and "://" in mirror:
        urls.insert(0, f"{mirror.rstrip('/')}/{quote(archive.name)}")
    elif mirror and (source := Path(mirror).expanduser() / archive.name).exists():
        try:
            return _take(source, part, output)
        except RefusedError as error:
            raise DownloadError(f"{source}: {error}") from None
    failures = [f"{archive.name}: nothing is downloaded offline"] if offline else []
    for url in urls:
        local = Path(unquote(urlsplit(url).path)) if urlsplit(url).scheme == "file" else None
        if offline and not local:
            continue
        if failures:
            _say(f"{failures[-1]}; next comes {url}")
        try:
            if local:
                return _take(local, part, output)
            from withstand.datasets.transfer import fetch

            fetch(url, part, **patience)
            return part.finish(output)
        except RefusedError as error:
            failures.append(f"{url}: {error}")
    by_hand = f"fetch {archive.describe()} elsewhere and put it at {output}"
    raise DownloadError("\n".join([*failures, f"{by_hand}, or into a folder that WITHSTAND_MIRROR names"]))


def _take(source: Path, part: Part, output: Path) -> None:
    """Make the output from a local file, by a hard link where that is possible."""
    try:
        problem = problem_of(source, part.archive)
    except OSError as error:
        raise RefusedError(error.strerror) from error
    if problem:
        raise RefusedError(problem)
    part.restart()
    with atomic_output(output) as temporary:
        try:
            os.link(source.resolve(), temporary)
        except OSError:  # another disk, or another owner
            part.check_space(source.stat().st_size)
            shutil.copyfile(source, temporary)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
