"""Numbers that models gave, in a file from which an interrupted run resumes: one per key, a hash of what was scored."""

import math
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

import numpy as np

from curate.files import no_space

KEY = 16  # bytes
# A frame of the file: this header, the keys, their numbers (float64). The header: MAGIC, how many there are, the CRC-32
# of all that follows it.
HEADER = struct.Struct("<8sII")
MAGIC = b"curaten1"


class NumberCache:
    """
    Numbers by key, and the file that they are appended to, a frame per call of `add`; without a file, in memory only.

    An incomplete or damaged frame, and all after it, is removed when the file is opened.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._file = path, _opened(path)
        self._numbers: dict[bytes, float] = {}
        if self._file is not None:
            self._load(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, key: bytes) -> bool:
        return key in self._numbers

    def get(self, key: bytes) -> float:
        """Return the number of a key; NaN if there is none."""
        return self._numbers.get(key, math.nan)

    def add(self, numbers: Mapping[bytes, float]) -> None:
        """Add numbers, and append them to the file."""
        if not numbers:
            return
        self._numbers.update(numbers)
        if self._file is None or self._path is None:
            return
        body = b"".join(numbers) + np.fromiter(numbers.values(), np.float64, len(numbers)).tobytes()
        try:
            self._file.write(HEADER.pack(MAGIC, len(numbers), zlib.crc32(body)) + body)
            self._file.flush()
        except OSError as error:
            if error.errno in (28, 122):  # ENOSPC, EDQUOT
                raise no_space(self._path.parent) from error
            raise

    def _load(self, file: IO[bytes]) -> None:
        size, end = file.seek(0, os.SEEK_END), 0
        file.seek(0)
        while (frame := _frame(file, size - end)) is not None:
            count = len(frame) // (KEY + 8)
            keys = (frame[start : start + KEY] for start in range(0, count * KEY, KEY))
            self._numbers.update(zip(keys, np.frombuffer(frame[count * KEY :], np.float64).tolist(), strict=True))
            end += HEADER.size + len(frame)
        if end < size:
            file.truncate(end)
        file.seek(end)


def _opened(path: Path | None) -> IO[bytes] | None:
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")


def _frame(file: IO[bytes], remaining: int) -> bytes | None:
    """Return the keys and numbers of the next frame; None if no whole frame follows."""
    if remaining < HEADER.size:
        return None
    magic, count, checksum = HEADER.unpack(file.read(HEADER.size))
    if magic != MAGIC or count * (KEY + 8) > remaining - HEADER.size:
        return None
    body = file.read(count * (KEY + 8))
    return body if zlib.crc32(body) == checksum else None
