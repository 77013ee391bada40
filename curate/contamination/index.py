"""Eval sets as hashes: small, saved as one parquet file that contains no text, the same on every machine."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from curate.contamination.eval_set import EvalSet, uniquely_named
from curate.errors import InputError, RecipeError
from curate.files import atomic
from curate.schema import check
from curate.text.stable_words import VERSION, runs

NGRAM = 8
ITEMS = pl.Schema(
    {
        "eval_set": pl.String(),
        "item": pl.String(),  # its id in the set
        "words": pl.UInt32(),
        "whole": pl.UInt64(),  # hash of all its words
        "ngrams": pl.List(pl.UInt64()),  # hashes of every `ngram` consecutive words; empty for a shorter item
    }
)
KEY = "prefcurate_eval_index"  # in the file's metadata
REBUILD = "build and save it again"
SLOTS_PER_NGRAM = 8  # of the sieve


@dataclass(frozen=True, eq=False)
class EvalIndex:
    """Eval sets as hashes. `items` is ITEMS, one row per item."""

    items: pl.DataFrame
    ngram: int = NGRAM

    @classmethod
    def build(cls, sets: Iterable[EvalSet], *, ngram: int = NGRAM) -> Self:
        """
        Return the index of these sets.

        Raises RecipeError for no sets and for two of one name, InputError for a set without words or with an id twice.
        """
        if ngram < 1:
            raise RecipeError(f"ngram is {ngram}, expected a number of words, for example 8")
        return cls(pl.concat([_hashed(eval_set, ngram) for eval_set in uniquely_named(sets)]), ngram)

    def save(self, path: Path) -> None:
        """
        Write one parquet file that contains hashes only.

        Texts cannot be recovered from the hashes, but any known text can be compared with them, so short items and the
        continuation of a known beginning can be guessed.
        """
        about = {"version": VERSION, "ngram": self.ngram, "digest": self.digest}
        with atomic(Path(path)) as temporary:
            self.items.write_parquet(temporary, metadata={KEY: json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises InputError for a file that is missing, damaged or of another version."""
        try:
            about = json.loads(pl.read_parquet_metadata(path).get(KEY, "null"))
            items = pl.read_parquet(path, hive_partitioning=False, glob=False)
        except FileNotFoundError as error:
            raise InputError(f"there is no eval index {path}") from error
        except (pl.exceptions.PolarsError, OSError, ValueError, RecursionError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"the eval index {path} cannot be read ({line}): {REBUILD}") from error
        if not isinstance(about, dict):
            raise InputError(f"{path} is not an eval index: its columns are {', '.join(items.columns)}")
        if about.get("version") != VERSION:
            raise InputError(f"the eval index {path} has version {about.get('version')}, not {VERSION}: {REBUILD}")
        items = check(items, ITEMS, f"the eval index {path}")
        if about.get("digest") != _digest(items, about.get("ngram")):
            raise InputError(f"the eval index {path} is damaged, its content has changed: {REBUILD}")
        return cls(items, about["ngram"])

    @classmethod
    def is_saved(cls, path: Path) -> bool:
        """Return whether the file was written by `save`, judging by its metadata alone."""
        try:
            return path.is_file() and KEY in pl.read_parquet_metadata(path)
        except (pl.exceptions.PolarsError, OSError):
            return False

    @classmethod
    def joined(cls, indexes: Sequence[Self]) -> Self:
        """Combine indexes. Raises RecipeError where they differ in n-gram size, or have sets of the same name."""
        if len({index.ngram for index in indexes}) > 1:
            sizes = ", ".join(str(index.ngram) for index in indexes)
            raise RecipeError(f"the eval indexes have n-grams of {sizes} words; set ngram to that of the saved index")
        names = [name for index in indexes for name in index.items.get_column("eval_set").unique().to_list()]
        if twice := [name for name in names if names.count(name) > 1]:
            raise RecipeError(f"two eval sets are named {twice[0]!r}; names must be unique")
        return cls(pl.concat([index.items for index in indexes]), indexes[0].ngram)

    @property
    def digest(self) -> str:
        """A hash of the content."""
        return _digest(self.items, self.ngram)

    @cached_property
    def lookup(self) -> "Lookup":
        """The n-grams of the index, prepared for lookups."""
        return Lookup.of(self.items)


