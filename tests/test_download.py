"""Downloads from a server that misbehaves in all the ways that servers and networks do."""

import gzip
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from archives_of_images import write_tar
from servers import Answer, Server
from withstand.datasets import download as download_module
from withstand.datasets import partial as partial_module
from withstand.datasets import transfer
from withstand.datasets.archives import Archive
from withstand.datasets.download import DownloadError, download, settings
from withstand.errors import WithstandError
from withstand.steps.download import fetch_archive

BODY = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()
PAGE = b"<!DOCTYPE html>\n<html><body>Please log in</body></html>"
NO_LENGTH = {"Content-Length": None}

fetch = partial(download, timeout=5.0, attempts=3, wait=0.01)


@pytest.fixture
def server():
    with Server(BODY).running() as running:
        yield running


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "data/file.bin"


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses between attempts, which are not made."""
    made = []
    monkeypatch.setattr(transfer.time, "sleep", made.append)
    return made


def archive_at(*urls: str, **known) -> Archive:
    """The archive, with all that is known of it, or with what is given instead."""
    return Archive(**{"name": "file.bin", "urls": urls, "bytes": len(BODY), "sha256": SHA256} | known)


def part_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.part")


def leave_part(output: Path, data: bytes) -> None:
    """What an earlier process left."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part_of(output).write_bytes(data)


def assert_whole(output: Path) -> None:
    assert output.read_bytes() == BODY
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def assert_nothing(output: Path) -> None:
    assert list(output.parent.iterdir()) == []


def failure(archive: Archive, output: Path, **options) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(archive, output, **options)
    assert not output.exists()
    return str(caught.value)


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def start_process(archive: Archive, output: Path) -> subprocess.Popen:
    code = (
        "import sys, pathlib\nfrom withstand.datasets.archives import Archive\n"
        "from withstand.datasets.download import download\n"
        f"download({archive!r}, pathlib.Path(sys.argv[1]), wait=0.01)"
    )
    return subprocess.Popen([sys.executable, "-c", code, output], stderr=subprocess.PIPE, text=True)


# What is right


def test_a_file_is_downloaded_once(server, output, capsys):
    archive = archive_at(server.url())
    fetch(archive, output)
    assert_whole(output)
    assert "file.bin: 1/1 MB" in capsys.readouterr().err
    before = output.stat()
    fetch(archive, output)
    assert server.ranges == [None]
    assert (output.stat().st_ino, output.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert f"{output}: is there already" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [b"", BODY[:-1], BODY + b"x", BODY[:-1] + b"x"])
def test_a_wrong_file_is_replaced(server, output, wrong):
    output.parent.mkdir()
    output.write_bytes(wrong)
    fetch(archive_at(server.url()), output)
    assert_whole(output)


@pytest.mark.parametrize(
    "known",
    [{"sha256": SHA256.upper()}, {"sha256": SHA256[:8]}, {"sha256": None, "md5": MD5}, {"md5": MD5}, {"bytes": None}],
)
def test_a_file_is_right_by_its_digests(server, tmp_path, known):
    archive = archive_at(server.url(), **known)
    fetch(archive, tmp_path / "right/file.bin")
    assert_whole(tmp_path / "right/file.bin")
    server.will(Answer(corrupt=True))
    output = tmp_path / "wrong/file.bin"
    message = failure(archive, output)
    algorithm, expected = next(iter(archive.digests.items()))
    found = hashlib.new(algorithm, bytes([BODY[0] ^ 1]) + BODY[1:]).hexdigest()
    assert f"{server.url()}: has the {algorithm} {found}, expected {expected}" in message
    assert_nothing(output)


def test_each_known_digest_counts(server, output):
    assert f"expected {'0' * 32}" in failure(archive_at(server.url(), md5="0" * 32), output)
    assert_nothing(output)


def test_a_file_of_which_nothing_is_known_is_taken_as_it_comes(server, output, capsys):
    fetch(archive_at(server.url(), bytes=None, sha256=None), output)
    assert_whole(output)
    assert "as far as one can tell without a digest" in capsys.readouterr().err


