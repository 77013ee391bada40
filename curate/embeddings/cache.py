"""Embeddings of distinct texts, computed once and cached in a file from which an interrupted run resumes."""

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

import numpy as np
import polars as pl

from curate.embeddings.encoder import Encoder
from curate.errors import InputError
from curate.files import no_space
from curate.schema import digest
from curate.terminal import progress

CHUNK = 1024  # texts encoded at once, and lost when a run is killed
CONTENT = r"[\p{L}\p{N}]"  # texts without a letter or a digit are not encoded: models give them all nearly one vector
ID = 16  # bytes of a text's digest
# A frame of the file: this header, the digests of its texts, their vectors (float32). The header: MAGIC, texts, their
# dimension, the CRC-32 of all that follows it.
HEADER = struct.Struct("<8sIII")
MAGIC = b"curatev1"
MAX_DISTANCE = 0.2  # between two vectors of one text by one model, in half precision; two models are about 1.4 apart


def embed(
    blocks: Iterable[pl.Series], encoder: Encoder, cache: Path | None = None, *, total: int | None = None
) -> np.ndarray:
    """
    Return the embeddings of all texts: [rows, dim] float32, of unit length; zeros for null and for texts without a
    letter or a digit.

    in : texts, block by block; `total`, their number, for the progress bar

    Of a text beyond the model's maximum length, the beginning and the end are encoded: otherwise texts that start with
    the same instructions or examples would get the same vector.
    Vectors are written to the file `cache`, in the order in which texts first occur; an interrupted call resumes from
    it with the same vectors. Raises InputError for a file of another model, and for a model that returns only NaN.
    """
    places: list[np.ndarray] = []
    try:
        with _opened(cache) as file, progress("embed", total, "texts") as advance:
            vectors = _Vectors(file, encoder, str(cache))
            frames = (block.cast(pl.String).to_frame("text") for block in blocks)
            for chunk in (chunk for frame in frames for chunk in frame.iter_slices(CHUNK)):
                places.append(vectors.places(chunk))
                advance(len(chunk))
            vectors.write()
            return vectors.at(np.concatenate([np.empty(0, np.int64), *places]))
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise no_space(cache.parent if cache else Path(gettempdir())) from error
        raise


