"""The real server with the real small model, which ends with its parent; and models in a distilabel pipeline."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curate.errors import InputError, RecipeError
from curate.recipe.models import named_model
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import connect, open_models
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import Request, SendRequests
from pipelines.clients.server import embedded_weights, serve
from pipelines.judges.parse import parse_comparison, parse_rating
from pipelines.judges.rubrics import (
    comparison_messages,
    comparison_schema,
    load_rubric,
    rating_messages,
    rating_schema,
)
from tests.faults import FaultServer, curate, prompts, started

pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "How long does an egg take to boil?"}]
ANSWERS = ([{"role": "assistant", "content": "Ten minutes."}], [{"role": "assistant", "content": "I like eggs."}])


@pytest.fixture(scope="module")
def ask() -> Iterator[SendRequests]:
    model = named_model("embedded")
    with RequestCache(":memory:") as cache, open_models([model], Dispatcher(cache, Budget(None, [model]))) as clients:
        yield clients["embedded"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A unique path, which identifies the server among all processes."""
    (tmp_path / "weights.gguf").symlink_to(embedded_weights())
    return tmp_path / "weights.gguf"


def servers_of(weights: Path) -> list[int]:
    """Return the processes that serve these weights."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"\0-m\0pipelines.clients.server\0" in line and str(weights).encode() in line:
            found.append(int(folder.name))
    return found


def check_gone(weights: Path) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not servers_of(weights):
            return
        time.sleep(0.05)
    raise AssertionError(f"still there: {servers_of(weights)}")


def test_an_answer_has_counts_and_a_finish_reason(ask: SendRequests) -> None:
    asked = [Request(QUESTION, {"temperature": 0.7, "max_tokens": 24, "seed": seed}) for seed in range(10)]
    replies = ask(asked)
    assert [reply.error for reply in replies] == [None] * 10
    assert len({reply.text for reply in replies}) > 5  # the seed has an effect
    assert all(reply.text and 0 < (reply.output_tokens or 0) <= 24 for reply in replies)
    assert {reply.input_tokens for reply in replies} == {replies[0].input_tokens}


def test_an_answer_that_is_cut_off_is_marked(ask: SendRequests) -> None:
    short, whole = ask(
        [
            Request([{"role": "user", "content": "Say hello."}], {"temperature": 0, "max_tokens": most})
            for most in (2, 60)
        ]
    )
    assert (short.finish_reason, short.output_tokens) == ("length", 2)
    assert whole.finish_reason == "stop"


def test_the_form_of_a_verdict_is_enforced(ask: SendRequests) -> None:
    """The verdict of a model of this size is worthless, but it can be parsed."""
    aspects = ["helpfulness"]
    rubrics = [load_rubric(name) for name in aspects]
    params = {"temperature": 0, "max_tokens": 300, "seed": 0}
    ratings = ask(
        [
            Request(rating_messages(rubrics, QUESTION, answer, scale=5), params | {"response_format": form})
            for answer in ANSWERS
            for form in (rating_schema(aspects, 5),)
        ]
    )
    for reply in ratings:
        assert reply.finish_reason == "stop", reply
        assert set(parse_rating(reply.text or "", aspects, 5).ratings) == set(aspects)
    messages = comparison_messages(load_rubric("pairwise"), QUESTION, *ANSWERS)
    (reply,) = ask([Request(messages, params | {"response_format": comparison_schema()})])
    assert parse_comparison(reply.text or "").better in ("A", "B", "tie")


def test_a_prompt_that_is_too_long_fails_alone(ask: SendRequests) -> None:
    long = Request([{"role": "user", "content": "word " * 9_000}], {"max_tokens": 8})
    fine = Request(QUESTION, {"max_tokens": 8})
    replies = ask([long, fine])
    assert replies[0].text is None
    assert "status 400: " in (replies[0].error or "")
    assert replies[1].error is None


def test_any_gguf_file_is_served_by_its_path(weights: Path) -> None:
    model = named_model(f"gguf:{weights}")
    with RequestCache(":memory:") as cache, open_models([model], Dispatcher(cache, Budget(None, [model]))) as clients:
        assert len(servers_of(weights)) == 1
        (reply,) = clients[model.model]([Request(QUESTION, {"max_tokens": 4})])
        assert reply.error is None
    check_gone(weights)


def test_many_servers_can_start_at_once(weights: Path) -> None:
    """On a busy machine chunks of the log and the server's address arrive in any order."""

    def start(_: int) -> str:
        with serve(weights) as url:
            return url

    with ThreadPoolExecutor(4) as pool:
        urls = list(pool.map(start, range(8)))
    assert all(url.startswith("http://127.0.0.1:") for url in urls), urls
    check_gone(weights)


