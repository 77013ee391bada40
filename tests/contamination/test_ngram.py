"""Eval items in training rows: the rule by example, compared with plain Python, and unusual inputs."""

import random
import time
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.contamination import ngram as matching
from curate.contamination.eval_set import EvalSet
from curate.contamination.hits import by_set, closest, in_blocks, row_texts
from curate.contamination.index import EvalIndex
from curate.contamination.ngram import exact_hits, hits
from curate.errors import RecipeError
from curate.schema import MESSAGES
from curate.text import stable_words as hashing
from tests.plain_overlap import PlainIndex

TEN = "a b c d e f g h i j"  # ten words
Row = tuple[int, str, str, float]


def index_of(*items: str, ngram: int = 8) -> EvalIndex:
    return EvalIndex.build([EvalSet.of("set", items)], ngram=ngram)


def found(rows: Sequence[str | list[str] | None], index: EvalIndex, threshold: float = 0.5) -> list[Row]:
    return hits(pl.Series(rows), index, threshold=threshold).rows()


@pytest.mark.parametrize(
    ("row", "overlap"),
    [
        (TEN, 1.0),
        (f"Please solve: {TEN.upper()}! Think first.", 1.0),
        ("x a b c d e f g h y", 0.8),  # one 8-gram
        ("a b c d e f g h x c d e f g h i j", 1.0),  # the first and the last, separated
        ("b c d e f g h i a b c d e f g", 0.8),  # seven words in another order
        ("a b c d e f g x h i j", None),  # no 8-gram
        ("j i h g f e d c b a", None),
        ("", None),
        ("🎉 👍🏽", None),
    ],
)
def test_the_share_of_an_items_words_in_shared_8_grams(row: str, overlap: float | None) -> None:
    expected = [] if overlap is None else [(0, "set", "0", overlap)]
    assert found([row], index_of(TEN)) == expected


def test_the_share_must_be_greater_than_the_threshold() -> None:
    index = index_of(" ".join(f"w{n}" for n in range(16)))
    half = " ".join(f"w{n}" for n in range(8))
    assert found([half], index) == []
    assert found([f"{half} w8"], index) == [(0, "set", "0", 9 / 16)]
    assert found([half], index, threshold=0.4) == [(0, "set", "0", 0.5)]
    assert found([f"{half} w8"], index, threshold=9 / 16) == []
    for threshold in (-0.1, 1, 50, float("nan")):
        with pytest.raises(RecipeError, match="expected 0 or more and less than 1"):
            found([half], index, threshold=threshold)


def test_short_items_match_equal_texts_only() -> None:
    index = index_of("Hi", "Who are you?", "HI!", "🎉", "seven words are no gram of eight")
    rows = ["hi.", "Hi there", "who are you", "I ask: who are you?", "🎉", "", "Seven words are no gram of EIGHT…"]
    assert found(rows, index) == [
        (0, "set", "0", 1.0),
        (0, "set", "2", 1.0),
        (2, "set", "1", 1.0),
        (6, "set", "4", 1.0),
    ]


def test_a_row_combines_its_texts_and_an_8_gram_is_within_one() -> None:
    index = index_of(TEN, "who are you")
    rows: list[list[str] | None] = [
        ["a b c d e f g h", "x", "c d e f g h i j"],  # covered together
        ["a b c d e", "f g h i j"],
        ["hello", "Who are you?"],
        ["who", "are you"],
        [],
        None,
        ["", TEN, TEN],
    ]
    expected = [(0, "set", "0", 1.0), (2, "set", "1", 1.0), (6, "set", "0", 1.0)]
    assert found(rows, index) == expected


def test_a_repeated_word_of_an_item_is_covered_twice() -> None:
    item = "a b a b a b a b a b a b x y"  # its 8-grams repeat
    assert found(["a b a b a b a b"], index_of(item)) == [(0, "set", "0", 12 / 14)]
    assert list(PlainIndex([item]).hits([["a b a b a b a b"]])) == [(0, 0, 12 / 14)]


def test_in_scripts_without_spaces_a_character_is_a_word() -> None:
    index = index_of("今天天气很好我们去公园散步", "สวัสดีครับคุณสบายดีไหม")
    rows = ["请把这句话翻译成英文：今天天气很好，我们去公园散步。", "今天我们去公园", "ถาม: สวัสดีครับคุณสบายดีไหม"]
    assert found(rows, index) == [(0, "set", "0", 1.0), (2, "set", "1", 1.0)]


