"""Hub datasets, read by the real clients from a local server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub_server import HubServer

ROWS = [{"prompt": f"Question {i}?", "chosen": f"Answer {i}.", "rejected": "No."} for i in range(5)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CARD = b"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train_prefs\n    path: prefs.jsonl\n---\n"
TWO = b"""---
configs:
- config_name: default
  data_files:
  - split: one
    path: prefs.jsonl
  - split: two
    path: prefs.jsonl
---
"""
# The clients read their settings on import, so each question is asked in its own process.
PROGRAM = """
import json, sys
from curate.errors import CurateError
from curate.sources import open_feeds, read
for path, options in json.loads(sys.argv[1]):
    try:
        feeds = open_feeds([path], **options)
        rows = [row for feed in feeds for frame, _ in read(feed) for row in frame.rows(named=True)]
        print(json.dumps({"rows": [(r["source"], r["source_row"], r["chosen"][0]["content"]) for r in rows]}))
    except CurateError as error:
        print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""
Question = tuple[str, dict[str, str]]


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    files = {"README.md": CARD, "prefs.jsonl": JSONL}
    two = {"README.md": TWO, "prefs.jsonl": JSONL}
    with HubServer({"me/prefs": files, "me/two": two, "me/script": {"script.py": b"", "a.jsonl": JSONL}}) as server:
        yield server


def program(url: str, home: Path, text: str, *arguments: str) -> str:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    # From a small process: on Linux a process inherits the peak memory of its parent.
    start = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    done = subprocess.run(
        [sys.executable, "-c", start, sys.executable, "-c", text, *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def ask(url: str, home: Path, *questions: Question) -> list[dict[str, object]]:
    lines = program(url, home, PROGRAM, json.dumps(questions)).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.slow
def test_reads_the_only_split_or_a_named_one(hub: HubServer, tmp_path: Path) -> None:
    only, named = ask(hub.url, tmp_path, ("me/prefs", {}), ("hf://datasets/me/prefs", {"split": "train_prefs"}))
    assert only == {"rows": [["me/prefs", i, f"Answer {i}."] for i in range(5)]}
    assert named == {"rows": [["me/prefs:train_prefs", i, f"Answer {i}."] for i in range(5)]}


@pytest.mark.slow
def test_reads_one_file_of_a_repository_even_with_a_loading_script(hub: HubServer, tmp_path: Path) -> None:
    paths = ["hf://datasets/me/prefs/prefs.jsonl", "hf://datasets/me/script/a.jsonl", "me/script"]
    file, beside, script = ask(hub.url, tmp_path, *((path, {}) for path in paths))
    assert file == {"rows": [["me/prefs/prefs.jsonl", i, f"Answer {i}."] for i in range(5)]}
    assert beside == {"rows": [["me/script/a.jsonl", i, f"Answer {i}."] for i in range(5)]}
    assert script["error"] == "InputError"
    assert "name one of its files instead" in str(script["text"])


@pytest.mark.slow
def test_a_missing_input_is_named(hub: HubServer, tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, str], str]] = [
        ("me/nope", {}, "me/nope"),
        ("me/prefs", {"revision": "v9"}, "v9"),
        ("me/prefs", {"split": "nope"}, "nope"),
        ("me/prefs", {"config": "nope"}, "nope"),
        ("me/two", {}, "several splits (one, two)"),
    ]
    answers = ask(hub.url, tmp_path, *((path, options) for path, options, _ in wrong))
    assert [answer["error"] for answer in answers] == ["InputError"] * len(wrong)
    for answer, (_, _, said) in zip(answers, wrong, strict=True):
        assert said in str(answer["text"])


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_a_service_error(tmp_path: Path) -> None:
    (answer,) = ask("http://127.0.0.1:9", tmp_path, ("me/prefs", {}))
    assert answer["error"] == "ServiceError"


def test_a_folder_of_that_name_is_not_a_hub_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curate.sources import open_feeds

    monkeypatch.chdir(tmp_path)
    Path("me/prefs").mkdir(parents=True)
    pl.DataFrame(ROWS).write_parquet("me/prefs/part.parquet")
    assert [feed.name for feed in open_feeds(["me/prefs"])] == ["part.parquet"]


PEAK = """
import resource, sys
from curate.sources import Bounds, open_feeds
(feed,) = open_feeds(["me/long"], bounds=Bounds(unpacked_bytes=10**10))
sizes = [block.columns["chosen"].str.len_bytes().sum() for block in feed.blocks()]
print(len(sizes), sum(sizes), max(sizes), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory has this unit on Linux")
def test_a_small_parquet_file_that_decodes_to_much(tmp_path: Path) -> None:
    text, rows = "word " * 20_000, 12_000
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    table = pa.table({"prompt": [str(i) for i in range(rows)], "chosen": long, "rejected": ["no"] * rows})
    pq.write_table(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    with HubServer({"me/long": {"a.parquet": (tmp_path / "a.parquet").read_bytes()}}) as server:
        found = program(server.url, tmp_path, PEAK)
    count, total, largest, peak = map(int, found.split())
    assert (count > 30, total) == (True, rows * len(text))
    assert largest <= 32 << 20
    assert peak < 1_200  # the text alone is 1,200 MB


@pytest.mark.slow
def test_rows_are_numbered_over_all_files_of_a_split(tmp_path: Path) -> None:
    files = {}
    for name, part in (("a", ROWS[:2]), ("b", ROWS[2:])):
        pl.DataFrame(part).write_parquet(tmp_path / "part.parquet")
        files[f"data/train-{name}.parquet"] = (tmp_path / "part.parquet").read_bytes()
    with HubServer({"me/parts": files}) as server:
        (answer,) = ask(server.url, tmp_path, ("me/parts", {}))
    assert answer == {"rows": [["me/parts", i, f"Answer {i}."] for i in range(5)]}
