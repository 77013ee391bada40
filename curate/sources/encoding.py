"""Text in UTF-16 or UTF-32, as Windows programs and databases export it, read as UTF-8."""

import codecs
import io
from typing import Any, BinaryIO

# A mark at the beginning; the longer one first, since that of UTF-32-LE begins like that of UTF-16-LE.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
STARTS = ("{", "[", '"')  # of JSON, from which an encoding without a mark is known
CHUNK = 1 << 20


def encoding_of(head: bytes) -> str | None:
    """Return the encoding of a text that is not in UTF-8, by its first bytes; None for UTF-8, and for no text."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    names = MARKS.values()
    return next((name for name in names if head.startswith(tuple(start.encode(name) for start in STARTS))), None)


class AsUtf8(io.RawIOBase):
    """A stream of text in another encoding, as UTF-8 without a mark. Bytes that are no text become U+FFFD."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._rest, self._is_first = stream, b"", True
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the text goes; 0 at its end."""
        while not self._rest:
            data = self._stream.read(CHUNK)
            text = self._decoder.decode(data, final=not data)
            if self._is_first and text:
                text, self._is_first = text.removeprefix("\ufeff"), False
            self._rest = text.encode("utf-8", "replace")
            if not data:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
