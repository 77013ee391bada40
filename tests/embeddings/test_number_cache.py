"""The cache of numbers: what is read back, and how it survives a kill."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.embeddings.number_cache import HEADER, KEY, NumberCache

ONE, TWO, THREE = (bytes([n]) * KEY for n in (1, 2, 3))


def test_numbers_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "numbers"
    with NumberCache(path) as cache:
        cache.add({ONE: -1.5, TWO: 0.0})
        cache.add({})
        cache.add({THREE: 1e-300})
    assert path.stat().st_size == 2 * HEADER.size + 3 * (KEY + 8)
    with NumberCache(path) as cache:
        assert [cache.get(key) for key in (ONE, TWO, THREE)] == [-1.5, 0.0, 1e-300]
        assert (len(cache), TWO in cache, b"4" * KEY in cache, str(cache.get(b"4" * KEY))) == (3, True, False, "nan")


@pytest.mark.parametrize("harm", ["cut", "flip", "header", "tail"])
def test_a_damaged_frame_is_removed_with_all_after_it(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "numbers"
    with NumberCache(path) as cache:
        cache.add({ONE: 1.0})
        first = path.stat().st_size
        cache.add({TWO: 2.0})
    raw = bytearray(path.read_bytes())
    if harm == "flip":
        raw[-1] ^= 1
    elif harm == "header":
        raw[first] ^= 1
    path.write_bytes(raw[:-3] if harm == "cut" else raw + b"curaten1" if harm == "tail" else raw)
    with NumberCache(path) as cache:
        kept = [ONE, TWO] if harm == "tail" else [ONE]
        assert [key for key in (ONE, TWO) if key in cache] == kept
        assert path.stat().st_size == len(kept) * (HEADER.size + KEY + 8)
        cache.add({THREE: 3.0})
    with NumberCache(path) as cache:
        assert [key for key in (ONE, TWO, THREE) if key in cache] == [*kept, THREE]


@given(
    st.lists(st.dictionaries(st.binary(min_size=KEY, max_size=KEY), st.floats(allow_nan=False), max_size=4), max_size=4)
)
def test_any_numbers_and_without_a_file(frames: list[dict[bytes, float]]) -> None:
    cache, plain = NumberCache(), dict[bytes, float]()
    for frame in frames:
        cache.add(frame)
        plain |= frame
    assert len(cache) == len(plain)
    assert {key: cache.get(key) for key in plain} == plain
