"""Signals that are lists of patterns. The patterns are data (`patterns/*.yaml`), each with the language it is in."""

from functools import cache
from importlib.resources import files

import polars as pl
import yaml

from curate.signals.base import RESPONSES, SIDES, Signal

# A refusal says so at once; a "cannot" further on is usually part of an answer.
REFUSAL_HEAD = 250


@cache
def pattern(name: str) -> str:
    """All patterns of one file as one regular expression (the syntax of Rust's regex crate)."""
    listed = yaml.safe_load((files("curate.signals") / "patterns" / f"{name}.yaml").read_text("utf-8"))
    regexes = [regex for group in listed["patterns"].values() for regex in group]
    # ASCII word boundaries: the regex engine is an order of magnitude slower with Unicode ones.
    return "|".join(f"(?:{regex})" for regex in regexes).replace(r"\b", r"(?-u:\b)")


def refusal(text: pl.Expr) -> pl.Expr:
    """Begins by declining to answer (first 250 characters; English, Portuguese, Spanish)."""
    return text.str.head(REFUSAL_HEAD).str.to_lowercase().str.contains(pattern("refusal"))


def ai_boilerplate(text: pl.Expr) -> pl.Expr:
    """Says "as an AI language model" or the like (English, Portuguese, Spanish)."""
    return text.str.to_lowercase().str.contains(pattern("ai_boilerplate"))


def template_leak(text: pl.Expr) -> pl.Expr:
    """Holds control tokens or turn markers of a chat template: <|im_start|>, [INST], ### Response:, …"""
    return text.str.contains(pattern("template_leak"))


def role_label(text: pl.Expr) -> pl.Expr:
    """A later line begins with a speaker's label (User:, Assistant:, Human:, AI:): the text plays on the dialogue."""
    return text.str.contains(pattern("role_label"))


def mojibake(text: pl.Expr) -> pl.Expr:
    """UTF-8 that was read as Windows-1252 or Latin-1: "donâ€™t", "cafÃ©"."""
    return text.str.contains(pattern("mojibake"))


def _counted(name: str, about: str) -> Signal:
    """A signal that counts the matches of a pattern."""
    return Signal(name, about, lambda text: text.str.count_matches(pattern(name)), "text", SIDES, counted=True)


TEXT = (
    Signal.of_text(template_leak),
    Signal.of_text(mojibake),
    _counted("urls", "Web addresses (http, https, www)."),
    _counted("emails", "E-mail addresses."),
    _counted("phones", "Strings in the form of a telephone number."),
    _counted("ips", "IPv4 addresses, version-like numbers and 127.0.0.1, 0.0.0.0 left out."),
    _counted(
        "keys", "Strings in the form of a secret key or token (OpenAI, AWS, GitHub, Hugging Face, Slack, Google, PEM)."
    ),
)
RESPONSE = tuple(Signal.of_text(function, RESPONSES) for function in (refusal, ai_boilerplate, role_label))