def head_and_tail(text: str, size: int) -> str:
    """Return a text of up to `size` bytes unchanged, of a longer one the first and the last `size` / 2 bytes."""
    if len(text) * 4 <= size or len(raw := text.encode("utf-8", "replace")) <= size:
        return text
    return " … ".join(part.decode("utf-8", "ignore") for part in (raw[: size // 2], raw[-(size // 2) :]))


def _opened(cache: Path | None) -> IO[bytes]:
    if cache is None:
        return TemporaryFile()
    cache.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(cache, os.O_RDWR | os.O_CREAT, 0o644), "r+b")


class _Vectors:
    """The vectors in the file, and the texts that are waiting to be encoded."""

    def __init__(self, file: IO[bytes], encoder: Encoder, name: str) -> None:
        self._file, self._encoder, self._name = file, encoder, name
        self._frames: list[tuple[int, int, int]] = []  # offset, number and dimension of a frame's vectors
        self._known: dict[bytes, int] = {}  # digest of a text -> index of its vector in the file
        self._waiting: dict[bytes, str] = {}
        self._load()
        self._unverified = bool(self._known)

    def places(self, texts: pl.DataFrame) -> np.ndarray:
        """Return the index of each text's vector, -1 for none; new texts are encoded as soon as a chunk is full."""
        has_content = pl.col("text").str.contains(CONTENT).fill_null(value=False)
        ids = texts.select(id=pl.when(has_content).then(digest(pl.col("text")))).to_series().str.decode("hex")
        for row in ids.is_first_distinct().arg_true().to_list():
            key = ids[row]
            if key is None:
                continue
            if key not in self._known:
                self._known[key] = len(self._known)
                self._waiting[key] = texts.item(row, "text")
                if len(self._waiting) == CHUNK:
                    self.write()
            elif self._unverified and key not in self._waiting:
                self._verify(texts.item(row, "text"), self._known[key])
        return np.fromiter((-1 if key is None else self._known[key] for key in ids.to_list()), np.int64, len(ids))

    def write(self) -> None:
        """Encode the waiting texts and append their vectors to the file."""
        if not self._waiting:
            return
        vectors = self._encoded(list(self._waiting.values()))
        body = b"".join(self._waiting) + vectors.tobytes()
        self._file.seek(0, os.SEEK_END)
        start = self._file.tell() + HEADER.size + len(self._waiting) * ID
        self._file.write(HEADER.pack(MAGIC, *vectors.shape, zlib.crc32(body)) + body)
        self._file.flush()
        self._frames.append((start, *vectors.shape))
        self._waiting = {}

    def at(self, places: np.ndarray) -> np.ndarray:
        """Return the vectors at these indices, zeros for -1."""
        dim = self._frames[0][2] if self._frames else self._encoder.encode([]).shape[1]
        result = np.zeros((len(places), dim), np.float32)
        order = np.argsort(places, kind="stable")
        first = 0
        for start, count, _ in self._frames:
            low, high = np.searchsorted(places, [first, first + count], sorter=order)
            if high > low:
                rows = order[low:high]
                self._file.seek(start)
                vectors = np.frombuffer(self._file.read(count * dim * 4), np.float32).reshape(count, dim)
                result[rows] = vectors[places[rows] - first]
            first += count
        return result

    def _load(self) -> None:
        """Read all whole frames, and truncate the file at the first incomplete or damaged one."""
        size, end = self._file.seek(0, os.SEEK_END), 0
        self._file.seek(0)
        while (frame := self._frame(size - end)) is not None:
            ids, dim = frame
            self._known |= {key: len(self._known) + number for number, key in enumerate(ids)}
            self._frames.append((end + HEADER.size + len(ids) * ID, len(ids), dim))
            end += HEADER.size + len(ids) * (ID + 4 * dim)
        if end < size:
            self._file.truncate(end)

    def _frame(self, remaining: int) -> tuple[list[bytes], int] | None:
        """Return the digests of the next frame and the dimension of its vectors; None if no whole frame follows."""
        if remaining < HEADER.size:
            return None
        magic, count, dim, checksum = HEADER.unpack(self._file.read(HEADER.size))
        if magic != MAGIC or count * (ID + 4 * dim) > remaining - HEADER.size:
            return None
        body = self._file.read(count * (ID + 4 * dim))
        if zlib.crc32(body) != checksum or (self._frames and dim != self._frames[0][2]):
            return None
        return [body[start : start + ID] for start in range(0, count * ID, ID)], dim

    def _encoded(self, texts: list[str]) -> np.ndarray:
        limit = getattr(self._encoder, "max_bytes", None)
        read = [head_and_tail(text, limit) for text in texts] if limit else texts
        vectors: Any = np.asarray(self._encoder.encode(read))
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InputError(
                f"the model returned shape {vectors.shape} for {len(texts)} texts; expected a row per text"
            )
        vectors = vectors.astype(np.float64)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.any():
            raise InputError(f"the model returned only NaN for {len(texts)} texts, the first is {texts[0][:60]!r}")
        vectors[~finite] = 0  # similar to none, like a text without content
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0).astype(np.float32)
        if self._frames and unit.shape[1] != self._frames[0][2]:
            raise self._of_another_model()
        return np.ascontiguousarray(unit)

    def _verify(self, text: str, place: int) -> None:
        """Encode one text of the existing file again. Raises InputError when its vector is another one."""
        self._unverified = False
        encoded, cached = self._encoded([text])[0], self.at(np.array([place]))[0]
        if np.linalg.norm(encoded - cached) > MAX_DISTANCE:
            raise self._of_another_model()

    def _of_another_model(self) -> InputError:
        return InputError(f"{self._name} contains vectors of another model; delete it or use another file")
