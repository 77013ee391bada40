"""Tables: csv, parquet and arrow. A type unknown to polars, or invalid UTF-8, does not fail the file."""

import datetime as dt
import decimal
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError
from curate.sources import open_feeds
from curate.sources.raw_block import BLOCK_BYTES, MAX_BLOCK_ROWS
from curate.sources.tables import blocks_of
from tests.staged import Row, read_all, texts

HEADER = "prompt,chosen,rejected"
PAIR = ("user: q", "assistant: a", "assistant: b")
BASE = {"prompt": ["q", "q"], "chosen": ["a", "a"], "rejected": ["b", "b"]}


def read_csv(folder: Path, text: str | bytes) -> list[Row]:
    (folder / "rows.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return sorted(read_all(folder / "rows.csv"), key=lambda row: int(row["source_row"]))  # broken rows come last


def read_table(folder: Path, **columns: pa.Array) -> list[Row]:
    """Return two rows from an Arrow file: parquet does not support every type."""
    table = pa.table(BASE | columns)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return read_all(folder / "rows.arrow")


def extras(rows: list[Row]) -> list[object]:
    return [json.loads(row["extra"])["x"] for row in rows]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_rows_of_a_different_width_are_reported_and_keep_their_position(tmp_path: Path, end: str) -> None:
    rows = read_csv(tmp_path, end.join([HEADER, "q,a", "q,a,b", "", "q,a,b,c", '"q', '",a,b', "x", "q,a,b"]))
    assert [(row["source_row"], row["problem"], row["detail"]) for row in rows] == [
        (0, "broken_row", "row 1: 2 cells instead of 3"),
        (1, None, None),
        (2, "broken_row", "row 3: 4 cells instead of 3"),
        (3, None, None),
        (4, "broken_row", "row 5: 1 cells instead of 3"),
        (5, None, None),
    ]


@pytest.mark.slow
def test_csv_rows_are_numbered_across_blocks(tmp_path: Path) -> None:
    count = BLOCK_BYTES // 400
    lines = [f"q,a,{'b' * 1_000}"] * count
    lines[count - 9] = lines[9] = "q,a"
    (tmp_path / "rows.csv").write_text("\n".join([HEADER, *lines]), "utf-8")
    blocks = list(open_feeds([str(tmp_path)])[0].blocks())
    numbers = [list(block.source_row) for block in blocks]
    assert len(blocks) == 3
    assert [row for block in blocks for row, _ in block.broken] == [9, count - 9]
    assert [row for block in numbers for row in block] == [row for row in range(count) if row not in (9, count - 9)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a\nb",a,b', ("user: a\nb", "assistant: a", "assistant: b")),
        ('"a\r\n\r\nb",a,b', ("user: a\r\n\r\nb", "assistant: a", "assistant: b")),
        ('"say ""hi"", now",a,b', ('user: say "hi", now', "assistant: a", "assistant: b")),
        ("NULL,N/A,", ("user: NULL", "assistant: N/A", "assistant: ")),  # an empty cell is an empty text, not null
        (" q ,1,true", ("user:  q ", "assistant: 1", "assistant: true")),
        ("q\0,a,b", ("user: q\0", "assistant: a", "assistant: b")),
    ],
)
def test_csv_cells(tmp_path: Path, text: str, expected: tuple[str, str, str]) -> None:
    assert [texts(row) for row in read_csv(tmp_path, f"{HEADER}\n{text}\nq,a,b\n")] == [expected, PAIR]


def test_csv_numbers(tmp_path: Path) -> None:
    rows = read_csv(tmp_path, f"{HEADER},chosen_score\nq,a,b,4.5\nq,a,b,N/A\nq,a,b,\n")
    assert [row["chosen_score"] for row in rows] == [4.5, None, None]


def test_csv_that_is_not_utf_8_is_repaired_visibly(tmp_path: Path) -> None:
    rows = read_csv(tmp_path, b"prompt,chosen,rejected,caf\xe9\nq,a\xff,b,1\nq,\xff\nq,a,b,2\n")
    assert [(row["chosen"], row["extra"], row["detail"]) for row in rows] == [
        ("assistant: a\ufffd", '{"caf\ufffd":"1"}', None),
        (None, None, "row 2: 2 cells instead of 4"),
        ("assistant: a", '{"caf\ufffd":"2"}', None),
    ]


@pytest.mark.parametrize(("place", "size"), [(0, 1_500_000), (0, 5_000_000), (1, 5_000_000), (1, BLOCK_BYTES + 9)])
def test_csv_cells_of_megabytes(tmp_path: Path, place: int, size: int) -> None:
    lines = ["q,a,b", "q,a,b"]
    lines[place] = f'"{"q" * size}",a,b'
    rows = read_csv(tmp_path, "\n".join([HEADER, *lines]))
    assert [len(row["prompt"]) for row in rows][place] == size + len("user: ")
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt,chosen,chosen,rejected\nq,a,a,b\n",
            "two columns have the same name: prompt, chosen, chosen, rejected",
        ),
        ("prompt:chosen:rejected\nq:a:b\n", "the columns prompt:chosen:rejected match no known format"),
        (f"{HEADER}\nq,a,b\n{'q' * (32 << 20)},a,b\n", "row 2 is larger than 32 MB"),
        (HEADER + '\nq,a,b\nq,"' + ("line " * 200 + "\n") * 34_000, "row 2 is larger than 32 MB"),
        (f"{HEADER}{',x' * (20 << 20)}", "the header is larger than 32 MB"),
        (f"{HEADER}{',x' * 998}", "1,001 columns; expected at most 1,000"),
    ],
)
def test_unusable_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_csv(tmp_path, text)
    assert "rows.csv" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_with_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    rows = read_csv(tmp_path, f'{HEADER}\nq,a,b\nq,a,"b\nq,a,b\n')
    assert [row["detail"] for row in rows] == [None, "row 2: a quote that is not closed"]


