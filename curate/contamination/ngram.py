"""
The rule of Tülu 3 (arXiv 2411.15124): an eval item is hit when more than half of its words lie in 8-grams that it
shares with one training row.

A row is one text or several (the turns of its prompt, its two answers): an n-gram lies within one text, and an item's
share counts over all of them. An item with fewer words than an n-gram is hit by a text of the same words and nothing
else, so that "Hi" does not hit every greeting. An item without a word (emoji, punctuation) is never hit.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from curate.contamination.hits import FOUND, above, fewest, flat, to_hits
from curate.contamination.index import EvalIndex
from curate.text.arrays import mixed, ranges
from curate.text.stable_words import Words, runs

AT_ONCE = 4 << 20  # places in items that are looked at together
Two = tuple[np.ndarray, np.ndarray]


def hits(texts: pl.Series, index: EvalIndex, *, threshold: float = 0.5, every: bool = True) -> pl.DataFrame:
    """
    in : str or list[str], one a training row
    out: HITS: `row` is the place in `texts`, `overlap` the share of the item's words, greater than the threshold

    By row, a row's closest item first, of equally close ones the first of the index. Without `every`: a row's closest
    of each set, and each item's closest row. That is no more than rows times sets, and all that the counts need.
    """
    above(threshold)
    one_by_one, row_of = flat(texts)
    shared, wholes = [], []
    for start, words in runs(one_by_one):
        shared.append(_shared(words, start, index))
        wholes.append(_wholes(words, start, fewer_than=index.ngram))
    found = _overlaps(*_distinct(*_joined(shared, row_of)), index, threshold, every=every)
    same = _same(*_joined(wholes, row_of), index.items)
    return to_hits(pl.concat([found, same]), index.items, every=every)


def exact_hits(texts: pl.Series, index: EvalIndex, *, every: bool = True) -> pl.DataFrame:
    """
    in : str or list[str], one a training row
    out: HITS of items that are one of the row's texts word for word, as in `hits`; `overlap` is 1

    Case, punctuation and spaces do not count. An item without a word is never hit.
    """
    one_by_one, row_of = flat(texts)
    wholes = [_wholes(words, start) for start, words in runs(one_by_one)]
    return to_hits(_same(*_joined(wholes, row_of), index.items), index.items, every=every)


def _wholes(words: Words, start: int, fewer_than: int | None = None) -> Two:
    """The texts (those with fewer words than so many), and the hash of all their words."""
    texts = np.flatnonzero(words.counts < (fewer_than or np.inf))
    return texts + start, words.wholes(texts)


def _shared(words: Words, start: int, index: EvalIndex) -> Two:
    """The texts that share n-grams with items, and the keys of these n-grams; a text as often as it does."""
    places, keys = index.lookup.find(words.windows(index.ngram))
    texts = np.searchsorted(words.offsets, places, side="right") - 1
    inside = places + index.ngram <= words.offsets[texts + 1]
    return texts[inside] + start, keys[inside]


def _joined(parts: list[Two], row_of: np.ndarray) -> Two:
    """All parts as one, rows in the place of texts."""
    texts, values = (np.concatenate([part[side] for part in parts] or [np.empty(0, np.int64)]) for side in (0, 1))
    return row_of[texts], values


def _distinct(rows: np.ndarray, keys: np.ndarray) -> Two:
    """Every row and key once, ascending."""
    many = int(keys.max(initial=0)) + 1
    codes = _sorted(rows * many + keys)
    rows, keys = np.divmod(codes[np.diff(codes, prepend=-1) != 0], many)
    return rows, keys


def _sorted(numbers: np.ndarray) -> np.ndarray:
    return pl.Series(numbers).sort().to_numpy()  # several times as fast as numpy's


def _same(rows: np.ndarray, wholes: np.ndarray, items: pl.DataFrame) -> pl.DataFrame:
    """FOUND for the items that are one of the row's texts, word for word."""
    known = items.select("words", "whole", at=pl.int_range(pl.len())).filter(pl.col("words") > 0)
    texts = pl.DataFrame({"row": rows, "whole": wholes}, schema={"row": pl.Int64(), "whole": pl.UInt64()})
    return texts.join(known, on="whole").select("row", "at", overlap=pl.lit(1.0))


def _overlaps(rows: np.ndarray, keys: np.ndarray, index: EvalIndex, threshold: float, *, every: bool) -> pl.DataFrame:
    """FOUND above the threshold, from the distinct keys of every row."""
    # Rows that share the same n-grams hit the same items. So where all rows and all items hold one template, the many
    # items that have it are looked at for one row only.
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    hashes = mixed(index.lookup.keys[keys])  # without mixing, sets of n-grams that swap a word would have the same sum
    sums = np.add.reduceat(hashes, starts) if len(starts) else hashes
    alike = pl.DataFrame({"row": rows[starts], "sum": sums}).with_columns(first=pl.col("row").first().over("sum"))
    leads = (alike.get_column("row") == alike.get_column("first")).to_numpy()
    lead = np.repeat(leads, np.diff(np.append(starts, len(rows))))
    rows, keys = rows[lead], keys[lead]
    parts = [_covered(rows[part], keys[part], index, threshold) for part in _portions(rows, keys, index)]
    found = pl.concat([FOUND.to_frame(), *parts])
    found = found.with_columns(of_row=True) if every else fewest(found, index.items)
    spread = found.rename({"row": "first"}).join(alike, on="first")
    return spread.filter(pl.col("of_row") | (pl.col("row") == pl.col("first"))).select(list(FOUND))


def _portions(rows: np.ndarray, keys: np.ndarray, index: EvalIndex) -> Iterator[slice]:
    """Whole rows whose keys stand at about AT_ONCE places."""
    sizes = index.lookup.sizes(keys)
    before = np.cumsum(sizes) - sizes
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    cuts = starts[np.flatnonzero(np.diff(before[starts] // AT_ONCE, prepend=-1))]
    yield from map(slice, cuts, np.append(cuts[1:], len(rows)))


def _covered(rows: np.ndarray, keys: np.ndarray, index: EvalIndex, threshold: float) -> pl.DataFrame:
    """FOUND above the threshold: how many of an item's words lie in the n-grams that the row has of it."""
    lookup, ngram = index.lookup, index.ngram
    sizes = lookup.sizes(keys)
    places = lookup.by_key[ranges(lookup.firsts[keys], sizes)]
    # In the order of rows, then places, which are those of the items one after the other.
    codes = _sorted(np.repeat(rows, sizes) * len(lookup.item_of) + places)
    rows, places = np.divmod(codes, len(lookup.item_of))
    items = lookup.item_of[places]
    begins = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(items, prepend=-1) != 0))
    # Every n-gram covers the words up to the next one that is shared, and no more than its own.
    steps = np.minimum(np.diff(places, append=0), ngram)
    steps[begins[1:] - 1] = steps[-1] = ngram
    at = items[begins]
    words = index.items.get_column("words").to_numpy()[at]
    found = pl.DataFrame({"row": rows[begins], "at": at, "overlap": np.add.reduceat(steps, begins) / words})
    return found.filter(pl.col("overlap") > threshold)
