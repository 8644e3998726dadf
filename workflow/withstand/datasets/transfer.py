"""One file by HTTP: what the partial file lacks is asked for and appended, in as many attempts as it takes."""

from __future__ import annotations

import math
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from withstand.datasets.partial import PAGE, Part, RefusedError
from withstand.progress import progress

_CHUNK = 1 << 18
_MB = 10**6
_REDIRECTS = 10
_LONGEST_WAIT = 60.0


class _CutError(Exception):
    """What another attempt may mend, after ``pause`` seconds at least."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def fetch(url: str, part: Part, timeout: float, attempts: int, wait: float) -> None:
    """Complete the part from a URL.

    Raises:
        RefusedError: if that is in vain. A part that is merely cut is kept, one that is wrong is emptied.
    """
    if not part.archive.digests:
        part.restart()
    with _session() as session:
        _complete(url, part, session, timeout, attempts, wait)
        problem = part.problem()
        if problem and part.resumed:
            _say(f"{url}: {problem}, after it was resumed; it is fetched from zero")
            part.restart()
            _complete(url, part, session, timeout, attempts, wait)
            problem = part.problem()
    if problem:
        part.restart()
        raise RefusedError(problem)


def _complete(url: str, part: Part, session: requests.Session, timeout: float, attempts: int, wait: float) -> None:
    """Append what the part lacks, in as many attempts as bring it further, and some in vain."""
    failures, furthest = 0, part.size
    while True:
        try:
            return _receive(url, part, session, timeout)
        except _CutError as cut:
            failures = 1 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures >= attempts:
                raise RefusedError(f"{cut}, at the last of {failures} attempts") from None
            pause = min(max(cut.pause, wait * 2 ** (failures - 1) * random.uniform(0.5, 1)), _LONGEST_WAIT)
            _say(f"{url}: {cut}; next attempt in {pause:.1f} s")
            time.sleep(pause)


def _session() -> requests.Session:
    """A session of bounded redirects, never from https to http, that gets bytes as they lie on the server."""

    def stay_safe(response: requests.Response, **_: object) -> None:
        target = urljoin(response.url, response.headers.get("Location", ""))
        if response.is_redirect and (urlsplit(response.url).scheme, urlsplit(target).scheme) == ("https", "http"):
            raise RefusedError(f"leads from https to {target}")

    session = requests.Session()
    session.max_redirects = _REDIRECTS
    session.headers["Accept-Encoding"] = "identity"
    session.hooks["response"].append(stay_safe)
    return session


def _receive(url: str, part: Part, session: requests.Session, timeout: float) -> None:
    """Ask once for what the part lacks, and append it.

    Raises:
        _CutError: if not all of it came.
        RefusedError: if it is not to be had here.
    """
    wanted, digests = part.archive.bytes, part.archive.digests
    if not (digests or part.etag):
        part.restart()
    if wanted is not None:
        if digests and part.size >= wanted:
            return
        part.check_space(wanted - part.size)
    headers = {"Range": f"bytes={part.size}-", "If-Range": None if digests else part.etag} if part.size else {}
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if _has_more(response, part):
                _append(response, part)
    except requests.exceptions.SSLError as error:
        raise RefusedError(_reason(error)) from error
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _CutError(_reason(error)) from error
    except requests.RequestException as error:
        raise RefusedError(str(error)) from error


def _has_more(response: requests.Response, part: Part) -> bool:
    """Whether the body continues the part, emptied here for one that starts at zero; if not, the part is whole."""
    status, wanted, offered = response.status_code, part.archive.bytes, response.raw.length_remaining
    if status == 429 or status >= 500:
        pause = urllib3.Retry().get_retry_after(response.raw) or 0.0
        raise _CutError(f"answered {status} {response.reason}", pause)
    if status == 200:
        if response.headers.get("Content-Type", "").lower().startswith("text/html") and not part.archive.is_page:
            raise RefusedError(PAGE)
        if None not in (offered, wanted) and offered != wanted:
            raise RefusedError(f"offers {offered:,} bytes, expected {wanted:,}")
        part.restart(response.headers.get("ETag"))
        return True
    if status not in {206, 416} or not part.size:
        raise RefusedError(f"answered {status} {response.reason}")
    start, total = _content_range(response.headers.get("Content-Range", ""))
    if status == 416 and (total == part.size or (total is None and part.archive.digests)):
        return False
    if status == 206 and start == part.size and (None in (total, wanted) or total == wanted):
        part.resumed = True
        return True
    part.restart()
    raise _CutError("answered with another range than asked for")


def _content_range(header: str) -> tuple[int | None, int | None]:
    """The first byte and the total size that a Content-Range tells."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", header)
    start, total = found.groups() if found else (None, None)
    return start and int(start), total and int(total)


def _append(response: requests.Response, part: Part) -> None:
    """Append a body to the part; stop once the part is longer than it may be."""
    wanted, offered = part.archive.bytes, response.raw.length_remaining
    part.check_space(offered or 0)
    left = wanted - part.size if offered is None and wanted is not None else offered
    with _meter(part.archive.name, left) as advance:
        # read1 hands over what has come, where read would lose up to a chunk when the connection stalls
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            part.write(chunk)
            advance(len(chunk))
            if wanted is not None and part.size > wanted:
                return
    if wanted is not None and part.size < wanted:
        raise _CutError(f"ended after {part.size:,} of {wanted:,} bytes")


@contextmanager
def _meter(name: str, count: int | None) -> Iterator[Callable[[int], object]]:
    """Yield a function that advances the progress of ``count`` bytes; where they are not known, it shows nothing."""
    if count is None:
        yield lambda _: None
        return
    received = 0
    with progress(math.ceil(count / _MB), name, "MB") as advance:

        def receive(more: int) -> None:
            nonlocal received
            before, received = received, received + more
            advance(math.ceil(received / _MB) - math.ceil(before / _MB))

        yield receive


def _reason(error: Exception) -> str:
    """The innermost reason in what requests and urllib3 wrap."""
    cause = error.args[0] if error.args else error
    return str(getattr(cause, "reason", cause)).rpartition(": ")[2]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
