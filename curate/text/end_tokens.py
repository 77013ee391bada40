"""
End-of-turn tokens at the end of a message: what is left of the template with which an answer was generated.

Alone they are harmless, because a template adds its own: they are taken off while reading, before ids are computed, and
`extra` names them. Any other token of a template inside a text is a leak (the signal `template_leak`).
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import polars as pl
import yaml

NOTE = "stripped_end_token"  # the key in `extra`
TAIL = 64  # characters at the end of a text in which a token is looked for first
STRUCK = r"(?s).<s>"  # HTML: its </s> ends what is struck out


@cache
def end_tokens() -> tuple[str, ...]:
    """Return all tokens of end_tokens.yaml."""
    listed = yaml.safe_load((files("curate.text") / "end_tokens.yaml").read_text("utf-8"))
    return tuple(token for tokens in listed["tokens"].values() for token in tokens)


def without_end_tokens(frame: pl.DataFrame, sides: Sequence[str]) -> pl.DataFrame:
    """
    Return the frame without end-of-turn tokens at the end of its messages, and the white space before these.

    in : the sides (list[message]) and extra (str, a JSON object or null)
    out: the same; `extra` of a row from which a token was taken also has the key `stripped_end_token`: the last token
         of the last of these sides
    """
    final = "(?:" + "|".join(map(re.escape, end_tokens())) + ")"
    content = pl.element().struct.field("content")
    maybe = content.str.tail(TAIL).str.contains(rf"{final}\s*\z")
    if not frame.select(pl.any_horizontal(pl.col(side).list.eval(maybe).list.any().any() for side in sides)).item():
        return frame  # as nearly all blocks are
    ends = content.str.contains(rf"{final}\s*\z") & ~content.str.contains(STRUCK)
    plain = pl.when(ends).then(content.str.replace(rf"(?:\s*{final})+\s*\z", "")).otherwise(content)
    token = pl.when(ends).then(content.str.extract(rf"({final})\s*\z"))
    tokens = [pl.col(side).list.eval(token).list.drop_nulls().list.last() for side in reversed(sides)]
    return frame.with_columns(
        *(pl.col(side).list.eval(pl.element().struct.with_fields(content=plain)) for side in sides),
        extra=_with_note(pl.col("extra"), pl.coalesce(tokens)),
    )


def _with_note(extra: pl.Expr, token: pl.Expr) -> pl.Expr:
    """Return the JSON objects with one more key. No token has a character that JSON escapes."""
    note = pl.concat_str(pl.lit(f'"{NOTE}":"'), token, pl.lit('"}'))
    others = extra.str.strip_chars().str.strip_suffix("}").str.strip_chars_end()
    comma = pl.when(others == "{").then(pl.lit("")).otherwise(pl.lit(","))
    return pl.coalesce(pl.concat_str(others, comma, note), pl.concat_str(pl.lit("{"), note), extra)
