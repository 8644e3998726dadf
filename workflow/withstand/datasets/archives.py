"""What is known of a file that is to be had from elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from withstand.errors import WithstandError


@dataclass(frozen=True)
class Archive:
    """A file to be had from somewhere.

    Attributes:
        name: its file name.
        urls: where it lies, tried in order: http, https or file.
        bytes: its size.
        sha256: the hex digest, or its first 8 or more digits (torch.hub's file names carry those).
        md5: the hex digest.

    Raises:
        WithstandError: if the name is not that of a file, or a digest is no digest.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        if "/" in self.name or self.name in {"", ".", ".."}:
            raise WithstandError(f"'{self.name}' is no file name")
        for algorithm, digits in (("sha256", "{8,64}"), ("md5", "{32}")):
            digest = getattr(self, algorithm)
            if digest is not None and not re.fullmatch(f"[0-9a-fA-F]{digits}", digest):
                raise WithstandError(f"{self.name}: '{digest}' is no {algorithm} digest")

    @property
    def digests(self) -> dict[str, str]:
        """The digests that are known, or their first digits, in lower case, by algorithm."""
        known = {"sha256": self.sha256, "md5": self.md5}
        return {algorithm: digest.lower() for algorithm, digest in known.items() if digest}

    @property
    def is_page(self) -> bool:
        """Whether it is a web page itself."""
        return self.name.endswith((".html", ".htm"))

    def describe(self) -> str:
        """Its addresses, size and digests, for a message."""
        size = [] if self.bytes is None else [f"{self.bytes:,} bytes"]
        facts = ", ".join(size + [f"{algorithm} {digest}" for algorithm, digest in self.digests.items()])
        return f"{' or '.join(self.urls) or self.name} ({facts or 'size and digest not known'})"

    @property
    def stored(self) -> str:
        """The name under which it is kept: without the suffix of gzip, since it is read in place."""
        return self.name.removesuffix(".gz").replace(".tgz", ".tar")
