"""Semantic duplicates: edges and clusters."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from curate.dedup.ann import PROBES, _capped, ivf_pairs
from curate.dedup.semantic_edges import semantic_edges, semantic_matches, star_clusters
from curate.embeddings.cosine import cosines, distinct, grid, least_product, main_axes, projections
from curate.errors import RecipeError


def cloud(rows: int, dim: int = 96, seed: int = 0) -> np.ndarray:
    """Return vectors of which half are other vectors plus noise of various sizes."""
    chance = np.random.default_rng(seed)
    # Some directions have more variance, as in real embeddings.
    centres = chance.normal(size=(rows // 2, dim)) * np.geomspace(5, 0.2, dim)
    of = chance.integers(len(centres), size=rows - len(centres))
    moved = centres[of] + chance.normal(size=(len(of), dim)) * chance.uniform(0, 0.8, size=(len(of), 1))
    return np.concatenate([centres, moved]).astype(np.float32)[chance.permutation(rows)]


def brute_force(vectors: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return {(a, b) for a, b in zip(*np.nonzero(unit @ unit.T >= threshold), strict=True) if a < b}


def pairs(edges: pl.DataFrame) -> set[tuple[int, int]]:
    return set(edges.select("row_a", "row_b").iter_rows())


def groups(clusters: pl.DataFrame, names: np.ndarray | None = None) -> set[frozenset[int]]:
    """Return clusters as sets of rows, or of their names (the rows before shuffling)."""
    sets = clusters.group_by("cluster").agg("row").get_column("row").to_list()
    return {frozenset(row if names is None else int(names[row]) for row in rows) for rows in sets}


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("dim", [3, 64, 96, 300])
def test_exact_pairs_are_all_pairs(threshold: float, dim: int) -> None:
    vectors = cloud(600, dim)
    edges = semantic_edges(vectors, threshold=threshold)
    assert pairs(edges) == brute_force(vectors, threshold)
    assert edges.equals(edges.sort("row_a", "row_b"))
    assert edges.schema == {"row_a": pl.UInt64, "row_b": pl.UInt64, "similarity": pl.Float64}
    a, b = (vectors[edges.get_column(side).to_numpy()].astype(np.float64) for side in ("row_a", "row_b"))
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.allclose(edges.get_column("similarity").to_numpy(), cosine, rtol=0, atol=1e-12)


def test_ivf_search_finds_nearly_all_pairs_and_no_others() -> None:
    vectors = cloud(6000)
    every = semantic_edges(vectors, threshold=0.85)
    found = semantic_edges(vectors, threshold=0.85, exact_below=0)
    assert len(found.join(every, on=found.columns, how="semi")) == len(found)
    assert len(found) >= 0.97 * len(every) > 1000


@pytest.mark.slow
def test_ivf_search_with_coarse_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.dedup.ann.FLAT_CENTROIDS", 16)
    monkeypatch.setattr("curate.dedup.ann.ROWS_PER_CENTROID", 64)
    vectors = cloud(6000)
    found = semantic_edges(vectors, threshold=0.85, exact_below=0)
    assert len(found) >= 0.97 * len(semantic_edges(vectors, threshold=0.85))
    monkeypatch.setattr("curate.dedup.ann.ROWS_PER_SEARCH", 999)  # the last six rows are searched by themselves
    assert semantic_edges(vectors, threshold=0.85, exact_below=0).equals(found)


@pytest.mark.slow
def test_projections_never_exclude_a_similar_pair() -> None:
    vectors = cloud(500, 300)
    rows = np.arange(len(vectors))
    axes = main_axes(vectors, distinct(vectors).rows, 0.8)
    assert axes is not None
    projected = projections(vectors, rows, axes)
    assert projected.shape[1] < 300
    near = cosines(vectors, np.repeat(rows, 500), vectors, np.tile(rows, 500)).reshape(500, 500) >= 0.8
    assert ((projected @ projected.T >= least_product(0.8)) >= near).all()


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), exact_below=st.sampled_from([0, 50_000]), threads=st.sampled_from([1, 2]))
@settings(max_examples=6, deadline=None)
def test_clusters_do_not_depend_on_the_order_of_rows_or_on_threads(seed: int, exact_below: int, threads: int) -> None:
    vectors = cloud(900)
    vectors[:20], vectors[20:25] = vectors[20], 0
    order = np.random.default_rng(seed).permutation(len(vectors))
    edges = semantic_edges(vectors, threshold=0.8, exact_below=exact_below)
    with threadpool_limits(threads):
        shuffled = semantic_edges(vectors[order], threshold=0.8, exact_below=exact_below)
    numbers = {tuple(sorted((int(order[a]), int(order[b])))): s for a, b, s in shuffled.iter_rows()}
    # Equal vectors have edges to the first of them, which shuffling changes, so they are excluded.
    equal = set(range(20))
    assert {p: s for p, s in numbers.items() if not equal & set(p)} == {
        (a, b): s for a, b, s in edges.iter_rows() if not equal & {a, b}
    }
    assert groups(star_clusters(shuffled, vectors[order], 0.8), order) == groups(star_clusters(edges, vectors, 0.8))


def test_block_sizes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = cloud(1200)
    before = [semantic_edges(vectors, threshold=0.8, exact_below=below) for below in (0, 50_000)]
    monkeypatch.setattr("curate.dedup.ann.TILE", (7, 33))
    monkeypatch.setattr("curate.embeddings.cosine.BLOCK", 100)
    monkeypatch.setattr("curate.dedup.semantic_edges.PAIRS_PER_CHUNK", 50)
    for below, edges in zip((0, 50_000), before, strict=True):
        assert semantic_edges(vectors, threshold=0.8, exact_below=below).equals(edges)


def test_block_sizes_do_not_change_which_dense_groups_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = at(*np.random.default_rng(0).normal(90, 30, 900))  # overlapping groups, the largest of which are first
    monkeypatch.setattr("curate.dedup.ann.DENSE_GROUP", 20)
    before = semantic_edges(vectors, exact_below=0)
    monkeypatch.setattr("curate.dedup.ann.TILE", (7, 33))
    assert semantic_edges(vectors, exact_below=0).equals(before)


def at(*degrees: float) -> np.ndarray:
    """Return unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def test_a_chain_is_split() -> None:
    vectors = at(*range(0, 200, 20))  # only neighbours are within 25.8 degrees of each other
    edges = semantic_edges(vectors)
    assert len(edges) == 9
    clusters = star_clusters(edges, vectors)
    members = clusters.filter(pl.col("row") != pl.col("cluster"))
    assert clusters.get_column("row").is_unique().all()
    assert (members.get_column("similarity") >= 0.9).all()
    assert members.group_by("cluster").len().get_column("len").max() == 2  # the centre and one on each side


