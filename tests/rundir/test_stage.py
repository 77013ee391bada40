"""Parts of a stage have checksums: damage is noticed when reading, and repaired by the next run."""

import json
from pathlib import Path

import polars as pl
import pytest

import curate
from curate.errors import InputError
from curate.rundir.result import open_run
from curate.rundir.stage import Stage
from curate.rundir.store import Store
from tests.data import rows, write_jsonl


def stage_of(folder: Path) -> Stage:
    stage = Store(folder).stage("signals", "key")
    for number in range(3):
        stage.write(number, pl.DataFrame({"a": [number]}))
    stage.finish(parts=3)
    return stage


def flip(path: Path, place: int = -9) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_a_whole_stage_is_not_damaged(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    assert stage.damaged() == []
    assert stage.checked().info == {"key": "key", "parts": 3}
    assert stage.scan().collect().to_dict(as_series=False) == {"a": [0, 1, 2]}


@pytest.mark.parametrize("number", [0, 2])
def test_a_damaged_part_is_named_removed_and_the_rest_kept(tmp_path: Path, number: int) -> None:
    stage = stage_of(tmp_path)
    flip(stage.part(number))
    assert stage.damaged() == [stage.part(number)]
    with pytest.raises(InputError, match=rf"part-0000{number}.parquet is damaged; run the same command again"):
        stage.checked()
    again = Store(tmp_path).stage("signals", "key")
    assert again.info is None
    assert [path.name for path in again.parts()] == [f"part-0000{n}.parquet" for n in range(3) if n != number]


def test_a_part_that_is_gone_makes_the_stage_incomplete(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.part(2).unlink()
    assert stage.damaged() == [stage.folder / "stage.json"]
    assert Store(tmp_path).stage("signals", "key").info is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"key": "key", "parts": 4}', "[" * 100_000, "\x00", "null"]
)
def test_a_damaged_stage_json_makes_the_stage_incomplete(tmp_path: Path, text: str) -> None:
    stage = stage_of(tmp_path)
    (stage.folder / "stage.json").write_text(text)
    with pytest.raises(InputError, match=r"stage.json is damaged"):
        _ = stage.info
    again = Store(tmp_path).stage("signals", "key")
    assert again.info is None
    assert len(again.parts()) == 3


def test_an_edited_value_is_noticed(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    path = stage.folder / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parts": 2}))
    assert stage.damaged() == [path]


def test_a_part_without_a_checksum_was_not_finished(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    (stage.folder / "stage.json").unlink()
    lines = (stage.folder / "sums").read_text().splitlines()
    (stage.folder / "sums").write_text("\n".join(lines[:2]) + "\npart-0000")  # the last line is incomplete
    assert stage.repair() == []  # nothing to report: the process was killed
    assert stage.parts() == [stage.part(0), stage.part(1)]


def test_repair_returns_the_damaged_parts(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    flip(stage.part(1))
    assert stage.repair() == [stage.part(1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairs", "signals", "rules", "split"])
def test_a_run_repeats_only_the_damaged_part(tmp_path: Path, name: str) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(30))
    run = curate.clean(source, tmp_path / "RUN")
    before = {file.name: file.read_bytes() for file in (run.folder / "data").iterdir()}
    part, other = run.stage(name).part(0), run.stage("signals" if name != "signals" else "pairs").part(0)
    written, whole = other.stat().st_mtime_ns, part.read_bytes()
    flip(part)
    curate.clean(source, tmp_path / "RUN")
    assert part.read_bytes() == whole
    assert other.stat().st_mtime_ns == written
    assert {file.name: file.read_bytes() for file in (run.folder / "data").iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("ledger.parquet", lambda run: run.ledger),
        ("ledger.parquet", lambda run: run.why(3)),
        ("data/train-00000-of-00001.parquet", lambda run: run.train),
        ("data/test-00000-of-00001.parquet", lambda run: run.test),
        ("data/train-00000-of-00001.parquet", lambda run: run.to_datasets()),
        ("recipe.yaml", lambda run: run.recipe),
        ("stages/pairs/part-00000.parquet", lambda run: run.why(3)),
        ("stages/signals/part-00000.parquet", lambda run: run.why(3)),
    ],
)
def test_reading_a_damaged_run_names_the_file(tmp_path: Path, name: str, read: object) -> None:
    curate.clean(write_jsonl(tmp_path / "p.jsonl", rows(30)), tmp_path / "RUN")
    flip(tmp_path / "RUN" / name)
    run = open_run(tmp_path / "RUN")
    assert callable(read)
    with pytest.raises(InputError, match=rf"{name} (was edited after the run, or )?is damaged"):
        read(run)
    (tmp_path / "RUN" / name).unlink()
    with pytest.raises(InputError, match=r"missing|damaged"):
        read(open_run(tmp_path / "RUN"))


@pytest.mark.parametrize("name", ["counts", "seal", "files", "stages"])
def test_an_edited_manifest_is_noticed(tmp_path: Path, name: str) -> None:
    curate.clean(write_jsonl(tmp_path / "p.jsonl", rows(9)), tmp_path / "RUN")
    path = tmp_path / "RUN" / "manifest.json"
    tree = json.loads(path.read_text())
    tree[name] = {"counts": tree["counts"] | {"kept": 8}, "seal": "0" * 64}.get(name, {})
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"manifest.json was edited after the run"):
        open_run(tmp_path / "RUN")