def test_a_file_is_on_the_disk_before_it_gets_its_name(server, output, monkeypatch):
    synced = []

    def sync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, output.exists()))

    monkeypatch.setattr(partial_module.os, "fsync", sync)
    fetch(archive_at(server.url()), output)
    assert synced == [(len(BODY), False)]


def test_a_file_may_be_empty(server, output):
    server.body = b""
    fetch(archive_at(server.url(), bytes=None, sha256=hashlib.sha256().hexdigest()), output)
    assert output.read_bytes() == b""
    assert [path.name for path in output.parent.iterdir()] == [output.name]


# Cuts


@pytest.mark.parametrize(
    "cuts",
    [
        [Answer(cut=100_000), Answer(cut=50_000)],
        [Answer(cut=100_000, chunked=True), Answer(cut=50_000, chunked=True)],
        [Answer(stall=100_000), Answer(stall=50_000)],
        [Answer(cut=100_000, headers=NO_LENGTH), Answer(cut=50_000, headers=NO_LENGTH)],
    ],
    ids=["closed", "chunked", "stalled", "no length"],
)
def test_a_cut_download_is_resumed_and_no_byte_comes_twice(server, output, cuts):
    server.will(*cuts)
    fetch(archive_at(server.url()), output, timeout=0.2)
    assert_whole(output)
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[-1].sent == 150_000
    assert server.sent == len(BODY)


def test_a_reset_connection_is_no_end(server, output):
    server.will(Answer(cut=100_000, reset=True), Answer(cut=0, reset=True))
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert len(server.requests) == 3


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_is_resumed_by_the_next_process(server, output, end):
    server.will(Answer(stall=200_000))
    archive = archive_at(server.url())
    process = start_process(archive, output)
    until(lambda: part_of(output).exists() and part_of(output).stat().st_size >= 190_000)
    assert not output.exists()
    process.send_signal(end)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert not output.exists()
    kept = part_of(output).stat().st_size
    assert BODY.startswith(part_of(output).read_bytes())
    fetch(archive, output)
    assert_whole(output)
    assert server.ranges == [None, f"bytes={kept}-"]
    assert server.requests[1].sent == len(BODY) - kept


def test_attempts_are_counted_anew_after_progress(server, output):
    server.will(*[Answer(cut=40_000)] * 6)
    fetch(archive_at(server.url()), output, attempts=2)
    assert_whole(output)
    assert len(server.requests) == 7


def test_attempts_without_a_byte_more_than_before_come_to_an_end(server, output):
    server.will(*[Answer(cut=100_000, ranges=False)] * 9)
    assert "at the last of 4 attempts" in failure(archive_at(server.url()), output, attempts=4)
    assert len(server.requests) == 4
    assert part_of(output).read_bytes() == BODY[:100_000]  # for the next process


def test_pauses_grow_and_are_bounded(server, output, pauses):
    server.will(*[Answer(status=500)] * 9)
    assert "answered 500 Internal Server Error" in failure(archive_at(server.url()), output, attempts=9, wait=1.0)
    assert len(pauses) == 8
    for number, pause in enumerate(pauses):
        assert min(2**number / 2, 60) <= pause <= min(2**number, 60)
    assert len({pause / 2**number for number, pause in enumerate(pauses[:6])}) > 1  # they are not all alike


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("7", 7, 7), ("100000", 60, 60), ("in_20_s", 17, 21), ("soon", 0, 0.1), ("0", 0, 0.1)],
)
def test_a_server_may_say_when_to_come_back(server, output, pauses, status, told, least, most):
    told = formatdate(time.time() + 20, usegmt=True) if told == "in_20_s" else told
    server.will(Answer(status=status, headers={"Retry-After": told}))
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert len(pauses) == 1
    assert least <= pauses[0] <= most


@pytest.mark.parametrize("status", [401, 403, 404, 410, 416, 204, 206])
def test_what_a_server_does_not_have_is_asked_of_the_next(server, output, pauses, status):
    server.will(Answer(status=status, body=b""), path="/gone")
    fetch(archive_at(server.url("/gone"), server.url()), output)
    assert_whole(output)
    assert [request.path for request in server.requests] == ["/gone", "/file.bin"]
    assert pauses == []


