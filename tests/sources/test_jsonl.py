"""JSON as found in practice. A broken row is reported with its line, keeps its position and affects no other."""

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.sources.json_items import rows_below
from curate.sources.jsonl import read_json_array, read_json_below, read_json_lines, read_json_objects
from curate.sources.raw_block import BLOCK_BYTES, Bounds
from tests.staged import TEXTS, Row, read_all

GOOD = '{"prompt": "q", "chosen": "a", "rejected": "b"}'
Place = tuple[int, str | None]  # source_row and detail, null for a usable row


def places(rows: list[Row]) -> list[Place]:
    assert all((row["problem"] == "broken_row") == (row["chosen"] is None) for row in rows)
    return [(row["source_row"], row["detail"]) for row in rows]


def read_bytes(folder: Path, data: bytes | str, name: str = "rows.jsonl") -> list[Row]:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_all(folder / name)


def values(*items: Any) -> list[Any]:
    """Return the rows of a JSON array as read, and the problems of those that cannot be read."""
    blocks = list(read_json_array(io.BytesIO(json.dumps(items).encode()), Bounds()))
    rows = [dict(zip(b.columns, row, strict=True)) for b in blocks for row in zip(*b.columns.values(), strict=True)]
    return rows + [detail for block in blocks for detail in block.broken]


def test_broken_lines_in_the_middle_keep_their_position(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, f"{GOOD}\n{{oops}}\n{GOOD}\n{GOOD[:-9]}\n{GOOD}")
    assert places(rows) == [
        (0, None),
        (1, "line 2: invalid JSON: JSON is malformed: object keys must be strings (byte 1)"),
        (2, None),
        (3, "line 4: invalid JSON: Input data was truncated"),
        (4, None),
    ]


def test_blank_lines_count_as_lines_and_not_as_rows(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, f"\n{GOOD}\n\n  \t\n3\n\n{GOOD}\n\n")
    assert places(rows) == [(0, None), (1, "line 5: int instead of an object with columns"), (2, None)]


@pytest.mark.parametrize(
    "text", [f"{GOOD}\n{GOOD}", f"{GOOD}\n{GOOD}\n", f"{GOOD}\r\n{GOOD}\r\n", f"\r\n {GOOD} \r\n\r\n{GOOD}"]
)
def test_line_ends(tmp_path: Path, text: str) -> None:
    rows = read_bytes(tmp_path, text)
    assert [(row["source_row"], row["prompt"], row["rejected"]) for row in rows] == [
        (0, "user: q", "assistant: b"),
        (1, "user: q", "assistant: b"),
    ]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("[1, 2]", "list instead of an object with columns"),
        ("null", "NoneType instead of an object with columns"),
        ('"text"', "str instead of an object with columns"),
        ("true", "bool instead of an object with columns"),
        (f"{GOOD} {GOOD}", "invalid JSON: JSON is malformed: trailing characters (byte 49)"),
        (f"{GOOD},", "invalid JSON: JSON is malformed: trailing characters (byte 48)"),
        (GOOD.replace('"q"', "nul"), "invalid JSON: JSON is malformed: invalid character (byte 15)"),
        (GOOD.replace('"q"', "1e999"), "invalid JSON: Number out of range - at `$[...]`"),
        (GOOD.replace("q", "\x00"), "invalid JSON: JSON is malformed: invalid character (byte 12)"),
        (GOOD.replace("q", "\t"), "invalid JSON: JSON is malformed: invalid character (byte 12)"),
        (GOOD.replace("q", "\\ud83d"), "a lone surrogate escape (\\ud800 to \\udfff)"),
        (GOOD.replace("q", "\\udc00 and more"), "a lone surrogate escape (\\ud800 to \\udfff)"),
        (GOOD.replace("b", "\\uD800"), "a lone surrogate escape (\\ud800 to \\udfff)"),
        (GOOD.replace('"q"', "[" * 5_000 + "]" * 5_000), "nested too deeply"),
    ],
)
def test_problems_of_a_row(tmp_path: Path, line: str, detail: str) -> None:
    assert places(read_bytes(tmp_path, f"{GOOD}\n{line}\n{GOOD}\n")) == [(0, None), (1, f"line 2: {detail}"), (2, None)]


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        ("[1, {}]", "list instead of an object with columns"),
        ("3", "int instead of an object with columns"),
        ('"a, ]\\" text"', "str instead of an object with columns"),
        (GOOD.replace('"q"', "nul"), "invalid JSON: JSON is malformed: invalid character (byte 15)"),
        (GOOD.replace("q", "\\ud83d"), "a lone surrogate escape (\\ud800 to \\udfff)"),
        (GOOD.replace('"q"', "[" * 5_000 + "]" * 5_000), "nested too deeply"),
        (f"{GOOD} {GOOD}", "invalid JSON: JSON is malformed: trailing characters (byte 49)"),
        ("", "invalid JSON: Input data was truncated"),
    ],
)
def test_problems_of_an_item_of_an_array(tmp_path: Path, item: str, detail: str) -> None:
    rows = read_bytes(tmp_path, f"[{GOOD}, {item},\n{GOOD}]", "rows.json")
    assert places(rows) == [(0, None), (1, f"item 2: {detail}"), (2, None)]


