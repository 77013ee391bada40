"""Near-duplicates: what is found, correctness, independence of blocks and threads, and bad input."""

import os
import random
import subprocess
import sys
import time
from functools import partial
from itertools import combinations, pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.clusters import components
from curate.dedup.jaccard import batches, similarities
from curate.dedup.lsh import candidates
from curate.dedup.minhash import Plan, Sketches, make_plan, sketch
from curate.dedup.near_edges import SEED, near_edges
from curate.dedup.tables import EDGES
from curate.engine import Block, Threads, sliced
from curate.errors import InputError
from curate.text.blocks import text_chunks
from tests.data import SHARED
from tests.dedup.edits import compare, exact_pairs, plain_shingles, planted

Edges = list[tuple[int, int, float]]
FOX = "The quick brown fox jumps over the lazy dog while the sun sets slowly behind the old red barn"


def edges(*texts: str | None, **options: object) -> Edges:
    """Return the edges among texts in one block."""
    found = near_edges(sliced(pl.Series(texts, dtype=pl.String)), **options)  # type: ignore[arg-type]
    assert found.schema == EDGES
    return found.rows()


def blocks_of(parts: list[pl.Series]) -> list[Block[pl.Series]]:
    return [Block(len(part), partial(pl.Series, part)) for part in parts]


def clusters(texts: list[str], block: int, workers: int = 2) -> set[frozenset[str]]:
    """Return the texts of each cluster, computed in blocks of this size."""
    found = near_edges(sliced(pl.Series(texts), block), engine=Threads(workers))
    labels = components(len(texts), found)
    groups = pl.DataFrame({"text": texts, "label": labels}).group_by("label").agg("text")
    return {frozenset(group) for group in groups.get_column("text")}


def story(number: int, words: int = 60) -> str:
    """Return a text that is similar to no other story."""
    chance = random.Random(number)
    return " ".join(f"w{chance.randrange(5000)}" for _ in range(words))


def test_different_texts_are_not_linked() -> None:
    assert edges("How do I bake bread?", "Where is the station?", "How do I bake a cake?") == []


def test_case_space_and_punctuation_are_ignored() -> None:
    assert edges("Hello,  world!", "x", "hello world", "HELLO\nWORLD…") == [(0, 2, 1.0), (0, 3, 1.0)]


def test_the_similarity_is_the_share_of_shingles() -> None:
    changed = FOX.replace("barn", "shed")
    assert edges(FOX, changed) == [(0, 1, 16 / 18)]
    assert edges(FOX, changed, threshold=0.9) == []
    assert edges(FOX, changed, shingle_size=1) == [(0, 1, 15 / 17)]


def test_the_bands_of_a_text_are_the_same_in_every_version() -> None:
    """The seed and all hashes are ours or pinned: the same data has the same candidates after an update."""
    sketched = sketch(pl.Series(["The quick brown fox jumps over the lazy dog"]), make_plan(0.8, 3, None, SEED))
    assert sketched.keys[0, :2].tolist() == [12100034443957069740, 14346183324357131789]


def test_a_pair_exactly_at_the_threshold_is_found() -> None:
    assert edges(" ".join("abcdefghijk"), " ".join("abcdefghijz"), threshold=0.8) == [(0, 1, 0.8)]


def test_at_a_threshold_of_1_only_the_same_words_are_linked() -> None:
    assert edges(FOX, FOX.upper(), f"{FOX} again", threshold=1) == [(0, 1, 1.0)]


def test_copies_of_a_near_duplicate_are_linked_to_the_first_copy() -> None:
    changed = FOX.replace("barn", "shed")
    assert edges(changed, FOX, FOX.upper(), changed) == [(0, 1, 16 / 18), (0, 3, 1.0), (1, 2, 1.0)]


def test_rows_are_counted_over_all_blocks() -> None:
    blocks = [pl.Series(["a", FOX]), pl.Series([], dtype=pl.String), pl.Series([None, None]), pl.Series(["b", FOX])]
    assert near_edges(blocks_of(blocks)).rows() == [(1, 5, 1.0)]
    assert near_edges([]).rows() == []


def test_empty_and_one_word_texts() -> None:
    assert edges("", "", None, " ", "\n") == []
    assert edges("yes", "no", "Yes.", "", "maybe") == [(0, 2, 1.0)]
    assert edges("thank you", "thank god", "thank you so", "Thank you!") == [(0, 3, 1.0)]


def test_a_text_of_one_shingle_can_be_half_of_another() -> None:
    assert edges("hello", "hello you", threshold=0.5, shingle_size=1, bands=(50, 1)) == [(0, 1, 0.5)]


def test_only_punctuation_or_emoji() -> None:
    assert edges("...", "!!!", "👍", "❤️", "...", "👎", "👍👍", "👍") == [(0, 4, 1.0), (2, 7, 1.0)]


