"""The result of a step in a notebook: the kept rows, the dropped rows with reasons, and the counts."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """
    The two parts of a frame: every row of the input is in exactly one of them.

    `kept` has the input's columns. `dropped` has them too, plus the reason: `rule` (str), and the step's measurements
    (`value`, `duplicate_of`, `similarity`, …). Both keep the input's order.

        >>> import polars as pl
        >>> Result.of(pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2, 3], "rule": ["tie", "tie"]}))
        Result(1 of 3 kept · dropped: tie 2)
    """

    kept: pl.DataFrame
    dropped: pl.DataFrame
    counts: Mapping[str, int]  # rows, kept, dropped, and a count per rule, the most frequent first

    @classmethod
    def of(cls, kept: pl.DataFrame, dropped: pl.DataFrame) -> "Result":
        """Return the result with its counts."""
        rules = dropped.get_column("rule").value_counts().sort("count", "rule", descending=[True, False])
        rows = {"rows": len(kept) + len(dropped), "kept": len(kept), "dropped": len(dropped)}
        return cls(kept, dropped, rows | dict(rules.iter_rows()))

    @property
    def rules(self) -> dict[str, int]:
        """Rows dropped by each rule, the most frequent first."""
        return {name: count for name, count in self.counts.items() if name not in ("rows", "kept", "dropped")}

    @property
    def kept_ratio(self) -> float:
        """The share of the rows that were kept, 0..1; 1 for an empty input."""
        return self.counts["kept"] / self.counts["rows"] if self.counts["rows"] else 1.0

    def __repr__(self) -> str:
        rules = ", ".join(f"{name} {count:,}" for name, count in self.rules.items())
        return (
            f"Result({self.counts['kept']:,} of {self.counts['rows']:,} kept{f' · dropped: {rules}' if rules else ''})"
        )

    def _repr_html_(self) -> str:
        head = f"{self.counts['kept']:,} of {self.counts['rows']:,} rows kept"
        return html_table(head, ("rule", "dropped"), self.rules.items())


def html_table(head: str, names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a small HTML table with a caption. All text is escaped."""

    def cells(tag: str, values: Iterable[object]) -> str:
        shown = (f"{value:,}" if isinstance(value, int) else str(value) for value in values)
        return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in shown)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    header = f"<tr>{cells('th', names)}</tr>" if body else ""
    return f"<table><caption>{html.escape(head)}</caption>{header}{body}</table>"
