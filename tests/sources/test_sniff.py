"""A file's type is detected from its content. A damaged file gives one line that names it, never a traceback."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError
from tests.staged import read_all, texts

ROWS = [{"prompt": f"q{i}", "chosen": f"é {i}", "rejected": "b"} for i in range(3)]
TABLE = pa.Table.from_pylist(ROWS)
PAIRS = [(f"user: q{i}", f"assistant: é {i}", "assistant: b") for i in range(3)]
BOM = b"\xef\xbb\xbf"


def parquet(table: pa.Table = TABLE) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow(new: Callable[..., Any], table: pa.Table = TABLE) -> bytes:
    sink = io.BytesIO()
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def pack(data: bytes, ending: str) -> bytes:
    packed: bytes = pa.compress(data, {".gz": "gzip", ".zst": "zstd"}[ending], asbytes=True) if ending else data
    return packed


JSONL = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=2).encode()
CSV = b"prompt,chosen,rejected\n" + b"".join(f"{','.join(row.values())}\n".encode() for row in ROWS)
FORMS = {
    "jsonl": JSONL,
    "json": ARRAY,
    "objects": "\n".join(json.dumps(row, ensure_ascii=False, indent=2) for row in ROWS).encode(),
    "below": json.dumps({"version": {"of": [1]}, "data": ROWS, "n": 3}, ensure_ascii=False, indent=2).encode(),
    "below_line": json.dumps({"version": "1", "rows": ROWS}, ensure_ascii=False).encode() + b"\n",
    "below_first": json.dumps({"train": ROWS, "note": "a [ or {"}, ensure_ascii=False).encode(),
}
KINDS = {
    "jsonl": JSONL,
    "json": ARRAY,
    "csv": CSV,
    "parquet": parquet(),
    "arrow": arrow(pa.ipc.new_file),
    "feather": arrow(pa.ipc.new_stream),
}


def write(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def failure(path: Path, **options: Any) -> str:
    """Return the one line that a user sees."""
    with pytest.raises(InputError) as caught:
        read_all(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_plain_and_compressed(tmp_path: Path, kind: str, ending: str) -> None:
    path = write(tmp_path, f"rows.{kind}{ending}", pack(KINDS[kind], ending))
    rows = read_all(path)
    assert [texts(row) for row in rows] == PAIRS
    assert [(row["source"], row["source_row"]) for row in rows] == [(path.name, i) for i in range(3)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.gz", "rows.txt", "rows"])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"csv"}))
def test_the_content_decides_not_the_name(tmp_path: Path, kind: str, name: str) -> None:
    assert [texts(row) for row in read_all(write(tmp_path, name, KINDS[kind]))] == PAIRS


def test_compressed_content_under_a_plain_name(tmp_path: Path) -> None:
    assert [texts(row) for row in read_all(write(tmp_path, "rows.parquet", pack(JSONL, ".zst")))] == PAIRS


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_several_compressed_streams_in_one_file(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, f"rows.jsonl{ending}", pack(JSONL, ending) + pack(JSONL, ending))
    assert [texts(row) for row in read_all(path)] == PAIRS * 2


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_byte_order_mark_is_not_content(tmp_path: Path, kind: str) -> None:
    assert [texts(row) for row in read_all(write(tmp_path, f"rows.{kind}", BOM + KINDS[kind]))] == PAIRS


@pytest.mark.parametrize("data", [b"", b" \r\n\t\n", pack(b"", ".gz"), pack(b"\n", ".zst")])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_an_empty_file(tmp_path: Path, name: str, data: bytes) -> None:
    assert failure(write(tmp_path, name, data)) == f"{name}: the file is empty"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("rows.parquet", b"hello", "does not look like .parquet"),
        ("rows.json", b"hello", "does not look like .json"),
        ("rows.jsonl", b"\x00\x01\x02", "does not look like .jsonl"),
        ("rows.txt", b"hello", "is of an unknown type"),
        ("rows", b"PK\x03\x04", "is of an unknown type"),
    ],
)
def test_unknown_content(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    assert f"{name}: the content {message}. Supported: .jsonl, " in failure(write(tmp_path, name, data))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "objects", "below"])
def test_json_in_another_encoding(tmp_path: Path, kind: str, encoding: str) -> None:
    path = write(tmp_path, f"rows.json{'l' * (kind == 'jsonl')}", FORMS[kind].decode().encode(encoding))
    assert [texts(row) for row in read_all(path)] == PAIRS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])  # the last two with a mark
@pytest.mark.parametrize("delimiter", ["\t", ";", "|", ","])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.tab.gz"])
def test_tables_of_text_with_any_delimiter(tmp_path: Path, name: str, delimiter: str, encoding: str) -> None:
    text = CSV.decode().replace(",", delimiter).encode(encoding)
    assert [texts(row) for row in read_all(write(tmp_path, name, pack(text, ".gz" * name.endswith(".gz"))))] == PAIRS


def test_other_delimiters_in_cells_are_text(tmp_path: Path) -> None:
    rows = read_all(write(tmp_path, "rows.csv", b'prompt;chosen;rejected\nq, w;"a; x\t|y";b\n'))
    assert [texts(row) for row in rows] == [("user: q, w", "assistant: a; x\t|y", "assistant: b")]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.json.zst"])
@pytest.mark.parametrize("kind", ["objects", "below", "below_line", "below_first"])
def test_other_forms_of_json(tmp_path: Path, kind: str, name: str) -> None:
    data = pack(FORMS[kind], ".zst" * name.endswith(".zst"))
    rows = read_all(write(tmp_path, name, data))
    assert [texts(row) for row in rows] == PAIRS
    assert [row["source_row"] for row in rows] == [0, 1, 2]


def test_a_broken_object_over_several_lines_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    broken = json.dumps(ROWS[0], indent=1) + '\n{\n "prompt": oops\n}\n' + json.dumps(ROWS[2], indent=1)
    rows = read_all(write(tmp_path, "rows.jsonl", broken.encode()))
    assert [(row["source_row"], row["detail"]) for row in rows] == [
        (0, None), (1, "object 2: invalid JSON: JSON is malformed: invalid character (byte 13)"), (2, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('{"data": [{"prompt": "q", "chosen": "a", "rejected": "b"}]}\n{"data": []}', "the columns data"),  # two rows
        ('{"messages": [{"role": "user", "content": "q"}]}', "the columns messages"),
        ('{"data": {"rows": [{"prompt": "q"}]}}', "the columns data"),  # not below a key of the whole
    ],
)
def test_lists_that_are_a_column_stay_one(tmp_path: Path, text: str, columns: str) -> None:
    assert columns in failure(write(tmp_path, "rows.jsonl", text.encode()))


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("]", "the object around the rows is not closed; the file is truncated"),
        ('], "n": "]}', "the object around the rows is not closed; the file is truncated"),
        (']} {"data": []}', "there is data after the end of the object around the rows"),
        ("", "the JSON array is not closed; the file is truncated"),
    ],
)
def test_an_object_around_the_rows_that_ends_badly(tmp_path: Path, end: str, message: str) -> None:
    data = b'{"data": [{"prompt": "q", "chosen": "a", "rejected": "b"}' + end.encode()
    assert failure(write(tmp_path, "rows.json", data)) == f"rows.json: {message}"


def test_jsonl_whose_first_line_is_broken(tmp_path: Path) -> None:
    rows = read_all(write(tmp_path, "rows.jsonl", b"# a comment\n" + JSONL))
    assert [row["problem"] for row in rows] == ["broken_row", None, None, None]


@pytest.mark.parametrize("left", [0.5, 0.9, 1])
@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_compressed_file(tmp_path: Path, kind: str, ending: str, left: float) -> None:
    data = pack(KINDS[kind], ending)
    message = failure(write(tmp_path, f"rows.{kind}{ending}", data[: int(left * (len(data) - 1))]))
    assert message.endswith("the file is truncated or damaged; download it again")


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_compressed_file_with_trailing_data(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, f"rows.jsonl{ending}", pack(JSONL, ending) + b"<html>")
    assert f"rows.jsonl{ending} cannot be read" in failure(path)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather"])
def test_a_table_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind]
    for size in range(8, len(data) - 8, 7):
        message = failure(write(tmp_path, f"rows.{kind}", data[:size]))
        assert message.startswith(f"rows.{kind} cannot be read (")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather"])
def test_a_damaged_byte_anywhere_in_a_table(tmp_path: Path, kind: str) -> None:
    # Some bytes do not matter, and some change a text; none crashes or raises one of Arrow's exceptions.
    data = KINDS[kind]
    for place in range(0, len(data), 7):
        path = write(tmp_path, f"rows.{kind}", data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            read_all(path)
        except InputError as error:
            assert str(error).startswith(f"rows.{kind}")  # noqa: PT017 - both outcomes are right


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert read_all(write(tmp_path, "rows.parquet", parquet(TABLE.slice(0, 0)))) == []
    assert read_all(write(tmp_path, "rows.arrow", arrow(pa.ipc.new_stream, TABLE.slice(0, 0)))) == []
    assert read_all(write(tmp_path, "rows.json", b"[ ]")) == []


def test_a_file_that_vanishes_is_not_called_damaged(tmp_path: Path) -> None:
    from curate.sources import open_feeds

    path = write(tmp_path, "rows.jsonl", JSONL)
    feeds = open_feeds([str(path)])
    path.unlink()
    with pytest.raises(FileNotFoundError):
        list(feeds[0].blocks())


def test_the_format_of_a_file_can_be_requested_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.jsonl", JSONL)
    assert failure(path, format="llmbar").startswith(
        "rows.jsonl: the columns prompt, chosen, rejected do not match the format llmbar."
    )