def test_the_centre_has_the_most_neighbours_and_rows_join_the_nearest_centre() -> None:
    vectors = at(0, 10, 20, 40, 50, 60, 31, 200)
    clusters = star_clusters(semantic_edges(vectors), vectors)
    # 31 degrees is similar to 10, 20, 40 and 50; 20 and 40 have as many neighbours. Rounding decides which is a centre.
    assert set(clusters.get_column("row")) == set(range(7))
    for row, centre, similarity in clusters.iter_rows():
        assert similarity == pytest.approx(float(vectors[row] @ vectors[centre]), abs=1e-6)
    centres = clusters.get_column("cluster").unique().to_numpy()
    assert not brute_force(vectors[centres], 0.9)


def test_copies_are_in_the_same_cluster() -> None:
    vectors = at(0, 0, 0, 20, 20, 90)
    edges = semantic_edges(vectors)
    assert pairs(edges) == {(0, 1), (0, 2), (0, 3), (3, 4)}
    assert edges.get_column("similarity").to_list()[:2] == [1.0, 1.0]
    assert star_clusters(edges, vectors).rows() == [
        (0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0), (3, 0, pytest.approx(0.93969, abs=1e-5)),
        (4, 0, pytest.approx(0.93969, abs=1e-5)),
    ]  # fmt: skip


def test_copies_of_the_first_vector_count() -> None:
    vectors = at(0, 0, 0, 20, 40, 62)  # 20 is similar to four rows, 40 to two
    assert star_clusters(semantic_edges(vectors), vectors).select("row", "cluster").rows() == [
        (0, 3), (1, 3), (2, 3), (3, 3), (4, 3),
    ]  # fmt: skip


def test_a_stricter_threshold_for_clusters_than_for_pairs() -> None:
    vectors = at(0, 5, 20)
    edges = semantic_edges(vectors, threshold=0.9)
    assert groups(star_clusters(edges, vectors, 0.99)) == {frozenset({0, 1})}


@pytest.mark.slow
def test_one_text_many_times_is_linear() -> None:
    vectors = np.tile(cloud(2)[:1], (200_000, 1))
    edges = semantic_edges(vectors)
    assert pairs(edges) == {(0, row) for row in range(1, 200_000)}
    assert star_clusters(edges, vectors).get_column("cluster").unique().to_list() == [0]