def test_the_address_is_one_write_even_with_unbuffered_output(weights: Path) -> None:
    """Each read of a pipe in packet mode is one write. With PYTHONUNBUFFERED, print() writes a line in two, and the
    log may come between them."""
    try:
        reading, writing = os.pipe2(os.O_DIRECT)
    except OSError as error:
        pytest.skip(f"no pipes in packet mode here ({error})")
    server = subprocess.Popen(
        [sys.executable, "-m", "pipelines.clients.server", str(weights)],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    os.close(writing)
    try:
        packets = iter(lambda: os.read(reading, 65536), b"")
        said = next(packet for packet in packets if b"listening on " in packet)
    finally:
        server.communicate()
        os.close(reading)
    assert re.fullmatch(rb"\nlistening on http://127\.0\.0\.1:\d+\n", said)


def test_the_server_ends_when_the_block_raises(weights: Path) -> None:
    def fail() -> None:
        with serve(weights):
            assert len(servers_of(weights)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    check_gone(weights)


@pytest.mark.parametrize("ready", [True, False])
def test_the_server_ends_with_a_parent_that_is_killed(weights: Path, ready: bool) -> None:
    """Even if the parent is killed before the weights are loaded."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom pipelines.clients.server import serve\n"
        "with serve(Path(sys.argv[1])) as url:\n    print(url, flush=True)\n    time.sleep(100)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, weights], stdout=subprocess.PIPE, text=True)
    if ready:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("http://127.0.0.1:")
    while not servers_of(weights):
        time.sleep(0.01)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    check_gone(weights)


def test_an_interrupt_ends_the_command_and_its_server(weights: Path, tmp_path: Path) -> None:
    source = prompts(tmp_path / "prompts.jsonl", 40)
    process = started("generate", source, "--model", f"gguf:{weights}", "-n", 4, "-o", tmp_path / "RUN",
                      "--set", "generate.max_tokens=8")  # fmt: skip
    replies = tmp_path / "RUN" / "requests.sqlite"
    while not replies.exists() or stored(replies) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 3
    assert (process.returncode, said.count("\n")) == (130, 1)
    check_gone(weights)
    assert stored(replies) >= 2


def stored(path: Path) -> int:
    with RequestCache(path) as cache:
        return sum(requests for requests, _, _ in cache.spent().values())


def test_invalid_weights_are_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "none.gguf").write_text("no weights")
    (tmp_path / "cut.gguf").write_bytes(embedded_weights().read_bytes()[:5_000_000])
    for name, said in (
        ("missing.gguf", "does not exist, or is not a file"),
        ("none.gguf", "is not a GGUF file: it does not begin with GGUF"),
        ("cut.gguf", "cannot be served: llama_model_load: error loading model: tensor"),
    ):
        with pytest.raises(InputError, match=said) as raised, serve(tmp_path / name):
            pass
        assert "\n" not in str(raised.value)
    source = prompts(tmp_path / "prompts.jsonl", 2)
    done = curate("generate", source, "--model", f"gguf:{tmp_path / 'none.gguf'}", "-o", tmp_path / "RUN")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not a GGUF file" in done.stderr


PIPELINE = """
import json, logging, sys
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from curate.recipe.models import Model
from pipelines import connect

def main(url, key_env):
    spec = Model(model="openai:test", base_url=url, api_key_env=key_env, retries=2)
    texts = ["one", "two", "two", "[[500 garbled]] three", "[[400*]] four"]
    with Pipeline(name="ours") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": text} for text in texts])
        write = TextGeneration(
            llm=connect(spec).model_copy(update={"generation_kwargs": {"max_tokens": 12, "seed": 3}}),
            num_generations=2,
        )
        load >> write
    dumped = json.dumps(pipeline.dump())
    made = pipeline.run(use_cache=False)
    rows = made["default"]["train"].to_list()
    print("ROWS " + json.dumps({"rows": rows, "dumped": dumped}))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


def test_inside_a_distilabel_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipe.py").write_text(PIPELINE)
    key = "sk-plantedtoken0123456789"
    root = Path(__file__).resolve().parents[3]
    with FaultServer(tmp_path / "log", key=key) as server:
        done = subprocess.run(
            [sys.executable, tmp_path / "pipe.py", server.url, "TEST_KEY"], capture_output=True, text=True, timeout=120,
            env=os.environ | {"TEST_KEY": key, "PYTHONPATH": str(root), "HOME": str(tmp_path)}, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ROWS "))[5:])
        rows = found["rows"]
        by_text = [(row["instruction"], row["generation"]) for row in rows]
        assert [text for text, _ in by_text] == [
            text for text in ("one", "two", "two", "[[500 garbled]] three", "[[400*]] four") for _ in range(2)
        ]
        answered = [answer for _, answer in by_text[:8]]
        assert all(answer.startswith("Answer ") for answer in answered)
        assert len(set(answered)) == 6  # two seeds each, and "two" was asked once
        assert [answer for _, answer in by_text[8:]] == [None, None]
        assert set(server.answers().values()) == {1}
        error = rows[8]["distilabel_metadata"]
        assert rows[0]["distilabel_metadata"]["statistics_text_generation_0"]["output_tokens"] > 0
        assert "status 400" in json.dumps(rows[8]), error
    assert key not in found["dumped"]
    assert "TEST_KEY" in found["dumped"]
    assert key not in done.stdout + done.stderr
    assert [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()] == []


def test_only_endpoints_can_be_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RecipeError, match="only openai: and inference: can be connected outside a run"):
        connect("embedded")
    with pytest.raises(RecipeError, match="the environment variable OPENAI_API_KEY is not set"):
        connect("openai:gpt-4o-mini")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-plantedtoken0123456789")
    llm = connect("openai:gpt-4o-mini")
    llm.load()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # distilabel's dump uses what pydantic has deprecated
            assert "plantedtoken" not in json.dumps(llm.dump()) + repr(llm) + str(llm.model_dump())
    finally:
        llm.unload()