def test_scripts_without_spaces() -> None:
    chinese, thai = (
        "我今天早上去市场买了很多新鲜的苹果和香蕉回家做早饭",
        "วันนี้ฉันไปตลาดเพื่อซื้อผลไม้และผักสดมากมายสำหรับครอบครัว",
    )
    found = edges(chinese, thai, chinese.replace("饭", "餐") + "。", "我不喜欢下雨的天气", thai + "!")
    assert [(a, b) for a, b, _ in found] == [(0, 2), (1, 4)]


def test_mixed_scripts() -> None:
    text = f"{FOX} 我今天早上去市场买了很多苹果 Сегодня утром мы пошли на рынок 👍 \u0627\u0644\u0633\u0644\u0627\u0645"
    assert edges(text, text.upper().replace(" ", "  "), FOX) == [(0, 1, 1.0)]


def test_arithmetic_signs_are_not_lost() -> None:
    assert edges("What is 12 + 7?", "What is 12 - 7?", "What is 12 × 7?", "What is 12*7?") == [(2, 3, 1.0)]


@pytest.mark.slow
def test_a_word_of_megabytes_and_a_text_of_megabytes() -> None:
    long = " ".join(story(number, 1000) for number in range(1000))  # 5.9 MB
    assert len(long) > 5_000_000
    assert edges("x" * 5_000_000, long, "y" * 5_000_000, f"{long} and more")[0][:2] == (1, 3)


@pytest.mark.slow
def test_one_text_many_times_is_linear() -> None:
    started = time.process_time()
    block = pl.Series([FOX, "A text that stands alone."]).gather([0] * 50_000)
    found = near_edges(sliced(block) * 20)
    assert len(found) == 999_999
    assert found.get_column("row_a").max() == 0
    assert time.process_time() - started < 20


def test_a_large_cluster_is_connected_by_few_pairs() -> None:
    count = 5_000
    texts = [FOX.replace("dog", f"dog{number}") + " and then again " + FOX for number in range(count)]
    found = near_edges(sliced(pl.Series(texts)), threshold=0.75)  # any two share 22 of 28 shingles
    assert set(components(count, found).tolist()) == {0}
    assert len(found) < 15 * count


def test_a_large_group_of_several_clusters_is_not_merged() -> None:
    """A long shared prefix puts them into the same groups; the rest of the text decides."""
    head = " ".join(story(number) for number in range(2))
    bodies = [story(100 + number) for number in range(40)]
    texts = [f"{head} {body} x{copy}" for copy in range(30) for body in bodies]
    found = near_edges(sliced(pl.Series(texts)), threshold=0.9)
    labels = components(len(texts), found).reshape(30, 40)
    assert (labels == labels[0]).mean() > 0.99
    assert len(set(labels[0].tolist())) == len(bodies)


def test_less_memory_means_more_passes_and_the_same_edges() -> None:
    originals = [story(number, 300) for number in range(200)]
    texts = pl.Series([changed for text in originals for changed in (text, f"{text} again", f"so {text}")])
    passes: list[int] = []

    def read(at: int) -> pl.Series:
        passes.append(at)
        return texts[at : at + 100]

    found = near_edges([Block(100, partial(read, at)) for at in range(0, 600, 100)], memory_mb=1)
    assert len(passes) > 2 * 6
    assert found.rows() == near_edges(sliced(texts)).rows()
    assert len(found) == 600


def test_a_block_of_more_than_four_gigabytes() -> None:
    block = pl.Series(["x" * 5_000_000]).gather([0] * 900)  # which polars stores once
    assert [len(texts) for texts in text_chunks(block)] == [1] * 900


def test_few_words_and_long_shingles() -> None:
    assert edges("a b", "A, b!", "b a", shingle_size=8) == [(0, 1, 1.0)]


def test_pairs_of_rows_that_no_block_has() -> None:
    pairs = pl.DataFrame({"row_a": [0], "row_b": [1]}, schema={"row_a": pl.UInt64, "row_b": pl.UInt64})
    with pytest.raises(InputError, match="row 1 is in no block"):
        similarities(sliced(pl.Series([FOX])), pairs)


def test_blocks_of_another_dtype() -> None:
    with pytest.raises(InputError, match="'numbers' is Int64"):
        near_edges(sliced(pl.Series("numbers", [1, 2])))


def test_similarities_of_any_pairs() -> None:
    texts = [pl.Series([FOX, "", "other words here", FOX.upper()]), pl.Series([FOX.replace("barn", "shed")])]
    pairs = pl.DataFrame({"row_a": [4, 0, 1, 0], "row_b": [0, 3, 2, 2]}, schema_overrides={"row_a": pl.UInt64})
    assert similarities(blocks_of(texts), pairs).get_column("similarity").to_list() == [16 / 18, 1.0, 0.0, 0.0]


