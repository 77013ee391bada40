"""Chat templates that do not end are stopped, in any thread, and the next one renders."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from jinja2 import TemplateError

from curate import limits
from curate.errors import CurateError
from curate.text.chat import _Stop, render_chat, render_chats
from tests.train.tiny import TEMPLATE, pair, pairs, tiny_tokenizer
from train.tokens import tokens

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
LOOP = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3
RECURSIVE = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
DOUBLING = "{% set ns = namespace(x='x' * 1000) %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
LONG_MESSAGES = "{% for m in messages %}{% if m.content == 'Hi' %}" + LOOP + "{% endif %}{% endfor %}"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "TEMPLATE_SECONDS", 1)
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 60


def test_a_conversation_and_several() -> None:
    tokenizer = tiny_tokenizer(TEMPLATE)
    assert render_chat(tokenizer, CHAT) == "<user>Hi<assistant>Hello</s>"
    assert render_chats(tokenizer, [CHAT[:1]] * 2, add_generation_prompt=True) == ["<user>Hi<assistant>"] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("template", [LOOP, RECURSIVE, LONG_MESSAGES])
def test_a_template_that_does_not_end(template: str) -> None:
    tokenizer = tiny_tokenizer(template)
    tokenizer.name_or_path = "some/model"
    expected = "the chat template of some/model took more than 1 seconds and was stopped; use another template or model"
    with pytest.raises(CurateError) as caught:
        render_chat(tokenizer, CHAT)
    assert str(caught.value) == expected
    tokenizer.chat_template = TEMPLATE
    assert render_chat(tokenizer, CHAT) == "<user>Hi<assistant>Hello</s>"


@pytest.mark.parametrize(
    "template", ["{{ 9**9**9 }}", "{% for m in messages %}{% if 9 ** 9 ** 9 %}{% endif %}{% endfor %}"]
)
def test_powers_cannot_be_stopped_and_are_refused(template: str) -> None:
    expected = r"calculates with \*\*, which may never end; use another template or model"
    with pytest.raises(CurateError, match=expected):
        render_chat(tiny_tokenizer(template), CHAT)
    with pytest.raises(CurateError, match=expected):
        render_chat(tiny_tokenizer(TEMPLATE), CHAT, chat_template=template)
    bold = "**{{ '**' }}{# 2**2 #}** {% for m in messages %}{{ '**' ~ m.content }}{% endfor %}"
    assert render_chat(tiny_tokenizer(bold), CHAT) == "****** **Hi**Hello"


@pytest.mark.slow
@pytest.mark.usefixtures("soon")
def test_templates_are_stopped_in_other_threads() -> None:
    good, bad = tiny_tokenizer(TEMPLATE), tiny_tokenizer(LOOP)
    with ThreadPoolExecutor(4) as pool:
        errors = [pool.submit(render_chat, bad, CHAT).exception(timeout=50) for _ in range(2)]
        texts = [pool.submit(render_chat, good, CHAT).result(timeout=50) for _ in range(20)]
    assert [type(error) for error in errors] == [CurateError] * 2
    assert set(texts) == {"<user>Hi<assistant>Hello</s>"}


@pytest.mark.slow
@pytest.mark.skipif("sys.platform == 'win32'", reason="memory is not measured there")
def test_a_template_that_takes_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEMPLATE_BYTES", 300 << 20)
    with pytest.raises(CurateError, match=r"took more than 300 MB and was stopped"):
        render_chat(tiny_tokenizer(DOUBLING), CHAT)


def test_an_error_of_a_template_is_its_own() -> None:
    with pytest.raises(TemplateError, match="no such role"):
        render_chat(tiny_tokenizer("{{ raise_exception('no such role') }}"), CHAT)


def test_a_stop_that_comes_too_late_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The template and its time end at the same moment, many times."""
    monkeypatch.setattr("curate.text.chat.TICK", 0.0005)
    monkeypatch.setattr(limits, "TEMPLATE_SECONDS", 0.0005)
    tokenizer = tiny_tokenizer(TEMPLATE)
    outcomes = set()
    for _ in range(500):
        try:
            outcomes.add(render_chat(tokenizer, CHAT))
        except CurateError:
            outcomes.add("stopped")
        except _Stop:  # pragma: no cover
            outcomes.add("leaked")
    for _ in range(1000):
        time.sleep(0)
    assert outcomes <= {"<user>Hi<assistant>Hello</s>", "stopped"}
    assert threading.active_count() < 100


@pytest.mark.slow
@pytest.mark.usefixtures("soon")
def test_the_preflight_names_the_template() -> None:
    frame = pairs(pair([("user", "Hi")], "a", "b"))
    tokenizer = tiny_tokenizer(LOOP)
    with pytest.raises(CurateError, match=r"the chat template of .* took more than 1 seconds"):
        tokens(frame, tokenizer, frozenset())