def test_invalid_utf_8_is_named_and_not_repaired(tmp_path: Path) -> None:
    bad = GOOD.encode().replace(b"q", b"\xff")
    assert places(read_bytes(tmp_path, b"%s\n%s" % (GOOD.encode(), bad))) == [(0, None), (1, "line 2: invalid UTF-8")]
    assert places(read_bytes(tmp_path, b"[%s,%s]" % (GOOD.encode(), bad))) == [(0, None), (1, "item 2: invalid UTF-8")]


def test_an_escaped_nul_and_a_surrogate_pair_are_text(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, GOOD.replace("q", "a\\u0000b").replace('"a"', '"\\ud83d\\ude00"'))
    assert [rows[0][name] for name in TEXTS] == ["user: a\0b", "assistant: 😀", "assistant: b"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_not_measured(tmp_path: Path, number: str) -> None:
    texts = '"prompt": "q NaN", "chosen": "a, -Infinity", "rejected": "b"'
    row = f'{{{texts}, "chosen_score": {number}, "x": [{number}, 1]}}'
    for name, text in (("rows.jsonl", f"{row}\n{GOOD}\n"), ("rows.json", f"[{row}, {GOOD}]")):
        first, second = read_bytes(tmp_path, text, name)
        assert (first["prompt"], first["chosen"]) == ("user: q NaN", "assistant: a, -Infinity")
        assert (first["chosen_score"], first["extra"]) == (None, '{"x":[null,1]}')
        assert second["problem"] is None


def test_nothing_but_broken_lines(tmp_path: Path) -> None:
    assert places(read_bytes(tmp_path, "{\n{\n")) == [
        (0, "line 1: invalid JSON: Input data was truncated"),
        (1, "line 2: invalid JSON: Input data was truncated"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("size", [5_000_000, BLOCK_BYTES + 1, 2 * BLOCK_BYTES - 99])
def test_a_cell_of_megabytes(tmp_path: Path, size: int, name: str) -> None:
    long = GOOD.replace("q", "é" * (size // 2))
    data = f"{GOOD}\n{long}\n{GOOD}" if name == "rows.jsonl" else f"[{GOOD},\n{long},\n{GOOD}]"
    assert [len(row["prompt"]) - len("user: ") for row in read_bytes(tmp_path, data, name)] == [1, size // 2, 1]


@pytest.mark.slow
def test_rows_are_numbered_across_blocks() -> None:
    lines = b"\n".join([GOOD.encode(), b"{", b""] * 60_000)  # more than MAX_BLOCK_ROWS lines
    blocks = list(read_json_lines(io.BytesIO(lines), Bounds()))
    assert len(blocks) > 1
    assert [row for block in blocks for row in block.source_row] == list(range(0, 120_000, 2))
    assert blocks[-1].broken[-1] == (119_999, "line 179999: invalid JSON: Input data was truncated")


def test_a_column_missing_from_some_rows_is_null_there(tmp_path: Path) -> None:
    rows = read_bytes(tmp_path, f'{GOOD}\n{{"chosen": "a", "rejected": "b", "id": 7}}\n')
    assert [(row["prompt"], row["problem"], row["extra"]) for row in rows] == [
        ("user: q", None, '{"id":null}'),
        (None, "missing_prompt", '{"id":7}'),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[{GOOD}, {GOOD}", "rows.json: the JSON array is not closed; the file is truncated"),
        (f'[{GOOD}, {{"a": "', "rows.json: the JSON array is not closed; the file is truncated"),
        (f"[{GOOD}] {GOOD}", "rows.json: there is data after the end of the JSON array; is one of its items broken?"),
        (f"[{GOOD}]]", "rows.json: there is data after the end of the JSON array; is one of its items broken?"),
    ],
)
def test_an_invalid_array(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_bytes(tmp_path, text, "rows.json")
    assert str(caught.value) == message


def test_numbers_beyond_64_bits_are_unchanged() -> None:
    assert values({"id": 2**64}, {"id": -(2**80)}) == [{"id": 2**64}, {"id": -(2**80)}]


class Dripping(io.BytesIO):
    """A stream that returns a few bytes per read, so that a block may end anywhere."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read(self, _: int | None = None) -> bytes:
        return super().read(self.size)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text('ab",[]{}\\\n é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"]\\', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("ab"), JSON, min_size=1), max_size=5),
    st.sampled_from([None, 1]),
    st.integers(1, 9),
)
def test_arrays_are_read_as_by_the_standard_library(items: list[Row], indent: int | None, size: int) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=size % 2 == 0)
    blocks = list(read_json_array(Dripping(text.encode(), size), Bounds()))
    rows = [row for b in blocks for row in zip(*b.columns.values(), strict=True)]
    names = [name for b in blocks for name in b.columns]
    assert rows == [tuple(item.get(name) for name in names) for item in items]
    assert [number for block in blocks for number in block.source_row] == list(range(len(items)))


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("ab"), JSON, min_size=1), min_size=1, max_size=5),
    st.sampled_from([None, 1]),
    st.integers(1, 9),
)
def test_objects_and_rows_below_a_key_are_read_as_by_the_standard_library(
    items: list[Row], indent: int | None, size: int
) -> None:
    apart = "\n".join(json.dumps(item, indent=indent) for item in items)
    whole = json.dumps({"version": [1, {}], "data": items, "n": {"x": []}}, indent=indent)
    start = rows_below(whole.encode())
    assert start
    for blocks in (
        list(read_json_objects(Dripping(apart.encode(), size), Bounds())),
        list(read_json_below(Dripping(whole.encode(), max(size, start)), Bounds(), start)),
    ):
        rows = [row for b in blocks for row in zip(*b.columns.values(), strict=True)]
        names = [name for b in blocks for name in b.columns]
        assert rows == [tuple(item.get(name) for name in names) for item in items]
        assert [number for block in blocks for number in block.source_row] == list(range(len(items)))


VALUE = st.one_of(JSON, st.lists(st.fixed_dictionaries({"role": JSON | st.just("user"), "content": JSON}), max_size=2))
LINE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*TEXTS, "system", "input", "chosen_score", "source", "id"], VALUE)
)


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(st.lists(LINE | st.sampled_from([None, 3, "{", []]), max_size=8))
def test_any_rows_yield_one_row_per_line_in_order(tmp_path_factory: pytest.TempPathFactory, lines: list[Any]) -> None:
    first = {"prompt": None, "chosen": None, "rejected": None}  # so that a format is detected
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in [first, *lines]), "utf-8")
    rows = read_all(path)
    assert [row["source_row"] for row in rows] == list(range(len(lines) + 1))
    for row in rows:
        ids = [row[name] is not None for name in ("pair_id", "prompt_id", "flipped_id")]
        assert ids == [row["problem"] is None] * 3
        assert (row["problem"] is None) == (row["detail"] is None)
        assert row["problem"] is not None or all(row[name] for name in TEXTS)


# Pieces of which some hold two objects, and some are parts of one, so that counts of objects and of lines may agree.
PIECES = ['{"a": 1}', '{"b": "}\\n{"}', '{"a": {}} {"b": 2}', '{"a":', '{"c": 1}}', "}", "{", "3}", '{"a": [{}', "{}]}"]
PIECE = st.sampled_from([*PIECES, "", " ", "NaN", '{"a": NaN}', '{"d": 3} '])


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(st.lists(PIECE, max_size=6).map("\n".join), st.sampled_from([3, 20, 999]))
@example('\n{"a": 1} {"b": 2}\n', 999)  # two objects, and two lines
@example('{"a": 1} {"b": 2}\n{"a":\n3}\n', 999)  # three objects, and three lines
@example('{"a": 1} {"b": 2}\n{"a":\n{"c": 1}}\n', 999)
@example('{"a": 1} {"b": 2}\n{"a": {}\n}\n', 999)
def test_lines_decoded_together_are_as_lines_decoded_alone(text: str, size: int) -> None:
    blocks = list(read_json_lines(Dripping(text.encode(), size), Bounds()))
    numbers = [number for block in blocks for number in block.source_row]
    rows = [dict(zip(b.columns, row, strict=True)) for b in blocks for row in zip(*b.columns.values(), strict=True)]
    found = {number: {k: v for k, v in row.items() if v is not None} for number, row in zip(numbers, rows, strict=True)}
    expected: dict[int, Row] = {}
    for number, line in enumerate(line for line in text.split("\n") if line.strip()):
        with suppress(ValueError):
            row = json.loads(line.replace("NaN", "null"))
            expected |= {number: {k: v for k, v in row.items() if v is not None}} if isinstance(row, dict) else {}
    assert found == expected
    assert sum(len(block.broken) for block in blocks) + len(found) == sum(1 for s in text.split("\n") if s.strip())