def test_an_error_names_every_address_that_was_tried(server, output):
    server.will(*[Answer(status=404)] * 2, path="/gone")
    with Server(BODY).running() as gone:
        dead = gone.url()
    lines = failure(archive_at(server.url("/gone"), dead), output, attempts=2).splitlines()
    assert lines[0] == f"{server.url('/gone')}: answered 404 Not Found"
    assert lines[1] == f"{dead}: [Errno 111] Connection refused, at the last of 2 attempts"
    assert str(output) in lines[2]
    assert "WITHSTAND_MIRROR" in lines[2]
    assert len(lines) == 3
    assert_nothing(output)


# Ranges


def test_a_server_that_ignores_ranges_starts_from_zero(server, output):
    server.will(Answer(cut=100_000), Answer(ranges=False))
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize(
    "content_range",
    ["bytes 99999-299999/300000", "bytes 0-299999/300000", "bytes 100000-299999/300001", "bytes", None],
)
def test_another_range_than_asked_for_starts_from_zero(server, output, content_range):
    server.will(Answer(cut=100_000), Answer(headers={"Content-Range": content_range}))
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert server.ranges == [None, "bytes=100000-", None]


def test_a_whole_part_is_verified_and_named(server, output):
    leave_part(output, BODY)
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert server.requests == []


@pytest.mark.parametrize("content_range", ["bytes */300000", None])
def test_a_whole_part_of_unknown_size_is_verified_after_a_416(server, output, content_range):
    server.will(Answer(status=416, body=b"", headers={"Content-Range": content_range}))
    leave_part(output, BODY)
    fetch(archive_at(server.url(), bytes=None), output)
    assert_whole(output)
    assert server.ranges == ["bytes=300000-"]


@pytest.mark.parametrize("known", [{}, {"bytes": None}])
@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(BODY), BODY + b"x", BODY[:-1] + b"x"])
def test_a_wrong_part_costs_one_fresh_try(server, output, left, known):
    leave_part(output, left)
    fetch(archive_at(server.url(), **known), output)
    assert_whole(output)
    assert server.ranges.count(None) == 1
    assert len(server.requests) <= 2


def test_after_a_fresh_try_the_next_address_is_due(server, output):
    leave_part(output, b"x" * 1000)
    server.will(Answer(), Answer(corrupt=True), path="/bad")
    fetch(archive_at(server.url("/bad"), server.url()), output)
    assert_whole(output)
    assert [(request.path, request.range) for request in server.requests] == [
        ("/bad", "bytes=1000-"),
        ("/bad", None),
        ("/file.bin", None),
    ]


def test_a_rest_that_does_not_fit_costs_one_fresh_try(server, output):
    server.will(Answer(cut=100_000), Answer(corrupt=True))
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert server.ranges == [None, "bytes=100000-", None]


def test_a_fresh_download_with_a_wrong_digest_is_not_repeated(server, output):
    for path in ("/a", "/b"):
        server.will(Answer(corrupt=True), path=path)
    message = failure(archive_at(server.url("/a"), server.url("/b")), output)
    assert message.count(f"expected {SHA256}") == 2
    assert len(server.requests) == 2
    assert_nothing(output)


def test_another_address_goes_on_where_one_was_cut(server, output):
    server.will(Answer(cut=100_000), *[Answer(status=503)] * 2, path="/bad")
    fetch(archive_at(server.url("/bad"), server.url()), output, attempts=2)
    assert_whole(output)
    assert server.requests[-1].range == "bytes=100000-"
    assert server.sent == len(BODY) + len(b"none of it\n")


def test_with_a_digest_servers_may_differ_in_their_etags(server, output):
    server.will(Answer(cut=100_000, headers={"ETag": '"one"'}))
    server.etag = '"two"'
    fetch(archive_at(server.url()), output)
    assert_whole(output)
    assert server.sent == len(BODY)


