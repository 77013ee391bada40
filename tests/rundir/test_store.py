"""Atomic writes: no file is ever partial."""

from pathlib import Path

import polars as pl
import pytest

from curate.errors import InputError, RecipeError
from curate.files import atomic, claim, write_json
from curate.rundir.result import open_run
from curate.rundir.stage import Stage
from curate.rundir.store import Store, open_store

RECIPE = {"source": {"paths": ["a"], "split": None, "config": None, "revision": None}}


def test_a_failed_write_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        (tmp_path / "nope").read_text()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("a", "b"):
        with atomic(tmp_path / "data") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["b"]


def test_left_over_temporary_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / ".x.json.tmp").mkdir()
    write_json(tmp_path / "x.json", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_stage_with_another_key_is_emptied(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stage = store.stage("signals", "one")
    stage.write(0, pl.DataFrame({"a": [1]}))
    assert stage.info is None
    stage.finish(parts=1)
    assert store.stage("signals", "one").info == {"key": "one", "parts": 1}
    other = store.stage("signals", "two")
    assert (other.info, other.parts()) == (None, [])


@pytest.mark.parametrize("recipe", ["", "[]", "source: 3", "a: [", "\x00"])
def test_an_unreadable_recipe_counts_as_another_run(tmp_path: Path, recipe: str) -> None:
    claim(tmp_path, "run")
    (tmp_path / "recipe.yaml").write_text(recipe)
    with open_store(tmp_path, RECIPE, ""):  # nothing is lost
        pass
    (tmp_path / "recipe.yaml").write_text(recipe)
    Stage(tmp_path / "stages" / "pairs", "key").write(0, pl.DataFrame({"a": [1]}))
    with pytest.raises(RecipeError, match="another recipe"), open_store(tmp_path, RECIPE, ""):
        pass


def test_the_manifest_is_removed_when_a_run_starts(tmp_path: Path) -> None:
    claim(tmp_path, "run")
    write_json(tmp_path / "manifest.json", {})
    with open_store(tmp_path, RECIPE, "", force=True):
        assert not (tmp_path / "manifest.json").exists()


def test_a_run_of_version_0_1_is_rejected_in_one_line_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("source: {paths: [p.jsonl]}")
    write_json(tmp_path / "manifest.json", {"prefcurate": "0.1.0", "counts": {"rows": 3}, "made": {}})
    before = (tmp_path / "manifest.json").read_bytes()
    said = r"manifest\.json was written by prefcurate 0\.1\.0, whose runs this version cannot read; run its recipe"
    with pytest.raises(InputError, match=said):
        open_run(tmp_path)
    with pytest.raises(InputError, match=said), open_store(tmp_path, RECIPE, ""):
        pass
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"[]", "Expected `object`, got `array`"),
        (b"{", "truncated"),
        (b'{"counts": {"rows": "three"}}', r"Expected `int`, got `str` - at `\$\.counts\[\.\.\.\]`"),
        (b'{"counts": "\xff"}', ""),
    ],
)
def test_an_invalid_manifest_names_the_file_and_the_field(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "manifest.json").write_bytes(raw)
    with pytest.raises(InputError, match=f"manifest.json is not the manifest of a run: .*{said}"):
        open_run(tmp_path)
