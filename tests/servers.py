"""An HTTP server that misbehaves as it is told to, and remembers what it was asked for."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PIECE = 1 << 16


@dataclass(frozen=True)
class Answer:
    """How one request is answered; by default as it should be.

    Attributes:
        status: told instead of 200 or 206; the body is a line of text then.
        headers: told besides, or instead of, the usual ones; None leaves one out.
        body: sent instead of the server's own.
        cut: bytes of the body after which the connection ends.
        stall: bytes of the body after which nothing comes until the server is released.
        reset: whether the cut resets the connection.
        corrupt: whether the first byte of the body is another one.
        ranges: whether ranges are heeded.
        chunked: whether the body comes in chunks and without a length.
    """

    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    stall: int | None = None
    reset: bool = False
    corrupt: bool = False
    ranges: bool = True
    chunked: bool = False


@dataclass
class Request:
    """What was asked for, and how many bytes of a body went out."""

    path: str
    range: str | None
    if_range: str | None
    encoding: str | None
    sent: int = 0


class Server:
    """Answers the requests for a path by its list of answers in order, and then as it should."""

    def __init__(self, body: bytes, certificate: Path | None = None) -> None:
        self.body, self.etag = body, None
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_of_test": self}))
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self._scheme = "https"

    def url(self, path: str = "/file.bin") -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}{path}"

    def will(self, *answers: Answer, path: str = "/file.bin") -> None:
        self.answers[path] = list(answers)

    @property
    def ranges(self) -> list[str | None]:
        return [request.range for request in self.requests]

    @property
    def sent(self) -> int:
        """Bytes of all bodies together."""
        return sum(request.sent for request in self.requests)

    @contextmanager
    def running(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._http.shutdown()
            thread.join()
            self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of_test: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server_of_test
        answers = server.answers.get(self.path)
        answer = answers.pop(0) if answers else Answer()
        asked = (self.headers[name] for name in ("Range", "If-Range", "Accept-Encoding"))
        request = Request(self.path, *asked)
        server.requests.append(request)
        with suppress(OSError):  # the client may have had enough
            self._send(answer, request)
        self.close_connection = True

    def _send(self, answer: Answer, request: Request) -> None:
        server = self.server_of_test
        body = server.body if answer.body is None else answer.body
        status, headers = 200, {"Content-Type": "application/octet-stream", "ETag": server.etag}
        asked = re.fullmatch(r"bytes=(\d+)-", request.range or "")
        if answer.status:
            status, body = answer.status, b"none of it\n" if answer.body is None else answer.body
        elif asked and answer.ranges and request.if_range in {None, server.etag}:
            start, total = int(asked[1]), len(body)
            status, body = (206, body[start:]) if start < total else (416, b"")
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}" if body else f"bytes */{total}"
        if answer.corrupt:
            body = bytes([body[0] ^ 1]) + body[1:]
        headers |= {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(len(body))}
        headers |= {"Connection": "close"} | answer.headers
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        end = len(body) if answer.cut is None else answer.cut
        if answer.stall is not None:
            self._write(body[: answer.stall], answer, request)
            server.released.wait()
        self._write(body[answer.stall or 0 : end], answer, request)
        if answer.chunked and end == len(body):
            self.wfile.write(b"0\r\n\r\n")
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _write(self, data: bytes, answer: Answer, request: Request) -> None:
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            request.sent += len(piece)  # before a client can look
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
