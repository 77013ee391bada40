"""Hostile run folders: any file, field or link may be forged; `why` and `export` refuse it or give the right data."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.rundir.checksums import sealed
from curate.rundir.manifest import Manifest
from tests.attacks.harness import Victim, contents
from tests.data import rows, write_jsonl

EVIL = "<script>alert(1)</script>\x1b]0;x\x07\u202e\n---\nlicense: evil\n"
VALUES: tuple[Any, ...] = (
    None,
    1,
    -1,
    10**30,
    0.5,
    True,
    "x",
    EVIL,
    [],
    [[]],
    {},
    {"a": None},
    {"a": {"a": 1}},
    {EVIL: EVIL},
)
FIELDS = [name for name in Manifest.__struct_fields__ if name != "seal"]
SECRET = "of another folder"


@pytest.fixture(scope="module")
def whole(victim: Victim) -> Path:
    write_jsonl(victim.folder / "p.jsonl", rows(20))
    (victim.folder / "secret").write_text(SECRET)
    assert victim("clean", "p.jsonl", "-o", "WHOLE").check().code == 0
    return victim.folder / "WHOLE"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(whole, tmp_path / "RUN"))
    shutil.rmtree(tmp_path / "RUN", ignore_errors=True)


def look(victim: Victim, run: Path, *rows: str) -> None:
    """Look up a row and export: each is refused or complete, and the run stays as it is."""
    target = run.parent / "exported"
    before = contents(run.parent)
    for line in (*(("why", run, row) for row in rows or ("3",)), ("export", run, target, "--as", "jsonl"),
                 ("export", run, f"{target}2", "--as", "parquet")):  # fmt: skip
        done = victim(*line, seconds=30).check()
        assert done.code in (0, 2), done.err
        assert "\x1b" not in done.out + done.err
        assert SECRET not in done.out + done.err
    after = contents(run.parent)
    assert {name: after.get(name) for name in before} == before
    for name, data in after.items():
        assert name in before or SECRET.encode() not in data, name
        if name.endswith("README.md") and name not in before:
            assert b"<script>alert" not in data
            assert data.count(b"license: evil") == 0
    for exported in (target, Path(f"{target}2")):
        shutil.rmtree(exported, ignore_errors=True)


def change(run: Path, field: str, value: Any, *, again: bool) -> None:
    """Replace a field of the manifest; with `again`, seal it anew if it can still be read."""
    path = run / "manifest.json"
    tree = json.loads(path.read_bytes()) | {field: value}
    if again:
        tree = resealed(run, tree)
    path.write_text(json.dumps(tree))


def resealed(run: Path, tree: dict[str, Any]) -> dict[str, Any]:
    try:
        manifest = Manifest.parse(json.dumps(tree).encode(), "x")
        return {**tree, "seal": manifest.digest()}
    except Exception:  # noqa: BLE001 - an unreadable manifest cannot be sealed
        return tree


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_the_manifest(victim: Victim, run: Path, field: str) -> None:
    whole = (run / "manifest.json").read_bytes()
    for place, value in enumerate(VALUES[FIELDS.index(field) % 4 :: 4]):
        (run / "manifest.json").write_bytes(whole)
        change(run, field, value, again=place > 0)
        look(victim, run)


@pytest.mark.slow
def test_values_within_the_manifest(victim: Victim, run: Path) -> None:
    """Each value has the expected type and a valid seal."""
    whole = (run / "manifest.json").read_bytes()
    counts = {"rows": 1, "kept": 2, "dropped": 3, "train": 4, "test": 5}
    inputs = {EVIL: {"fingerprint": EVIL, "rows": -1, "format": EVIL}}
    for field, value in {
        "counts": dict.fromkeys(counts, -(2**62)), "counts ": counts | {f"dropped_{EVIL}": 3}, "inputs": inputs,
        "stages": {"../../x": {"key": "k"}, "pairs": {"key": EVIL}}, "libraries": {EVIL: EVIL}, "waived": [EVIL],
        "clusters": {"names": [EVIL]}, "gates": [{EVIL: EVIL}], "files": {"../secret": "x", "/etc/passwd": "y"},
        "files ": {"data/../../secret": "0" * 64}, "pulled": {"repo": EVIL, "revision": EVIL, "config": EVIL},
        "generation": {"judges": EVIL, "answers": [EVIL]}, "decontaminate": {"sets": {EVIL: {EVIL: 1}}},
        "seconds": {EVIL: 1e308}, "leaks": 2**62, "bytes": {"train": -1}, "prefcurate": "0.1.0", "python": EVIL,
    }.items():  # fmt: skip
        (run / "manifest.json").write_bytes(whole)
        change(run, field.strip(), value, again=True)
        look(victim, run, "3", "05aed0")


TEXTS = {
    "empty": b"", "NUL": b"\0" * 9, "bytes": b"\xff\xfe\x1b[2J", "deep": b"[" * 100_000, "null": b"null", "list": b"[]",
    "object": b"{}", "number": b"9" * 6_000, "html": EVIL.encode(), "parquet": b"PAR1" + b"\xff" * 40 + b"PAR1",
}  # fmt: skip
FILES = (
    "manifest.json", "summary.json", "recipe.yaml", "ledger.parquet", "README.md", ".prefcurate",
    "stages/pairs/stage.json", "stages/pairs/sums", "stages/pairs/key", "stages/signals/part-00000.parquet",
    "data/train-00000-of-00001.parquet",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("believed", [False, True], ids=["", "sealed"])
def test_files_of_other_contents(victim: Victim, run: Path, name: str, believed: bool) -> None:
    for data in list(TEXTS.values())[FILES.index(name) % 3 :: 3]:
        (run / name).write_bytes(data)
        if believed and name != "manifest.json":
            seal(run)
        look(victim, run)


def seal(run: Path) -> None:
    """Seal the run with the hostile files in it, as its author could."""
    manifest = Manifest.parse((run / "manifest.json").read_bytes(), "x")
    (run / "manifest.json").write_text(json.dumps(sealed(run, manifest).to_dict()))


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def to_zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


CHANGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink, "a folder": as_folder, "a loop": to_itself, "endless": to_zero,
}  # fmt: skip


@pytest.mark.parametrize("change_to", CHANGES)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (i % 10 > 0)) for i, n in enumerate(FILES)]
)
def test_files_that_are_something_else(victim: Victim, run: Path, name: str, change_to: str) -> None:
    CHANGES[change_to](run / name)
    for line in (("why", run, "3"), ("export", run, run.parent / "T", "--as", "jsonl")):
        assert victim(*line, seconds=20).check().code in (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["data", "stages", "stages/pairs"])
@pytest.mark.parametrize("kind", ["missing", "a file", "a link out"])
def test_folders_that_are_something_else(victim: Victim, whole: Path, run: Path, folder: str, kind: str) -> None:
    shutil.rmtree(run / folder)
    if kind == "a file":
        (run / folder).write_bytes(b"x")
    elif kind == "a link out":
        (run / folder).symlink_to(whole.parent)
    look(victim, run)
    before = contents(whole.parent)
    assert victim("clean", "p.jsonl", "-o", run).check().code in (0, 2)
    assert contents(whole.parent) == before


LEDGERS = {
    "no column": pl.DataFrame(), "no row": pl.DataFrame({"source_row": []}),
    "one value": pl.DataFrame({"a": ["x"] * 10**6}),
    "other types": pl.DataFrame({"source": [1], "source_row": ["3"], "pair_id": [[1]], "kept": ["yes"]}),
    "lists": pl.DataFrame({"source_row": [[3]], "kept": [{"a": 1}]}),
    "place": pl.DataFrame({"place": [1], "source_row": [3]}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LEDGERS)
def test_ledgers_of_other_schemas(victim: Victim, run: Path, name: str) -> None:
    for file in ("ledger.parquet", "data/train-00000-of-00001.parquet"):
        LEDGERS[name].write_parquet(run / file)
        seal(run)
        look(victim, run, "3", "abcdef01")


@pytest.mark.slow
def test_a_ledger_of_a_million_rows(victim: Victim, whole: Path, run: Path) -> None:
    ledger = pl.read_parquet(whole / "ledger.parquet").head(1).with_columns(source_row=pl.lit(3, pl.UInt64))
    ledger.select(pl.all().repeat_by(10**6).explode()).write_parquet(run / "ledger.parquet")
    seal(run)
    look(victim, run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["[a]", "*", "a\nb", "?", "{x}", "~", "-x", "%41", "\x1b[2J", "a" * 250, "\udcff", "#", "a b"], ids=repr
)
def test_names_of_run_folders(victim: Victim, whole: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(whole, tmp_path / name)
    done = victim("why", tmp_path / name, "3", "--json").check()
    if name == "\udcff":  # arguments that are not UTF-8 are refused
        assert done.code == 2
        return
    assert (done.code, done.out) == (0, victim("why", whole, "3", "--json").out)
    done = victim("export", tmp_path / name, tmp_path / "T", "--as", "jsonl").check()
    assert done.code == 0
    assert (tmp_path / "T/train.jsonl").is_file()


ASKED = [
    "",
    " ",
    "-1",
    "²",
    "٣",
    "3.0",
    "0x3",
    "9" * 40,
    "nan",
    "x" * 100_000,
    "\x1b[2J",
    "*",
    "%",
    "a\nb",
    "\udcff",
    "''",
    "$(x)",
]


@pytest.mark.parametrize("row", ASKED, ids=lambda row: repr(row[:9]))
def test_rows_that_do_not_exist(victim: Victim, whole: Path, row: str) -> None:
    done = victim("why", whole, "--", row).check()
    assert done.code == 2
    assert "\x1b" not in done.err
