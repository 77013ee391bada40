"""Split documents (text files) into passages at paragraph boundaries."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import InputError
from curate.files import read_named

ENDINGS = (".txt", ".md", ".markdown", ".rst", ".text", ".org", ".tex")  # files read from a folder
CHARS = 1_500  # target length of a passage
MIN_CHARS = 200  # a shorter remainder is appended to the previous passage
SENTENCE_ENDS = (". ", "! ", "? ", "\n", "。", "！", "？")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage: the document's path relative to the common folder of all documents, and a number from 1."""

    document: str
    number: int
    text: str


def read_passages(paths: Sequence[str]) -> list[Passage]:
    """Read the passages of text files, folders or globs, in a stable order. Raises InputError."""
    files = list(dict.fromkeys(file.resolve() for path in paths for file in _expand(path)))
    shared = os.path.commonpath([file.parent for file in files]) if files else ""
    # Tables hold UTF-8 only, names of files may not be.
    names = [os.fsencode(file.relative_to(shared).as_posix()).decode("utf-8", "replace") for file in files]
    found = [
        Passage(name, number, text)
        for name, file in zip(names, files, strict=True)
        for number, text in enumerate(cut(_text(file)), 1)
    ]
    if not found:
        raise InputError(f"{', '.join(paths)}: the documents contain no text")
    return found


def cut(text: str) -> list[str]:
    """Group whole paragraphs into passages; a paragraph longer than a passage is split at sentence ends."""
    passages: list[str] = []
    size = CHARS  # of the current passage; full, so that the first paragraph starts one
    for chunk in (chunk for paragraph in _paragraphs(text) for chunk in _chunks(paragraph) if chunk):
        if size + len(chunk) > CHARS:
            passages.append(chunk)
            size = len(chunk)
        else:
            passages[-1] += f"\n\n{chunk}"
            size += len(chunk) + 2
    if len(passages) > 1 and len(passages[-1]) < MIN_CHARS:
        rest = passages.pop()
        passages[-1] += f"\n\n{rest}"
    return passages


def _paragraphs(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            lines.append(line.rstrip())
        elif lines:
            yield "\n".join(lines)
            lines = []


def _chunks(paragraph: str) -> Iterator[str]:
    start = 0
    while len(paragraph) - start > CHARS:
        end = start + CHARS
        stop = max(paragraph.rfind(mark, start + MIN_CHARS, end) + len(mark) for mark in SENTENCE_ENDS)
        if stop <= start + MIN_CHARS:  # no sentence ends there
            stop = paragraph.rfind(" ", start + MIN_CHARS, end)
        stop = stop if stop > start else end
        yield paragraph[start:stop].strip()
        start = stop
    yield paragraph[start:].strip()


def _expand(text: str) -> Iterator[Path]:
    text = os.path.expanduser(text)
    path = Path(text)
    if path.is_dir():
        below = [(file, file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
        hidden = {file for file, name in below if any(part.startswith(".") for part in name.parts)}
        files = [file for file, name in below if name.suffix.lower() in ENDINGS and file not in hidden]
        if not files:
            raise InputError(f"{text} contains no text file; expected one of {', '.join(ENDINGS)}")
        yield from files
    elif path.is_file():
        yield path
    else:
        matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
        files = [Path(match) for match in matches if Path(match).is_file()]
        if not files:
            raise InputError(f"{text}: no such document")
        yield from files


def _text(file: Path) -> str:
    data = read_named(file)
    if b"\0" in data:
        raise InputError(f"{file.name} is not a text file; convert it to plain text (UTF-8) first")
    return data.decode("utf-8-sig", "replace")
