"""Bad input: one line, exit 2 or 3; and no token anywhere."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from curate.rundir.result import Run
from tests.hub_server import READ, WRITE, HubServer, read
from tests.publish.user import command, make_run

pytestmark = pytest.mark.slow
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), range(30))


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may damage."""
    return Path(shutil.copytree(run.folder, tmp_path / "RUN"))


def one_line(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("repo", "token", "said"),
    [
        ("me/set", None, "no token for the Hub"),
        ("me/set", "hf_nobody", "the Hub rejects this token"),
        ("me/set", READ, "the token of me is read-only"),
        ("me/taken", WRITE, "me/taken is taken, and this token cannot see it"),
        ("me", WRITE, "expected OWNER/NAME"),
        ("me/a b", WRITE, "me/a b"),
        ("me/../x", WRITE, "expected OWNER/NAME"),
        ("theirs/set", WRITE, "rights to write under theirs"),
    ],
)
def test_tokens_and_names(hub: HubServer, run: Run, tmp_path: Path, repo: str, token: str | None, said: str) -> None:
    one_line(command(hub.url, tmp_path, "push", run.folder, repo, token=token), 2, said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--config", "../x"), "is not a valid config name"),
        (("--branch", "a..b"), "is not a valid branch name"),
        (("--tag", "v 1"), "is not a valid tag name"),
        (("--waive", "secret"), "Did you mean 'secrets'"),
        (("--pr", "--tag", "v1"), "cannot be combined with"),
        (("--set", "rules.no_tie=false"), "only publish.… can be set"),
        (("--set", "publish.licence=mit"), "Did you mean 'license'"),
    ],
)
def test_options(hub: HubServer, run: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    one_line(command(hub.url, tmp_path, "push", run.folder, "me/set", *options), 2, said)


def test_no_network_exits_with_3(run: Run, tmp_path: Path) -> None:
    one_line(
        command(NOWHERE, tmp_path, "push", run.folder, "me/set"),
        3,
        "the Hub cannot be reached: [Errno 111] Connection refused",
    )


def test_a_failed_gate_exits_with_1(hub: HubServer, run: Run, tmp_path: Path) -> None:
    done = command(hub.url, tmp_path, "push", run.folder, "me/gate", "--set", "publish.license=null")
    one_line(done, 1, "licence: no licence is specified: --set publish.license=…. Fix this, or")
    assert "me/gate" not in hub.repos
    waived = ("--set", "publish.license=null", "--waive", "licence,kept")
    assert command(hub.url, tmp_path, "push", run.folder, "me/gate", *waived).returncode == 0
    commit = hub.repos["me/gate"].at("main")
    assert commit is not None
    card = read(commit.files["README.md"]).decode()
    assert (
        "**Published despite failed checks**, by the publisher's decision:\n\n- licence: no licence is specified"
        in card
    )


def test_a_licence_that_the_hub_does_not_accept(hub: HubServer, run: Run, tmp_path: Path) -> None:
    done = command(
        hub.url, tmp_path, "push", run.folder, "me/odd", "--set", "publish.license=my-own", "--waive", "licence"
    )
    one_line(done, 2, "Invalid metadata in README.md")


def test_a_run_that_is_not_complete(hub: HubServer, copy: Path, tmp_path: Path) -> None:
    (copy / "manifest.json").unlink()
    one_line(command(hub.url, tmp_path, "push", copy, "me/set"), 2, "an unfinished run")
    one_line(command(hub.url, tmp_path, "push", tmp_path / "none", "me/set"), 2, "does not exist")


@pytest.mark.parametrize("path", ["data/train-00000-of-00001.parquet", "ledger.parquet", "README.md", "recipe.yaml"])
def test_a_run_edited_by_hand(hub: HubServer, copy: Path, tmp_path: Path, path: str) -> None:
    with (copy / path).open("ab") as file:
        file.write(b"\n")
    one_line(command(hub.url, tmp_path, "push", copy, "me/set"), 2, f"{path} was edited after the run")


def test_counts_edited_by_hand_and_files_added(hub: HubServer, copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"counts": manifest["counts"] | {"kept": 9}}))
    one_line(command(hub.url, tmp_path, "push", copy, "me/set"), 2, "manifest.json was edited after the run")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(copy / "data/test-00000-of-00001.parquet", copy / "data/train-9.parquet")
    one_line(command(hub.url, tmp_path, "push", copy, "me/set"), 2, "data/train-9.parquet was edited after the run")


def test_no_token_is_shown_or_written(hub: HubServer, run: Run, tmp_path: Path) -> None:
    """No output, no traceback, and no file of the run, the cache or the repository contains it."""
    said = ""
    for url, repo, options in (
        (hub.url, "me/quiet", ()),
        (hub.url, "me/quiet", ("--json",)),
        (hub.url, "theirs/quiet", ()),
        (NOWHERE, "me/quiet", ()),
    ):
        done = command(url, tmp_path / "home", "--debug", "push", run.folder, repo, *options)
        said += done.stdout + done.stderr + " ".join(map(str, done.args))
    assert "Traceback" in said
    assert WRITE not in said
    written = [*run.folder.rglob("*"), *(tmp_path / "home").rglob("*")]
    assert [path for path in written if path.is_file() and WRITE.encode() in path.read_bytes()] == []
    for commit in hub.repos["me/quiet"].history():
        assert [path for path, data in commit.files.items() if WRITE.encode() in read(data)] == []
    assert all(WRITE not in address for _, address in hub.requests)


def test_a_text_with_the_publishers_token_is_not_published(hub: HubServer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "leak", range(30), "publish.about=Ask with hf_writer")
    done = command(hub.url, tmp_path, "push", run.folder, "me/leak")
    one_line(done, 1, "the publisher's own token")
    assert "hf_writer" not in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(hub: HubServer, run: Run, tmp_path: Path) -> None:
    command(hub.url, tmp_path / "home", "push", run.folder, "me/disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        done = command(hub.url, tmp_path / "home", "pull", "me/disk", "-o", disk / "RUN")
        one_line(done, 2, "no space left on the disk")
        done = command(hub.url, tmp_path / "home", "export", run.folder, disk / "copy")
        one_line(done, 2, "no space left on the disk of ")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