def test_the_closest_item_of_a_row_comes_first() -> None:
    sets = [EvalSet.of("one", [f"{TEN} x y", TEN]), EvalSet.of("two", [TEN, "nothing like it"])]
    index = EvalIndex.build(sets)
    every = hits(pl.Series(["", TEN]), index)
    assert every.rows() == [(1, "one", "1", 1.0), (1, "two", "0", 1.0), (1, "one", "0", 10 / 12)]
    assert closest(every).rows() == [(1, "one", "1", 1.0)]


def test_the_counts_of_each_set() -> None:
    sets = [EvalSet.of("b", [TEN, f"{TEN} k", "yes"]), EvalSet.of("a", ["no such words"]), EvalSet.of("c", [TEN, "z"])]
    index = EvalIndex.build(sets)
    rows = pl.Series([TEN, "Yes.", f"{TEN} k", "other", TEN])
    counts = [("b", 3, 3, 4), ("a", 1, 0, 0), ("c", 2, 1, 3)]
    assert by_set(hits(rows, index), index.items).rows() == counts
    assert by_set(hits(rows, index, every=False), index.items).rows() == counts
    assert by_set(hits(rows.head(0), index), index.items).rows() == [("b", 3, 0, 0), ("a", 1, 0, 0), ("c", 2, 0, 0)]


def test_exact_hits_have_exactly_the_same_words() -> None:
    index = index_of("What is 2 + 2?", "Hi", "👍", TEN)
    rows = pl.Series([["hello", "what is 2+2"], ["what is 2 + 2 then"], ["hi", "HI"], ["👍"], [f"{TEN} k"], None])
    assert exact_hits(rows, index).rows() == [(0, "set", "0", 1.0), (2, "set", "1", 1.0)]
    assert exact_hits(rows, index, every=False).equals(exact_hits(rows, index))


def test_every_hit_is_returned_unless_told_otherwise() -> None:
    index, rows = index_of(TEN, TEN), pl.Series([TEN, TEN])
    every = [(row, "set", item, 1.0) for row in (0, 1) for item in ("0", "1")]
    assert hits(rows, index).rows() == exact_hits(rows, index).rows() == every
    few = every[:3]  # the closest item of each row, and the closest row of each item
    assert hits(rows, index, every=False).rows() == exact_hits(rows, index, every=False).rows() == few


def test_the_row_that_is_returned_for_an_item_is_its_closest() -> None:
    index, rows = index_of(f"{TEN} x y", TEN), pl.Series(["a b c d e f g h", TEN, "a b c d e f g h"])
    assert hits(rows, index, every=False).rows() == [
        (0, "set", "1", 0.8),
        (1, "set", "1", 1.0),
        (1, "set", "0", 10 / 12),
        (2, "set", "1", 0.8),
    ]


def test_the_texts_of_pairs() -> None:
    def said(*texts: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text} for text in texts]

    frame = {"prompt": [said("p", "q"), said("r")], "chosen": [said("c"), []], "rejected": [said("d"), None]}
    pairs = pl.DataFrame(frame, schema=dict.fromkeys(frame, MESSAGES))
    assert row_texts(pairs).to_list() == [["p", "q", "c", "d"], ["r"]]
    assert row_texts(pairs, ["prompt"]).to_list() == [["p", "q"], ["r"]]
    with pytest.raises(RecipeError, match="no field to decontaminate"):
        row_texts(pairs, [])
    with pytest.raises(RecipeError, match=r"unknown field to decontaminate 'promt'\. Did you mean 'prompt'\?"):
        row_texts(pairs, ["promt"])


# Few words and short n-grams, so that many are shared; some texts have no word or fewer words than an n-gram.
WORDS = st.lists(st.sampled_from(["a", "b", "c", "D.", "été", "天气", "longer-word", "🎉"]), max_size=14).map(" ".join)
ROWS = st.lists(st.lists(WORDS, max_size=3), max_size=8)


def set_of(items: list[str]) -> EvalSet:
    return EvalSet("set", pl.Series(items), pl.Series([str(number) for number in range(len(items))]))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=5), ROWS, st.sampled_from([1, 2, 3]), st.sampled_from([0, 0.3, 0.5, 0.8]))
