"""Decoded sizes of values, computed by hand (eight bytes per value, and its own bytes), and slices by size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from curate.sources.decoded import cuts, decoded, is_encoded, row_bytes

TEXTS = ["ab", None, "", "été"]
NUMBERS = pa.array([1, 2, 3], pa.int64())


@pytest.mark.parametrize(
    ("array", "sizes"),
    [
        (pa.array([1, None, 3], pa.int8()), [8, 8, 8]),
        (pa.array([b"x" * 20], pa.binary(20)), [20]),
        (pa.nulls(2), [0, 0]),
        (pa.array(TEXTS, pa.string()), [10, 8, 8, 13]),
        (pa.array(TEXTS, pa.large_string()), [10, 8, 8, 13]),
        (pa.array(TEXTS, pa.string_view()), [10, 8, 8, 13]),
        (pa.array(TEXTS, pa.string_view())[1:], [8, 8, 13]),
        (pa.array([b"abc"], pa.binary()), [11]),
        (pa.array(["ab", "c", "ab", None]).dictionary_encode(), [10, 9, 10, 10]),  # a null counts as the first value
        (pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "bcd"])), [9, 9, 11]),
        (pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "bcd"]))[1:], [9, 11]),
        (pa.array([{"a": "xy", "b": 1}, None], pa.struct({"a": pa.string(), "b": pa.int64()})), [26, 24]),
        (pa.array([["a", "bc"], [], None], pa.list_(pa.string())), [27, 8, 8]),
        (pa.array([["a", "bc"], [], ["d"]], pa.list_(pa.string()))[1:], [8, 17]),
        (pa.array([["a", "bc"], [], None], pa.large_list(pa.string())), [27, 8, 8]),
        (pa.array([["a", "bc"], []], pa.list_view(pa.string())), [27, 8]),
        (pa.array([["a", "bc"], ["d", "e"]], pa.list_(pa.string(), 2)), [27, 26]),
        (pa.array([["a", "bc"], ["d", "e"]], pa.list_(pa.string(), 2))[1:], [26]),
        (pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())), [25, 8]),
        (
            pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), [NUMBERS, pa.array(["a", "bcd", "e"])]),
            [16, 19, 16],
        ),
        (
            pa.UnionArray.from_dense(
                pa.array([0, 1, 1], pa.int8()), pa.array([0, 0, 1], pa.int32()), [NUMBERS, pa.array(["a", "bcd"])]
            )[1:],
            [17, 19],
        ),
    ],
    ids=lambda value: str(value.type).replace(" ", "") if isinstance(value, pa.Array) else "",
)
def test_sizes_of_values(array: pa.Array, sizes: list[int]) -> None:
    assert row_bytes(array).tolist() == sizes


@pytest.mark.parametrize(("index", "size"), [(-1, 9), (0, 9), (1, 11), (2, 11), (2_000_000_000, 11)])
def test_an_index_outside_a_dictionary_counts_as_its_first_or_last_value(index: int, size: int) -> None:
    indices = pa.array([index], pa.int32())
    damaged = pa.DictionaryArray.from_arrays(indices, pa.array(["a", "bcd"]), safe=False)
    assert row_bytes(damaged).tolist() == [size]


@pytest.mark.parametrize(
    ("sizes", "most_bytes", "most_rows", "expected"),
    [
        ([5, 5, 5], 10, 9, [(0, 2), (2, 3)]),  # exactly as many bytes
        ([5, 5, 5], 9, 9, [(0, 1), (1, 2), (2, 3)]),
        ([5, 20, 1, 1], 10, 9, [(0, 1), (1, 2), (2, 4)]),  # a row that is too large by itself
        ([20, 1], 10, 9, [(0, 1), (1, 2)]),
        ([1, 1, 1, 1, 1], 10, 2, [(0, 2), (2, 4), (4, 5)]),
        ([0, 0], 10, 9, [(0, 2)]),
        ([], 10, 9, []),
    ],
)
def test_slices_are_limited_in_bytes_and_rows(
    sizes: list[int], most_bytes: int, most_rows: int, expected: list[tuple[int, int]]
) -> None:
    found = cuts(np.array(sizes, np.int64), most_bytes, most_rows)
    assert [(part.start, part.stop) for part in found] == expected


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [
        (pa.dictionary(pa.int8(), pa.string()), True),
        (pa.string(), False),
        (pa.struct({"a": pa.string(), "b": pa.dictionary(pa.int8(), pa.string())}), True),
        (pa.struct({"a": pa.string(), "b": pa.int64()}), False),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), True),
        (pa.large_list(pa.dictionary(pa.int8(), pa.string())), True),
        (pa.list_(pa.string()), False),
    ],
)
def test_types_with_dictionaries(kind: pa.DataType, encoded: bool) -> None:
    assert is_encoded(kind) is encoded


def test_a_decoded_slice_holds_its_own_values_only() -> None:
    words = pa.array(["a", "b", None, "a"]).dictionary_encode()
    assert decoded(words[1:]).equals(pa.array(["b", None, "a"]))
    both = pa.StructArray.from_arrays([words, pa.array([1, 2, 3, 4])], ["word", "n"])
    assert decoded(both[2:]).to_pylist() == [{"word": None, "n": 3}, {"word": "a", "n": 4}]


@pytest.mark.parametrize("kind", [pa.ListArray, pa.LargeListArray])
def test_lists_of_a_dictionary_become_lists_of_its_values(kind: type[pa.ListArray]) -> None:
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    found = decoded(kind.from_arrays([0, 2, 2, 3], words))
    assert (str(found.type), found.to_pylist()) == ("large_list<item: string>", [["a", "b"], [], ["a"]])


@pytest.mark.slow
def test_reading_a_table_does_not_import_pandas(tmp_path: Path) -> None:
    """Several methods of Arrow would, which takes 300 ms."""
    pl.DataFrame({"prompt": ["q", "r"], "chosen": ["a", None], "rejected": ["b", "c"]}).write_parquet(
        tmp_path / "p.parquet"
    )
    program = "import sys, curate; print(len(curate.read(sys.argv[1])), 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "p.parquet"], capture_output=True, text=True)
    assert done.stdout == "1 False\n"
