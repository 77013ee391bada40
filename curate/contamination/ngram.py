"""
The contamination rule of Tülu 3 (arXiv 2411.15124): a training row contains an eval item when more than half of the
item's words are in 8-grams that both share.

A row is one text or several (the turns of its prompt, its two responses): an n-gram lies within one text, and an item's
share is counted over all texts of the row. An item shorter than an n-gram matches only a text of exactly its words, so
that "Hi" does not match every greeting. An item without a word (emoji, punctuation) never matches.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from curate.contamination.hits import FOUND, check_threshold, flattened, needed_for_counts, to_hits
from curate.contamination.index import EvalIndex
from curate.text.arrays import mixed, ranges
from curate.text.stable_words import Words, runs

PLACES_PER_CHUNK = 4 << 20  # places in items that are compared at once
TextValues = tuple[np.ndarray, np.ndarray]  # texts or rows, repeated or not, and a value of each


def hits(texts: pl.Series, index: EvalIndex, *, threshold: float = 0.5, every: bool = True) -> pl.DataFrame:
    """
    Return HITS: `row` is the index in `texts`, `overlap` the share of the item's words, greater than the threshold.

    in : str or list[str], one per training row

    Sorted by row, then closest item first; equally close items are in the order of the index. Without `every`, only the
    closest item of each set per row, and the closest row per item: enough for all counts, and few hits in memory.
    """
    check_threshold(threshold)
    single, row_of = flattened(texts)
    shared, wholes = [], []
    for start, words in runs(single):
        shared.append(_shared(words, start, index))
        wholes.append(_wholes(words, start, fewer_than=index.ngram))
    found = _overlaps(*_distinct(*_joined(shared, row_of)), index, threshold, every=every)
    same = _same(*_joined(wholes, row_of), index.items)
    return to_hits(pl.concat([found, same]), index.items, every=every)


def exact_hits(texts: pl.Series, index: EvalIndex, *, every: bool = True) -> pl.DataFrame:
    """
    Return HITS of the items that equal one of the row's texts word for word; `overlap` is 1. Order as in `hits`.

    in : str or list[str], one per training row

    Case, punctuation and spaces are ignored. An item without a word never matches.
    """
    single, row_of = flattened(texts)
    wholes = [_wholes(words, start) for start, words in runs(single)]
    return to_hits(_same(*_joined(wholes, row_of), index.items), index.items, every=every)


def _wholes(words: Words, start: int, fewer_than: int | None = None) -> TextValues:
    """Return the texts (those with fewer words than `fewer_than`) and the hash of all their words."""
    texts = np.flatnonzero(words.counts < (fewer_than or np.inf))
    return texts + start, words.wholes(texts)


def _shared(words: Words, start: int, index: EvalIndex) -> TextValues:
    """Return the texts and the keys of the n-grams that they share with items, one entry per n-gram."""
    places, keys = index.lookup.find(words.windows(index.ngram))
    texts = np.searchsorted(words.offsets, places, side="right") - 1
    inside = places + index.ngram <= words.offsets[texts + 1]
    return texts[inside] + start, keys[inside]


def _joined(parts: list[TextValues], row_of: np.ndarray) -> TextValues:
    """Concatenate the parts, with rows in place of texts."""
    texts, values = (np.concatenate([part[side] for part in parts] or [np.empty(0, np.int64)]) for side in (0, 1))
    return row_of[texts], values


def _distinct(rows: np.ndarray, keys: np.ndarray) -> TextValues:
    """Return every (row, key) once, ascending."""
    many = int(keys.max(initial=0)) + 1
    codes = _sorted(rows * many + keys)
    rows, keys = np.divmod(codes[np.diff(codes, prepend=-1) != 0], many)
    return rows, keys


def _sorted(numbers: np.ndarray) -> np.ndarray:
    return pl.Series(numbers).sort().to_numpy()  # several times as fast as numpy


def _same(rows: np.ndarray, wholes: np.ndarray, items: pl.DataFrame) -> pl.DataFrame:
    """Return FOUND for the items that equal one of the row's texts word for word."""
    known = items.select("words", "whole", at=pl.int_range(pl.len())).filter(pl.col("words") > 0)
    texts = pl.DataFrame({"row": rows, "whole": wholes}, schema={"row": pl.Int64(), "whole": pl.UInt64()})
    return texts.join(known, on="whole").select("row", "at", overlap=pl.lit(1.0))


def _overlaps(rows: np.ndarray, keys: np.ndarray, index: EvalIndex, threshold: float, *, every: bool) -> pl.DataFrame:
    """Return FOUND above the threshold, from the distinct keys of every row."""
    # Rows with the same set of shared n-grams match the same items, so only the first of them is compared. This matters
    # where all rows and all items contain one template.
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    hashes = mixed(index.lookup.keys[keys])  # without mixing, sets of n-grams that swap a word would have the same sum
    sums = np.add.reduceat(hashes, starts) if len(starts) else hashes
    groups = pl.DataFrame({"row": rows[starts], "sum": sums}).with_columns(first=pl.col("row").first().over("sum"))
    is_first = (groups.get_column("row") == groups.get_column("first")).to_numpy()
    compared = np.repeat(is_first, np.diff(np.append(starts, len(rows))))
    rows, keys = rows[compared], keys[compared]
    parts = [_covered(rows[chunk], keys[chunk], index, threshold) for chunk in _chunks(rows, keys, index)]
    found = pl.concat([FOUND.to_frame(), *parts])
    found = found.with_columns(of_row=True) if every else needed_for_counts(found, index.items)
    of_all = found.rename({"row": "first"}).join(groups, on="first")
    return of_all.filter(pl.col("of_row") | (pl.col("row") == pl.col("first"))).select(list(FOUND))


def _chunks(rows: np.ndarray, keys: np.ndarray, index: EvalIndex) -> Iterator[slice]:
    """Yield slices of whole rows whose keys occur at about PLACES_PER_CHUNK places."""
    sizes = index.lookup.sizes(keys)
    before = np.cumsum(sizes) - sizes
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    cuts = starts[np.flatnonzero(np.diff(before[starts] // PLACES_PER_CHUNK, prepend=-1))]
    yield from map(slice, cuts, np.append(cuts[1:], len(rows)))


def _covered(rows: np.ndarray, keys: np.ndarray, index: EvalIndex, threshold: float) -> pl.DataFrame:
    """Return FOUND above the threshold: the share of an item's words that are in n-grams shared with the row."""
    lookup, ngram = index.lookup, index.ngram
    sizes = lookup.sizes(keys)
    places = lookup.by_key[ranges(lookup.offsets[keys], sizes)]
    # Sorted by row, then place, so that the places of an item are adjacent.
    codes = _sorted(np.repeat(rows, sizes) * len(lookup.item_of) + places)
    rows, places = np.divmod(codes, len(lookup.item_of))
    items = lookup.item_of[places]
    begins = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(items, prepend=-1) != 0))
    # Every n-gram covers the words up to the next shared n-gram, at most its own.
    steps = np.minimum(np.diff(places, append=0), ngram)
    steps[begins[1:] - 1] = steps[-1] = ngram
    at = items[begins]
    words = index.items.get_column("words").to_numpy()[at]
    found = pl.DataFrame({"row": rows[begins], "at": at, "overlap": np.add.reduceat(steps, begins) / words})
    return found.filter(pl.col("overlap") > threshold)
