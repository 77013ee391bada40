"""`curate train --push` with the real client against a Hub on loopback: checks, retries, resuming."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forked
from tests.forked import TRAINING
from tests.hub_server import READ, WRITE, Fault, HubServer, read
from tests.publish.user import command, environment
from tests.train.tiny import tiny_model, toy_run

pytestmark = pytest.mark.slow
QUICK = ("--set", "trl.max_steps=2", "--set", "train.batch=4")
PICKLE = "training_args.bin"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    toy_run(folder, 24)
    tiny_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer(kind="models") as server:
        yield server


@pytest.fixture
def hub(server: HubServer, place: Path) -> HubServer:
    """A Hub with nothing but the tiny model, as me/base."""
    server.repos.clear()
    server.uploads.clear()
    server.forget_blobs()
    server.faults = []
    server.commit("me/base", {path.name: path.read_bytes() for path in (place / "model").iterdir()})
    return server


def preload(hub: HubServer, place: Path) -> str:
    """Return code that sets the Hub's settings before TRL imports the client, which reads them on import."""
    settings = environment(hub.url, place / "home", token=None)
    of_hub = {name: value for name, value in settings.items() if name.startswith("HF_")} | {"HF_HUB_OFFLINE": "0"}
    return f"import os; os.environ.update({of_hub}); {TRAINING}"


def train(
    hub: HubServer, place: Path, *more: str | Path, token: str | None = WRITE
) -> subprocess.CompletedProcess[str]:
    return curate(hub, place, "train", place / "RUN", *QUICK, *more, token=token)


def curate(
    hub: HubServer, place: Path, *arguments: str | Path, token: str | None = WRITE
) -> subprocess.CompletedProcess[str]:
    settings = environment(hub.url, place / "home", token)
    return forked.curate(*arguments, env=settings, preload=preload(hub, place))


def files_of(hub: HubServer, repo: str) -> dict[str, bytes]:
    commit = hub.repos[repo].at("main")
    assert commit is not None
    return {path: read(data) for path, data in commit.files.items() if path != ".gitattributes"}


def test_an_adapter_over_a_model_of_the_hub(hub: HubServer, place: Path, tmp_path: Path) -> None:
    arguments = ("-m", "me/base", "-o", tmp_path / "OUT", "--push", "me/tuned", "--private")
    hub.faults = [Fault("/api/repos/create", "503"), Fault("/commit/", "503"), Fault("/commit/", "409")]
    done = train(hub, place, *arguments)
    assert done.returncode == 0, done.stderr
    assert "pushed me/tuned: commit " in done.stdout
    repo = hub.repos["me/tuned"]
    assert repo.private
    assert [commit.title.split(":")[0] for commit in repo.history()] == ["DPO", "initial commit"]
    model = tmp_path / "OUT" / "model"
    there = files_of(hub, "me/tuned")
    assert set(there) == {path.name for path in model.iterdir()} - {PICKLE}
    changed = {path for path, data in there.items() if data != (model / path).read_bytes()}
    assert changed == {"adapter_config.json"}
    adapter = json.loads(there["adapter_config.json"])
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (
        "me/base",
        hub.repos["me/base"].branches["main"],
    )
    card = there["README.md"].decode()
    result = json.loads((tmp_path / "OUT" / "result.json").read_text())
    for text in ("base_model: me/base", f"data revision `{result['data']}`", "`toy.jsonl` (24 rows, fingerprint `"):
        assert text in card
    assert "| rewards/accuracies |" in card
    assert not any(str(place).encode() in data or str(tmp_path).encode() in data for data in there.values())
    assert_no_token(tmp_path, place / "RUN", done)

    trained = (model / "adapter_model.safetensors").stat().st_mtime_ns
    again = train(hub, place, *arguments, "--json")
    assert json.loads(again.stdout)["pushed"]["changed"] is False
    assert len(repo.history()) == 2
    assert (model / "adapter_model.safetensors").stat().st_mtime_ns == trained


def assert_no_token(*checked: Path | subprocess.CompletedProcess[str]) -> None:
    for where in checked:
        if isinstance(where, Path):
            files = [path for path in where.rglob("*") if path.is_file()]
            assert not any(WRITE.encode() in path.read_bytes() for path in files)
        else:
            assert WRITE not in where.stdout + where.stderr


