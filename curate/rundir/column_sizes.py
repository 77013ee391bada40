"""Which parts of a table are read together: so many that a few columns of them make a block worth the overhead."""

from collections.abc import Iterable, Sequence

import pyarrow.parquet as pq

TOGETHER = 16 << 20  # bytes


def group_bytes(metadata: pq.FileMetaData, columns: Sequence[str]) -> list[int]:
    """Return the uncompressed bytes of the columns in each row group of a file."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return [
        sum(
            column.total_uncompressed_size
            for column in map(group.column, range(group.num_columns))
            if column.path_in_schema.split(".")[0] in columns
        )
        for group in groups
    ]


def together(sizes: Iterable[int], limit: int = TOGETHER) -> list[range]:
    """
    Divide items into runs of up to `limit` bytes, or one item.

    >>> together([5, 4, 9, 1, 20], 10)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    runs: list[range] = []
    total = 0
    for place, size in enumerate(sizes):
        if runs and total + size <= limit:
            runs[-1], total = range(runs[-1].start, place + 1), total + size
        else:
            runs.append(range(place, place + 1))
            total = size
    return runs