def test_without_a_digest_a_416_must_tell_the_size(server, output):
    server.etag = '"one"'
    server.will(Answer(cut=100_000), Answer(status=416, body=b""))
    fetch(archive_at(server.url(), bytes=None, sha256=None), output)
    assert_whole(output)
    assert server.ranges == [None, "bytes=100000-", None]


def test_without_a_digest_a_strong_etag_vouches_for_the_rest(server, output):
    server.etag = '"one"'
    server.will(Answer(cut=100_000))
    fetch(archive_at(server.url(), sha256=None), output)
    assert_whole(output)
    assert [(request.range, request.if_range) for request in server.requests] == [
        (None, None),
        ("bytes=100000-", '"one"'),
    ]


def test_without_a_digest_a_file_that_changes_starts_from_zero(server, output):
    server.etag = '"two"'
    server.will(Answer(body=b"x" * len(BODY), cut=100_000, headers={"ETag": '"one"'}))
    fetch(archive_at(server.url(), sha256=None), output)
    assert_whole(output)
    assert server.requests[1].if_range == '"one"'


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_what_nothing_vouches_for_starts_from_zero(server, output, etag):
    server.etag = etag
    leave_part(output, b"x" * 1000)
    server.will(Answer(cut=100_000))
    fetch(archive_at(server.url(), sha256=None), output)
    assert_whole(output)
    assert server.ranges == [None, None]


def test_a_part_that_is_dropped_is_no_measure_of_progress(server, output):
    server.etag = '"one"'
    leave_part(output, b"x" * 299_000)
    server.will(*[Answer(cut=70_000)] * 4)
    fetch(archive_at(server.url(), sha256=None), output, attempts=2)
    assert_whole(output)


# Lengths


@pytest.mark.parametrize("told", [len(BODY) - 100, len(BODY) + 100])
def test_another_length_than_expected_is_refused_before_the_download(server, output, told):
    server.will(Answer(headers={"Content-Length": str(told)}), path="/lies")
    fetch(archive_at(server.url("/lies"), server.url()), output)
    assert_whole(output)
    server.will(Answer(headers={"Content-Length": str(told)}))
    message = failure(archive_at(server.url()), output.with_name("other.bin"))
    assert f"offers {told:,} bytes, expected 300,000" in message


def test_a_length_that_is_too_large_is_seen_through(server, output):
    server.will(Answer(headers={"Content-Length": "300100"}))
    fetch(archive_at(server.url(), bytes=None), output)
    assert_whole(output)
    assert server.ranges == [None, "bytes=300000-"]  # and that is answered by 416


def test_a_rest_of_which_more_is_promised_is_enough(server, output):
    server.will(Answer(cut=100_000), Answer(headers={"Content-Length": "200100"}))
    fetch(archive_at(server.url()), output, attempts=2)
    assert_whole(output)
    assert len(server.requests) == 2


def test_a_rest_of_which_less_is_promised_is_asked_for_again(server, output):
    server.will(Answer(cut=100_000), Answer(headers={"Content-Length": "150000"}))
    fetch(archive_at(server.url()), output, attempts=2)
    assert_whole(output)
    assert server.ranges == [None, "bytes=100000-", "bytes=250000-"]


def test_a_length_that_is_too_small_leaves_a_wrong_digest(server, output):
    server.will(Answer(headers={"Content-Length": "299900"}))
    assert f"expected {SHA256}" in failure(archive_at(server.url(), bytes=None), output)
    assert_nothing(output)


@pytest.mark.parametrize("known", [{}, {"bytes": None}])
@pytest.mark.parametrize("answer", [Answer(headers=NO_LENGTH), Answer(chunked=True)])
def test_no_length_is_needed(server, output, known, answer):
    server.will(answer)
    fetch(archive_at(server.url(), **known), output)
    assert_whole(output)
    assert len(server.requests) == 1


def test_a_cut_that_nothing_tells_leaves_a_wrong_digest(server, output):
    server.will(Answer(headers=NO_LENGTH, cut=100_000))
    assert f"expected {SHA256}" in failure(archive_at(server.url(), bytes=None), output)
    assert_nothing(output)


