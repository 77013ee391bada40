"""Every fault ends as documented, against a server in another process: it affects one request only."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from curate.errors import CurateError, RecipeError, ServiceError
from pipelines.clients.completions import Retry, read, retry_after
from pipelines.clients.endpoint import Endpoint
from pipelines.clients.limits import Hosts
from pipelines.clients.requests import Reply, Request
from tests.fault_server import TRANSIENT
from tests.faults import FaultServer, free, requests

pytestmark = pytest.mark.slow  # together they take a while


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with FaultServer(tmp_path_factory.mktemp("faults") / "log", "--slow", "3") as started:
        yield started


def ask(url: str, asked: Sequence[Request], **options: Any) -> list[Any]:
    """Send all at once; return replies and errors in their order."""
    quick: dict[str, Any] = {"model": "m", "timeout": 0.7, "first_delay": 0.01, "patience": 20, "retries": 3}

    async def play() -> list[Any]:
        endpoint = Endpoint(base_url=url, **(quick | options))
        try:
            return await asyncio.gather(*(endpoint.ask(one, free) for one in asked), return_exceptions=True)
        finally:
            await endpoint.close()

    return asyncio.run(asyncio.wait_for(play(), 60))


def of(server: FaultServer, since: int) -> list[str]:
    return [line["did"] for line in server.lines(since)]


def now(server: FaultServer) -> int:
    return len(server.lines())


def test_an_answer(server: FaultServer) -> None:
    first, again, other = (ask(server.url, requests("Why?", seed=seed))[0] for seed in (1, 1, 2))
    assert first == again != other
    assert first.text.startswith("Answer ")
    assert (first.finish_reason, first.input_tokens, first.error) == ("stop", 5, None)
    assert first.output_tokens == len(first.text.split(" "))


def test_cut_off_is_marked(server: FaultServer) -> None:
    (reply,) = ask(server.url, requests("Why?", max_tokens=3))
    assert (reply.finish_reason, reply.output_tokens, reply.error) == ("length", 3, None)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_transient_fault_is_retried(server: FaultServer, fault: str) -> None:
    since = now(server)
    started = time.monotonic()
    (reply,) = ask(server.url, requests(f"[[{fault}]]"))
    seconds = time.monotonic() - started
    assert reply.error is None
    assert reply.text.startswith("Answer ")
    assert of(server, since) == [fault, "answered"]
    least = {"429": 0.25, "429_seconds": 0.95, "429_date": 0.9, "slow": 0.7}.get(fault, 0)
    assert least <= seconds < least + 2.5


@pytest.mark.parametrize("status", ["408", "409", "425"])  # besides those among the transient faults
def test_statuses_that_are_retried(server: FaultServer, status: str) -> None:
    since = now(server)
    (reply,) = ask(server.url, requests(f"[[{status}]]"))
    assert (reply.error, of(server, since)) == (None, [status, "answered"])


@pytest.mark.parametrize("status", ["410", "424", "426", "499"])
def test_statuses_that_are_final(server: FaultServer, status: str) -> None:
    since = now(server)
    (reply,) = ask(server.url, requests(f"[[{status}]]"))
    assert (reply.error, of(server, since)) == (f"status {status}: No", [status])


def test_several_faults_in_a_row(server: FaultServer) -> None:
    (reply,) = ask(server.url, requests("[[503 garbled drop]]"), retries=3)
    assert reply.error is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("500", "status 500, after repeated attempts"),
        ("503", "status 503, after repeated attempts"),
        ("slow", "no answer within 0.7 s, after repeated attempts"),
        ("drop", "Server disconnected, after repeated attempts"),
        ("garbled", "the reply is not a chat completion, after repeated attempts"),
        ("no_choice", "the reply has no choices, after repeated attempts"),
        ("null", "the reply is empty, after repeated attempts"),
        ("empty", "the reply is empty, after repeated attempts"),
        ("html", "the reply is not a chat completion, after repeated attempts"),
        ("error_200", "status 502, after repeated attempts"),
        ("400", "status 400: Invalid value for this parameter"),
        ("400_context", "status 400: maximum context length is 4096 tokens"),
    ],
)
def test_a_permanent_fault_affects_one_request(server: FaultServer, fault: str, error: str) -> None:
    """All other requests are answered, and none is sent more often than allowed."""
    since = now(server)
    others = [f"{fault} {n}" for n in range(30)]

    async def play() -> list[Any]:
        endpoint = Endpoint("m", server.url, timeout=0.7, first_delay=0.01, patience=20, retries=3, concurrency=4)
        try:
            bad = asyncio.create_task(endpoint.ask(requests(f"{fault} [[{fault}*]]")[0], free))
            good = []
            for text in others:  # spread out, so that there are answers between the tries
                good.append(asyncio.create_task(endpoint.ask(requests(text)[0], free)))
                await asyncio.sleep(0.1 if fault == "slow" else 0.01)
            return [await bad, *(await asyncio.gather(*good))]
        finally:
            await endpoint.close()

    bad, *good = asyncio.run(asyncio.wait_for(play(), 60))
    assert (bad.text, bad.error) == (None, error)
    assert all(reply.error is None for reply in good)
    did = of(server, since)
    assert did.count("answered") >= 30
    assert did.count(fault) <= 2 * (3 + 1)


@pytest.mark.parametrize("fault", ["500", "html", "null", "429"])
def test_a_single_failing_request_triggers_a_probe(server: FaultServer, fault: str) -> None:
    """So a start that sends only earlier failures ends like the first one, not as if the endpoint were dead."""
    since = now(server)
    replies = ask(server.url, requests(*(f"{fault} {n} [[{fault}*]]" for n in range(3))), patience=2, retries=2)
    assert all(reply.error is not None for reply in replies)
    assert of(server, since).count("answered") in (1, 2, 3)  # "Hi", of one token
    assert of(server, since).count(fault) <= 3 * (3 + 3) + 3


def test_many_refused_requests_trigger_one_probe(server: FaultServer) -> None:
    since = now(server)
    replies = ask(server.url, requests(*(f"{n} [[400_context*]]" for n in range(15))))
    assert [reply.error[:10] for reply in replies] == ["status 400"] * 15
    assert of(server, since).count("answered") == 1


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("401", ServiceError, r"the key was refused \(401\); set MY_KEY to a valid one"),
        ("403", ServiceError, r"the key was refused \(403: Country not supported\)"),
        ("402", ServiceError, r"no credit left \(402: Insufficient balance\)"),
        ("429_quota", ServiceError, r"no credit left \(429: You exceeded"),
        ("429_long", ServiceError, r"no answer for 0 s \(status 429, and asks to wait 86,\d\d\d s\)"),
        ("404", RecipeError, r"The model `m` does not exist"),
    ],
)
def test_fatal_faults_raise_at_once(server: FaultServer, fault: str, kind: type[CurateError], said: str) -> None:
    since = now(server)
    (error,) = ask(server.url, requests(f"[[{fault}*]]"), key_name="MY_KEY")
    assert type(error) is kind
    with pytest.raises(kind, match=said):
        raise error
    assert of(server, since) == [fault]


def test_the_nearest_of_the_known_models_is_named(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", "--models", "qwen3-8b,llama-70b") as server:
        (error,) = ask(server.url, requests("Why?"), model="qwen3-8")
        assert str(error) == (
            f"qwen3-8 at {server.url}: 404 (The model `qwen3-8` does not exist). "
            f"Did you mean 'qwen3-8b'? Known there: qwen3-8b, llama-70b. Is the address right (…/v1)?"
        )


def test_a_key_is_sent_and_never_shown(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", key="sk-right") as server:
        assert ask(server.url, requests("Why?"), api_key=" sk-right\n")[0].error is None
        (error,) = ask(server.url, requests("Why?"), api_key="sk-wrong")
        assert "sk-wrong" not in str(error)
        assert "sk-right" not in server.log.read_text()
        (reply,) = ask(server.url, requests("[[400_echo]]"), api_key="sk-right")
        assert reply.error == "status 400: I do not like your header Bearer …"
    for bad in ("sk-\nx", "sk-…"):
        with pytest.raises(RecipeError, match="MY_KEY is not a valid key: it contains a line break"):
            Endpoint("m", "http://localhost/v1", api_key=bad, key_name="MY_KEY")


@pytest.mark.parametrize(
    ("url", "said"), [("localhost:8000/v1", "not a valid address"), ("http://", "not a valid address")]
)
def test_an_invalid_address_is_an_error_at_once(url: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        raise ask(url, requests("Why?"))[0]


def test_an_address_without_v1_is_an_error(server: FaultServer) -> None:
    (error,) = ask(server.url.removesuffix("/v1"), requests("Why?"))
    assert isinstance(error, RecipeError)
    assert "Is the address right (…/v1)?" in str(error)


def test_a_site_that_is_not_an_endpoint_fails_before_patience_ends(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", "--share", "html=1") as server:
        (error,) = ask(server.url, requests("Why?"), patience=1_000, retries=1)
    assert str(error) == f"m at {server.url}: the reply is not a chat completion. Is the address right (…/v1)?"


def test_an_endpoint_that_refuses_everything(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", "--share", "400=1") as server:
        errors = ask(server.url, requests(*map(str, range(40))), concurrency=4)
        with pytest.raises(ServiceError, match="refuses every request: status 400: Invalid value"):
            raise next(error for error in errors if isinstance(error, ServiceError))


def test_an_unsupported_response_format_is_dropped(tmp_path: Path) -> None:
    """This includes requests that were in flight when the first of them was refused."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}
    with FaultServer(tmp_path / "log", "--no-format", "--delay", "0.02") as server:
        replies = ask(server.url, requests(*map(str, range(20)), response_format=form), concurrency=8, retries=0)
        assert [reply.error for reply in replies] == [None] * 20
        assert server.did() == {"400_format": 8, "answered": 20}


