"""A file to be uploaded: its content, and the hashes by which the Hub identifies it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SMALL = 16 << 20  # bytes: larger files are never kept as plain git objects


@dataclass(frozen=True)
class File:
    """One file: its path in the repository, and its content."""

    path: str
    content: Path | bytes
    sha256: str

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def is_known_as(self, hashes: set[str]) -> bool:
        """Whether the hashes of a file in the repository match this content."""
        return self.sha256 in hashes or (self.size < SMALL and self._git_oid in hashes)

    @cached_property
    def _git_oid(self) -> str:
        data = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def plain_file(path: str, content: bytes) -> File:
    """Return a file with content in memory."""
    return File(path, content, hashlib.sha256(content).hexdigest())