def test_a_failed_push_is_retried_without_training(hub: HubServer, place: Path, tmp_path: Path) -> None:
    """With a local base model: the whole model is pushed and old adapter files are removed."""
    out = tmp_path / "OUT"
    arguments = ("-m", place / "model", "-o", out, "--push", "me/tuned")
    hub.commit("me/tuned", {"adapter_config.json": b"{}", "notes/config.json": b"{}", "NOTES.md": b"mine"})
    hub.faults = [Fault("/api/models/me/tuned/preupload", "400", times=1)]
    done = train(hub, place, *arguments)
    assert done.returncode == 2
    assert "run the same command again to push it without training again" in done.stderr.splitlines()[-1]
    assert len(hub.repos["me/tuned"].history()) == 1
    result = (out / "result.json").read_bytes()
    trained = (out / "model" / "adapter_model.safetensors").stat().st_mtime_ns
    hub.faults = [Fault("/commit/", "lost")]
    done = train(hub, place, *arguments)
    assert done.returncode == 0, done.stderr
    assert "pushed me/tuned: commit " in done.stdout
    assert (out / "result.json").read_bytes() == result
    assert (out / "model" / "adapter_model.safetensors").stat().st_mtime_ns == trained
    assert len(hub.repos["me/tuned"].history()) == 2
    there = files_of(hub, "me/tuned")
    assert {"model.safetensors", "config.json", "notes/config.json", "NOTES.md"} <= set(there)
    assert not {"adapter_config.json", PICKLE} & set(there)
    assert "library_name: transformers" in there["README.md"].decode()
    assert not any(str(place).encode() in data or str(tmp_path).encode() in data for data in there.values())
    assert all(
        data == (out / "merged" / path).read_bytes()
        for path, data in there.items()
        if (out / "merged" / path).is_file()
    )

    other = train(hub, place, *arguments, "--set", "trl.beta=0.3")
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "already has a training: continue it with --resume, replace it with --force" in other.stderr
    as_it_is = curate(hub, place, "train", place / "RUN", "-o", out, "--push", "me/second")
    assert as_it_is.returncode == 0, as_it_is.stderr
    assert files_of(hub, "me/second").items() <= there.items()


def test_a_push_killed_during_upload_is_resumed_without_training(hub: HubServer, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    arguments = ("-m", place / "model", "-o", out, "--push", "me/killed")
    hub.faults = [Fault("/blobs/", "hang")]
    line = ("train", place / "RUN", *QUICK, *arguments)
    first = forked.started(*line, env=environment(hub.url, place / "home"), preload=preload(hub, place))
    until = time.monotonic() + 240
    while not hub.faults[0].made and first.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    first.kill()
    first.communicate()
    assert hub.faults[0].made == 1
    assert [commit.title for commit in hub.repos["me/killed"].history()] == ["initial commit"]
    trained = (out / "model" / "adapter_model.safetensors").stat().st_mtime_ns
    done = train(hub, place, *arguments)
    assert done.returncode == 0, done.stderr
    assert (out / "model" / "adapter_model.safetensors").stat().st_mtime_ns == trained
    assert len(hub.repos["me/killed"].history()) == 2
    there = files_of(hub, "me/killed")
    assert there["model.safetensors"] == (out / "merged" / "model.safetensors").read_bytes()
    assert len(hub.uploads) == len(set(hub.uploads)) > 0


# repository, token, part of the message
MISTAKES = (
    ("me/tuned", None, "no token for the Hub"),
    ("me/tuned", "hf_nobody", "the Hub rejects this token"),
    ("me/tuned", READ, "the token of me is read-only"),
    ("me/taken", WRITE, "me/taken is taken, and this token cannot see it"),
    ("tuned", WRITE, "expected OWNER/NAME"),
    ("me/a b", WRITE, "me/a b"),
    ("theirs/tuned", WRITE, "rights to write under theirs"),
    ("theirs/there", WRITE, "rights to write under theirs"),
)
CHECK = """
import json, os, sys
from curate.errors import CurateError
from curate.publish.model import check_model_repo
for repo, token, _ in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token or ""
    try:
        check_model_repo(repo, private=False)
    except CurateError as error:
        print(error.exit_code, error)
"""


def test_names_and_tokens(hub: HubServer, tmp_path: Path) -> None:
    hub.commit("theirs/there", {"README.md": b""})
    program = [sys.executable, "-c", CHECK, json.dumps(MISTAKES)]
    done = subprocess.run(program, env=environment(hub.url, tmp_path), capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    for line, (repo, token, message) in zip(done.stdout.splitlines(), MISTAKES, strict=True):
        assert line.startswith("2 "), line
        assert message in line, repo
        assert token is None or token not in line
    assert set(hub.repos) == {"me/base", "theirs/there"}


def test_a_token_error_is_found_before_training(hub: HubServer, place: Path, tmp_path: Path) -> None:
    done = train(hub, place, "-m", place / "model", "-o", tmp_path / "OUT", "--push", "me/tuned", token=READ)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
    assert "the token of me is read-only" in done.stderr
    assert not (tmp_path / "OUT").exists()


def test_no_network_exits_with_3_before_training(place: Path, tmp_path: Path) -> None:
    arguments = ("train", place / "RUN", "-m", place / "model", "-o", tmp_path / "OUT", "--push", "me/tuned")
    done = command("http://127.0.0.1:9", place / "home", *arguments)
    assert done.returncode == 3
    assert "the Hub cannot be reached" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "OUT").exists()
