"""
Conversations written in one text, with a marker before each turn: `Human: … Assistant: …` in its spellings.

A text is split by the spelling that it begins with, so that a marker of another kind inside a turn stays text.
"""

from typing import NamedTuple

import polars as pl

from curate.schema import MESSAGE, MESSAGES

# Marks the start of a turn while splitting; control characters, so that no transcript contains it by chance.
TURN = "\x1e\x1fturn\x1f\x1e"
HELPSTEER = r"\r?\n<extra_id_1>(User|Assistant)\r?\n"  # between turns; the first one, of the user, has no marker


class Spelling(NamedTuple):
    """How the user's and the assistant's turns are marked, as patterns, and what comes before a marker."""

    user: str
    assistant: str
    before: str  # all but the first marker

    @property
    def first(self) -> str:
        """The pattern of a text that begins with a turn."""
        return rf"^\s*(?:{self.user}|{self.assistant})"

    @property
    def marker(self) -> str:
        """The pattern of a marker, with the speaker as its group."""
        return rf"(?:^\s*|{self.before})({self.user}|{self.assistant})"


BLANK_LINE, LINE = r"\r?\n\r?\n", r"\r?\n[ \t]*"
SPELLINGS = (
    Spelling("Human:", "Assistant:", BLANK_LINE),  # of hh-rlhf, where a single line break is part of a turn
    Spelling("User:", "Assistant:", BLANK_LINE),
    Spelling("USER:", "ASSISTANT:", LINE),
    Spelling("### ?(?:Human|User):", "### ?Assistant:", LINE),
    Spelling(r"\[(?:Human|User)\]:?", r"\[(?:Assistant|AI)\]:?", LINE),
    Spelling("<(?:human|user)>:", "<(?:bot|assistant)>:", LINE),
)


def begins(texts: pl.Series) -> pl.Series:
    """Return whether each text begins with a turn, in any spelling; null stays null."""
    return texts.str.contains("|".join(f"(?:{spelling.first})" for spelling in SPELLINGS))


def is_unanswered(texts: pl.Series) -> pl.Series:
    """Return whether a text is a transcript that ends where the assistant's turn begins, or has HelpSteer's markers."""
    text = pl.col(texts.name)
    ends = [text.str.contains(s.first) & text.str.contains(rf"(?:{s.before}){s.assistant}\s*$") for s in SPELLINGS]
    whole = pl.any_horizontal(*ends, text.str.contains(HELPSTEER)).fill_null(value=False)
    return texts.to_frame().select(whole).to_series()


def turns_of(texts: pl.Series, otherwise: Spelling | None = None) -> pl.Series:
    """
    Return transcripts as messages: str -> list[message]; null for a text that does not begin with a turn.

    Such a text is split by the spelling `otherwise` instead, if there is one. Text before the first marker becomes a
    system message; a turn may be empty.
    """
    frame, text = pl.DataFrame({"text": texts}), pl.col("text")
    cases = [(s.first, _split(text, s)) for s in SPELLINGS] + [(HELPSTEER, _split_helpsteer(text))]
    left = frame.with_row_index("row").drop_nulls()
    found = []
    for pattern, turns in cases:  # of six spellings a file has one, so that most of them cost a look at its texts
        fits = left.select(text.str.contains(pattern)).to_series()
        if fits.any():
            found.append(left.filter(fits).select("row", turns=turns.cast(MESSAGES)))
            left = left.filter(~fits)
    if otherwise and len(left):
        found.append(left.select("row", turns=_split(text, otherwise).cast(MESSAGES)))
    none = frame.with_row_index("row").select("row")
    split = pl.concat(found) if found else pl.DataFrame(schema={"row": pl.UInt32, "turns": MESSAGES})
    return none.join(split, on="row", how="left", maintain_order="left").get_column("turns").alias(texts.name)


def unanswered(texts: pl.Series) -> pl.Series:
    """Return the turns of transcripts for which `is_unanswered`, without the assistant's empty one at the end."""
    turns = pl.col(texts.name)
    last = turns.list.last().struct
    empty = (last.field("role") == "assistant") & (last.field("content") == "")
    cut = pl.when(empty).then(turns.list.head(turns.list.len() - 1)).otherwise(turns)
    return turns_of(texts).to_frame().select(cut).to_series()


def _split(text: pl.Expr, spelling: Spelling) -> pl.Expr:
    turn = pl.element()
    role = (
        pl.when(turn.str.contains(f"^{spelling.user}")).then(pl.lit("user"))
        .when(turn.str.contains(f"^{spelling.assistant}")).then(pl.lit("assistant"))
        .otherwise(pl.lit("system"))
    )  # fmt: skip
    content = turn.str.replace(f"^(?:{spelling.user}|{spelling.assistant})", "").str.strip_chars()
    parts = text.str.replace_all(spelling.marker, TURN + "${1}").str.strip_prefix(TURN).str.split(TURN)
    return _messages(parts, role, content)


def _split_helpsteer(text: pl.Expr) -> pl.Expr:
    turn = pl.element()
    role = pl.when(turn.str.starts_with("Assistant\n")).then(pl.lit("assistant")).otherwise(pl.lit("user"))
    content = turn.str.replace("^(?:User|Assistant)\n", "").str.strip_chars()
    return _messages(text.str.replace_all(HELPSTEER, TURN + "${1}\n").str.split(TURN), role, content)


def _messages(parts: pl.Expr, role: pl.Expr, content: pl.Expr) -> pl.Expr:
    """Return the parts as messages, without empty ones of the system."""
    field = pl.element().struct.field
    messages = parts.list.eval(pl.struct(role=role, content=content, schema=dict(MESSAGE)))
    return messages.list.eval(pl.element().filter((field("role") != "system") | (field("content") != "")))
