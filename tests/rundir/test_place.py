"""The existing content of a folder is never removed, unless a run or a training of ours wrote it."""

from pathlib import Path

import pytest

import curate
from curate.errors import RecipeError
from curate.files import claim
from tests.data import rows, write_jsonl

pytestmark = pytest.mark.slow  # together they take a while


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose files have the names of a run's: data, README and recipe."""
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "mine.jsonl", rows(8))
    (tmp_path / "README.md").write_text("# Mine\n")
    (tmp_path / "recipe.yaml").write_text("source: {paths: data/mine.jsonl}\n")
    return tmp_path


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_foreign_files_is_refused_whatever_the_flag(project: Path, force: bool) -> None:
    before = content(project)
    with pytest.raises(RecipeError, match=r"is not empty and contains no run \(README.md, …\); choose another --out"):
        curate.clean(rows(8), out=project, force=force)
    with pytest.raises(RecipeError, match="is inside the run directory"):
        curate.run({"source": {"paths": str(project / "data" / "mine.jsonl")}}, out=project, force=force)
    assert content(project) == before


@pytest.mark.parametrize("force", [False, True])
def test_foreign_files_among_the_data_stay(tmp_path: Path, force: bool) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", rows(8))
    run = curate.clean(tmp_path / "pairs.jsonl", out=tmp_path / "RUN")
    write_jsonl(run.folder / "data" / "notes.jsonl", rows(2))
    before = content(run.folder)
    with pytest.raises(RecipeError, match=r"notes.jsonl was not written by prefcurate and would be removed"):
        curate.clean(tmp_path / "pairs.jsonl", out=tmp_path / "RUN", force=force, rules={"max_chars_ratio": 4})
    assert content(run.folder) == before


@pytest.mark.parametrize("source", ["data", "data/train-00000-of-00001.parquet", "data/*.parquet"])
@pytest.mark.parametrize("force", [False, True])
def test_a_source_inside_the_run_is_refused(tmp_path: Path, source: str, force: bool) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", rows(8))
    run = curate.clean(tmp_path / "pairs.jsonl", out=tmp_path / "RUN")
    before = content(run.folder)
    with pytest.raises(RecipeError, match="is inside the run directory"):
        curate.clean(str(run.folder / source), out=run.folder, force=force)
    assert content(run.folder) == before


def test_a_run_continues_in_its_own_folder_and_force_takes_another_source(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", rows(8))
    write_jsonl(tmp_path / "others.jsonl", rows(12))
    curate.clean(tmp_path / "pairs.jsonl", out=tmp_path / "RUN")
    with pytest.raises(RecipeError, match="contains a run of another recipe"):
        curate.clean(tmp_path / "others.jsonl", out=tmp_path / "RUN")
    assert curate.clean(tmp_path / "others.jsonl", out=tmp_path / "RUN", force=True).counts["rows"] == 12


def test_a_folder_is_of_one_kind(tmp_path: Path) -> None:
    claim(tmp_path / "new", "training")
    claim(tmp_path / "new", "training")
    with pytest.raises(RecipeError, match="contains a training, not a run"):
        curate.clean(rows(8), out=tmp_path / "new")