@dataclass(frozen=True, slots=True)
class Lookup:
    """
    A lookup table of the n-grams of all items. An n-gram's `place` is its position when items are concatenated.

    `keys` are the distinct hashes, ascending; key i occurs at the places by_key[offsets[i]:offsets[i + 1]].
    """

    keys: np.ndarray  # uint64
    offsets: np.ndarray  # int64, one more than there are keys
    by_key: np.ndarray  # int64, places
    item_of: np.ndarray  # int64, the item at each place
    sieve: np.ndarray  # uint8, eight slots per byte
    bits: int  # of a hash that select its slot

    @classmethod
    def of(cls, items: pl.DataFrame) -> Self:
        """Build the lookup of ITEMS."""
        sizes = items.get_column("ngrams").list.len().to_numpy()
        hashes = items.get_column("ngrams").explode(empty_as_null=False, keep_nulls=False).to_numpy()
        by_key = np.argsort(hashes, kind="stable")
        keys, firsts = np.unique(hashes[by_key], return_index=True)
        bits = min(max((SLOTS_PER_NGRAM * len(keys)).bit_length(), 10), 30)
        slots = np.zeros(1 << bits, bool)
        slots[keys >> np.uint64(64 - bits)] = True
        sieve = np.packbits(slots, bitorder="little")
        slots[:] = False
        slots[(keys >> np.uint64(64 - 2 * bits)) & np.uint64((1 << bits) - 1)] = True
        return cls(
            keys,
            np.append(firsts, len(hashes)),
            by_key,
            np.repeat(np.arange(len(items)), sizes),
            np.concatenate([sieve, np.packbits(slots, bitorder="little")]),
            bits,
        )

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the hashes that are keys, and the index of the key of each."""
        # Nearly none are, and a binary search among thousands of keys misses the caches. Two sieves on different bits
        # of the hash exclude most of them.
        found = np.flatnonzero(self._may_hold(hashes >> np.uint64(64 - self.bits)))
        second = (hashes[found] >> np.uint64(64 - 2 * self.bits)) & np.uint64((1 << self.bits) - 1)
        found = found[self._may_hold(second | np.uint64(1 << self.bits))]
        found = found[np.argsort(hashes[found])]  # sorted, so that consecutive lookups are close in memory
        keys = np.searchsorted(self.keys, hashes[found])
        keys[keys == len(self.keys)] = 0
        same = self.keys[keys] == hashes[found]
        return found[same], keys[same]

    def sizes(self, keys: np.ndarray) -> np.ndarray:
        """Return at how many places each of the keys occurs."""
        sizes: np.ndarray = self.offsets[keys + 1] - self.offsets[keys]
        return sizes

    def _may_hold(self, slots: np.ndarray) -> np.ndarray:
        eight = self.sieve[(slots >> np.uint64(3)).view(np.int64)]
        eight >>= slots.astype(np.uint8) & np.uint8(7)
        return (eight & np.uint8(1)).view(bool)


def _hashed(eval_set: EvalSet, ngram: int) -> pl.DataFrame:
    """Return one set as ITEMS."""
    counts, wholes, windows = [], [], []
    for _, words in runs(eval_set.items):
        counts.append(words.counts)
        wholes.append(words.wholes(np.arange(len(words.counts))))
        hashes = words.windows(ngram)
        remaining = np.repeat(words.offsets[1:], words.counts) - np.arange(len(words.hashes))
        windows.append(hashes[remaining[: len(hashes)] >= ngram])  # those that end in the text in which they start
    if not sum(int(count.sum()) for count in counts):
        raise InputError(f"the eval set {eval_set.name!r} is empty: none of its {len(eval_set.items)} items has a word")
    if (twice := eval_set.ids.filter(eval_set.ids.is_duplicated())).len():
        raise InputError(f"the eval set {eval_set.name!r} has more than one item with the id {twice[0]!r}")
    words_of = np.concatenate(counts)
    sizes = np.maximum(words_of.astype(np.int64) - ngram + 1, 0)
    numbers = pl.DataFrame({"at": np.repeat(np.arange(len(sizes)), sizes), "ngrams": np.concatenate(windows)})
    lists = numbers.group_by("at", maintain_order=True).agg("ngrams")
    frame = pl.DataFrame({"item": eval_set.ids, "words": words_of, "whole": np.concatenate(wholes)})
    frame = frame.with_row_index("at").with_columns(pl.col("at").cast(pl.Int64), eval_set=pl.lit(eval_set.name))
    frame = frame.join(lists, on="at", how="left", maintain_order="left")
    frame = frame.with_columns(pl.col("ngrams").fill_null(pl.lit([], ITEMS["ngrams"])))
    return frame.select(pl.col(name).cast(dtype) for name, dtype in ITEMS.items())


def _digest(items: pl.DataFrame, ngram: object) -> str:
    """Return the hash of the values, which does not depend on how they are stored."""
    lists = items.get_column("ngrams")
    flat = lists.explode(empty_as_null=False, keep_nulls=False)
    numbers = [items.get_column("words"), items.get_column("whole"), lists.list.len(), flat]
    hashed = hashlib.sha256(json.dumps([ngram, items.select("eval_set", "item").rows()]).encode())
    for series in numbers:
        hashed.update(series.drop_nulls().to_numpy().astype("<u8").tobytes())
    return hashed.hexdigest()
