"""Every distinct text's vector, once: kept in a file while a run lasts, and found there when it is started again."""

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
from curate.progress import progress
from curate.schema import digest

CHUNK = 1024  # texts encoded at once, and lost when a run is killed
MEANING = r"[\p{L}\p{N}]"  # without a letter or a digit a text says nothing: models would see the same in all of them
ID = 16  # bytes of a text's digest
# A frame of the file: this head, the digests of its texts, their vectors (float32). The number at the end of the head
# is the CRC-32 of what follows it.
HEAD = struct.Struct("<8sIII")
MAGIC = b"curatev1"
SAME = 0.2  # how far two vectors of one text may lie apart, half precision allowed for; those of two models lie at 1.4


def embed(
    blocks: Iterable[pl.Series], encoder: Encoder, cache: Path | None = None, *, total: int | None = None
) -> np.ndarray:
    """
    in : texts, block by block; `total` of them for the bar
    out: [rows, dim] float32, of unit length; zeros for null and for texts without a letter or a digit.

    Of a text longer than the model reads, it is given the beginning and the end: texts that begin alike, with the same
    instructions or examples, say, would be the same to it otherwise.
    Vectors are kept in the file `cache`, in the order in which their texts first came; a call that was killed goes on
    where it was, with the same vectors. Raises InputError for a file of another model, or a model that gives NaN only.
    """
    places: list[np.ndarray] = []
    try:
        with _opened(cache) as file, progress("embed", total, "texts") as advance:
            vectors = _Vectors(file, encoder, str(cache))
            frames = (block.cast(pl.String).to_frame("text") for block in blocks)
            for part in (part for frame in frames for part in frame.iter_slices(CHUNK)):
                places.append(vectors.places(part))
                advance(len(part))
            vectors.write()
            return vectors.at(np.concatenate([np.empty(0, np.int64), *places]))
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise no_space(cache.parent if cache else Path(gettempdir())) from error
        raise


def ends(text: str, size: int) -> str:
    """A text of up to `size` bytes as it is; of a longer one the beginning and the end, half of the size each."""
    if len(text) * 4 <= size or len(raw := text.encode("utf-8", "replace")) <= size:
        return text
    return " … ".join(part.decode("utf-8", "ignore") for part in (raw[: size // 2], raw[-(size // 2) :]))


def _opened(cache: Path | None) -> IO[bytes]:
    if cache is None:
        return TemporaryFile()
    cache.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(cache, os.O_RDWR | os.O_CREAT, 0o644), "r+b")


class _Vectors:
    """The vectors in the file, and the texts that are still to be encoded."""

    def __init__(self, file: IO[bytes], encoder: Encoder, name: str) -> None:
        self._file, self._encoder, self._name = file, encoder, name
        self._frames: list[tuple[int, int, int]] = []  # where the vectors of a frame start, how many, their length
        self._known: dict[bytes, int] = {}  # a text's place: the number of its vector in the file
        self._waiting: dict[bytes, str] = {}
        self._load()
        self._untried = bool(self._known)

    def places(self, texts: pl.DataFrame) -> np.ndarray:
        """The place of each text's vector, -1 for none; new texts are encoded as soon as there are enough of them."""
        told = pl.col("text").str.contains(MEANING).fill_null(value=False)
        ids = texts.select(id=pl.when(told).then(digest(pl.col("text")))).to_series().str.decode("hex")
        for row in ids.is_first_distinct().arg_true().to_list():
            key = ids[row]
            if key is None:
                continue
            if key not in self._known:
                self._known[key] = len(self._known)
                self._waiting[key] = texts.item(row, "text")
                if len(self._waiting) == CHUNK:
                    self.write()
            elif self._untried and key not in self._waiting:
                self._try(texts.item(row, "text"), self._known[key])
        return np.fromiter((-1 if key is None else self._known[key] for key in ids.to_list()), np.int64, len(ids))

    def write(self) -> None:
        """Encode what waits and add it to the file."""
        if not self._waiting:
            return
        vectors = self._encoded(list(self._waiting.values()))
        body = b"".join(self._waiting) + vectors.tobytes()
        self._file.seek(0, os.SEEK_END)
        start = self._file.tell() + HEAD.size + len(self._waiting) * ID
        self._file.write(HEAD.pack(MAGIC, *vectors.shape, zlib.crc32(body)) + body)
        self._file.flush()
        self._frames.append((start, *vectors.shape))
        self._waiting = {}

    def at(self, places: np.ndarray) -> np.ndarray:
        """The vectors at these places, zeros for -1."""
        dim = self._frames[0][2] if self._frames else self._encoder.encode([]).shape[1]
        result = np.zeros((len(places), dim), np.float32)
        order = np.argsort(places, kind="stable")
        first = 0
        for start, count, _ in self._frames:
            low, high = np.searchsorted(places, [first, first + count], sorter=order)
            if high > low:
                rows = order[low:high]
                result[rows] = self._read(start, count, dim)[places[rows] - first]
            first += count
        return result

    def _read(self, start: int, count: int, dim: int) -> np.ndarray:
        self._file.seek(start)
        return np.frombuffer(self._file.read(count * dim * 4), np.float32).reshape(count, dim)

    def _load(self) -> None:
        """Take in the whole frames, and cut off what is left of one that was being written, or is damaged."""
        size, end = self._file.seek(0, os.SEEK_END), 0
        self._file.seek(0)
        while (frame := self._frame(size - end)) is not None:
            ids, dim = frame
            self._known |= {key: len(self._known) + number for number, key in enumerate(ids)}
            self._frames.append((end + HEAD.size + len(ids) * ID, len(ids), dim))
            end += HEAD.size + len(ids) * (ID + 4 * dim)
        if end < size:
            self._file.truncate(end)

    def _frame(self, left: int) -> tuple[list[bytes], int] | None:
        """The digests of the next frame and the length of its vectors; None where no whole frame follows."""
        if left < HEAD.size:
            return None
        magic, count, dim, checksum = HEAD.unpack(self._file.read(HEAD.size))
        if magic != MAGIC or count * (ID + 4 * dim) > left - HEAD.size:
            return None
        body = self._file.read(count * (ID + 4 * dim))
        if zlib.crc32(body) != checksum or (self._frames and dim != self._frames[0][2]):
            return None
        return [body[start : start + ID] for start in range(0, count * ID, ID)], dim

    def _encoded(self, texts: list[str]) -> np.ndarray:
        reads = getattr(self._encoder, "reads", None)
        vectors: Any = np.asarray(self._encoder.encode([ends(text, reads) for text in texts] if reads else texts))
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InputError(f"the model gives {vectors.shape} numbers for {len(texts)} texts; expected a row for each")
        vectors = vectors.astype(np.float64)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.any():
            raise InputError(f"the model gives no numbers (NaN) for {len(texts)} texts, the first is {texts[0][:60]!r}")
        vectors[~finite] = 0  # near none, as a text in which the model finds nothing
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0).astype(np.float32)
        if self._frames and unit.shape[1] != self._frames[0][2]:
            raise self._of_another_model()
        return np.ascontiguousarray(unit)

    def _try(self, text: str, place: int) -> None:
        """One text that was in the file from the start is encoded again, and must be what it was."""
        self._untried = False
        again, kept = self._encoded([text])[0], self.at(np.array([place]))[0]
        if np.linalg.norm(again - kept) > SAME:
            raise self._of_another_model()

    def _of_another_model(self) -> InputError:
        return InputError(f"{self._name} holds vectors of another model; remove the file, or name another one")
