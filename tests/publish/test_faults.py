"""After any failure the repository has the complete old or new state, and repeating the push succeeds."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curate.rundir.result import Run
from tests.hub_server import Fault, HubServer
from tests.publish.user import User, make_run

PARTS = 2  # in separate tests, which can run in parallel
REPO = "me/set"
# Every call of a push by its address, with its possible faults.
PLACES = {
    "/api/whoami-v2": ("drop", "503", "429", "slow"),
    f"/api/datasets/{REPO}/revision": ("drop", "500", "503", "429", "slow"),
    f"/api/datasets/{REPO}/tree": ("drop", "500", "503", "slow"),
    f"/api/datasets/{REPO}/refs": ("drop", "500", "429"),
    "/api/validate-yaml": ("drop", "500", "slow"),
    f"/api/datasets/{REPO}/preupload": ("drop", "500", "503", "409"),
    "/info/lfs/objects/batch": ("drop", "502", "503"),
    "/blobs/": ("drop", "500", "503", "slow", "lost"),
    f"/api/datasets/{REPO}/commit": ("drop", "lost", "409", "412", "429", "500", "503", "slow", "race"),
}
Files = dict[str, object]


def state(files: Files) -> Files:
    """Return the files that readers use."""
    return {path: data for path, data in files.items() if path not in (".gitattributes", "NOTES.md")}


@contextmanager
def watched(hub: HubServer) -> Iterator[set[str]]:
    """Collect every state that a reader could have seen meanwhile, by the sha of main."""
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.add(hub.repos[REPO].branches["main"])
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def every_fault() -> list[Fault]:
    """Return every fault at every place, once or twice in a row in turn, in a random order that is always the same."""
    faults = [(place, kind) for place, kinds in PLACES.items() for kind in kinds]
    random.Random(0).shuffle(faults)
    return [Fault(*fault, times=1 + number % 2) for number, fault in enumerate(faults)]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_pushes_with_a_fault_each(tmp_path: Path, part: int) -> None:
    runs = [make_run(tmp_path / f"{n}", range(n * 30, n * 30 + 30)) for n in range(3)]
    with HubServer() as hub, User(hub.url, tmp_path / "home") as user:
        user.push(runs[0], REPO)
        whole = {0: state(dict(hub.repos[REPO].commits[hub.repos[REPO].branches["main"]].files))}
        now, expected = 0, 2  # the initial commit, and the first push
        for fault in every_fault()[part::PARTS]:
            following = (now + 1) % len(runs)
            hub.faults = [fault]
            hub.forget_blobs()
            with watched(hub) as seen:
                answer = user.push(runs[following], REPO)
            assert answer.get("changed") is True, (fault, answer)
            assert fault.made, fault
            states = [state(dict(hub.repos[REPO].commits[sha].files)) for sha in seen]
            after = state(dict(hub.repos[REPO].commits[hub.repos[REPO].branches["main"]].files))
            assert after == whole.setdefault(following, after), fault
            assert all(found in (whole[now], after) for found in states), fault
            races = 0 if fault.kind != "race" else fault.made
            expected += 1 + races
            now = following
            assert len(hub.repos[REPO].history()) == expected, fault


@pytest.mark.slow
def test_a_repository_is_created_despite_faults(tmp_path: Path) -> None:
    run: Run = make_run(tmp_path / "run", range(30))
    with HubServer() as hub, User(hub.url, tmp_path / "home") as user:
        for number, kind in enumerate(("503", "drop", "lost", "500", "429")):
            hub.faults = [Fault("/api/repos/create", kind)]
            answer = user.push(run, f"me/new{number}")
            assert answer.get("changed") is True, (kind, answer)
            assert len(hub.repos[f"me/new{number}"].history()) == 2
        hub.faults = [
            Fault("/tag/", "503"),
            Fault("/tag/", "lost"),
            Fault("/branch/", "503"),
            Fault("/branch/", "lost"),
        ]
        assert user.push(run, "me/named", branch="next", tag="v1")["changed"] is True
        repo = hub.repos["me/named"]
        assert repo.tags == {"v1": repo.branches["next"]}


@pytest.mark.slow
def test_appends_and_pulls_succeed_despite_faults(tmp_path: Path) -> None:
    run, more = make_run(tmp_path / "run", range(30)), make_run(tmp_path / "more", range(30, 60))
    with HubServer() as hub, User(hub.url, tmp_path / "home") as user:
        user.push(run, REPO)
        hub.faults = [Fault("/commit/", "lost"), Fault("/commit/", "503")]
        answer = user.push(more, REPO, append=True)
        assert "error" not in answer
        assert len(hub.repos[REPO].history()) == 3
        hub.faults = [Fault("/commit/", "lost")]
        pull = user.push(run, REPO, pr=True, allow_schema_change=True)
        assert pull["pull_request"].endswith("/discussions/1")
        assert len(hub.repos[REPO].pulls) == 1
        hub.faults = [Fault("/resolve/", kind, times=2) for kind in ("503", "429", "drop", "500", "slow")]
        assert user.pull(REPO, tmp_path / "RUN")["counts"]["kept"] == 60


@pytest.mark.slow
def test_a_pull_that_failed_can_be_repeated(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", range(30))
    with HubServer() as hub, User(hub.url, tmp_path / "home") as user:
        user.push(run, REPO)
        for place in ("/resolve/", ".parquet"):
            hub.faults = [Fault(place, "500", times=10_000)]
            assert user.pull(REPO, tmp_path / "RUN")["error"] == "ServiceError"
            assert not (tmp_path / "RUN").exists()
        (tmp_path / ".RUN.tmp" / "data").mkdir(parents=True)  # what a kill leaves
        hub.faults = []
        assert user.pull(REPO, tmp_path / "RUN")["counts"]["kept"] == 30
        assert sorted(path.name for path in tmp_path.glob("*RUN*")) == ["RUN"]
        assert "already exists" in user.pull(REPO, tmp_path / "RUN")["text"]
