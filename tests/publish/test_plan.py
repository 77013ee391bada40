"""The changes of a push, for each state of the repository."""

import io
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pytest

from curate.errors import InputError
from curate.publish.bundle import Bundle
from curate.publish.hub import Hub, Remote
from curate.publish.plan import Plan, _compare, check_readers, make_plan
from tests.publish.test_bundle import META, TEST, TRAIN, bundle_of, with_answers
from tests.publish.user import make_run

META_PATHS = [f"prefcurate/default/{name}" for name in META]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(make_run(tmp_path_factory.mktemp("plan"), range(40)))


def plan(bundle: Bundle, remote: Remote) -> Plan:
    return make_plan(bundle, remote, Hub("me/set"))


def published(bundle: Bundle, *further: str) -> Remote:
    """Return the repository after a push of the bundle, with further files."""
    first = plan(bundle, Remote())
    files = {file.path: {file.sha256} for file in first.adds} | {path: {"0" * 64} for path in further}
    (card,) = (file.content for file in first.adds if file.path == "README.md")
    assert isinstance(card, bytes)
    return Remote("c1", files, card.decode())


@pytest.mark.slow
def test_a_new_repository(bundle: Bundle) -> None:
    found = plan(bundle, Remote())
    assert [(step.path, step.state) for step in found.steps] == [
        (path, "new") for path in (f"data/{TEST}", f"data/{TRAIN}", *META_PATHS, "README.md", "croissant.json")
    ]
    assert [step.rows for step in found.steps[:4]] == [4, 36, 40, None]  # the ledger has a row per pair
    assert (found.deletes, found.schema, found.breaks, found.empty) == ([], [], [], False)


@pytest.mark.slow
def test_the_same_push_again_changes_nothing(bundle: Bundle) -> None:
    found = plan(bundle, published(bundle))
    assert {step.state for step in found.steps} == {"same"}
    assert (found.adds, found.deletes, found.schema, found.breaks, found.empty) == ([], [], [], [], True)


def test_a_changed_file_and_files_of_an_earlier_push(bundle: Bundle) -> None:
    stale = ["data/train-00001-of-00002.parquet", "prefcurate/default/files/a.txt"]
    others = ["data/notes.txt", "big/data/train-00000-of-00001.parquet", "prefcurate/big/files/a.txt", "LICENSE"]
    remote = published(bundle, *stale, *others, "prefcurate/default/recipe.yaml")
    found = plan(bundle, remote)
    assert {step.path: step.state for step in found.steps if step.state != "same"} == {
        "prefcurate/default/recipe.yaml": "changed", **dict.fromkeys(stale, "gone"),
    }  # fmt: skip
    assert [file.path for file in found.adds] == ["prefcurate/default/recipe.yaml"]
    assert found.deletes == stale
    assert [(step.size, step.rows) for step in found.steps if step.state == "gone"] == [(0, None), (0, None)]
    only_gone = plan(bundle, published(bundle, *stale))
    assert (only_gone.adds, only_gone.deletes, only_gone.empty) == ([], stale, False)


def test_an_append_deletes_nothing(bundle: Bundle) -> None:
    assert plan(replace(bundle, append=True), published(bundle, "data/train-00001-of-00002.parquet")).deletes == []


def test_stale_candidates_are_deleted_only_with_new_ones(bundle: Bundle) -> None:
    stale = "candidates/data/train-00007-of-00009.parquet"
    assert plan(bundle, published(bundle, stale)).deletes == []
    answers = with_answers(bundle)
    assert plan(answers, published(answers, stale)).deletes == [stale]


def test_removed_splits_and_parts_break_readers(bundle: Bundle) -> None:
    remote = published(bundle, "prefcurate/default/parts/0123456789ab/ledger.parquet")
    remote = replace(remote, card=remote.card.replace("- name: test", "- name: validation"))
    found = plan(bundle, remote)
    assert found.breaks == ["split validation is gone", "the appended part 0123456789ab is gone"]
    assert plan(replace(bundle, append=True), remote).breaks == []
    check_readers(found, allowed=True)
    with pytest.raises(InputError, match="split validation is gone; the appended part 0123456789ab is gone; allow it"):
        check_readers(found, allowed=False)


def test_a_repository_without_our_shards_has_no_columns_to_change(bundle: Bundle) -> None:
    found = plan(bundle, Remote("c1", {"notes.txt": {"0" * 64}}))
    assert (found.schema, found.breaks) == ([], [])


def test_columns_are_those_of_the_first_published_shard(bundle: Bundle) -> None:
    class Published(Hub):
        def open(self, path: str, revision: str) -> io.BytesIO:
            assert (path, revision) == ("data/test-00000-of-00001.parquet", "c1")
            buffer = io.BytesIO()
            pl.DataFrame({"grade": [1]}).write_parquet(buffer)
            return buffer

    shards = [f"data/{name}-00000-of-00001.parquet" for name in ("train", "test", "valid")]
    others = ["big/data/train-00000-of-00001.parquet", "data/notes.txt"]
    remote = Remote("c1", {path: {"0" * 64} for path in (*shards, *others)})
    found = make_plan(bundle, remote, Published("me/set"))
    assert found.breaks == ["column grade is gone (was int64)"]
    assert found.schema[:2] == ["column grade is gone (was int64)", "column pair_id is new (string)"]


OLD = pa.schema({"a": pa.string(), "b": pa.list_(pa.string()), "c": pa.int64()})


@pytest.mark.parametrize(
    ("new", "append", "found"),
    [
        ({"a": pa.large_string(), "b": pa.large_list(pa.string()), "c": pa.int64()}, False, {}),
        ({"a": pa.string(), "b": pa.list_(pa.string())}, False, {"column c is gone (was int64)": True}),
        ({**dict(zip(OLD.names, OLD.types, strict=True)), "c": pa.int32()}, False,
         {"column c was int64, would be int32": True}),
        ({**dict(zip(OLD.names, OLD.types, strict=True)), "d": pa.bool_()}, False, {"column d is new (bool)": False}),
        ({**dict(zip(OLD.names, OLD.types, strict=True)), "d": pa.bool_()}, True, {"column d is new (bool)": True}),
    ],
)  # fmt: skip
def test_changes_of_columns(new: dict[str, pa.DataType], append: bool, found: dict[str, bool]) -> None:
    assert _compare(OLD, pa.schema(new), append=append) == found
