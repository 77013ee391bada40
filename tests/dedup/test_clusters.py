"""Clusters from edges: the label is the smallest row."""

import polars as pl
import pytest

from curate.dedup.clusters import components


@pytest.mark.parametrize(
    ("rows", "edges", "labels"),
    [
        (4, [], [0, 1, 2, 3]),
        (0, [], []),
        (5, [(3, 4), (1, 3)], [0, 1, 2, 1, 1]),
        (6, [(4, 5), (0, 2), (2, 4)], [0, 1, 0, 3, 0, 0]),
        (3, [(2, 0), (2, 0)], [0, 1, 0]),
    ],
)
def test_the_label_is_the_smallest_row(rows: int, edges: list[tuple[int, int]], labels: list[int]) -> None:
    frame = pl.DataFrame(edges, schema={"row_a": pl.UInt64, "row_b": pl.UInt64}, orient="row")
    assert components(rows, frame).tolist() == labels