def test_a_body_without_end_is_stopped(server, output):
    endless = BODY + bytes(60_000_000)
    server.will(Answer(body=endless, headers=NO_LENGTH))
    assert "is longer than the expected 300,000 bytes" in failure(archive_at(server.url()), output)
    assert server.sent < len(endless) / 2
    assert_nothing(output)


def test_bytes_are_kept_as_they_lie_on_the_server(server, output):
    packed = gzip.compress(BODY)
    server.will(Answer(body=packed, headers={"Content-Encoding": "gzip"}))
    fetch(archive_at(server.url(), bytes=len(packed), sha256=hashlib.sha256(packed).hexdigest()), output)
    assert output.read_bytes() == packed
    assert server.requests[0].encoding == "identity"


# Pages and redirects


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<h1>Please log in", headers={"Content-Type": "Text/HTML; charset=utf-8"}),
        Answer(body=PAGE, headers={"Content-Type": None}),
        Answer(body=b"\n" + PAGE[16:], headers={"Content-Type": "application/x-tar"}),
    ],
)
@pytest.mark.parametrize("known", [{"bytes": None}, {"bytes": None, "sha256": None}])
def test_a_web_page_is_no_archive(server, output, answer, known):
    server.will(answer)
    message = failure(archive_at(server.url(), **known), output)
    assert f"{server.url()}: answered with a web page (does it want a login, or has the file moved?)" in message
    assert_nothing(output)


def test_a_web_page_is_told_before_its_length(server, output):
    server.will(Answer(body=PAGE, headers={"Content-Type": "text/html"}))
    assert "answered with a web page" in failure(archive_at(server.url()), output)


def test_a_web_page_instead_of_the_rest_leaves_the_part(server, output):
    server.will(Answer(cut=100_000), Answer(status=200, body=PAGE, headers={"Content-Type": "text/html"}))
    assert "answered with a web page" in failure(archive_at(server.url()), output)
    assert part_of(output).read_bytes() == BODY[:100_000]


def test_a_web_page_may_be_wanted(server, tmp_path):
    server.will(Answer(body=PAGE, headers={"Content-Type": "text/html"}))
    archive = Archive("index.html", (server.url(),), sha256=hashlib.sha256(PAGE).hexdigest())
    fetch(archive, tmp_path / "index.html")
    assert (tmp_path / "index.html").read_bytes() == PAGE


def test_redirects_are_followed_and_keep_the_range(server, output):
    server.will(*[Answer(status=302, headers={"Location": "/file.bin"})] * 2, path="/old")
    server.will(Answer(cut=100_000))
    fetch(archive_at(server.url("/old")), output)
    assert_whole(output)
    assert [(request.path, request.range) for request in server.requests] == [
        ("/old", None),
        ("/file.bin", None),
        ("/old", "bytes=100000-"),
        ("/file.bin", "bytes=100000-"),
    ]


def test_redirects_in_a_circle_come_to_an_end(server, output, pauses):
    server.will(*[Answer(status=301, headers={"Location": "/loop"})] * 50, path="/loop")
    assert "redirects" in failure(archive_at(server.url("/loop")), output)
    assert len(server.requests) == 11
    assert pauses == []


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/file.bin"])
def test_redirects_lead_to_no_other_protocol(server, output, location):
    server.will(Answer(status=302, headers={"Location": location}))
    assert location in failure(archive_at(server.url(), bytes=None, sha256=None), output)
    assert_nothing(output)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for 127.0.0.1, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]
    try:
        command = ["openssl", "req", "-x509", *key, *name, "-days", "2", "-out", path.with_suffix(".crt")]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no openssl to make a certificate")
    path.write_text(path.with_suffix(".crt").read_text() + path.read_text())
    return path


