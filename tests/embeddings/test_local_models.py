"""Batches by tokens, and the fingerprint of a model's files."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from curate.embeddings.local_models import fingerprint_of, token_batches


def test_batches_by_tokens() -> None:
    assert list(token_batches([5, 3, 2, 2], 9)) == [slice(0, 1), slice(1, 4)]
    assert list(token_batches([20, 4, 4], 8)) == [slice(0, 1), slice(1, 3)]  # a long one alone
    assert list(token_batches([0, 0], 8)) == [slice(0, 2)]
    assert list(token_batches([], 8)) == []


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_batches_hold_each_row_once_and_are_bounded(lengths: list[int], most: int) -> None:
    lengths.sort(reverse=True)
    batches = list(token_batches(lengths, most))
    assert [n for place in batches for n in range(place.start, place.stop)] == list(range(len(lengths)))
    for place in batches:
        rows = lengths[place]
        assert len(rows) == 1 or len(rows) * rows[0] <= most


def test_a_fingerprint_changes_with_the_files_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = fingerprint_of(str(tmp_path))
    (tmp_path / "notes.md").write_text("not read")
    assert fingerprint_of(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    second = fingerprint_of(str(tmp_path))
    assert second != first
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert fingerprint_of(str(tmp_path)) not in (first, second)


def test_the_fingerprint_of_a_model_from_the_hub_is_its_commit(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    assert fingerprint_of(str(folder)) == "0123abcd"
