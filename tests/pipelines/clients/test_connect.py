"""Keys: where they come from, where they are sent, and that the environment stays as it is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.errors import RecipeError
from curate.recipe.models import Model, named_model
from pipelines import connect
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import check, open_models
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import Request
from tests.chat_server import ChatServer, chat_server

QUESTION = Request([{"role": "user", "content": "Hi"}], {"max_tokens": 4})


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(lambda messages, params: "Hello.") as running:
        yield running


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Hub login without HF_TOKEN in the environment."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / "token"
    token.write_text("hf_login\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token))
    return token


def hub_model(server: ChatServer) -> Model:
    """Return a model at another address than the Hub's, for which the user names the token."""
    return Model(model="inference:m", base_url=server.url, api_key_env="HF_TOKEN")


def ask(model: Model) -> str | None:
    with RequestCache(":memory:") as cache, open_models([model], Dispatcher(cache, Budget(None, [model]))) as clients:
        (reply,) = clients[model.model]([QUESTION])
        return reply.text


@pytest.mark.slow
def test_a_hub_login_is_sent_and_the_environment_stays_the_same(server: ChatServer, login: Path) -> None:
    before = dict(os.environ)
    assert ask(hub_model(server)) == "Hello."
    assert server.authorized == ["Bearer hf_login"]
    assert dict(os.environ) == before


@pytest.mark.slow
def test_the_variable_takes_precedence_over_the_login(
    server: ChatServer, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_variable")
    ask(hub_model(server))
    assert server.authorized == ["Bearer hf_variable"]


def test_a_named_variable_is_sent(server: ChatServer, login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "mine")
    before = dict(os.environ)
    for kind in ("openai:m", "inference:m"):
        ask(Model(model=kind, base_url=server.url, api_key_env="MY_KEY"))
    assert server.authorized == ["Bearer mine"] * 2
    assert dict(os.environ) == before


def test_the_default_openai_key_is_not_sent_elsewhere(
    server: ChatServer, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    ask(named_model(server.line("m")))
    assert server.authorized == [None]


def test_the_hub_token_is_not_sent_elsewhere(server: ChatServer, login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(named_model(f"inference:m@{server.url}"))
    monkeypatch.setenv("HF_TOKEN", "hf_variable")
    ask(named_model(f"inference:n@{server.url}"))
    assert server.authorized == [None, None]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("inference:m", "HF_TOKEN"),
        ("inference:m@https://router.huggingface.co/v1/", "HF_TOKEN"),
        ("inference:m@https://ROUTER.huggingface.co:443/v1", "HF_TOKEN"),
        ("inference:m@http://router.huggingface.co/v1", None),  # not encrypted
        ("inference:m@https://router.huggingface.co.example.org/v1", None),
        ("inference:m@https://router.huggingface.co@example.org/v1", None),
        ("inference:m@https://router.huggingface.co:444/v1", None),
        ("inference:m@https://api.openai.com/v1", None),
        ("openai:m", "OPENAI_API_KEY"),
        ("openai:m@https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("openai:m@https://api.openai.com.example.org/v1", None),
        ("openai:m@https://router.huggingface.co/v1", None),
    ],
)
def test_a_key_goes_to_its_own_host_only(
    login: Path, monkeypatch: pytest.MonkeyPatch, line: str, key: str | None
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert connect(line).key_env == key


def test_a_broken_address_is_named(login: Path) -> None:
    model = named_model("openai:m").model_copy(update={"base_url": "http://localhost:80x"})  # past the recipe's check
    with pytest.raises(RecipeError, match="'http://localhost:80x' is not the address of an endpoint"):
        check(model)


def test_an_llm_connected_outside_a_run_reads_the_login_too(server: ChatServer, login: Path) -> None:
    before = dict(os.environ)
    llm = connect(hub_model(server))
    llm.load()
    try:
        (output,) = llm.generate([[{"role": "user", "content": "Hi"}]])
    finally:
        llm.unload()
    assert (output["generations"], server.authorized) == (["Hello."], ["Bearer hf_login"])
    assert "hf_login" not in llm.model_dump_json()
    assert dict(os.environ) == before


def test_without_a_login_the_error_names_the_variable(login: Path) -> None:
    login.unlink()
    with pytest.raises(RecipeError, match="HF_TOKEN is not set, nor is there a Hub login"):
        check(named_model("inference:m"))
    check(named_model("inference:m"), keys=False)
