"""Findings of single rows, from what readers, rules and deduplication wrote about them."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from curate.findings.kinds import BY_NAME, BY_REASON
from curate.findings.result import Hits

SURE = 0.85  # confidence of both languages
NAME = r"^\w+"  # of a reason: "max_chars_ratio (23.4)", "broken_row: line 3: …"


def of_reasons(verdicts: pl.LazyFrame, examples: int) -> list[Hits]:
    """
    Return the rows of each code by their reasons, the first `examples` of them named.

    in : row (u32), reasons (list[str]: of every broken rule or problem)
    """
    named = (
        verdicts.filter(pl.col("reasons").list.len() > 0)
        .explode("reasons", empty_as_null=True, keep_nulls=True)
        .select("row", detail="reasons", reason=pl.col("reasons").str.extract(f"({NAME})"))
    )
    return of_hits(named, examples)


def of_hits(hits: pl.LazyFrame, examples: int) -> list[Hits]:
    """Return Hits for rows with their reason: row, reason and detail (str). A reason without a kind is PC199."""
    code = pl.col("reason").replace_strict(BY_REASON, default=BY_REASON["other"], return_dtype=pl.String)
    grouped = (
        hits.with_columns(code=code)
        .group_by("code")
        .agg(
            count=pl.col("row").n_unique(),
            rows=pl.col("row").sort().head(examples),
            details=pl.col("detail").sort_by("row").head(examples),
        )
        .collect(engine="streaming")
        .sort("code")
    )
    return [
        Hits(code, count, tuple(rows), tuple(detail or "" for detail in details))
        for code, count, rows, details in grouped.iter_rows()
    ]


def of_rows(name: str, rows: pl.Series, examples: int, detail: str = "") -> list[Hits]:
    """Return Hits of the kind of this name for row numbers; none for no rows."""
    if rows.is_empty():
        return []
    first = tuple(rows.sort().head(examples).to_list())
    return [Hits(BY_NAME[name].code, len(rows), first, (detail,) * len(first))]


def of_languages(signals: pl.LazyFrame, examples: int) -> list[Hits]:
    """Return the pairs whose sides are surely in different languages; in: row and the signals of all pairs."""
    sure = pl.min_horizontal("chosen_language_confidence", "rejected_language_confidence") >= SURE
    found = signals.filter(pl.col("languages_differ") & sure).select("row").collect(engine="streaming")
    return of_rows("languages_differ", found.to_series(), examples)


def of_eval_sets(inputs: Iterable[tuple[str, int, int]], examples: int) -> list[Hits]:
    """Return Hits for every input that is an eval set; in: its name, first row and number of rows."""
    return [
        Hits(
            BY_NAME["eval_set"].code, rows, (first,)[:examples], (name,)[:examples], f"{name} is a known eval set", rows
        )
        for name, first, rows in inputs
    ]


def of_columns(inputs: Iterable[tuple[str, int, int, Mapping[str, str]]], examples: int) -> list[Hits]:
    """
    Return Hits for every column that is not read although it may belong to the pairs.

    in : per input its name, first row, number of rows, and unused columns with what they hold ("" = metadata)
    """
    code = BY_NAME["unused_column"].code
    return [
        Hits(
            code,
            rows,
            (first,)[:examples],
            (column,)[:examples],
            f"column {column!r} of {name} holds {holds} and is not part of the pairs",
        )
        for name, first, rows, unused in inputs
        for column, holds in unused.items()
        if holds and rows
    ]


def shown(hits: Sequence[Hits]) -> list[int]:
    """Return every row that is an example, ascending."""
    return sorted({row for one in hits for row in one.rows})
