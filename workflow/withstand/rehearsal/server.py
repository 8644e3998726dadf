"""Files served as a network would: archives and checkpoints by address, weights as the Hugging Face hub does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from withstand.files import sha256

_COMMIT = "0" * 40
_PIECE = 1 << 20


class Server(ThreadingHTTPServer):
    """Serves files of this machine to this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._files: dict[str, tuple[Path, str]] = {}

    def give(self, place: str, file: Path) -> str:
        """Serve a file under a path; returns its address."""
        self._files[f"/{place}"] = (file, sha256(file))
        return f"{self.url}/{place}"

    def give_weights(self, repository: str, file: Path) -> None:
        """Serve weights as those of a repository of the hub."""
        self.give(f"{repository}/resolve/main/model.safetensors", file)

    def find(self, place: str) -> tuple[Path, str] | None:
        """A file and its digest; of a repository of the hub, its weights under whichever name they are asked for."""
        known = self._files.get(place)
        if known is None and place.endswith(".safetensors"):
            known = self._files.get(f"{place.rpartition('/')[0]}/model.safetensors")
        return known

    @contextmanager
    def running(self) -> Iterator[Server]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        found = self.server.find(self.path)
        if found is None:
            self.send_error(404)
            return
        file, digest = found
        self.send_response(200)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", _COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.open("rb") as opened, suppress(OSError):  # the client may have had enough
            while data := opened.read(_PIECE):
                self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass
