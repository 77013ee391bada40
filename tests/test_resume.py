"""After a kill at any moment, the same command continues and writes the same files; runs never share a folder."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import curate
from curate.errors import RecipeError
from tests import forked
from tests.data import contents, rows, write_jsonl

pytestmark = pytest.mark.slow  # together they take a while

# Small blocks, so that a run can be interrupted at many points.
SMALL_BLOCKS = "from curate.sources import jsonl, raw_block; raw_block.BLOCK_BYTES = jsonl.BLOCK_BYTES = 20_000"


def clean(source: Path, out: Path) -> forked.Started:
    return forked.zygote(SMALL_BLOCKS).start(["clean", str(source), "--out", str(out)], out.parent, os.environ)


@pytest.mark.skipif(os.name == "nt", reason="Windows forks no processes")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_killed_at_random_points(tmp_path: Path, how: str) -> None:
    source = write_jsonl(tmp_path / "pairs.jsonl", rows(1_000))
    assert clean(source, tmp_path / "WHOLE").ended(60).code == 0
    moments = random.Random(7)
    killed = 0
    for _ in range(3):
        process = clean(source, tmp_path / "RUN")
        time.sleep(moments.uniform(0.05, 1.2))
        process.send_signal(getattr(signal, how))
        ended = process.ended(60)
        killed += ended.code != 0
        assert "Traceback" not in ended.err
        if how == "SIGINT" and ended.code != 0:
            assert ended.code == 130
    assert killed > 0
    assert clean(source, tmp_path / "RUN").ended(60).code == 0
    assert contents(tmp_path / "RUN") == contents(tmp_path / "WHOLE")


def test_finished_parts_are_not_written_again(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pairs.jsonl", rows(50))
    run = curate.clean(source, tmp_path / "RUN")
    before = contents(run.folder)
    part = run.stage("signals").part(0)
    written = part.stat().st_mtime_ns
    # As if the process had been killed before the stage was marked complete and the output was written.
    (part.parent / "stage.json").unlink()
    (run.folder / "manifest.json").unlink()
    (run.folder / "ledger.parquet").unlink()
    again = curate.clean(source, tmp_path / "RUN")
    assert part.stat().st_mtime_ns == written
    assert contents(again.folder) == before


def test_the_second_of_two_runs_stops(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pairs.jsonl", rows(5))
    (tmp_path / "RUN").mkdir()
    with FileLock(tmp_path / "RUN" / ".lock"), pytest.raises(RecipeError, match="another process is running"):
        curate.clean(source, tmp_path / "RUN")
    assert curate.clean(source, tmp_path / "RUN").counts["kept"] == 5


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_gives_one_line_and_the_run_can_be_continued(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        source = write_jsonl(tmp_path / "pairs.jsonl", rows(3_000))
        done = subprocess.run(
            [sys.executable, "-m", "curate", "clean", str(source), "--out", str(disk / "RUN")],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2
        assert "no space left" in done.stderr
        assert done.stderr.count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert curate.clean(source, disk / "RUN").counts["kept"] == 3_000
    finally:
        subprocess.run(["umount", str(disk)], check=True)
