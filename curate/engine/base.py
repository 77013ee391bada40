"""What every engine can do, and the blocks on which it works."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

import polars as pl

Item = TypeVar("Item")
Result = TypeVar("Result")
Table = TypeVar("Table", pl.DataFrame, pl.Series)
Changed = TypeVar("Changed", pl.DataFrame, pl.Series)
ROWS = 1 << 13  # of a slice of a frame in memory


class Engine(Protocol):
    """Runs functions on blocks."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """
        Yield `function(item)` for every item, in order; several run at a time, and few results wait to be taken.

        An exception of the function is raised here, and no further item is started.
        """


@dataclass(frozen=True)
class Block(Generic[Table]):
    """Some rows of a table, which are read where they are used: `read` may run in another thread or process."""

    rows: int
    read: Callable[[], Table]

    def then(self, change: Callable[[Table], Changed]) -> "Block[Changed]":
        """Return the block of what `change` makes of these rows, row for row."""
        return Block(self.rows, partial(_changed, self.read, change))


def _changed(read: Callable[[], Table], change: Callable[[Table], Changed]) -> Changed:
    return change(read())


def sliced(table: Table, rows: int = ROWS) -> list[Block[Table]]:
    """Return a frame or series in memory as blocks."""
    parts = (table.slice(start, rows) for start in range(0, len(table), rows))
    return [Block(len(part), partial(_itself, part)) for part in parts]


def _itself(table: Table) -> Table:
    return table


def starts_of(blocks: Sequence[Block[Table]]) -> list[int]:
    """Return the first row of each block over all blocks, and the number of all rows."""
    return list(accumulate((block.rows for block in blocks), initial=0))
