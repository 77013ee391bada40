"""Push and pull: the Hub gets the whole run, exactly once."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import curate
from curate.rundir.result import Run
from tests.data import plain
from tests.hub_server import Fault, HubServer, read
from tests.publish.user import Reader, User, environment, make_run

pytestmark = pytest.mark.slow
META = "prefcurate/default"
FILES = {
    "croissant.json",
    "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "README.md", f"{META}/README.md",
    f"{META}/recipe.yaml", f"{META}/manifest.json", f"{META}/summary.json", f"{META}/ledger.parquet",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), range(40))


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("further"), range(40, 90))


def files_of(hub: HubServer, repo: str, revision: str = "main") -> dict[str, bytes]:
    commit = hub.repos[repo].at(revision)
    assert commit is not None
    return {path: read(data) for path, data in commit.files.items() if path != ".gitattributes"}


def titles(hub: HubServer, repo: str, revision: str = "main") -> list[str]:
    return [commit.title for commit in hub.repos[repo].history(revision)]


def header(hub: HubServer, repo: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files_of(hub, repo)["README.md"].decode().split("---\n")[1])
    return found


def test_one_commit_and_none_when_nothing_changed(
    hub: HubServer, user: User, run: Run, tmp_path: Path, loaded: Reader
) -> None:
    first = user.push(run, "me/one")
    again = user.push(run, "me/one")
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["commit"] == again["commit"]
    assert titles(hub, "me/one") == ["Publish default: 40 pairs, prefcurate 0.2.0", "initial commit"]
    assert set(files_of(hub, "me/one")) == FILES
    back = loaded("me/one")
    for name in ("train", "test"):
        assert back[name] == plain(getattr(run, name).drop("tools").collect().to_dicts())  # no row offers any


def test_a_reader_of_parquet_over_ranges_sees_the_same(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    user.push(run, "me/ranges")
    program = (
        "import pyarrow.parquet as pq, sys; from huggingface_hub import HfFileSystem\n"
        "with HfFileSystem().open('datasets/me/ranges/data/train-00000-of-00001.parquet') as f:\n"
        "    read = pq.ParquetFile(f).read(['pair_id'], use_threads=False)\n"  # threads abort where Python ends at once
        "    print(','.join(read['pair_id'].to_pylist()))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment(hub.url, tmp_path), capture_output=True, text=True, check=True
    ).stdout
    assert said.strip().split(",") == run.train.select("pair_id").collect().to_series().to_list()


def test_branch_tag_message_and_private(hub: HubServer, user: User, run: Run, further: Run) -> None:
    user.push(run, "me/refs", private=True, tag="v1.0", message="The first")
    user.push(further, "me/refs", branch="next/one", tag="v2.0")
    repo = hub.repos["me/refs"]
    assert repo.private
    assert titles(hub, "me/refs") == ["The first", "initial commit"]
    assert repo.tags == {"v1.0": repo.branches["main"], "v2.0": repo.branches["next/one"]}
    moved = user.push(further, "me/refs", tag="v1.0")
    assert (moved["error"], "tags are not moved" in moved["text"]) == ("InputError", True)
    assert user.push(run, "me/refs", tag="v1.0")["changed"] is False


def test_a_pull_request_is_opened_once(hub: HubServer, user: User, run: Run, further: Run) -> None:
    user.push(run, "me/pulls")
    first = user.push(further, "me/pulls", pr=True)
    again = user.push(further, "me/pulls", pr=True)
    assert first["pull_request"] == again["pull_request"]
    assert len(hub.repos["me/pulls"].pulls) == 1
    assert len(titles(hub, "me/pulls")) == 2
    proposed = files_of(hub, "me/pulls", "refs/pr/1")
    assert (
        proposed["data/train-00000-of-00001.parquet"]
        == (further.folder / "data/train-00000-of-00001.parquet").read_bytes()
    )


def test_several_configs_in_one_repository(
    hub: HubServer, user: User, run: Run, further: Run, tmp_path: Path, loaded: Reader
) -> None:
    user.push(run, "me/configs")
    user.push(further, "me/configs", config="raw")
    assert user.push(run, "me/configs")["changed"] is False
    assert [config["config_name"] for config in header(hub, "me/configs")["configs"]] == ["default", "raw"]
    assert len(loaded("me/configs", "raw")["train"]) == further.counts["train"]
    assert len(loaded("me/configs", "default")["train"]) == run.counts["train"]
    card = files_of(hub, "me/configs")["README.md"].decode()
    assert "[raw](prefcurate/raw/README.md)" in card
    pulled = user.pull("me/configs", tmp_path / "RUN", config="raw")
    assert pulled["counts"] == further.counts


def test_append_adds_shards_and_sends_nothing_again(
    hub: HubServer, user: User, run: Run, tmp_path: Path, loaded: Reader
) -> None:
    further = make_run(tmp_path / "further", range(100, 150))
    user.push(run, "me/append")
    before, sent = files_of(hub, "me/append"), len(hub.uploads)
    first = user.push(further, "me/append", append=True)
    again = user.push(further, "me/append", append=True)
    assert (first["changed"], again["changed"]) == (True, False)
    after = files_of(hub, "me/append")
    assert [path for path in before if after[path] != before[path]] == ["README.md"]
    assert len(hub.uploads) - sent == 3  # train, test, ledger
    info = header(hub, "me/append")["dataset_info"]
    assert {split["name"]: split["num_examples"] for split in info["splits"]} == {
        name: run.counts[name] + further.counts[name] for name in ("train", "test")
    }
    back = loaded("me/append")
    assert {r["pair_id"] for r in back["train"]} == {
        *run.train.collect().get_column("pair_id"), *further.train.collect().get_column("pair_id"),
    }  # fmt: skip
    pulled = user.pull("me/append", tmp_path / "RUN")
    assert (pulled["counts"]["rows"], pulled["counts"]["kept"]) == (90, 90)
    gone = user.push(run, "me/append")
    assert (gone["error"], "the appended part" in gone["text"]) == ("InputError", True)
    assert user.push(run, "me/append", allow_schema_change=True)["changed"] is True
    assert set(files_of(hub, "me/append")) == FILES


def test_published_pairs_are_not_appended_again(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    user.push(run, "me/twice")
    overlapping = make_run(tmp_path, range(35, 60))
    refused = user.push(overlapping, "me/twice", append=True)
    assert (refused["error"], refused["code"]) == ("GateFailed", 1)
    assert "duplicates: 5 pairs are published already, 0 have a prompt" in refused["text"]
    assert user.push(overlapping, "me/twice", append=True, waive=["duplicates"])["changed"] is True


def test_a_schema_that_breaks_readers_is_refused(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    frame = run.train.collect().with_columns(mark=pl.lit(1), chosen_score=pl.lit("high"))
    frame.write_parquet(tmp_path / "old.parquet")
    card = b"---\ndataset_info:\n  splits:\n  - name: validation\n    num_examples: 3\n---\n"
    hub.commit("me/other", {"data/train-0.parquet": (tmp_path / "old.parquet").read_bytes(), "README.md": card})
    refused = user.push(run, "me/other")
    for said in ("column mark is gone", "column chosen_score was string, would be double", "split validation is gone"):
        assert said in refused["text"]
    assert (refused["error"], titles(hub, "me/other")) == ("InputError", [""])
    done = user.push(run, "me/other", allow_schema_change=True)
    assert "data/train-0.parquet" in [f["file"] for f in done["files"] if f["state"] == "gone"]
    assert set(files_of(hub, "me/other")) == FILES


def test_a_dry_run_sends_nothing(hub: HubServer, user: User, run: Run) -> None:
    sent = len(hub.requests)
    planned = user.push(run, "me/dry", dry_run=True)
    assert "me/dry" not in hub.repos
    assert {method for method, _ in hub.requests[sent:]} == {"GET"}
    assert {f["file"]: f["rows"] for f in planned["files"] if f["rows"]} == {
        "data/train-00000-of-00001.parquet": run.counts["train"],
        "data/test-00000-of-00001.parquet": run.counts["test"],
        f"{META}/ledger.parquet": 40,
    }


def test_a_push_keeps_a_commit_that_came_meanwhile(hub: HubServer, user: User, run: Run, further: Run) -> None:
    user.push(run, "me/race")
    hub.faults.append(Fault("/api/datasets/me/race/commit/", "race"))
    user.push(further, "me/race")
    assert titles(hub, "me/race")[1] == "someone else"
    assert set(files_of(hub, "me/race")) == FILES | {"NOTES.md"}


def test_a_repeated_push_sends_no_blob_again(hub: HubServer, user: User, tmp_path: Path) -> None:
    run = make_run(tmp_path, range(200, 260))
    hub.faults.append(Fault("/api/datasets/me/broken/commit/", "503", times=99))
    failed = user.push(run, "me/broken")
    assert (failed["error"], failed["code"]) == ("ServiceError", 3)
    hub.faults.clear()
    sent = len(hub.uploads)
    assert user.push(run, "me/broken")["changed"] is True
    assert len(hub.uploads) == sent


def test_a_pulled_run_answers_why(hub: HubServer, user: User, tmp_path: Path) -> None:
    run = make_run(tmp_path / "own", range(20), "rules.max_chosen_chars=58", "publish.min_kept=0")
    assert run.counts["dropped"] == 10
    user.push(run, "me/why", tag="v1")
    user.pull("me/why", tmp_path / "RUN", revision="v1")
    pulled = curate.open_run(tmp_path / "RUN")
    for number in (3, 15):
        was, now = run.why(number)[0], pulled.why(number)[0]
        assert (now["kept"], now["rule"], now["value"]) == (was["kept"], was["rule"], was["value"])
        assert now["chosen"] == (was["chosen"] if was["kept"] else None)
    assert pulled.why(3)[0]["chosen_chars"] == run.why(3)[0]["chosen_chars"]
    assert pulled.recipe.source.paths == ("p.jsonl",)
    assert str(tmp_path) not in "".join(map(str, files_of(hub, "me/why").values()))
    # A pulled run is a run: it can be published again.
    assert user.push(pulled, "me/why2")["changed"] is True


def test_repositories_that_cannot_be_pulled(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    user.push(run, "me/pull")
    hub.commit("me/foreign", {"a.txt": b"x"})
    for repo, options, said in (
        ("me/none", {}, "not on the Hub"),
        ("me/pull", {"revision": "v9"}, "me/pull at v9 is not on the Hub"),
        ("me/pull", {"config": "raw"}, "its configs are default"),
        ("me/foreign", {}, "nothing in it was published by prefcurate"),
    ):
        answer = user.pull(repo, tmp_path / "RUN", **options)
        assert (answer["error"], said in answer["text"]) == ("InputError", True), answer
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    assert "already exists" in user.pull("me/pull", tmp_path / "full")["text"]
    files: dict[str, bytes | Path] = {**files_of(hub, "me/pull")}
    hub.commit("me/pull", files | {"data/train-00000-of-00001.parquet": files["data/test-00000-of-00001.parquet"][:-9]})  # type: ignore[index]
    assert "changed on the Hub" in user.pull("me/pull", tmp_path / "bad")["text"]
