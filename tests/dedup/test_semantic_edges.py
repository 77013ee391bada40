"""Semantic duplicates: edges, clusters, and the cache of vectors."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from curate.dedup.semantic_edges import semantic_edges, semantic_matches, star_clusters
from curate.embeddings.cache import CHUNK, embed, head_and_tail
from curate.embeddings.cosine import cosines, distinct, grid, least_product, main_axes, projections
from curate.embeddings.encoder import load_encoder
from curate.errors import CurateError, InputError, RecipeError


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


def test_ivf_search_with_coarse_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.dedup.ann.FLAT_CENTROIDS", 16)
    monkeypatch.setattr("curate.dedup.ann.ROWS_PER_CENTROID", 64)
    vectors = cloud(6000)
    found = semantic_edges(vectors, threshold=0.85, exact_below=0)
    assert len(found) >= 0.97 * len(semantic_edges(vectors, threshold=0.85))


def test_projections_never_exclude_a_similar_pair() -> None:
    vectors = cloud(500, 300)
    rows = np.arange(len(vectors))
    axes = main_axes(vectors, distinct(vectors).rows, 0.8)
    assert axes is not None
    projected = projections(vectors, rows, axes)
    assert projected.shape[1] < 300
    near = cosines(vectors, np.repeat(rows, 500), vectors, np.tile(rows, 500)).reshape(500, 500) >= 0.8
    assert ((projected @ projected.T >= least_product(0.8)) >= near).all()


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
    # 31 degrees is near 10, 20, 40 and 50, as many as 20 and 40 are near; which of them leads is up to the vectors.
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


def test_one_text_many_times_is_linear() -> None:
    vectors = np.tile(cloud(2)[:1], (200_000, 1))
    edges = semantic_edges(vectors)
    assert pairs(edges) == {(0, row) for row in range(1, 200_000)}
    assert star_clusters(edges, vectors).get_column("cluster").unique().to_list() == [0]


def test_a_dense_group_is_reduced_to_its_centre() -> None:
    chance = np.random.default_rng(0)
    crowd = (cloud(2)[:1] + chance.normal(size=(20_000, 96)) * 0.02).astype(np.float32)
    vectors = np.concatenate([crowd, cloud(2000, seed=5)])
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


def test_vectors_of_two_models() -> None:
    with pytest.raises(RecipeError, match="96 and 64 dimensions"):
        semantic_matches(cloud(4, 96), cloud(4, 64))


class Counting:
    """An encoder that records its inputs; a vector depends on the text alone."""

    def __init__(self, dim: int = 8, salt: int = 0) -> None:
        self.asked: list[str] = []
        self.dim, self.salt = dim, salt

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        made = [np.random.default_rng([self.salt, *text.encode()]).normal(size=self.dim) for text in texts]
        return np.array(made, np.float32).reshape(-1, self.dim)


def test_each_distinct_text_is_encoded_once(tmp_path: Path) -> None:
    blocks = [pl.Series(["a b", "c", "a b"]), pl.Series(["c", "d", None, "", "  ", "?!", "🎉"])]
    encoder = Counting()
    vectors = embed(blocks, encoder, tmp_path / "run" / "vectors")
    assert encoder.asked == ["a b", "c", "d"]
    assert vectors.shape == (10, 8)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1] * 5 + [0] * 5)
    assert (vectors[0] == vectors[2]).all()
    assert (vectors[1] == vectors[3]).all()
    assert (embed(blocks, Counting()) == vectors).all()  # without a file
    again = Counting()
    assert (embed(blocks, again, tmp_path / "run" / "vectors") == vectors).all()
    assert again.asked == ["a b"]  # one is encoded again for comparison
    assert embed([], Counting()).shape == (0, 8)
    assert embed([pl.Series(["?"]), pl.Series([], dtype=pl.String)], Counting()).tolist() == [[0.0] * 8]


def test_block_sizes_do_not_change_what_is_encoded_together() -> None:
    texts = pl.Series([f"text {number % 1500}" for number in range(3000)])
    one, many = Counting(), Counting()
    assert (embed([texts], one) == embed((texts[start : start + 77] for start in range(0, 3000, 77)), many)).all()
    assert one.asked == many.asked
    assert len(one.asked) == 1500


@pytest.mark.parametrize("harm", ["cut", "tail", "flip", "empty"])
def test_a_damaged_file_is_repaired(tmp_path: Path, harm: str) -> None:
    texts = pl.Series([f"text {number}" for number in range(2 * CHUNK + 10)])
    path = tmp_path / "vectors"
    whole = embed([texts], Counting(), path)
    raw = bytearray(path.read_bytes())
    if harm == "cut":
        del raw[-30:]
    elif harm == "tail":
        raw += b"curatev1" + bytes(100)
    elif harm == "flip":
        raw[len(raw) // 2] ^= 1
    else:
        raw.clear()
    path.write_bytes(raw)
    encoder = Counting()
    assert (embed([texts], encoder, path) == whole).all()
    assert len(encoder.asked) == {"cut": 11, "tail": 1, "flip": CHUNK + 11, "empty": len(texts)}[harm]
    assert (embed([texts], Counting(), path) == whole).all()


def test_an_interrupted_call_resumes(tmp_path: Path) -> None:
    texts = pl.Series([f"text {number}" for number in range(3 * CHUNK)])

    class Dies(Counting):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            if len(self.asked) >= 2 * CHUNK:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        embed([texts], Dies(), tmp_path / "vectors")
    rest = Counting()
    vectors = embed([texts], rest, tmp_path / "vectors")
    assert rest.asked == ["text 0", *texts[2 * CHUNK :].to_list()]
    assert (vectors == embed([texts], Counting())).all()


def test_a_file_of_another_model(tmp_path: Path) -> None:
    texts = [pl.Series(["one", "two"])]
    embed(texts, Counting(), tmp_path / "vectors")
    for other in (Counting(dim=9), Counting(salt=1)):
        with pytest.raises(InputError, match="contains vectors of another model"):
            embed(texts, other, tmp_path / "vectors")


def test_no_space_for_the_file() -> None:
    with pytest.raises(CurateError, match="no space left on the disk of /dev"):
        embed([pl.Series(["one"])], Counting(), Path("/dev/full"))


def test_no_space_for_the_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    full = partial(open, "/dev/full", "r+b", buffering=0)  # as a temporary file on a full disk
    monkeypatch.setattr("curate.embeddings.cache.TemporaryFile", full)
    with pytest.raises(CurateError, match="no space left on the disk of") as caught:
        embed([pl.Series(["one"])], Counting())
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    for model in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=f"{model.name}") as caught:
            load_encoder(str(model))
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_one_text_a_million_times_is_encoded_once() -> None:
    encoder = Counting()
    block = pl.Series(["Hello there"]).new_from_index(0, 100_000)
    vectors = embed([block] * 10, encoder)
    assert encoder.asked == ["Hello there"]
    assert (vectors == vectors[0]).all()
    assert len(semantic_edges(vectors)) == 999_999


def test_texts_of_megabytes_emoji_and_mixed_scripts() -> None:
    encoder = Counting()
    encoder.max_bytes = 200  # type: ignore[attr-defined]
    texts = ["x" * 5_000_000, "👍" * 100_000, "Hello 世界 мир \u0645\u0631\u062d\u0628\u0627", "…" * 9, "Hello 世界"]
    vectors = embed([pl.Series(texts)], encoder)
    assert np.linalg.norm(vectors, axis=1).round(5).tolist() == [1, 0, 1, 0, 1]
    assert max(map(len, encoder.asked)) < 210
    assert semantic_edges(vectors).is_empty()


def test_models_that_return_nan(tmp_path: Path) -> None:
    class Broken(Counting):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            vectors = super().encode(texts)
            vectors[[text.startswith("bad") for text in texts]] = np.nan
            return vectors

    vectors = embed([pl.Series(["good", "bad 1"])], Broken(), tmp_path / "vectors")
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 0])
    with pytest.raises(InputError, match=r"returned only NaN for 2 texts, the first is 'bad 1'"):
        embed([pl.Series(["bad 1", "bad 2"])], Broken())

    class Short(Counting):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return super().encode(texts)[:1]

    with pytest.raises(InputError, match="expected a row per text"):
        embed([pl.Series(["one", "two"])], Short())


def test_both_ends_of_long_texts_are_encoded() -> None:
    assert head_and_tail("é" * 50, 100) == "é" * 50
    assert head_and_tail("a" * 60 + "b" * 60, 100) == "a" * 50 + " … " + "b" * 50
    assert head_and_tail("é" * 100, 101) == "é" * 25 + " … " + "é" * 25

    class Reads(Counting):
        max_bytes = 20

    encoder = Reads()
    embed([pl.Series(["x" * 1000 + " end", "short"])], encoder)
    assert encoder.asked == ["x" * 10 + " … " + "x" * 6 + " end", "short"]


@pytest.mark.slow
def test_a_static_model(tmp_path: Path) -> None:
    """One vector per word and their mean, as in model2vec: no maximum length, unknown words are ignored."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "red", "green", "blue", "car", "tree", "sky"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.eye(len(words), dtype=torch.float32)
    weights[0] = 0
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)]).save(str(tmp_path / "model"))
    encoder = load_encoder(str(tmp_path / "model"))
    texts = ["red car", "car red", "green tree", "zebra", "yak", "", "red " * 5000 + "car", "red"]
    vectors = embed([pl.Series(texts)], encoder, tmp_path / "vectors")
    assert vectors.shape == (8, len(words))
    assert pairs(semantic_edges(vectors)) == {(0, 1), (6, 7)}