def test_never_more_at_once_than_allowed(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", "--delay", "0.03") as server:
        ask(server.url, requests(*map(str, range(60))), concurrency=8)
        assert max(line["active"] for line in server.lines()) == 8


def test_a_busy_endpoint_gets_fewer_at_once(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", "--most", "4", "--delay", "0.02") as server:
        replies = ask(server.url, requests(*map(str, range(120))), concurrency=32, retries=0)
        assert [reply.error for reply in replies] == [None] * 120
        assert 4 <= server.did()["429"] < 60  # of the first 8, and one of each round later
        assert server.answers().total() == 120


def test_two_models_of_one_host_with_different_limits(tmp_path: Path) -> None:
    """The host takes 24, of one model 3. That one does not slow down the other, and is not starved by it."""
    with FaultServer(tmp_path / "log", "--most", "24", "--most-of", "small=3", "--delay", "0.03") as server:
        hosts = Hosts()

        async def send(model: str, count: int) -> list[Reply]:
            endpoint = Endpoint(model, server.url, host=hosts.of(server.url), retries=0, patience=20)
            try:
                return await asyncio.gather(*(endpoint.ask(one, free) for one in requests(*map(str, range(count)))))
            finally:
                await endpoint.close()

        async def play() -> tuple[list[Reply], list[Reply]]:
            return await asyncio.gather(send("small", 60), send("large", 900))

        replies = asyncio.run(asyncio.wait_for(play(), 60))
        assert [reply.error for each in replies for reply in each] == [None] * 960
        answered = [line for line in server.lines() if line["did"] == "answered"]
        order = [line["model"] for line in answered]
        assert (order.count("small"), order.count("large")) == (60, 900)
        half = [place for place, model in enumerate(order) if model == "large"][450]
        assert order[:half].count("small") >= 10
        assert max(line["active"] for line in answered) >= 18


def test_a_request_that_is_always_too_large_is_given_up(server: FaultServer) -> None:
    """OpenAI answers 429 to a request that exceeds the limit per minute by itself."""

    async def play() -> Reply:
        endpoint = Endpoint("m", server.url, patience=1_000)
        endpoint._limiter.refused = lambda sent, asked: 0.0  # type: ignore[method-assign]
        try:
            large = asyncio.create_task(endpoint.ask(requests("[[429*]]")[0], free))
            number = 0
            while not large.done():
                await endpoint.ask(requests(f"large {(number := number + 1)}")[0], free)
            return large.result()
        finally:
            await endpoint.close()

    reply = asyncio.run(asyncio.wait_for(play(), 30))
    assert reply.error == "status 429, after repeated attempts"


def test_an_outage_within_patience_costs_nothing(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log", "--delay", "0.02") as server:

        async def play() -> list[Any]:
            endpoint = Endpoint("m", server.url, first_delay=0.1, patience=20, retries=1, concurrency=8)
            asked = [asyncio.create_task(endpoint.ask(one, free)) for one in requests(*map(str, range(200)))]
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.control, dead_for=1.5)
            done = await asyncio.gather(*asked)
            await endpoint.close()
            return done

        replies = asyncio.run(asyncio.wait_for(play(), 60))
        assert [reply.error for reply in replies] == [None] * 200
        assert len(server.answers()) == 200


def test_a_longer_outage_is_fatal(tmp_path: Path) -> None:
    with FaultServer(tmp_path / "log") as server:
        server.stop()
        started = time.monotonic()
        errors = ask(server.url, requests("a", "b", "c"), patience=1, retries=50)
    assert 0.5 < time.monotonic() - started < 4
    assert {type(error) for error in errors} == {ServiceError}
    assert "no answer for 1 s (Cannot connect" in str(errors[0])
    assert "All replies are kept; run the same command again once the endpoint answers" in str(errors[0])


def test_proxy_and_netrc_are_not_used_on_loopback(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(server.url, requests("Why?"), api_key="sk-x")[0].error is None
    monkeypatch.delenv("no_proxy")
    (error,) = ask(server.url, requests("Why?"), patience=0)
    assert "Cannot connect to host 127.0.0.1:9" in str(error)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices": [{"message": {"content": "a"}}]}', Reply("a")),
        (b'{"choices": [{"text": "a", "finish_reason": "stop"}], "usage": null}', Reply("a", "stop")),
        (
            b'{"choices": [{"message": {"content": null, "refusal": "No."}}]}',
            Reply(None, "refusal", error="refused by the model (No.)"),
        ),
        (b'{"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "x"}]}}]}', Reply("a")),
        (
            b'{"choices": [{"message": {"content": ""}, "finish_reason": "length"}], "usage": {"prompt_tokens": 3}}',
            Reply(None, "length", 3, None, "cut off at max_tokens before any text"),
        ),
    ],
)
def test_shapes_of_answers(body: bytes, expected: Reply) -> None:
    assert read(body) == expected


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff\xfe", b'{"choices": 3}', b'{"choices": [{"message": {"content": "\\ud800"}}]}']
)
def test_bodies_without_an_answer(body: bytes) -> None:
    outcome = read(body)
    assert isinstance(outcome, Retry)
    assert outcome.foreign


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0.5", 0.5), ("-3", 0), ("nan", 0), ("soon", None), ("", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}) == seconds
    assert retry_after({}) is None
