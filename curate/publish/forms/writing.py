"""Blocks of pairs → a file in a form: what it will lack is counted first, then it is written."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from curate.publish.forms.base import MARGIN, SCORES, TOOLS, Form, found_in
from curate.publish.forms.files import json_lines, json_lines_without_nulls, writer
from curate.rundir.file_form import Present
from curate.schema import OPTIONAL, PAIR

Blocks = Callable[[], Iterable[pl.DataFrame]]  # of PAIR; read twice


@dataclass(frozen=True)
class Survey:
    """What the pairs of an input hold, and what a form makes of them."""

    pairs: int
    expressible: int
    refused: Mapping[str, int]  # why → pairs, each counted by its first reason
    lost: Mapping[str, int]  # what → pairs of which it is lost
    found: Present  # what is written besides role and text


def survey(blocks: Blocks, form: Form) -> Survey:
    """Count what a form cannot hold of pairs."""
    pairs, written, scored = 0, 0, 0
    refused, lost = Counter[str](), Counter[str]()
    found: set[str] = set()
    for block in blocks():
        pairs += len(block)
        reasons = reasons_of(block, form)
        refused.update(reasons.drop_nulls())
        kept = _without(block, reasons)
        written += len(kept)
        scored += kept.drop_nulls(SCORES).height
        found |= found_in(kept)
        lost.update(form.losses(kept))
    if written and scored == written:
        found.add(MARGIN)
    return Survey(pairs, written, dict(refused), dict(lost), form.kept(frozenset(found)))


def write(path: Path, blocks: Blocks, form: Form, surveyed: Survey) -> None:
    """Write the pairs that a form can express, of blocks that were surveyed for it."""
    schema = form.rows(pl.DataFrame(schema=PAIR), surveyed.found).schema
    special = surveyed.found & {*OPTIONAL, TOOLS}
    lines = partial(json_lines_without_nulls, tools_as_text=form.tools_as_text) if special else json_lines
    with writer(path, schema, lines) as append:
        for rows in _written(blocks, form, surveyed):
            append(rows)


def _written(blocks: Blocks, form: Form, surveyed: Survey) -> Iterator[pl.DataFrame]:
    for block in blocks():
        kept = _without(block, reasons_of(block, form))
        if len(kept):
            yield form.rows(kept, surveyed.found)


def _without(block: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
    """Return the pairs without a reason; the block itself where none has one, since filtering messages is slow."""
    return block.filter(reasons.is_null()) if reasons.count() else block


def reasons_of(block: pl.DataFrame, form: Form) -> pl.Series:
    """Return the first reason for which each pair cannot be expressed, null for none."""
    if not form.refused:
        return pl.Series([None] * len(block), dtype=pl.String)
    cases = [pl.when(why).then(pl.lit(why)) for why in form.refused]
    return form.refusals(block).select(pl.coalesce(cases)).to_series()
