"""Hostile texts in rows, names, ledgers and replies reach neither the terminal nor a page as control characters."""

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from curate.files import write_json
from curate.rundir.checksums import sealed
from curate.rundir.manifest import Manifest
from tests import forked
from tests.data import row, rows, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="no pseudo terminals")]
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\x7f\r"
# None of these may be printed: control characters, except tabs and line ends, and bidirectional overrides.
# What GitHub Actions would run as a command if it began a line, or after an escape was decoded; and names with it.
COMMAND = "\n::error file=x,line=1::owned%0A::add-mask::x,y:z"
CHECKED = f"c{EVIL}{COMMAND}.jsonl"
RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Evil(BaseHTTPRequestHandler):
    """A Hub and an endpoint that refuse everything with a hostile message."""

    def do_POST(self) -> None:
        body = json.dumps({"error": {"message": f"no {EVIL}"} if "/v1" in self.path else f"no {EVIL}"}).encode()
        self.send_response(400)
        self.send_header("X-Error-Message", "no \x1b[2J")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a hostile source, a run, a recipe, and a second run with a hostile ledger and manifest."""
    folder = tmp_path_factory.mktemp("hostile")
    bad = [row(40, prompt=f"What is {EVIL}?", system=EVIL), row(41, chosen=f"{EVIL} {EVIL}", chosen_model=EVIL)]
    write_jsonl(folder / f"p{EVIL}.jsonl", [*rows(9), *bad, '{"broken": "' + EVIL, '{"chosen": 3, "rejected": 4}'])
    names = {f"notes{EVIL}{COMMAND}": "CREATE TABLE t{n} (a int, b text, c date)", "chosen_model": EVIL + COMMAND}
    named = [row(n, rejected_model="b") | {k: v.replace("{n}", str(n)) for k, v in names.items()} for n in range(60)]
    write_jsonl(folder / CHECKED, [*named, *(one | names for one in bad), '{"broken": "' + EVIL + COMMAND])
    (folder / "wrong.yaml").write_text('source: {paths: "x"}\n"sp\\eit\\u202e": {a: "\\a"}\n')
    out, code = in_terminal(folder, "clean", f"p{EVIL}.jsonl", "-o", "RUN", "--set", "source.max_bad_rows=1")
    assert code == 0, out
    in_terminal(folder, "clean", f"p{EVIL}.jsonl", "-o", "RUN2", "--set", "source.max_bad_rows=1")
    ledger = pl.read_parquet(folder / "RUN2/ledger.parquet")
    evil = pl.lit(EVIL)
    ledger.with_columns(source=evil, stage=evil, rule=evil, matched=evil, reasons=pl.concat_list(evil)).write_parquet(
        folder / "RUN2/ledger.parquet"
    )
    manifest = sealed(folder / "RUN2", Manifest.read(folder / "RUN2/manifest.json"))  # as its publisher could
    write_json(folder / "RUN2/manifest.json", manifest.to_dict())
    return folder


def in_terminal(folder: Path, *arguments: str, hub: str = "http://127.0.0.1:9") -> tuple[str, int]:
    """Return what the command writes to a terminal without colours or cursor movements, and its exit code."""
    import pty

    ours, theirs = pty.openpty()
    environment = {
        **os.environ, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "120", "HF_ENDPOINT": hub, "HF_TOKEN": "hf_abcdefgh",
        "PREFCURATE_HUB_WAIT": "0.01", "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    process = forked.zygote().start(list(arguments), folder, environment, os.ttyname(theirs))
    shown = b""
    os.set_blocking(ours, False)
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        shown += available(ours)
        time.sleep(0.01)
    ended = process.ended(0)
    shown += available(ours)
    os.close(theirs)
    os.close(ours)
    return shown.decode("utf-8", "replace"), ended.code


def available(terminal: int) -> bytes:
    """Return what was written to a terminal since the last call."""
    found = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(terminal, 1 << 16):
            found += chunk
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["check", CHECKED], 1, "PC407"),
        (["check", CHECKED, f"p{EVIL}.jsonl"], 1, "PC114"),
        (["check", CHECKED, "--json"], 1, r"\u001b]0;owned"),
        (["check", CHECKED, "--sarif"], 1, r"\u001b]0;owned"),
        (["check", CHECKED, "--github"], 1, r"\x1b]0;owned"),
        (["check", f"none{EVIL}.jsonl"], 2, r"\x1b]0;owned"),
        (["check", "--explain", EVIL], 2, r"\x1b]0;owned"),
        (["check", CHECKED, "--columns", f"prompt={EVIL}"], 2, r"\x1b]0;owned"),
        (["why", "RUN", "9"], 0, r"\x1b]0;owned"),
        (["why", "RUN", "9", "--json"], 0, r"\u001b]0;owned"),
        (["why", "RUN2", "9"], 0, r"\x1b]0;owned"),
        (["why", f"RUN{EVIL}", "9"], 2, r"\x1b]0;owned"),
        (["why", "RUN", EVIL], 2, r"\x1b]0;owned"),
        (["why", "RUN", "9", "--source", EVIL], 2, r"\x1b]0;owned"),
        (["clean", f"none{EVIL}.jsonl", "-o", "OUT"], 2, r"\x1b]0;owned"),
        (["clean", f"p{EVIL}.jsonl", "-o", f"OUT{EVIL}", "--set", "source.max_bad_rows=1"], 0, r"\x1b]0;owned"),
        (["clean", f"p{EVIL}.jsonl", "-o", "OUT2"], 2, "bad"),
        (["clean", f"p{EVIL}.jsonl", "-o", "OUT3", "--set", f"x{EVIL}=1"], 2, r"\x1b]0;owned"),
        (["clean", f"p{EVIL}.jsonl", "-o", "OUT3", "--format", EVIL], 2, r"\x1b]0;owned"),
        (["--debug", "clean", f"none{EVIL}.jsonl", "-o", "OUT"], 2, r"\x1b]0;owned"),
        ([f"whi{EVIL}"], 2, r"\x1b]0;owned"),
        (["evals", "--ngram", EVIL], 2, "--ngram"),
        (["run", "wrong.yaml", "-o", "OUT4"], 2, r"\x1bit\u202e"),
        (["export", "RUN", f"foo://{EVIL}"], 2, r"\x1b]0;owned"),
        (["pull", "me/set", "-o", "OUT5"], 2, r"\x1b"),
        (["clean", "me/set", "-o", "OUT6"], 2, "me/set"),
        (["push", "RUN", "me/set"], 2, r"\x1b"),
        (["generate", f"p{EVIL}.jsonl", "-o", "OUT7", "-m", "ENDPOINT"], 2, r"\x1b]0;owned"),
    ],
)
def test_no_control_character_is_printed(place: Path, server: str, arguments: list[str], code: int, said: str) -> None:
    line = [text.replace("ENDPOINT", f"openai:m{EVIL}@{server}/v1") for text in arguments]
    shown, found = in_terminal(place, *line, hub=server)
    assert RAW.findall(shown) == []
    assert (found, said in shown) == (code, True), shown


@pytest.mark.parametrize(
    ("name", "said"), [("report.html", r"\x1b]0;owned"), ("README.md", r"\x1b0;owned"), ("RUN.json", r"\u001b]0;owned")]
)
def test_pages_show_control_characters_escaped(place: Path, name: str, said: str) -> None:
    (place / "RUN/RUN.json").write_text(in_terminal(place, "why", "RUN", "9", "--json")[0])
    text = (place / "RUN" / name).read_bytes().decode().replace("\r\n", "\n")
    assert RAW.findall(text) == []
    assert "\r" not in text
    assert said in text


def test_check_starts_no_command_of_github(place: Path) -> None:
    """Each line is one command of ours: names and texts of the data are escaped in its properties and its message."""
    lines = forked.curate("check", CHECKED, "--github", "--examples", "2", folder=place).stdout.split("\n")[:-1]
    found = json.loads(forked.curate("check", CHECKED, "--json", "--examples", "2", folder=place).stdout)["findings"]
    assert len(lines) == sum(max(len(one["examples"]), 1) for one in found)
    ours = re.compile(r"::(error|warning|notice) (file=[^:,]*,(line=\d+,)?)?title=PC\d{3} \w+::\w+: [^\r\n]*")
    assert [line for line in lines if not ours.fullmatch(line)] == []
    assert {one["code"] for one in found} >= {"PC101", "PC114", "PC407"}  # with the file's, column's and model's name
    (column,) = [line for line in lines if "PC114" in line]
    assert "line=1,title" in column
    assert "owned%250A::add-mask::x,y:z" in column


@pytest.mark.parametrize("form", ["--json", "--sarif"])
def test_check_writes_json_whatever_the_names(place: Path, form: str) -> None:
    text = forked.curate("check", CHECKED, form, folder=place).stdout
    found = json.loads(text)
    assert RAW.findall(text) == []
    results = found["findings"] if form == "--json" else found["runs"][0]["results"]
    assert [one for one in results if COMMAND in json.dumps(one, ensure_ascii=False).replace("\\n", "\n")] != []