def test_hits_agree_with_plain_python(items: list[str], rows: list[list[str]], ngram: int, threshold: float) -> None:
    index = EvalIndex.build([set_of(["some words", *items])], ngram=ngram)
    plain = PlainIndex(["some words", *items], ngram).hits(rows, threshold)
    expected = sorted((row, -overlap, item) for row, item, overlap in plain)
    table = hits(pl.Series(rows, dtype=pl.List(pl.String)), index, threshold=threshold)
    assert table.rows() == [(row, "set", str(item), -overlap) for row, overlap, item in expected]


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.lists(WORDS, min_size=1, max_size=5), ROWS, st.integers(1, 4), st.integers(0, 99))
def test_hits_do_not_depend_on_blocks_order_and_threads(
    items: list[str], rows: list[list[str]], size: int, seed: int
) -> None:
    index = EvalIndex.build([set_of(["some words", *items])], ngram=2)
    texts = pl.Series(rows, dtype=pl.List(pl.String))
    together = hits(texts, index)
    blocks = [texts.slice(start, size) for start in range(0, len(texts), size)]
    assert pl.concat([together.clear(), *in_blocks(blocks, lambda block: hits(block, index))]).equals(together)
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    turned = hits(texts[order], index).with_columns(row=pl.col("row").replace_strict(dict(enumerate(order)), default=0))
    assert turned.with_columns(pl.col("row").cast(pl.UInt64)).sort("row", maintain_order=True).equals(together)
    few = [together.clear(), *in_blocks(blocks, lambda block: hits(block, index, every=False))]
    assert by_set(pl.concat(few), index.items).equals(by_set(together, index.items))
    assert closest(pl.concat(few)).equals(closest(together))


def test_hits_do_not_depend_on_chunks_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(0)
    texts = [" ".join(chance.choices("abc", k=chance.randrange(30))) for _ in range(200)]
    index = EvalIndex.build([set_of(texts[:40])], ngram=3)
    together = hits(pl.Series(texts), index)
    monkeypatch.setattr(matching, "PLACES_PER_CHUNK", 1)
    monkeypatch.setattr(hashing, "RUN_BYTES", 50)
    assert hits(pl.Series(texts), index).equals(together)
    assert len(together) > 1000


def test_items_are_found_in_longer_prompts_and_with_edits() -> None:
    chance = random.Random(1)
    vocabulary = [f"word{number}" for number in range(3000)]
    items = [" ".join(chance.choices(vocabulary, k=chance.randint(40, 80))) for _ in range(100)]
    rows = []
    for item in items:
        words = item.split(" ")
        for _ in range(len(words) // 20):  # 5 % of the words
            words[chance.randrange(len(words))] = "edited"
        about = " ".join(chance.choices(vocabulary, k=150))
        rows += [f"{about}\n{item}\n{about}", item.upper().replace(" ", ",  "), " ".join(words), about]
    table = hits(pl.Series(rows), index_of(*items))
    of_kind = [table.filter(pl.col("row") % 4 == kind) for kind in range(4)]
    assert all(row // 4 == int(item) for row, _, item, _ in table.rows())
    assert [len(kind) for kind in of_kind[:2]] == [100, 100]
    assert len(of_kind[2]) >= 95
    assert len(of_kind[3]) == 0


@pytest.mark.slow
def test_a_text_of_megabytes_with_and_without_spaces() -> None:
    filler = "filler text of many words " * 200_000  # 5 MB
    rows = [f"{filler}{TEN} {filler}", "x" * 5_000_000, "漢" * 1_700_000, f"{TEN} {'y' * 5_000_000}", TEN]
    index = index_of(TEN, "漢" * 40)
    started = time.monotonic()
    assert [(row, item) for row, _, item, _ in found(rows, index)] == [(0, "0"), (2, "1"), (3, "0"), (4, "0")]
    assert time.monotonic() - started < 20


def test_mixed_scripts_and_texts_without_words() -> None:
    item = "Translate 今天天气很好 and Сегодня хорошая погода into English, please 👍"
    rows = [f"👍👍 {item.upper()} ❤️", "👍 … ❤️", "今天天气很好", "!!!", "", f"so: {item.replace(' ', '  ')}"]
    assert [(row, overlap) for row, _, _, overlap in found(rows, index_of(item))] == [(0, 1.0), (5, 1.0)]


@pytest.mark.slow
def test_one_template_in_all_items_and_all_rows() -> None:
    """Every row matches every item: one row is compared, and few of the rows x items hits are returned."""
    template = " ".join(f"t{number}" for number in range(60))
    items = [f"{template} item {number}" for number in range(1000)]
    rows = pl.Series([f"{template} row {number}" for number in range(20_000)])
    index = index_of(*items)
    started = time.monotonic()
    few = hits(rows, index, every=False)
    assert time.monotonic() - started < 20
    assert len(few) < 22_000
    assert by_set(few, index.items).rows() == [("set", 1000, 1000, 20_000)]
    assert closest(few).get_column("item").unique().to_list() == ["0"]


def test_the_same_text_many_times() -> None:
    rows = pl.Series([TEN]).new_from_index(0, 100_000)
    assert len(hits(rows, index_of(TEN, "Hi"))) == 100_000
