"""Output folders that are not ours, sources inside them, and --force: foreign files stay, byte for byte."""

import json
import os
from pathlib import Path

import pytest

from tests.attacks.harness import Victim, contents
from tests.data import rows, write_jsonl

pytestmark = pytest.mark.slow  # together they take a while

FORCE = pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
CARD = "# My notes\n"


@pytest.fixture(scope="module")
def source(victim: Victim) -> Path:
    return write_jsonl(victim.folder / "p.jsonl", rows(20))


@pytest.fixture(scope="module")
def run(victim: Victim, source: Path) -> Path:
    assert victim("clean", source, "-o", "RUN").check().code == 0
    return victim.folder / "RUN"


def mine(folder: Path, *files: str) -> Path:
    """Create a user's folder with these files: "a -> b" makes a link, a trailing slash a folder."""
    for name in files:
        at, arrow, target = name.partition(" -> ")
        path = folder / at
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            path.symlink_to(target)
        elif at.endswith("/"):
            path.mkdir()
        else:
            path.write_text(CARD if at.endswith(".md") else json.dumps({"prompt": at}) + "\n")
    return folder


FOREIGN = {
    "a project": ("data/mine.jsonl", "README.md", "src/a.py"),
    "a card": ("README.md",),
    "data": ("data/train-00000-of-00001.parquet",),
    "a manifest": ("manifest.json",),
    "a recipe": ("recipe.yaml",),
    "a recipe and a manifest": ("recipe.yaml", "manifest.json", "data/x.parquet"),
    "stages": ("stages/pairs/part-00000.parquet", "stages/pairs/stage.json"),
    "a ledger": ("ledger.parquet",),
    "a temporary file": (".README.md.tmp",),
    "a hidden file": (".env",),
    "a repository": (".git/config",),
    "an empty folder": ("data/",),
    "a link": ("data -> ../p.jsonl",),
    "a link to a folder": ("data -> ..",),
    "a broken link": ("README.md -> nowhere",),
    "a name that is not UTF-8": ("\udcff\udcfe",),
    "a name with a line break": ("a\n\x1b[2Jb",),
    "a marker of another kind": (".prefcurate", "weights.bin"),
}


@FORCE
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_folders(victim: Victim, source: Path, tmp_path: Path, name: str, force: tuple[str, ...]) -> None:
    folder = mine(tmp_path / "mine", *FOREIGN[name])
    before, links = contents(tmp_path), sorted(os.listdir(folder))
    for line in (
        ("clean", source, "-o", folder),
        ("generate", source, "-m", "openai:x@http://127.0.0.1:9/v1", "-o", folder),
    ):
        done = victim(*line, *force).check()
        assert done.code == 2
        assert "curate: " in done.err
        assert "--force" not in done.err
        assert contents(tmp_path) == before
        assert sorted(os.listdir(folder)) == links


@FORCE
@pytest.mark.parametrize(
    "name", ["a project", "a card", "data", "a hidden file", "a broken link", "a name with a line break"]
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_exports(victim: Victim, run: Path, tmp_path: Path, name: str, form: str, force: tuple[str, ...]) -> None:
    """Only --force writes into a user's folder, and files with other names stay."""
    folder = mine(tmp_path / "mine", *FOREIGN[name])
    before = contents(tmp_path)
    done = victim("export", run, folder, "--as", form, *force).check()
    after = contents(tmp_path)
    if not force:
        assert done.code == 2
        assert after == before
    ours = ("mine/data/t", "mine/README.md", "mine/train.", "mine/test.")
    kept = {path: data for path, data in before.items() if not path.startswith(ours)}
    assert {path: after.get(path) for path in kept} == kept


@pytest.mark.parametrize(
    "out",
    ["/", "/dev/null", "/dev/full", "/proc", "/proc/self", "/sys/x", "p.jsonl", "p.jsonl/x", "self", "x" * 300,
     "x/" * 3_000, ".", "..", "", "gone", "\udcff", "mine\n\x1b[2J"],
    ids=repr,
)  # fmt: skip
def test_paths_where_no_run_can_be_written(victim: Victim, source: Path, out: str) -> None:
    for name, target in {"self": "self", "gone": "/nowhere/x"}.items():
        if not (link := victim.folder / name).is_symlink():
            link.symlink_to(target)
    before = contents(victim.folder)
    for force in ((), ("--force",)):
        done = victim("clean", source, "-o", out, "--set", "split.test=0", *force).check()
        after = contents(victim.folder)
        assert {path: after.get(path) for path in before} == before
        assert done.code == 2 or out in ("\udcff", "mine\n\x1b[2J")


@FORCE
@pytest.mark.parametrize("where", ["RUN", "RUN/data", "RUN/data/deep", "RUN/stages", "RUN/files"])
def test_a_source_inside_the_output(
    victim: Victim, run: Path, tmp_path: Path, where: str, force: tuple[str, ...]
) -> None:
    inside = run / where.removeprefix("RUN").lstrip("/")
    inside.mkdir(exist_ok=True, parents=True)
    source = write_jsonl(inside / "mine.jsonl", rows(20))
    before = source.read_bytes()
    try:
        done = victim("clean", source, "-o", run, *force).check()
        assert source.read_bytes() == before, done.err
        done = victim("clean", inside, "-o", run, *force).check()
        assert source.read_bytes() == before, done.err
    finally:
        source.unlink()


@FORCE
def test_an_output_inside_the_source(victim: Victim, tmp_path: Path, force: tuple[str, ...]) -> None:
    """A second run must not read the first one's pairs as if they were the user's."""
    folder = tmp_path / "mine"
    folder.mkdir()
    write_jsonl(folder / "p.jsonl", rows(20))
    counts = []
    for _ in range(2):
        done = victim("clean", folder, "-o", folder / "out", *force).check()
        assert contents(folder, "out") == {"p.jsonl": (folder / "p.jsonl").read_bytes()}
        if done.code == 0:
            counts.append(json.loads((folder / "out/manifest.json").read_bytes())["counts"]["rows"])
    assert set(counts) <= {20}


def test_a_run_of_another_source_is_replaced_only_by_force(victim: Victim, run: Path) -> None:
    other = write_jsonl(victim.folder / "other.jsonl", rows(9))
    before = contents(run)
    assert victim("clean", other, "-o", run).check().code == 2
    assert contents(run) == before
    (run / "notes.txt").write_text("mine")
    (run / "data/notes.txt").write_text("mine")
    assert victim("clean", other, "-o", run, "--force").check().code in (0, 2)
    assert (run / "notes.txt").read_text() == (run / "data/notes.txt").read_text() == "mine"


TARGETS = [
    "", "/", "/dev/null", "http://", "http://127.0.0.1:9/x", "file://", "s3://", "x://y", "memory://", "p.jsonl", "RUN",
    "RUN/data", "::", "file:///proc/x", "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_hostile_export_targets(victim: Victim, run: Path, target: str) -> None:
    before = contents(victim.folder)
    for force in ((), ("--force",)):
        victim("export", run, target, "--as", "jsonl", *force, seconds=20).check(connects=["127.0.0.1"])
    after = contents(victim.folder)
    assert {path: after.get(path) for path in before} == before
