"""Eval items found by embedding, with an encoder that counts letters."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from curate.contamination import embedding
from curate.contamination.embedding import EvalVectors, similar_hits
from curate.contamination.eval_set import EvalSet
from curate.contamination.hits import by_set, closest
from curate.errors import RecipeError


class Letters:
    """Encodes the counts of a, b and c as a vector of unit length, or zeros without any."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        counts = np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float32).reshape(-1, 3)
        lengths = np.linalg.norm(counts, axis=1, keepdims=True)
        vectors: np.ndarray = np.divide(counts, lengths, out=np.zeros_like(counts), where=lengths > 0)
        return vectors


@pytest.fixture
def evals() -> EvalVectors:
    return EvalVectors.build([EvalSet.of("one", ["aab", "c"]), EvalSet.of("two", ["ab", "xyz"], ["p", "q"])], Letters())


def test_the_closest_text_of_a_row_is_used(evals: EvalVectors) -> None:
    rows = pl.Series([["baa", "b"], ["c b a", "cc"], [" ", ""], None, ["xyz"], ["abab", "ab"]])
    table = similar_hits(rows, evals, Letters())
    assert table.drop("overlap").rows() == [
        (0, "one", "0"), (0, "two", "p"), (1, "one", "1"), (5, "two", "p"), (5, "one", "0"),
    ]  # fmt: skip
    assert table.get_column("overlap").to_list() == pytest.approx([1, 3 / 10**0.5, 1, 1, 3 / 10**0.5])
    assert closest(table).get_column("item").to_list() == ["0", "1", "p"]
    assert by_set(table, evals.items).rows() == [("one", 2, 2, 3), ("two", 2, 1, 2)]
    assert similar_hits(rows, evals, Letters(), threshold=0.99).get_column("row").to_list() == [0, 1, 5]


def test_of_several_similar_texts_the_closest_counts(evals: EvalVectors) -> None:
    table = similar_hits(pl.Series([["aaab", "baa"]]), evals, Letters())
    assert table.row(0) == (0, "one", "0", pytest.approx(1))


def test_the_cosine_must_be_greater_than_the_threshold() -> None:
    evals, rows = EvalVectors.build([EvalSet.of("one", ["a"])], Letters()), pl.Series(["aaaabbb"])  # 4 of 5
    assert similar_hits(rows, evals, Letters(), threshold=0.8).is_empty()
    assert len(similar_hits(rows, evals, Letters(), threshold=0.79)) == 1


def test_every_hit_is_returned_unless_told_otherwise() -> None:
    evals, rows = EvalVectors.build([EvalSet.of("one", ["aab", "aaab"])], Letters()), pl.Series(["aab", "aaab"])
    assert len(similar_hits(rows, evals, Letters())) == 4
    assert len(similar_hits(rows, evals, Letters(), every=False)) == 2


def test_one_text_per_row_and_blank_texts_are_not_encoded(evals: EvalVectors) -> None:
    encoder = Letters()
    assert similar_hits(pl.Series(["c", "", None, " \n"]), evals, encoder).rows() == [(0, "one", "1", 1.0)]
    assert encoder.seen == ["c"]
    assert similar_hits(pl.Series([], dtype=pl.String), evals, encoder).is_empty()


def test_chunks_do_not_change_the_result(evals: EvalVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pl.Series([["ab", "c"], ["aab"], ["b"], ["c", "aab", "x"]])
    together = similar_hits(rows, evals, Letters())
    monkeypatch.setattr(embedding, "SIMILARITIES_PER_CHUNK", 1)
    assert similar_hits(rows, evals, Letters()).equals(together)
    few = similar_hits(rows, evals, Letters(), every=False)
    assert by_set(few, evals.items).equals(by_set(together, evals.items))


def test_bad_arguments(evals: EvalVectors) -> None:
    with pytest.raises(RecipeError, match="threshold is 1"):
        similar_hits(pl.Series(["a"]), evals, Letters(), threshold=1)
    with pytest.raises(RecipeError, match="two eval sets are named 'one'"):
        EvalVectors.build([EvalSet.of("one", ["a"]), EvalSet.of("one", ["b"])], Letters())


def test_an_overlap_is_at_most_1() -> None:
    class Longer(Letters):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return super().encode(texts) * np.float32(1.0001)  # the error of float16, in which a model may run

    evals = EvalVectors.build([EvalSet.of("one", ["aab"])], Longer())
    assert similar_hits(pl.Series(["baa"]), evals, Longer()).rows() == [(0, "one", "0", 1.0)]
