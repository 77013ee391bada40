"""Rows with equal keys come out together, however they were spread, and no row is lost."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sources.groups import Groups

BLOCKS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "", None]), max_size=6), max_size=6)


@pytest.mark.slow
@settings(deadline=None)
@given(BLOCKS, st.sampled_from([1, 40, 1 << 20]))
def test_groups_are_whole_and_in_order(blocks: list[list[str | None]], bucket_bytes: int) -> None:
    rows = [key for block in blocks for key in block]
    row, found = 0, list[tuple[str | None, int]]()
    with Groups(bucket_bytes) as groups:
        for block in blocks:
            frame = pl.DataFrame(
                {"row": range(row, row + len(block)), "name": block}, schema={"row": pl.Int64, "name": pl.String}
            )
            groups.add(frame, frame.get_column("name"))
            row += len(block)
        for frame in groups:
            for _, group in frame.group_by("group", maintain_order=True):
                assert group["name"].n_unique() == 1
                assert len(group) == 1 or group["name"][0] is not None
                assert group["row"].is_sorted()
                assert len(group) == (1 if group["name"][0] is None else rows.count(group["name"][0]))
                found += group.select("name", "row").rows()
    assert sorted(number for _, number in found) == list(range(len(rows)))
    firsts = [rows.index(name) if name is not None else number for name, number in found]
    assert firsts == sorted(firsts)