# Texts of few words, so that near-duplicates of every degree are common.
WORD = st.sampled_from([*"abcdefgh", "漢", "字", "É", "!", "2+2"])
TEXT = st.lists(WORD, max_size=12).map(" ".join)


@st.composite
def related(draw: st.DrawFn) -> list[str]:
    """Draw texts, some of which are others with a word added, dropped or exchanged."""
    texts = draw(st.lists(TEXT, max_size=6))
    for text in list(texts):
        words = text.split(" ")
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(words)))
            words[at : at + draw(st.integers(0, 1))] = draw(st.lists(WORD, max_size=1))
            texts.append(" ".join(words))
    return texts


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(related(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_blocks_and_order(texts: list[str], block: int, chance: random.Random) -> None:
    shuffled = chance.sample(texts, len(texts))
    assert clusters(texts, len(texts) + 1, workers=1) == clusters(shuffled, block, workers=3)


@settings(deadline=None, max_examples=40)
@given(
    related(),
    st.lists(st.integers(0, 6), max_size=8),
    st.tuples(st.integers(1, 60), st.integers(1, 40), st.sampled_from([1, 2, 4])),
    st.sampled_from([(0.5, 1), (0.8, 3), (0.8, 8), (1.0, 2)]),
)
@pytest.mark.slow
def test_edges_do_not_depend_on_block_and_chunk_sizes(
    texts: list[str], cuts: list[int], sizes: tuple[int, int, int], how: tuple[float, int]
) -> None:
    """Blocks of any size, also empty; chunks of any number of bytes and shingles; threads."""
    whole = near_edges(
        sliced(pl.Series(texts, dtype=pl.String)), threshold=how[0], shingle_size=how[1], engine=Threads(1)
    )
    ends = [min(sum(cuts[:place]), len(texts)) for place in range(len(cuts) + 1)] + [len(texts)]
    blocks = [pl.Series(texts[start:stop], dtype=pl.String) for start, stop in pairwise(ends)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.text.blocks.CHUNK_BYTES", sizes[0])
        patch.setattr("curate.dedup.jaccard.SHINGLES_PER_CHUNK", sizes[1])
        found = near_edges(blocks_of(blocks), threshold=how[0], shingle_size=how[1], engine=Threads(sizes[2]))
    assert found.equals(whole)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(related(), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_every_edge_is_correct(texts: list[str], threshold: float) -> None:
    exact = exact_pairs(texts, threshold)
    for a, b, similarity in edges(*texts, threshold=threshold):
        assert similarity == pytest.approx(exact[a, b])


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(related())
def test_texts_of_the_same_shingles_are_in_one_cluster(texts: list[str]) -> None:
    found = near_edges(sliced(pl.Series(texts, dtype=pl.String)))
    labels = components(len(texts), found).tolist()
    linked = set(found.select("row_a", "row_b").rows())
    for (a, one), (b, other) in combinations(enumerate(map(plain_shingles, texts)), 2):
        # Two texts that repeat different parts of one set are ordinary candidates.
        if one and texts[a].lower() == texts[b].lower():
            assert labels[a] == labels[b]
        if not one & other:
            assert (a, b) not in linked


@pytest.mark.slow
def test_clusters_of_many_texts_do_not_depend_on_blocks_and_order() -> None:
    """The groups are so large that not every pair is compared."""
    chance = random.Random(1)
    many = [FOX.replace(" ", f" {chance.choice('ab')} ", chance.randrange(12)) for _ in range(400)]
    texts = [f"{text} {chance.choice(['', 'so', 'and more'])} {story(1, 30)}" for text in many]
    texts += [story(number % 90) + f" {number % 7}" for number in range(300)]
    expected = clusters(texts, len(texts))
    for block in (1, 7, 64):
        assert clusters(chance.sample(texts, len(texts)), block, workers=block % 3 + 1) == expected


@pytest.mark.slow
def test_edges_do_not_depend_on_process_and_threads() -> None:
    texts = [story(number // 2) + " x" * (number % 2) for number in range(200)]
    program = (
        "import polars as pl; from curate.dedup.near_edges import near_edges; from curate.engine import sliced\n"
        f"print(near_edges(sliced(pl.Series({texts!r}))).rows())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "POLARS_MAX_THREADS": threads, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    assert outputs == {f"{edges(*texts)}\n"}
    assert len(edges(*texts)) == 100


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")
def test_recall_and_precision_on_real_texts_with_planted_edits() -> None:
    outputs = pl.read_parquet(SHARED / "alpaca_eval_outputs.parquet").get_column("output")
    texts = planted(outputs.unique(maintain_order=True).head(300).to_list(), seed=1)
    found = near_edges(sliced(texts.get_column("text")))
    for kind, similar, hits, clustered, precision in compare(texts, found, 0.8).rows():
        assert precision == 1.0
        assert hits >= 0.98 * similar, kind
        assert clustered >= hits, kind
        assert similar > 200 or kind != "all"


def test_chunks_include_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [pl.Series([f"a b c {number}" for number in range(12)])]
    pairs = pl.DataFrame(
        list(combinations(range(12), 2)), schema={"row_a": pl.UInt64, "row_b": pl.UInt64}, orient="row"
    )
    for chunk in (1, 2, 4, 8, 16, 264, 1000):
        monkeypatch.setattr("curate.dedup.jaccard.SHINGLES_PER_CHUNK", chunk)
        assert similarities(blocks_of(texts), pairs).get_column("similarity").to_list() == [1 / 3] * 66


def test_batches_are_disjoint_and_complete() -> None:
    pairs = pl.DataFrame([(a, a + 1) for a in range(0, 100, 2)], schema=["row_a", "row_b"], orient="row")
    parts = list(batches(pairs, pl.Series([10] * 101).to_numpy(), 100))
    # The rows of a pair have 20 shingles, and its comparison takes the memory of five more.
    assert [len(part) for part in parts] == [3, *[4] * 11, 3]
    assert pl.concat(parts).sort("row_a").equals(pairs)
    assert all(one.get_column("row_a").max() < other.get_column("row_a").min() for one, other in pairwise(parts))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("pairs", "limit", "sizes"),
    [
        ([], 0, []),
        ([(0, 1), (2, 3)], 50, [2]),  # four rows of 10 shingles, two pairs of five
        ([(0, 1), (2, 3)], 49, [1, 1]),
        ([(0, 1), (0, 2), (1, 2)], 30, [1, 2]),  # 25, 15 for a row that is new, five without any
    ],
)
def test_rows_count_once_for_the_size_of_a_batch(pairs: list[tuple[int, int]], limit: int, sizes: list[int]) -> None:
    frame = pl.DataFrame(pairs, schema={"row_a": pl.UInt64, "row_b": pl.UInt64}, orient="row")
    assert [len(part) for part in batches(frame, np.full(4, 10), limit)] == sizes


def test_texts_of_one_shingle_and_of_none() -> None:
    texts = [pl.Series(["hello", "Hello!", "", " "])]
    pairs = pl.DataFrame({"row_a": [2, 0], "row_b": [3, 1]}, schema={"row_a": pl.UInt64, "row_b": pl.UInt64})
    assert similarities(blocks_of(texts), pairs).get_column("similarity").to_list() == [0.0, 1.0]


def compared(keys: np.ndarray, minima: np.ndarray | None = None, threshold: float = 0.8) -> list[tuple[int, int]]:
    """Return the candidates among texts of these keys (a column per band) and minima, by default all the same."""
    rows = np.arange(len(keys))
    same = np.zeros((len(keys), 64), np.uint8) if minima is None else minima
    sketches = Sketches(rows.astype(np.uint64), np.ones(len(keys), np.uint32), keys.astype(np.uint64), same)
    plan = Plan(threshold, size=3, bands=keys.shape[1], rows=1, slots=same.shape[1], seed=1)
    return candidates(sketches, rows, plan).rows()


def test_every_pair_of_a_group_of_16_is_compared() -> None:
    assert compared(np.zeros((16, 1))) == list(combinations(range(16), 2))


def test_in_a_larger_group_a_text_is_compared_with_the_first_and_the_two_before_it() -> None:
    expected = {(0, row) for row in range(1, 17)} | {(row - back, row) for row in range(3, 17) for back in (1, 2)}
    assert compared(np.zeros((17, 1))) == sorted(expected | {(1, 2)})


@pytest.mark.parametrize(("bands", "pairs"), [(5, 58), (6, 45)])
def test_a_text_is_compared_in_four_larger_groups(bands: int, pairs: int) -> None:
    """The last band reverses the groups of the two bands before it, the fourth and fifth or the fifth and sixth."""
    keys = np.zeros((17, bands + 1))
    keys[:, bands] = np.arange(17, 0, -1)
    assert len(compared(keys)) == pairs


def test_groups_of_16_are_not_among_the_four_larger_ones() -> None:
    keys = np.zeros((17, 5))
    keys[:16, :4] = 1  # the last text is alone in four bands, and sorted before the others in the fifth
    assert compared(keys) == list(combinations(range(17), 2))


@pytest.mark.parametrize(("equal", "expected"), [(19, []), (20, [(0, 1)])])
def test_a_pair_three_deviations_below_the_threshold_is_compared_but_no_lower_one(
    equal: int, expected: list[tuple[int, int]]
) -> None:
    minima = np.zeros((2, 64), np.uint8)
    minima[1, equal:] = 1
    # Of 64 minima 32 are expected to be equal, and the deviation is four.
    assert compared(np.zeros((2, 1)), minima, threshold=0.5) == expected