def test_csv_with_a_header_only_has_no_rows(tmp_path: Path) -> None:
    assert read_csv(tmp_path, f"{HEADER}\n") == []


def test_parquet_rows_are_numbered_across_row_groups(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({name: cells * 5 for name, cells in BASE.items()}), tmp_path / "a.parquet", row_group_size=3
    )
    rows = read_all(tmp_path / "a.parquet")
    assert [row["source_row"] for row in rows] == list(range(10))
    assert {texts(row) for row in rows} == {PAIR}


def test_a_large_batch_becomes_several_blocks() -> None:
    rows = 2 * MAX_BLOCK_ROWS + 1
    blocks = list(blocks_of([pa.record_batch({"a": np.arange(rows)})] * 2))
    assert max(len(block.source_row) for block in blocks) <= MAX_BLOCK_ROWS
    assert [row for block in blocks for row in block.source_row] == list(range(2 * rows))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.table([pa.array(["q"])] * 3, names=["chosen", "rejected", "chosen"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: two columns have the same name: chosen, rejected, chosen"):
        read_all(tmp_path / "a.parquet")


def not_utf_8(kind: pa.DataType) -> pa.Array:
    """Return two texts, "a" and one that is not UTF-8, which Arrow itself would not create."""
    offsets = np.array([0, 1, 3], "int64" if kind == pa.large_string() else "int32").tobytes()
    return pa.Array.from_buffers(kind, 2, [None, pa.py_buffer(offsets), pa.py_buffer(b"aa\xff")])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_that_is_not_utf_8_is_repaired_visibly(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table(BASE | {"chosen": not_utf_8(kind), "x": pa.array([b"\xff", None])}), tmp_path / "a.parquet")
    rows = read_all(tmp_path / "a.parquet")
    assert [row["chosen"] for row in rows] == ["assistant: a", "assistant: a\ufffd"]
    assert extras(rows) == ["/w==", None]  # bytes stay bytes


def test_messages_that_are_not_utf_8_are_repaired_visibly(tmp_path: Path) -> None:
    turns = pa.StructArray.from_arrays([pa.array(["assistant"] * 2), not_utf_8(pa.string())], ["role", "content"])
    chosen = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), turns)
    pq.write_table(pa.table(BASE | {"chosen": chosen}), tmp_path / "a.parquet")
    assert [row["chosen"] for row in read_all(tmp_path / "a.parquet")] == ["assistant: a", "assistant: a\ufffd"]


ODD = {  # types that polars cannot convert to a Series
    "list_view": (pa.array([[1], None], pa.list_view(pa.int64())), [[1], None]),
    "run_end": (pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["x"])), ["x", "x"]),
    "union": (
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["x", "y"])]),
        [1, "y"],
    ),
    "decimal256": (pa.array([decimal.Decimal("1.5"), None], pa.decimal256(50, 1)), ["1.5", None]),
    # … and dates outside Python's range: the stored number.
    "far_date": (pa.array([2**30, None], pa.date32()), [2**30, None]),
    "far_time": (pa.array([2**60, None], pa.timestamp("us")), [2**60, None]),
}


@pytest.mark.parametrize("name", ODD)
def test_columns_of_odd_types_are_kept_in_extra(tmp_path: Path, name: str) -> None:
    column, expected = ODD[name]
    rows = read_table(tmp_path, x=column)
    assert [texts(row) for row in rows] == [PAIR, PAIR]
    assert extras(rows) == expected


@pytest.mark.parametrize("name", sorted(ODD.keys() - {"run_end", "union"}))
def test_columns_of_odd_types_are_not_text(tmp_path: Path, name: str) -> None:
    rows = read_table(tmp_path, chosen=ODD[name][0])
    assert [row["problem"] for row in rows] == ["not_messages" if name == "list_view" else "not_text", "missing_chosen"]


def test_an_unreadable_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows\.arrow: column 'x' has the type timestamp\[us, tz=No/Where\]"):
        read_table(tmp_path, x=pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("us", "No/Where")))


def test_text_in_a_dictionary(tmp_path: Path) -> None:
    pq.write_table(pa.table(BASE | {"chosen": pa.array(["x", "y"]).dictionary_encode()}), tmp_path / "a.parquet")
    assert [row["chosen"] for row in read_all(tmp_path / "a.parquet")] == ["assistant: x", "assistant: y"]


def test_a_dictionary_of_scores(tmp_path: Path) -> None:
    rows = read_table(tmp_path, chosen_score=pa.array(["4.5", "N/A"]).dictionary_encode())
    assert [row["chosen_score"] for row in rows] == [4.5, None]


@pytest.mark.parametrize("column", [pa.array([[1.0], None]), pa.array([b"1", None]), pa.array([{}, {}], pa.struct([]))])
def test_a_score_that_is_not_a_number_is_reported_with_its_file(tmp_path: Path, column: pa.Array) -> None:
    with pytest.raises(InputError, match=r"rows\.arrow: column 'chosen_score' has the type .*, expected a number"):
        read_table(tmp_path, chosen_score=column)
