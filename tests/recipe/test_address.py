"""Addresses of endpoints as people write them, behind a model's name or in base_url, read the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.recipe.address import normalized, split
from curate.recipe.load import make_recipe
from curate.recipe.models import Model, named_model

SOURCE = {"paths": "p.jsonl"}
READ = {
    "localhost:8000": "http://localhost:8000/v1",
    "localhost": "http://localhost/v1",
    "localhost:8000/v1/": "http://localhost:8000/v1",
    "http://localhost:8000": "http://localhost:8000/v1",
    "http://localhost:8000/v1": "http://localhost:8000/v1",
    "http://localhost:11434/v1/chat/completions": "http://localhost:11434/v1",
    "https://api.example.com/openai/v1": "https://api.example.com/openai/v1",
    "api.example.com": "https://api.example.com/v1",
    "api.example.com/api/v1": "https://api.example.com/api/v1",
    "api.example.com:8080": "http://api.example.com:8080/v1",
    "127.0.0.1:8000": "http://127.0.0.1:8000/v1",
    "10.0.0.7/v1": "http://10.0.0.7/v1",
    "[::1]:8000": "http://[::1]:8000/v1",
    "gpu-box:8000": "http://gpu-box:8000/v1",
    "http://me:secret@gpu-box:8000/v1": "http://me:secret@gpu-box:8000/v1",
    "HTTPS://api.example.com/v1": "https://api.example.com/v1",
}
REFUSED = (
    "http://",
    "http:///v1",
    "http:/localhost",
    "ftp://h/v1",
    "file:///etc/passwd",
    "http://h:99999",
    "http://h:80a/v1",
    "http://[::1",
    "http://a b/v1",
    "http://h/v1?key=x",
    "http://h/v1#x",
    "http://h\n/v1",
    "http://.h/v1",
    ":8000",
)


@pytest.mark.parametrize(("written", "address"), READ.items())
def test_both_forms_are_read_the_same_way(written: str, address: str) -> None:
    line = named_model(f"openai:m@{written}")
    assert (line.model, line.base_url) == ("openai:m", address)
    mapping = {"model": f"openai:m@{written}", "temperature": 0.5}
    beside = {"model": "openai:m", "base_url": written, "temperature": 0.5}
    for one in (mapping, beside):
        (model,) = make_recipe({"source": SOURCE, "generate": {"models": [one]}}).generate.models  # type: ignore[union-attr]
        assert (model.model, model.base_url, model.temperature) == ("openai:m", address, 0.5)
    assert line.name == "openai:m"


@pytest.mark.parametrize("written", REFUSED)
def test_what_is_no_address_is_refused_when_the_recipe_is_loaded(written: str) -> None:
    with pytest.raises(RecipeError, match="is not the address of an endpoint") as raised:
        make_recipe({"source": SOURCE, "generate": {"models": [{"model": "openai:m", "base_url": written}]}})
    assert "generate.models" in str(raised.value)


@pytest.mark.parametrize("line", ["openai:m@htp://h/v1", "openai:m@:8000", "openai:m@http://[::1", "openai:m@http:/h"])
def test_what_is_no_address_behind_a_name_is_refused(line: str) -> None:
    with pytest.raises(RecipeError, match="is not the address of an endpoint"):
        make_recipe({"source": SOURCE, "generate": {"models": line}})


@pytest.mark.parametrize(
    "name",
    ["openai:claude-3-5-sonnet@20240620", "openai:m@v1.2", "openai:m@latest", "openai:@cf/meta/llama", "openai:a@b@c"],
)
def test_an_at_sign_may_be_part_of_a_name(name: str) -> None:
    assert split(name) == (name, None)
    assert Model(model=name).base_url is None


def test_a_version_and_an_address() -> None:
    assert split("openai:claude@20240620@localhost:8000") == ("openai:claude@20240620", "localhost:8000")


def test_two_addresses_are_refused() -> None:
    model = {"model": "openai:m@localhost:1", "base_url": "http://localhost:2/v1"}
    with pytest.raises(RecipeError, match="two addresses: localhost:1 behind the name, and base_url"):
        make_recipe({"source": SOURCE, "generate": {"models": [model]}})


def test_models_of_this_machine_have_no_address() -> None:
    assert named_model("transformers:/data/me@host.com/model").base_url is None


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = normalized(text)
    except ValueError as error:
        assert "is not the address of an endpoint" in str(error)  # noqa: PT017 - one of two outcomes
    else:
        assert address.startswith(("http://", "https://"))
        assert normalized(address) == address