@pytest.mark.slow
def test_a_dense_group_is_reduced_to_its_centre() -> None:
    chance = np.random.default_rng(0)
    dense_group = (cloud(2)[:1] + chance.normal(size=(20_000, 96)) * 0.02).astype(np.float32)
    vectors = np.concatenate([dense_group, cloud(2000, seed=5)])
    edges = semantic_edges(vectors)
    assert len(edges) < 200_000  # of 200 million
    largest = star_clusters(edges, vectors).group_by("cluster").len().get_column("len").max()
    assert largest == 20_000


@pytest.mark.parametrize("exact_below", [0, 50_000])
def test_a_vector_without_direction_is_similar_to_none(exact_below: int) -> None:
    vectors = at(0, 0, 0, 0, 0)
    vectors[1], vectors[2], vectors[3, 1] = 0, np.nan, np.inf
    assert pairs(semantic_edges(vectors, exact_below=exact_below)) == {(0, 4)}
    assert set(star_clusters(semantic_edges(vectors), vectors).get_column("row")) == {0, 4}
    matches = semantic_matches(vectors, vectors, exact_below=exact_below)
    assert matches.select("row", "other_row").rows() == [(0, 0), (4, 0)]


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("exact_below", [0, 50_000])
def test_no_rows_and_one_row(rows: int, exact_below: int) -> None:
    vectors = cloud(2)[:rows]
    edges = semantic_edges(vectors, exact_below=exact_below)
    assert len(edges) == len(star_clusters(edges, vectors)) == 0
    assert len(semantic_matches(vectors, cloud(10, seed=1), exact_below=exact_below)) == 0
    assert len(semantic_matches(cloud(10), vectors[:0], exact_below=exact_below)) == 0
    zeros = np.zeros((rows, 96), np.float32)
    assert len(semantic_edges(zeros)) == len(star_clusters(semantic_edges(zeros), zeros)) == 0


def test_thresholds_out_of_range() -> None:
    for threshold in (0, 1.5, float("nan")):
        with pytest.raises(RecipeError, match="expected more than 0 and at most 1"):
            semantic_edges(cloud(4), threshold=threshold)


def test_products_are_exact() -> None:
    whole = grid(cloud(50, 4096))
    assert (whole @ whole.T == whole.astype(np.float64) @ whole.T.astype(np.float64)).all()


@pytest.mark.parametrize("exact_below", [0, 50_000])
def test_against_another_set(exact_below: int) -> None:
    ours, theirs = cloud(3000), cloud(4000, seed=1)
    theirs[10], theirs[11], theirs[20] = ours[5], ours[5], ours[7] * 2
    ours[100] = ours[7]
    found = semantic_matches(ours, theirs, threshold=0.8, exact_below=exact_below)
    assert found.filter(pl.col("row").is_in([5, 7, 100])).rows() == [(5, 10, 1.0), (7, 20, 1.0), (100, 20, 1.0)]
    a, b = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (ours, theirs))
    best = (a.astype(np.float64) @ b.astype(np.float64).T).max(axis=1)
    near = np.flatnonzero(best >= 0.8)
    assert set(found.get_column("row")) <= set(near)
    assert len(found) >= (0.97 if exact_below == 0 else 1) * len(near)


def test_the_nearest_of_another_set_is_matched_and_ties_go_to_the_first() -> None:
    found = semantic_matches(at(0, 90, 0), at(20, 5, 5, 15, 70, 45))
    assert found.columns == ["row", "other_row", "similarity"]
    five, twenty = pytest.approx(0.996195, abs=1e-6), pytest.approx(0.939693, abs=1e-6)
    assert found.rows() == [(0, 1, five), (1, 4, twenty), (2, 1, five)]


def test_vectors_of_two_models() -> None:
    with pytest.raises(RecipeError, match="96 and 64 dimensions"):
        semantic_matches(cloud(4, 96), cloud(4, 64))


def test_a_row_with_many_similar_vectors_keeps_the_nearest_and_one_that_others_share() -> None:
    assert PROBES == 10  # so a limit of three keeps one nearest
    few, many = [0.9, 0.8, 0.7, 0.1, 0.2], [0.8, 0.95, 0.9, 0.99, 0.1]
    products = np.array([few, many], np.float32)
    capped = _capped(products.copy(), np.float32(0.5), 3)
    no = -np.inf
    assert capped.tolist() == np.array([few, [0.8, no, no, 0.99, no]], np.float32).tolist()
    assert _capped(products[:, :3].copy(), np.float32(0), 3).tolist() == products[:, :3].tolist()
    both = np.array([many, [0.1, 0.7, 0.9, 0.8, 0.6]], np.float32)  # four pass in each, of columns 1 to 3 in both
    shared = [[no, 0.95, no, 0.99, no], [no, 0.7, 0.9, no, no]]
    assert _capped(both, np.float32(0.5), 3).tolist() == np.array(shared, np.float32).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("size", [65, 200, 1000])
