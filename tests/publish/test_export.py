"""Exports outside the Hub."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import CurateError, InputError, RecipeError
from curate.publish.export import export
from curate.rundir.result import Run
from tests.publish.user import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), range(30))


def written(run: Run) -> pl.DataFrame:
    """Return the train split as it is in its file."""
    return pl.read_parquet(run.folder / "data/train-*.parquet")


def test_a_folder_like_the_hubs(run: Run, tmp_path: Path) -> None:
    files = export(run.folder, str(tmp_path / "copy"))
    assert files[-1] == "README.md"
    assert {str(path.relative_to(tmp_path / "copy")) for path in tmp_path.rglob("*") if path.is_file()} == set(files)
    assert pl.read_parquet(tmp_path / "copy/data/train-*.parquet").equals(written(run))
    assert str(tmp_path) not in (tmp_path / "copy/prefcurate/default/recipe.yaml").read_text()
    with pytest.raises(InputError, match="is not empty"):
        export(run.folder, str(tmp_path / "copy"))
    assert export(run.folder, str(tmp_path / "copy"), force=True) == files


def test_jsonl(run: Run, tmp_path: Path) -> None:
    assert export(run.folder, str(tmp_path / "lines"), "jsonl") == ["train.jsonl", "test.jsonl"]
    lines = (tmp_path / "lines" / "train.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == written(run).to_dicts()


def test_a_store_by_its_address(run: Run) -> None:
    import fsspec

    files = export(run.folder, "memory://bucket/set")
    store = fsspec.filesystem("memory")
    assert {path.removeprefix("/bucket/set/") for path in store.find("/bucket/set")} == set(files)
    shard = "data/train-00000-of-00001.parquet"
    assert store.cat(f"/bucket/set/{shard}") == (run.folder / shard).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_save_to_disk(run: Run, tmp_path: Path, scheme: str) -> None:
    import datasets

    target = f"{scheme}{tmp_path}/saved"
    export(run.folder, target, "datasets")
    found: Any = datasets.load_from_disk(target)
    assert found["train"].to_list() == written(run).to_dicts()


@pytest.mark.parametrize(
    ("target", "form", "said"),
    [
        ("x", "json", "Did you mean 'jsonl'"),
        ("nowhere://x", "parquet", "nowhere"),
        ("FILE", "parquet", "is a file; the target must be a folder"),
    ],
)
def test_mistakes(run: Run, tmp_path: Path, target: str, form: str, said: str) -> None:
    (tmp_path / "FILE").touch()
    with pytest.raises((CurateError, RecipeError), match=said):
        export(run.folder, target if "://" in target else str(tmp_path / target), form)
