"""Signals defined by lists of patterns, which are data: `patterns/*.yaml`, grouped by language."""

from functools import cache
from importlib.resources import files

import polars as pl
import yaml

from curate.signals.base import RESPONSES, SIDES, Signal

# Refusals refuse at the start; a later "cannot" is usually part of an answer.
REFUSAL_CHARS = 250
# Code blocks and code spans: what stands there is shown, not meant.
CODE = r"(?s)```.*?```|~~~.*?~~~|``.*?``|`[^`\n]*`"


@cache
def pattern(name: str) -> str:
    """Return all patterns of one file as one regular expression (syntax of Rust's regex crate)."""
    return _joined([regex for group in _groups(name).values() for regex in group])


@cache
def _groups(name: str) -> dict[str, list[str]]:
    """Return the patterns of one file by their group: a language, or the family of a template."""
    listed = yaml.safe_load((files("curate.signals") / "patterns" / f"{name}.yaml").read_text("utf-8"))
    groups: dict[str, list[str]] = listed["patterns"]
    return groups


def _joined(regexes: list[str]) -> str:
    # ASCII word boundaries: the regex engine is an order of magnitude slower with Unicode ones.
    return "|".join(f"(?:{regex})" for regex in regexes).replace(r"\b", r"(?-u:\b)")


def refusal(text: pl.Expr) -> pl.Expr:
    """Declines to answer within the first 250 characters (English, Portuguese, Spanish)."""
    return text.str.head(REFUSAL_CHARS).str.to_lowercase().str.contains(pattern("refusal"))


def ai_boilerplate(text: pl.Expr) -> pl.Expr:
    """Contains "as an AI language model" or a similar phrase (English, Portuguese, Spanish)."""
    return text.str.to_lowercase().str.contains(pattern("ai_boilerplate"))


def template_leak(text: pl.Expr) -> pl.Expr:
    """
    Contains control tokens or turn markers of a chat template, outside of code blocks and backticks: <|im_start|>,
    [INST], <|channel|>, ### Response:, …
    """
    leaks = text.str.contains(pattern("template_leak"))
    # Code is taken out of the few texts with a match only; the others are null there.
    prose = pl.when(leaks).then(text).str.replace_all(CODE, "`code`")
    return pl.when(leaks).then(prose.str.contains(pattern("template_leak"))).otherwise(leaks)


def template_family(text: str) -> str | None:
    """
    Return the model family of the first template whose tokens a text contains, as template_leak.yaml names it.

    >>> template_family("<|channel|>final<|message|>Soak them.")
    'gpt-oss (harmony)'
    """
    prose = pl.select(pl.lit(text).str.replace_all(CODE, "`code`")).to_series()
    families = _groups("template_leak")
    return next((family for family, regexes in families.items() if prose.str.contains(_joined(regexes)).any()), None)


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