def test_https_never_leads_to_http(server, output, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Server(BODY, certificate).running() as secure:
        secure.will(Answer(status=302, headers={"Location": server.url()}), path="/down")
        message = failure(archive_at(secure.url("/down")), output)
        assert f"{secure.url('/down')}: leads from https to {server.url()}" in message
        assert server.requests == []
        secure.will(Answer(status=302, headers={"Location": "/file.bin"}), path="/same")
        fetch(archive_at(secure.url("/same")), output)
        server.will(Answer(status=302, headers={"Location": secure.url()}), path="/up")
        fetch(archive_at(server.url("/up")), output.with_name("up.bin"))
    assert output.read_bytes() == output.with_name("up.bin").read_bytes() == BODY


def test_a_certificate_that_is_not_trusted_is_not_tried_again(output, certificate, pauses):
    with Server(BODY, certificate).running() as secure:
        assert "certificate" in failure(archive_at(secure.url()), output)
        assert secure.requests == []
    assert pauses == []


# Several at once


def test_a_second_process_waits_and_uses_what_the_first_made(server, output):
    server.will(Answer(stall=100_000))
    archive = archive_at(server.url())
    first = start_process(archive, output)
    until(lambda: part_of(output).exists() and part_of(output).stat().st_size > 0)
    second = start_process(archive, output)
    assert "another process fetches it; waiting for that" in second.stderr.readline()
    assert not output.exists()
    server.released.set()
    for process in (first, second):
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0, errors
    assert_whole(output)
    assert len(server.requests) == 1


def test_a_second_process_goes_on_where_the_first_was_killed(server, output):
    server.will(Answer(stall=100_000))
    archive = archive_at(server.url())
    first = start_process(archive, output)
    until(lambda: part_of(output).exists() and part_of(output).stat().st_size >= 90_000)
    second = start_process(archive, output)
    assert "waiting" in second.stderr.readline()
    first.kill()
    first.communicate(timeout=10)
    _, errors = second.communicate(timeout=10)
    assert second.returncode == 0, errors
    assert_whole(output)
    assert server.ranges[0] is None
    assert server.ranges[1].startswith("bytes=")


def test_a_second_process_starts_where_the_first_removed_what_was_wrong(server, output):
    server.will(Answer(stall=100_000, corrupt=True))
    archive = archive_at(server.url())
    first = start_process(archive, output)
    until(lambda: part_of(output).exists() and part_of(output).stat().st_size > 0)
    second = start_process(archive, output)
    assert "waiting" in second.stderr.readline()
    server.released.set()
    _, errors = first.communicate(timeout=10)
    assert f"expected {SHA256}" in errors
    _, errors = second.communicate(timeout=10)
    assert second.returncode == 0, errors
    assert_whole(output)


def test_many_at_once_download_once(server, tmp_path):
    errors = []

    def one(output: Path) -> None:
        try:
            fetch(archive_at(server.url()), output)
        except DownloadError as error:
            errors.append(error)

    for number in range(10):
        output, sizes = tmp_path / str(number) / "file.bin", set()
        threads = [threading.Thread(target=one, args=(output,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            sizes |= {output.stat().st_size} if output.exists() else set()
        assert errors == []
        assert sizes <= {len(BODY)}
        assert len(server.requests) == number + 1
        assert_whole(output)


# Mirrors and files


@pytest.fixture
def mirror(tmp_path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "file.bin").write_bytes(BODY)
    return folder


def test_a_mirrors_file_is_linked(server, output, mirror):
    leave_part(output, BODY[:1000])
    fetch(archive_at(server.url()), output, mirror=str(mirror))
    assert output.samefile(mirror / "file.bin")
    assert_whole(output)
    assert server.requests == []


def test_a_mirrors_file_is_copied_where_it_cannot_be_linked(server, output, mirror, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(download_module.os, "link", refuse)
    fetch(archive_at(server.url()), output, mirror=str(mirror))
    assert not output.samefile(mirror / "file.bin")
    assert_whole(output)
    assert server.requests == []


def test_a_link_in_a_mirror_leads_to_the_file(server, output, mirror, tmp_path):
    (mirror / "file.bin").rename(tmp_path / "elsewhere.bin")
    (mirror / "file.bin").symlink_to("../elsewhere.bin")
    fetch(archive_at(server.url()), output, mirror=str(mirror))
    assert not output.is_symlink()
    assert_whole(output)


def test_a_wrong_file_in_a_mirror_is_named(server, output, mirror):
    (mirror / "file.bin").write_bytes(b"x" * len(BODY))
    message = failure(archive_at(server.url()), output, mirror=str(mirror))
    assert message.startswith(f"{mirror}/file.bin: has the sha256 ")
    assert len(message.splitlines()) == 1
    assert server.requests == []
    assert_nothing(output)


def test_what_a_mirror_lacks_is_downloaded(server, output, tmp_path):
    fetch(archive_at(server.url()), output, mirror=str(tmp_path))
    assert_whole(output)


def test_a_mirrors_address_comes_first(server, output):
    fetch(archive_at(server.url(), name="a file #1.bin"), output, mirror=server.url("/mirror/"))
    assert_whole(output)
    assert [request.path for request in server.requests] == ["/mirror/a%20file%20%231.bin"]


@pytest.mark.parametrize("answer", [Answer(status=404), Answer(corrupt=True)])
def test_after_a_mirrors_address_come_the_others(server, output, answer):
    server.will(answer, path="/mirror/file.bin")
    fetch(archive_at(server.url()), output, mirror=server.url("/mirror"))
    assert_whole(output)
    assert [request.path for request in server.requests] == ["/mirror/file.bin", "/file.bin"]


def test_files_have_addresses_too(server, output, mirror):
    (mirror / "wrong.bin").write_bytes(b"x")
    (mirror / "with a space.bin").write_bytes(BODY)
    urls = [f"{mirror.as_uri()}/missing.bin", f"{mirror.as_uri()}/wrong.bin", f"{mirror.as_uri()}/with%20a%20space.bin"]
    fetch(archive_at(*urls, server.url()), output)
    assert_whole(output)
    assert server.requests == []
    message = failure(archive_at(*urls[:2]), output.with_name("other.bin"))
    assert f"{urls[0]}: No such file or directory\n{urls[1]}: has 1 of 300,000 bytes\n" in message


# Offline


def test_offline_says_what_to_fetch_and_where_to_put_it(server, output):
    archive = archive_at(server.url(), md5=MD5)
    message = failure(archive, output, offline=True, mirror=server.url("/mirror"))
    for part in (server.url(), "300,000 bytes", SHA256, MD5, str(output), "WITHSTAND_MIRROR", "offline"):
        assert part in message
    assert len(message.splitlines()) == 2
    assert server.requests == []
    assert_nothing(output)


def test_offline_uses_what_is_at_hand(server, tmp_path, mirror):
    archive = archive_at(server.url())
    fetch(archive, tmp_path / "one/file.bin", offline=True, mirror=str(mirror))
    fetch(archive, tmp_path / "two/file.bin", offline=True, mirror=mirror.as_uri())
    fetch(archive_at(server.url(), f"{mirror.as_uri()}/file.bin"), tmp_path / "three/file.bin", offline=True)
    fetch(archive, tmp_path / "three/file.bin", offline=True)
    for number in ("one", "two", "three"):
        assert_whole(tmp_path / number / "file.bin")
    assert server.requests == []


def test_the_environment_sets_mirror_and_offline(monkeypatch):
    monkeypatch.delenv("WITHSTAND_MIRROR", raising=False)
    monkeypatch.delenv("WITHSTAND_OFFLINE", raising=False)
    assert settings() == {"mirror": None, "offline": False}
    monkeypatch.setenv("WITHSTAND_MIRROR", "/data/mirror")
    for text, offline in (("1", True), ("TRUE", True), ("yes", True), ("0", False), ("no", False), ("", False)):
        monkeypatch.setenv("WITHSTAND_OFFLINE", text)
        assert settings() == {"mirror": "/data/mirror", "offline": offline}


# Disks


def test_a_small_disk_is_seen_beforehand(server, small_disk):
    output = small_disk / "file.bin"
    message = failure(archive_at(server.url(), bytes=5_000_000), output)
    assert message == f"{small_disk}: file.bin needs 5.0 MB more, but only 4.2 MB are free"
    assert server.requests == []
    assert_nothing(output)


def test_a_small_disk_is_seen_when_the_server_tells_the_size(small_disk):
    with Server(bytes(6_000_000)).running() as server:
        message = failure(archive_at(server.url(), server.url("/other"), bytes=None), small_disk / "file.bin")
        assert "file.bin needs 6.0 MB more" in message
        assert len(server.requests) == 1
    assert_nothing(small_disk / "file.bin")


def test_a_disk_that_fills_up_is_named(small_disk):
    with Server(bytes(6_000_000)).running() as server:
        server.will(Answer(chunked=True))
        message = failure(archive_at(server.url(), bytes=None), small_disk / "file.bin")
    assert message == f"{small_disk}/file.bin: No space left on device"


def test_a_small_disk_is_seen_before_a_copy(small_disk, mirror):
    body = bytes(5_000_000)
    (mirror / "file.bin").write_bytes(body)
    archive = archive_at(bytes=len(body), sha256=None)
    assert "file.bin needs 5.0 MB more" in failure(archive, small_disk / "file.bin", mirror=str(mirror))
    assert_nothing(small_disk / "file.bin")


def test_a_part_counts_as_room_that_is_taken_already(small_disk):
    body = np.random.default_rng(1).bytes(3_000_000)
    leave_part(small_disk / "file.bin", body[:2_500_000])
    with Server(body).running() as server:
        archive = archive_at(server.url(), bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
        fetch(archive, small_disk / "file.bin")
    assert (small_disk / "file.bin").read_bytes() == body


# Archives


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"name": "../file.bin"}, "'../file.bin' is no file name"),
        ({"name": ""}, "'' is no file name"),
        ({"sha256": SHA256[:7]}, f"'{SHA256[:7]}' is no sha256 digest"),
        ({"sha256": SHA256 + "0"}, "is no sha256 digest"),
        ({"md5": MD5[:8]}, "is no md5 digest"),
    ],
)
def test_an_archive_has_a_name_and_digests_that_can_be_right(known, message):
    with pytest.raises(WithstandError, match=message):
        archive_at("https://example.org/file.bin", **known)


def test_looking_at_archives_costs_no_import_of_requests():
    code = "import sys, withstand.datasets.download\nprint({'requests', 'numpy', 'tqdm'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


# Archives whose names end in .gz


@pytest.fixture
def published(tmp_path):
    """Fetches an archive named x.tar.gz of the given bytes, and says what lies in the folder then."""

    def run(data: bytes) -> dict[str, bytes]:
        (tmp_path / "x.tar.gz").write_bytes(data)
        known = {"bytes": len(data), "md5": hashlib.md5(data).hexdigest()}
        archive = Archive("x.tar.gz", urls=((tmp_path / "x.tar.gz").as_uri(),), **known)
        folder = tmp_path / "downloads"
        fetch_archive(archive, folder / "x.tar")
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return run


@pytest.mark.parametrize("pack", [bytes, partial(gzip.compress, mtime=0)], ids=["plain", "gzip"])
def test_a_tar_archive_called_gz_is_kept_plain_whether_it_is_compressed_or_not(tmp_path, published, pack):
    """Those of ImageNet-V2 are not."""
    plain = write_tar(tmp_path / "plain", {"0/1.jpeg": b"x" * 1000}).read_bytes()
    assert published(pack(plain)) == {"x.tar": plain}
    assert (tmp_path / "x.tar.gz").read_bytes() == pack(plain), "what it was taken from stays"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(BODY)[:-100], r"x\.tar\.gz: not a whole gzip file"),
        (BODY, r"x\.tar\.gz: neither a gzip file nor a tar archive; delete it"),
        (gzip.compress(bytes(10_000_000)), r"x\.tar\.gz: holds more than 20 times its size; not unpacked"),
    ],
)
def test_what_is_neither_is_told(tmp_path, published, data, message):
    with pytest.raises(DownloadError, match=message):
        published(data)
    assert not (tmp_path / "downloads/x.tar").exists()
