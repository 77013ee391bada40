"""The user's paths → named files. Names never reveal where on the disk a file is."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from curate.errors import InputError
from curate.sources.paths import find_inputs
from tests.staged import read_all

ROW = {"prompt": "q", "chosen": "a", "rejected": "b"}


def fill(folder: Path, *names: str) -> Path:
    """Return a folder with files of these names, each with one row."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ROW) + "\n", "utf-8")
    return folder


def names(*paths: Path | str, split: str | None = None) -> list[str]:
    return [found.name for found in find_inputs([str(path) for path in paths], split)]


def test_one_file_is_named_by_its_last_part(tmp_path: Path) -> None:
    assert names(fill(tmp_path, "deep/down/a.jsonl") / "deep/down/a.jsonl") == ["a.jsonl"]


def test_a_file_given_by_path_may_have_any_name(tmp_path: Path) -> None:
    assert names(fill(tmp_path, ".hidden") / ".hidden") == [".hidden"]


def test_a_shipped_file_is_found_by_its_name_alone() -> None:
    (found,) = find_inputs(["shipped:quickstart.jsonl"])
    assert found.name == "quickstart.jsonl"
    assert found.path.is_file()
    with pytest.raises(InputError, match=r"passwd does not exist"):
        find_inputs(["shipped:../../../etc/passwd"])


def test_a_folder_yields_its_data_files_in_order(tmp_path: Path) -> None:
    fill(
        tmp_path, "b.jsonl", "a.JSON.gz", "sub/c.parquet", "d.csv.zst", "e.arrow", "f.feather", "g.ndjson", "notes.txt"
    )
    assert names(tmp_path) == [
        "a.JSON.gz", "b.jsonl", "d.csv.zst", "e.arrow", "f.feather", "g.ndjson", "sub/c.parquet",
    ]  # fmt: skip


def test_a_folder_skips_hidden_files_and_metadata_written_by_tools(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "a.jsonl",
        ".b.jsonl",
        "_c.jsonl",
        ".cache/d.jsonl",
        "_tmp/e.jsonl",
        "dataset_infos.json",
        "manifest.json",
    )
    assert names(tmp_path) == ["a.jsonl"]


def test_names_are_relative_to_the_common_folder(tmp_path: Path) -> None:
    fill(tmp_path, "x/one/a.jsonl", "x/two/a.jsonl", "x/two/b.jsonl")
    assert names(tmp_path / "x/one/a.jsonl", tmp_path / "x/two") == ["one/a.jsonl", "two/a.jsonl", "two/b.jsonl"]


def test_the_same_files_from_elsewhere_have_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "x/a.jsonl", "x/b.jsonl")
    monkeypatch.chdir(tmp_path / "x")
    assert names("a.jsonl", "../x/b.jsonl") == names(tmp_path / "x") == ["a.jsonl", "b.jsonl"]


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl", "b.jsonl")
    (tmp_path / "link.jsonl").symlink_to("a.jsonl")
    assert names(tmp_path / "b.jsonl", tmp_path) == ["b.jsonl", "a.jsonl"]


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    # As in the Hub cache: snapshots/…/a.csv -> blobs/5f3c…; only the link's name shows that it is csv.
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/5f3c").write_text("prompt,chosen,rejected\nq,a,b\n", "utf-8")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/a.csv").symlink_to("../blobs/5f3c")
    assert [row["source"] for row in read_all(tmp_path / "snapshot")] == ["a.csv"]


def test_globs(tmp_path: Path) -> None:
    fill(tmp_path, "a1.jsonl", "a2.jsonl", "b.jsonl", "sub/a3.jsonl")
    assert names(tmp_path / "a*.jsonl") == ["a1.jsonl", "a2.jsonl"]
    assert names(tmp_path / "**/a?.jsonl") == ["a1.jsonl", "a2.jsonl", "sub/a3.jsonl"]


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    fill(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert names(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fill(tmp_path, "data/a.jsonl")))
    assert names("~/data") == names("~/data/a.jsonl") == names("~/data/*.jsonl") == ["a.jsonl"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.jsonl", r"nowhere\.jsonl does not exist"),
        ("~no-such-user/a.jsonl", r"~no-such-user/a\.jsonl does not exist"),
        ("*.parquet", r"\*\.parquet contains no data file.*\.jsonl"),
        ("empty", "empty contains no data file"),
        ("pipe", "pipe does not exist, or is not a regular file that can be read more than once"),
    ],
)
def test_a_missing_input_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    os.mkfifo("pipe")
    with pytest.raises(InputError, match=message):
        find_inputs([path])


def test_one_of_several_paths_without_data_is_an_error(tmp_path: Path) -> None:
    (fill(tmp_path, "a.jsonl") / "empty").mkdir()
    with pytest.raises(InputError, match="empty contains no data file"):
        find_inputs([str(tmp_path / "a.jsonl"), str(tmp_path / "empty")])


def fingerprint(path: Path) -> str:
    return find_inputs([str(path)])[0].fingerprint()


def test_the_fingerprint_depends_on_the_content_and_not_on_the_location(tmp_path: Path) -> None:
    path = fill(tmp_path, "one/a.jsonl") / "one/a.jsonl"
    before = fingerprint(path)
    assert fingerprint(path) == before
    path.parent.rename(tmp_path / "moved")
    assert fingerprint(tmp_path / "moved/a.jsonl") == before
    with (tmp_path / "moved/a.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    assert fingerprint(tmp_path / "moved/a.jsonl") != before


def test_the_fingerprint_changes_with_content_of_the_same_length(tmp_path: Path) -> None:
    path = fill(tmp_path, "a.jsonl") / "a.jsonl"
    before = fingerprint(path)
    path.write_bytes(path.read_bytes().replace(b"q", b"Q"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # as if some time had passed
    assert fingerprint(path) != before


def save_to_disk(folder: Path, splits: Iterable[str] = ()) -> Path:
    """Write two rows in two shards; with names of splits, a DatasetDict of them."""
    import datasets

    rows = datasets.Dataset.from_list([ROW | {"prompt": f"q{i}"} for i in range(4)]).select([3, 1])
    saved = datasets.DatasetDict(dict.fromkeys(splits, rows)) if splits else rows
    if splits:
        saved.save_to_disk(folder)
    else:
        saved.save_to_disk(folder, num_shards=2)
    return folder


@pytest.mark.slow
def test_a_save_to_disk_folder(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "saved")
    (folder / "cache-1.arrow").write_bytes(b"left by a map()")
    assert names(folder) == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    assert [row["prompt"] for row in read_all(folder)] == ["user: q3", "user: q1"]


def test_a_saved_dataset_dict(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "saved", ["train", "test"])
    both = ["train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"]
    assert names(folder) == both
    assert names(folder, split="test") == ["data-00000-of-00001.arrow"]
    with pytest.raises(InputError, match=r"no split 'dev'. It has: train, test"):
        find_inputs([str(folder)], "dev")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"_data_files": [3]}', "\xff"])
def test_a_save_to_disk_folder_with_a_broken_list_of_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"state\.json was not written by save_to_disk"):
        find_inputs([str(tmp_path)])


def test_a_save_to_disk_folder_that_lacks_a_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../data.arrow"}]}', "utf-8")
    with pytest.raises(InputError, match=r"data\.arrow does not exist"):
        find_inputs([str(tmp_path)])


def test_a_run_is_read_from_its_data_folder(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "recipe.yaml",
        "ledger.parquet",
        "stages/pairs/0.parquet",
        "data/train-0.parquet",
        "data/test-0.parquet",
    )
    assert names(tmp_path) == ["test-0.parquet", "train-0.parquet"]
