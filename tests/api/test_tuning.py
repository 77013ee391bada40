"""A retuned run has the files of a new one with these settings, without its source; what moved is told."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.errors import CurateError
from tests.data import rows, write_jsonl
from tests.forked import curate as command

FREE = ["split.test=0.2", "rules.defaults=false"]
PRODUCT = ("ledger.parquet", "recipe.yaml", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "x.jsonl", rows(30))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        ({"min_chosen_words": 3}, []),
        ({"where": ["source_row % 3 = 0", {"condition": "chosen_words > 1", "name": "long"}]}, []),
        ({}, ["dedup.near=true", "dedup.exact=false", "split.test=0.5"]),
        ({}, ["publish.name=Tea"]),
    ],
)
def test_the_same_files_as_a_new_run(source: Path, tmp_path: Path, rules: dict[str, Any], settings: list[str]) -> None:
    run = curate.clean(source, out=tmp_path / "RUN", settings=FREE)
    new = curate.clean(source, out=tmp_path / "NEW", rules=rules, settings=[*FREE, *settings])
    source.unlink()
    now, diff = curate.retune(run, rules=rules, settings=settings)
    for name in PRODUCT:
        assert (now.folder / name).read_bytes() == (new.folder / name).read_bytes(), name
    assert now.counts == new.counts
    assert diff is not None
    assert sum(diff.counts.values()) == 30
    again = curate.retune(now, rules=rules, settings=settings).diff
    assert again is not None
    assert again.counts == {"same": 30}


@pytest.mark.slow
def test_an_interrupted_call_is_finished_by_the_same_call(source: Path, tmp_path: Path) -> None:
    run = curate.clean(source, out=tmp_path / "RUN", settings=FREE)
    wanted = curate.retune(run, rules={"min_chosen_words": 3}).run
    files = {name: (wanted.folder / name).read_bytes() for name in PRODUCT}
    for lost in ("manifest.json", "ledger.parquet", "stages/rules", "stages/split"):
        path = wanted.folder / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        (wanted.folder / "manifest.json").unlink(missing_ok=True)
        again = curate.retune(run.folder, rules={"min_chosen_words": 3})
        assert again.diff is None
        assert {name: (again.run.folder / name).read_bytes() for name in PRODUCT} == files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["source.limit=3"], "source decides what the pairs are; to change it, run the recipe again"),
        (["pair.strategy=all"], "pair decides what the pairs are"),
        (["rules.min_chosen_word=3"], "unknown rule 'min_chosen_word'. Did you mean 'min_chosen_words'?"),
        (["rules.where=extra.x = 1"], "no row has extra.x"),
    ],
)
def test_what_cannot_be_retuned(source: Path, tmp_path: Path, settings: list[str], message: str) -> None:
    run = curate.clean(source, out=tmp_path / "RUN", settings=FREE)
    done = command("retune", run.folder, *(part for each in settings for part in ("--set", each)))
    assert done.returncode == 2
    assert message in done.stderr
    assert curate.open_run(run.folder).counts == run.counts  # it is as it was


def test_folders_that_cannot_be_retuned(source: Path, tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="does not exist"):
        curate.retune(tmp_path / "NONE")
    run = curate.clean(source, out=tmp_path / "RUN", settings=FREE)
    part = run.folder / "stages/pairs/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(CurateError, match="is damaged"):
        curate.retune(run.folder, rules={"min_chosen_words": 3})


@pytest.mark.slow
def test_the_command(source: Path, tmp_path: Path) -> None:
    run = curate.clean(source, out=tmp_path / "RUN", settings=FREE)
    done = command("retune", run.folder, "--set", "rules.where=source_row < 4", "--rows", "0")
    assert done.returncode == 0
    assert "4 of 30 kept" in done.stdout
    assert "now dropped 26" in done.stdout
    done = command("retune", run.folder, "--set", "rules.where=source_row < 0", "--json")
    assert done.returncode == 1
    assert '"kept": 0' in done.stdout
