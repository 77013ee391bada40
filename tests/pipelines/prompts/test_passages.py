"""Documents become passages of whole paragraphs; files that are not text are errors."""

import os
from pathlib import Path

import pytest

from curate.errors import InputError
from pipelines.prompts.passages import CHARS, MIN_CHARS, Passage, cut, read_passages

A, B, C = "a" * 700, "b" * 700, "c" * 700


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.\n\nTwo.", ["One.\n\nTwo."]),
        ("One,\r\nstill one.  \r\n \r\n\r\nTwo.\r\n", ["One,\nstill one.\n\nTwo."]),
        (f"{A}\n\n{B}\n\n{C}", [f"{A}\n\n{B}", C]),
        (f"{A}\n\n{B}\n\nshort", [f"{A}\n\n{B}\n\nshort"]),
        (f"{A}{A}\n\n{B}\n\nshort", [A + A, f"{B}\n\nshort"]),
        ("", []),
        (" \n\n\t\n", []),
    ],
)
def test_passages_are_whole_paragraphs(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@pytest.mark.parametrize("sentence", ["This is a sentence, and not a short one. ", "这是一个句子。", "word ", "x"])
def test_a_long_paragraph_is_cut_and_nothing_is_lost(sentence: str) -> None:
    text = sentence * (5_000 // len(sentence))
    passages = cut(text)
    assert all(MIN_CHARS <= len(passage) <= CHARS + MIN_CHARS + 2 for passage in passages)
    assert "".join("".join(passages).split()) == "".join(text.split())
    end = {"This is a sentence, and not a short one. ": ".", "这是一个句子。": "。", "word ": "word", "x": "x"}[
        sentence
    ]
    assert all(passage.endswith(end) for passage in passages)


def write(folder: Path, **texts: str | bytes) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_files_folders_and_globs_each_file_once(tmp_path: Path) -> None:
    write(tmp_path, a_txt="A", sub__b_MD=f"{A}\n\n{B}\n\n{C}", sub__c_pdf=b"%PDF\0", d_log="D")
    (tmp_path / ".hidden.txt").write_text("no")
    found = read_passages([str(tmp_path), str(tmp_path / "*.txt"), str(tmp_path / "d.log")])
    assert [(passage.document, passage.number) for passage in found] == [
        ("a.txt", 1),
        ("sub/b.MD", 1),
        ("sub/b.MD", 2),
        ("d.log", 1),
    ]
    assert read_passages([str(tmp_path / "a.txt")]) == [Passage("a.txt", 1, "A")]


def test_invalid_utf8_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, a_txt=b"\xef\xbb\xbfcaf\xe9 {{ x }}")
    assert read_passages([str(tmp_path)])[0].text == "caf\ufffd {{ x }}"
    odd = os.fsencode(str(tmp_path)) + b"/\xff.txt"
    Path(os.fsdecode(odd)).write_text("B")
    assert [passage.document for passage in read_passages([str(tmp_path)])] == ["a.txt", "\ufffd.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.txt", "nowhere.txt: no such document"),
        ("*.rst", r"\*.rst: no such document"),
        ("pdfs", "pdfs contains no text file; expected one of .txt, .md"),
        ("pdfs/a.pdf", "a.pdf is not a text file; convert it to plain text"),
        ("blank.txt", "blank.txt: the documents contain no text"),
    ],
)
def test_documents_without_text_are_errors(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, pdfs__a_pdf=b"%PDF\0", blank_txt=" \n")
    with pytest.raises(InputError, match=message):
        read_passages([str(tmp_path / name)])
