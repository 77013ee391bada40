"""Named clusters, the map, and diverse subsets."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from curate.embeddings.cosine import SCALE, grid
from curate.errors import RecipeError
from curate.selection.diversity import cap, diverse, map_2d, prompt_clusters

THEMES = {
    "bread": "How do I bake a {} bread in the oven?",
    "python": "How do I write a {} function in the language Python?",
    "天气": "今天的{}天气怎么样？",
}
WORDS = ["rye", "small", "quick", "sorted", "recursive", "warm", "cold", "new"]


def themed(rows: int = 240) -> tuple[np.ndarray, pl.Series]:
    """Return vectors and texts of three themes, each around its own direction."""
    chance = np.random.default_rng(0)
    centres = np.eye(32)[:3]
    of = np.sort(chance.choice(3, size=rows, p=[0.5, 0.3, 0.2]))
    vectors = centres[of] + chance.normal(size=(rows, 32)) * 0.05
    forms = list(THEMES.values())
    return vectors.astype(np.float32), pl.Series([forms[n].format(WORDS[i % len(WORDS)]) for i, n in enumerate(of)])


@pytest.mark.slow
def test_clusters_are_named_after_their_themes() -> None:
    vectors, texts = themed()
    labels, names = prompt_clusters(vectors, texts, k=3)
    assert (np.diff(np.bincount(labels)) <= 0).all()  # the largest first
    assert (np.diff(labels) >= 0).all()
    for name, theme in zip(names, THEMES, strict=True):
        assert theme in name
    assert not {"a", "the", "do", "in"} & set(", ".join(names).split(", "))


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), threads=st.sampled_from([1, 2]))
@settings(max_examples=8, deadline=None)
def test_clusters_do_not_depend_on_row_order_and_threads(seed: int, threads: int) -> None:
    vectors, texts = themed()
    vectors[3] = vectors[4]
    scores = np.arange(240) % 7 / 7
    order = np.random.default_rng(seed).permutation(240)
    labels, names = prompt_clusters(vectors, texts)
    spots = map_2d(vectors, 100)
    with threadpool_limits(threads):
        again = prompt_clusters(vectors[order], texts[order.tolist()])
        assert (again[0] == labels[order]).all()
        assert again[1] == names
        there = map_2d(vectors[order], 100)
        for method in ("farthest", "mmr"):
            ours = diverse(vectors, scores, 50, method=method)
            theirs = order[diverse(vectors[order], scores[order], 50, method=method)]
            assert (vectors[ours] == vectors[theirs]).all()
    same = there.with_columns(row=pl.Series(order[there.get_column("row").to_numpy()], dtype=pl.UInt64)).sort("x", "y")
    assert same.select("x", "y").equals(spots.sort("x", "y").select("x", "y"))


def test_the_number_of_clusters() -> None:
    vectors, texts = themed()
    assert len(prompt_clusters(vectors, texts)[1]) == 11  # sqrt(240 / 2)
    assert len(prompt_clusters(vectors[:3], texts[:3], k=9)[1]) == 3
    with pytest.raises(RecipeError, match="at least one"):
        prompt_clusters(vectors, texts, k=-1)


def test_few_rows_and_rows_without_a_direction() -> None:
    vectors, texts = themed()
    for rows in (0, 1):
        labels, names = prompt_clusters(vectors[:rows], texts[:rows])
        assert (labels.tolist(), len(names)) == ([0] * rows, rows)
        assert len(map_2d(vectors[:rows])) == rows
        assert diverse(vectors[:rows], None, 5).tolist() == [0] * rows
        assert cap(labels, None, 1).tolist() == [0] * rows
    vectors[0], vectors[1] = 0, np.nan
    labels, _ = prompt_clusters(vectors, texts)
    assert labels[:2].tolist() == [-1, -1]
    assert labels.min() == -1
    assert labels[2:].min() == 0
    assert set(map_2d(vectors).get_column("row")) == set(range(2, 240))
    nothing = prompt_clusters(np.zeros((3, 4), np.float32), pl.Series(["a", "b", "c"]))
    assert (nothing[0].tolist(), nothing[1]) == ([-1] * 3, [])


def test_texts_without_words() -> None:
    vectors, _ = themed(10)
    assert prompt_clusters(vectors, pl.Series(["?!", None] * 5), k=1)[1] == ["(no words)"]


def test_the_map_shows_the_main_axes() -> None:
    chance = np.random.default_rng(0)
    angle = chance.uniform(0, np.pi / 2, 500)
    vectors = np.column_stack([np.cos(angle), np.sin(angle), np.full((500, 3), 0.01)]).astype(np.float32)
    spots = map_2d(vectors)
    assert spots.schema == {"row": pl.UInt64, "x": pl.Float64, "y": pl.Float64}
    assert spots.get_column("row").to_list() == list(range(500))
    along = np.corrcoef(spots.get_column("x").to_numpy(), angle)[0, 1]
    assert abs(along) > 0.99
    assert len(map_2d(vectors, 50)) == 50


def brute_force(vectors: np.ndarray, gains: np.ndarray, cost: float, first: int | None, n: int) -> list[int]:
    near = (grid(vectors) @ grid(vectors).T).astype(float)
    chosen = [] if first is None else [first]
    while len(chosen) < n:
        nearest = np.maximum(near[:, chosen].max(axis=1), 0) if chosen else np.zeros(len(near))
        worth = gains - cost / float(SCALE) ** 2 * nearest
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
    return chosen


@pytest.mark.parametrize("pool", [4, 50, 2048])
def test_select_agrees_with_plain_greedy_selection(pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.selection.diversity.POOL", pool)
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(400, 6)) + np.array([1, 0, 0, 0, 0, 0])
    scores = np.arange(400)[::-1] / 400  # of equal vectors the first is the best, as in the plain selection
    ranks = scores + 1 / 400
    farthest = diverse(vectors, scores, 100)
    assert farthest.tolist() == brute_force(vectors, np.zeros(400), 1.0, int(scores.argmax()), 100)
    mmr = diverse(vectors, scores, 100, method="mmr", lambda_=0.3)
    assert mmr.tolist() == brute_force(vectors, 0.3 * ranks, 0.7, None, 100)
    by_score = diverse(vectors, scores, 100, method="mmr", lambda_=1)
    assert by_score.tolist() == np.argsort(-scores)[:100].tolist()


def test_the_best_of_equal_vectors_is_selected_and_the_others_come_last() -> None:
    vectors = np.eye(4)[[0, 1, 0, 2, 0]].astype(np.float32)
    vectors[3] = np.nan
    assert diverse(vectors, np.array([1, 2, 3, 9, np.nan]), 9).tolist() == [2, 1, 3, 0, 4]
    assert diverse(vectors, np.array([1, 2, 3, 9, np.nan]), 1).tolist() == [2]
    assert diverse(vectors, None, 0).tolist() == []


def test_without_scores_the_seed_determines_the_first_row() -> None:
    vectors, _ = themed()
    firsts = {int(diverse(vectors, None, 3, seed=seed)[0]) for seed in range(20)}
    assert len(firsts) > 10
    assert diverse(vectors, None, 30, seed=3).tolist() == diverse(vectors, None, 30, seed=3).tolist()
    with pytest.raises(RecipeError, match="Known: farthest, mmr"):
        diverse(vectors, None, 3, method="nearest")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="n=-1: expected a number of rows"):
        diverse(vectors, None, -1)


def test_caps() -> None:
    labels = np.array([0, 0, 1, 0, 1, -1, -1, -1])
    scores = np.array([1.0, np.nan, 5, 2, 5, 0, 0, 0])
    assert cap(labels, scores, 1).tolist() == [2, 3, 5, 6, 7]
    assert cap(labels, scores, 2).tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert cap(labels, None, 2).tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert cap(labels, scores, 0).tolist() == [5, 6, 7]