def test_a_group_that_is_larger_than_a_cell_keeps_is_one_cluster(size: int) -> None:
    chance = np.random.default_rng(1)
    near = chance.normal(size=(1, 64)) + 0.005 * chance.normal(size=(size, 64))
    vectors = np.concatenate([near, chance.normal(size=(2000, 64))]).astype(np.float32)[chance.permutation(size + 2000)]
    exact = star_clusters(semantic_edges(vectors), vectors)
    assert groups(star_clusters(semantic_edges(vectors, exact_below=0), vectors)) == groups(exact)


def same_direction(count: int) -> np.ndarray:
    """Return different vectors whose cosines are all exactly 1."""
    return np.column_stack([np.arange(1, count + 1), np.zeros(count)]).astype(np.float32)


@pytest.mark.slow
def test_more_than_1024_similar_to_one_are_reduced_to_it() -> None:
    for count, edges in ((1026, 1025), (1025, 1024 * 1025 // 2)):
        found = semantic_edges(same_direction(count), threshold=1, exact_below=0, neighbours=2000)
        assert len(found) == edges
        assert groups(star_clusters(found, same_direction(count), 1)) == {frozenset(range(count))}


@pytest.mark.parametrize("degrees", [8.08, 8.15])
def test_only_rows_nearly_equal_to_the_centre_of_a_dense_group_are_left_out_of_matches(degrees: float) -> None:
    """A fiftieth of 1 - 0.5 is 0.01, and 8.11 degrees have a cosine of 0.99."""
    height = np.tan(np.radians(degrees))
    around = np.concatenate([np.eye(9), -np.eye(9)]) * height
    theirs = np.column_stack([np.ones(19), np.concatenate([np.zeros((1, 9)), around])]).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.dedup.ann.DENSE_GROUP", 10)
        found = semantic_matches(theirs, theirs, threshold=0.5, exact_below=0)
    expected = [0] * 19 if degrees < 8.11 else list(range(19))
    assert found.get_column("other_row").to_list() == expected


def test_all_pairs_are_found_up_to_exact_below_or_64_similar_vectors_of_a_cell() -> None:
    every = 65 * 64 // 2
    vectors = at(*np.linspace(0, 20, 65))
    assert len(semantic_edges(vectors)) == len(semantic_edges(vectors, exact_below=65)) == every
    assert len(semantic_edges(vectors, exact_below=64)) < every / 2
    assert len(semantic_edges(vectors[1:], exact_below=0)) == 64 * 63 // 2


@pytest.mark.parametrize(("rows", "cells"), [(511, 1), (512, 2)])
def test_a_search_divides_the_vectors_into_a_cell_per_256(rows: int, cells: int) -> None:
    vectors = at(*np.linspace(0, 20, rows))
    found = ivf_pairs(vectors, None, np.float32(0.9), 64, lambda left, _: np.ones(len(left), bool))
    assert len(list(found)) == cells  # it yields pairs cell by cell


@pytest.mark.slow
def test_all_pairs_are_found_up_to_a_million() -> None:
    vectors = same_direction(1449)
    assert len(semantic_edges(vectors[1:], threshold=1)) == 1448 * 1447 // 2
    assert len(semantic_edges(vectors, threshold=1)) == 1448  # each to the centre


def test_all_pairs_are_found_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.dedup.semantic_edges.MIN_PAIR_LIMIT", 6)
    monkeypatch.setattr("curate.dedup.semantic_edges.PAIRS_PER_CHUNK", 1)
    vectors = at(0, 1, 2, 3, 4)
    assert len(semantic_edges(vectors[:4], neighbours=1)) == 6
    assert len(semantic_edges(vectors, neighbours=1)) < 10


def test_a_pair_exactly_at_the_threshold_is_clustered() -> None:
    vectors = same_direction(2)
    edges = semantic_edges(vectors, threshold=1)
    assert edges.rows() == [(0, 1, 1.0)]
    assert groups(star_clusters(edges, vectors, 1)) == {frozenset({0, 1})}
