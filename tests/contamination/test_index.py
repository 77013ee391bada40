"""The index as a file: it contains hashes only, and a changed file is an error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from curate.contamination import index as indexing
from curate.contamination.eval_set import EvalSet
from curate.contamination.index import EvalIndex
from curate.contamination.ngram import hits
from curate.errors import InputError, RecipeError

ITEMS = ["The secret question about seventeen purple elephants in the garden", "Hi", "🎉", "天气很好" * 5]
Change = Callable[[pl.DataFrame, dict[str, Any]], tuple[pl.DataFrame, dict[str, Any]]]


@pytest.fixture
def index() -> EvalIndex:
    return EvalIndex.build([EvalSet.of("mine", ITEMS), EvalSet.of("other", ITEMS[:1], ["x/1"])])


def test_save_and_load(index: EvalIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "deep" / "evals.index")
    loaded = EvalIndex.load(tmp_path / "deep" / "evals.index")
    assert loaded.items.equals(index.items)
    assert loaded.ngram == 8
    rows = pl.Series([*ITEMS, "hi", "no"])
    assert hits(rows, loaded).equals(hits(rows, index))
    assert len(hits(rows, loaded)) == 5
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["evals.index"]


def test_the_file_contains_no_text(index: EvalIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "evals.index")
    data = (tmp_path / "evals.index").read_bytes()
    assert not [word for text in ITEMS for word in text.split() if word.encode() in data and len(word) > 3]


def test_the_n_gram_size_is_that_of_the_index(tmp_path: Path) -> None:
    index = EvalIndex.build([EvalSet.of("set", ["one two three four"])], ngram=3)
    index.save(tmp_path / "i")
    assert EvalIndex.load(tmp_path / "i").ngram == 3
    assert hits(pl.Series(["one two three"]), EvalIndex.load(tmp_path / "i")).rows() == [(0, "set", "0", 0.75)]
    with pytest.raises(RecipeError, match="ngram is 0"):
        EvalIndex.build([EvalSet.of("set", ["a"])], ngram=0)


def test_a_file_that_is_not_an_index(index: EvalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i"
    with pytest.raises(InputError, match="there is no eval index"):
        EvalIndex.load(path)
    path.write_text("prompt\nwhat?\n", "utf-8")
    with pytest.raises(InputError, match=r"cannot be read \(.*\): build and save it again"):
        EvalIndex.load(path)
    pl.DataFrame({"prompt": ["a"], "chosen": ["b"]}).write_parquet(path)
    with pytest.raises(InputError, match="is not an eval index: its columns are prompt, chosen"):
        EvalIndex.load(path)
    index.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        EvalIndex.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr(indexing, "VERSION", 2)
    with pytest.raises(InputError, match="has version 1, not 2: build and save it again"):
        EvalIndex.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda items, about: (items.head(1), about),
        lambda items, about: (items.with_columns(pl.col("whole") + 1), about),
        lambda items, about: (items.with_columns(pl.col("ngrams").list.reverse()), about),
        lambda items, about: (items, about | {"ngram": 7}),
        lambda items, about: (items, {"version": 1}),
    ],
)
def test_an_index_that_was_changed(index: EvalIndex, tmp_path: Path, change: Change) -> None:
    index.save(tmp_path / "i")
    about = json.loads(pl.read_parquet_metadata(tmp_path / "i")[indexing.KEY])
    items, about = change(index.items, about)
    items.write_parquet(tmp_path / "i", metadata={indexing.KEY: json.dumps(about)})
    with pytest.raises(InputError, match="is damaged, its content has changed"):
        EvalIndex.load(tmp_path / "i")


def test_an_index_with_other_columns(index: EvalIndex, tmp_path: Path) -> None:
    index.items.drop("words").write_parquet(tmp_path / "i", metadata={indexing.KEY: '{"version": 1}'})
    with pytest.raises(InputError, match="words is missing"):
        EvalIndex.load(tmp_path / "i")


def test_sets_that_cannot_be_indexed() -> None:
    one = EvalSet.of("one", ["a b"])
    with pytest.raises(RecipeError, match="no eval set is named"):
        EvalIndex.build([])
    with pytest.raises(RecipeError, match="two eval sets are named 'one'"):
        EvalIndex.build([one, EvalSet.of("one", ["c"])])
    with pytest.raises(InputError, match="'emoji' is empty: none of its 2 items has a word"):
        EvalIndex.build([one, EvalSet.of("emoji", ["🎉", "?!"])])
    with pytest.raises(InputError, match="'set' has more than one item with the id 'x'"):
        EvalIndex.build([EvalSet.of("set", ["a", "b"], ["x", "x"])])


def test_an_index_of_short_items_only() -> None:
    index = EvalIndex.build([EvalSet.of("set", ["Hi", "Who are you?"])])
    assert hits(pl.Series(["hi", "a b c d e f g h i j k"]), index).rows() == [(0, "set", "0", 1.0)]


def test_indexes_are_joined_in_their_order() -> None:
    one, two = (
        EvalIndex.build([EvalSet.of("one", ["a b c"])], ngram=3),
        EvalIndex.build([EvalSet.of("two", ["d"])], ngram=3),
    )
    assert EvalIndex.joined([one]).digest == one.digest
    both = EvalIndex.joined([one, two])
    assert (both.ngram, both.items.get_column("eval_set").to_list()) == (3, ["one", "two"])
    assert hits(pl.Series(["d", "x a b c"]), both).rows() == [(0, "two", "0", 1.0), (1, "one", "0", 1.0)]


def test_indexes_that_cannot_be_joined() -> None:
    one, other = EvalIndex.build([EvalSet.of("one", ["a"])]), EvalIndex.build([EvalSet.of("other", ["a"])], ngram=5)
    with pytest.raises(
        RecipeError, match="the eval indexes have n-grams of 8, 5 words; set ngram to that of the saved"
    ):
        EvalIndex.joined([one, other])
    with pytest.raises(RecipeError, match="two eval sets are named 'one'; names must be unique"):
        EvalIndex.joined([one, one])


def test_a_saved_index_is_told_from_other_files(index: EvalIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "saved")
    pl.DataFrame({"prompt": ["a"]}).write_parquet(tmp_path / "pairs.parquet")
    (tmp_path / "text").write_text("prompt", "utf-8")
    names = ["saved", "pairs.parquet", "text", "missing", "."]
    assert [EvalIndex.is_saved(tmp_path / name) for name in names] == [True, False, False, False, False]


def test_an_index_of_one_n_gram() -> None:
    index = EvalIndex.build([EvalSet.of("set", ["a b"])], ngram=2)
    assert index.items.select("words", pl.col("ngrams").list.len().alias("ngrams")).rows() == [(2, 1)]
    assert hits(pl.Series(["a b", "b a", "x a b y"]), index).rows() == [(0, "set", "0", 1.0), (2, "set", "0", 1.0)]
    hashes = index.items.get_column("ngrams").explode().to_numpy()
    places, keys = index.lookup.find(np.concatenate([hashes + 1, hashes]))  # the first is greater than all of the index
    assert (places.tolist(), keys.tolist()) == ([1], [0])


def test_a_path_is_taken_literally(index: EvalIndex, tmp_path: Path) -> None:
    path = tmp_path / "words=3" / "evals[1].index"  # neither the values of a column nor a pattern
    index.save(path)
    assert EvalIndex.load(path).items.equals(index.items)


def test_200_characters_of_an_error_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError("x" * 300)

    monkeypatch.setattr(pl, "read_parquet_metadata", fail)
    with pytest.raises(InputError, match=r"cannot be read \(x{200}\): build"):
        EvalIndex.load(tmp_path / "i")
