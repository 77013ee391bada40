"""Signals defined by lists of patterns, which are data: `patterns/*.yaml`, grouped by language."""

from functools import cache
from importlib.resources import files

import polars as pl
import yaml

from curate.signals.base import RESPONSES, SIDES, Signal

# Refusals refuse at the start; a later "cannot" is usually part of an answer.
REFUSAL_CHARS = 250


@cache
def pattern(name: str) -> str:
    """Return all patterns of one file as one regular expression (syntax of Rust's regex crate)."""
    listed = yaml.safe_load((files("curate.signals") / "patterns" / f"{name}.yaml").read_text("utf-8"))
    regexes = [regex for group in listed["patterns"].values() for regex in group]
    # ASCII word boundaries: the regex engine is an order of magnitude slower with Unicode ones.
    return "|".join(f"(?:{regex})" for regex in regexes).replace(r"\b", r"(?-u:\b)")


def refusal(text: pl.Expr) -> pl.Expr:
    """Declines to answer within the first 250 characters (English, Portuguese, Spanish)."""
    return text.str.head(REFUSAL_CHARS).str.to_lowercase().str.contains(pattern("refusal"))


def ai_boilerplate(text: pl.Expr) -> pl.Expr:
    """Contains "as an AI language model" or a similar phrase (English, Portuguese, Spanish)."""
    return text.str.to_lowercase().str.contains(pattern("ai_boilerplate"))


def template_leak(text: pl.Expr) -> pl.Expr:
    """Contains control tokens or turn markers of a chat template: <|im_start|>, [INST], ### Response:, …"""
    return text.str.contains(pattern("template_leak"))


def role_label(text: pl.Expr) -> pl.Expr:
    """A later line starts with a speaker label (User:, Assistant:, Human:, AI:): the text continues the dialogue."""
    return text.str.contains(pattern("role_label"))


def mojibake(text: pl.Expr) -> pl.Expr:
    """Contains UTF-8 that was decoded as Windows-1252 or Latin-1: "donâ€™t", "cafÃ©"."""
    return text.str.contains(pattern("mojibake"))


def _counted(name: str, about: str) -> Signal:
    """Return a signal that counts the matches of a pattern."""
    return Signal(name, about, lambda text: text.str.count_matches(pattern(name)), "text", SIDES, counted=True)


TEXT = (
    Signal.of_text(template_leak),
    Signal.of_text(mojibake),
    _counted("urls", "Number of web addresses (http, https, www)."),
    _counted("emails", "Number of e-mail addresses."),
    _counted("phones", "Number of strings in the format of a telephone number."),
    _counted("ips", "Number of IPv4 addresses, except version-like numbers, 127.0.0.1 and 0.0.0.0."),
    _counted(
        "keys",
        "Number of strings in the format of a secret key or token (OpenAI, AWS, GitHub, Hugging Face, Slack, Google, "
        "PEM).",
    ),
)
RESPONSE = tuple(Signal.of_text(function, RESPONSES) for function in (refusal, ai_boilerplate, role_label))
