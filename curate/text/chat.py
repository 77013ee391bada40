"""
Conversations as text, by the chat template of a tokenizer: a program of whoever made the model, which may never end.

transformers renders it in a sandbox of Jinja, which keeps it from files and Python, not from looping. Here an exception
stops it in any thread and on any system; a process for each template would take seconds to start.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from curate import limits
from curate.errors import CurateError
from curate.schema.message import chat_message

TICK = 0.1  # seconds between two looks at what is rendered
Conversation = Sequence[Mapping[str, Any]]


def render_chat(tokenizer: Any, conversation: Conversation, **options: Any) -> str:
    """
    Render a conversation; the options are those of `apply_chat_template`.

    Raises what the template raises, and CurateError if it takes too long or too much memory: then, no other
    conversation is worth a try.

        render_chat(tokenizer, [{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    """
    return render_chats(tokenizer, [conversation], **options)[0]


def render_chats(tokenizer: Any, conversations: Sequence[Conversation], **options: Any) -> list[str]:
    """Render several conversations, as `render_chat` does, in one call."""
    plain = [[chat_message(message) for message in conversation] for conversation in conversations]
    what = f"the chat template of {getattr(tokenizer, 'name_or_path', '') or 'the model'}"
    _check_operators(what, options.get("chat_template") or tokenizer.chat_template)
    return _stopped(what, lambda: tokenizer.apply_chat_template(plain, tokenize=False, **options))


def _check_operators(what: str, template: Any) -> None:
    """Raise CurateError for `**`: 9**9**9 is a single step of Python, which no exception interrupts."""
    import jinja2

    for source in template.values() if isinstance(template, Mapping) else [template]:
        if not isinstance(source, str) or "**" not in source:
            continue
        with suppress(jinja2.TemplateError):  # an error of its syntax is raised when it is rendered
            if any(
                value == "**" and kind == "operator"
                for _, kind, value in jinja2.Environment(autoescape=True).lex(source)
            ):
                raise CurateError(f"{what} calculates with **, which may never end; use another template or model")


class _Stop(BaseException):
    """Raised inside a template; not an Exception, so that nothing on the way out handles it."""


def _stopped(what: str, call: Callable[[], list[str]]) -> list[str]:
    """Return what the call does. Raise CurateError once it takes TEMPLATE_SECONDS or TEMPLATE_BYTES."""
    thread, lock, ended = threading.get_ident(), threading.Lock(), threading.Event()
    reason: list[str] = []
    until, most = time.monotonic() + limits.TEMPLATE_SECONDS, _peak_bytes() + limits.TEMPLATE_BYTES

    def watch() -> None:
        while not ended.wait(TICK):
            late, large = time.monotonic() > until, _peak_bytes() > most
            if late or large:
                with lock:  # so that the call does not end meanwhile
                    if not ended.is_set():
                        reason.append(
                            f"{limits.TEMPLATE_SECONDS} seconds" if late else f"{limits.TEMPLATE_BYTES >> 20:,} MB"
                        )
                        _raise_in(thread, _Stop)
                return

    try:
        try:
            threading.Thread(target=watch, daemon=True).start()
            return call()
        finally:  # until its end an exception may arrive, also here; later none must
            with lock:
                ended.set()
                _raise_in(thread, None)
    except _Stop:
        raise CurateError(f"{what} took more than {reason[0]} and was stopped; use another template or model") from None
    except MemoryError as error:
        raise CurateError(f"{what} needs more memory than there is; use another template or model") from error


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise an exception in a thread, at its next step in Python; None withdraws it."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


def _peak_bytes() -> int:
    """Return the most memory that this process has had; 0 on Windows, where it is not asked for."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
