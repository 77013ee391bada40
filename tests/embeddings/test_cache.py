"""The cache of vectors: what is encoded, and what is read back."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curate.dedup.semantic_edges import semantic_edges
from curate.embeddings.cache import CHUNK, embed, head_and_tail
from curate.embeddings.encoder import load_encoder
from curate.errors import CurateError, InputError


class Counting:
    """An encoder that records its inputs; a vector depends on the text alone."""

    def __init__(self, dim: int = 8, salt: int = 0) -> None:
        self.asked: list[str] = []
        self.dim, self.salt = dim, salt

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        vectors = [np.random.default_rng([self.salt, *text.encode()]).normal(size=self.dim) for text in texts]
        return np.array(vectors, np.float32).reshape(-1, self.dim)


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

    class Interrupted(Counting):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            if len(self.asked) >= 2 * CHUNK:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        embed([texts], Interrupted(), tmp_path / "vectors")
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


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_a_one_line_error(tmp_path: Path) -> None:
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
    assert semantic_edges(vectors).select("row_a", "row_b").rows() == [(0, 1), (6, 7)]
