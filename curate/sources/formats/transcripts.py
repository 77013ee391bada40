"""
Conversations written in one text, with a marker before each turn: `Human: … Assistant: …` in its spellings, or as a
chat template writes it: `<|im_start|>user …`.

A text is split by the spelling that it begins with, so that a marker of another kind inside a turn stays text.
"""

import re
from collections.abc import Sequence
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
    system: str = r"[^\s\S]"  # nothing
    end: str = ""  # of a turn, where it has a marker, too

    @property
    def any(self) -> str:
        """The pattern of a marker."""
        return f"{self.system}|{self.user}|{self.assistant}"

    @property
    def first(self) -> str:
        """The pattern of a text that begins with a turn."""
        return rf"^\s*(?:{self.any})"

    @property
    def marker(self) -> str:
        """The pattern of a marker and what comes before it, with the marker as its group."""
        return rf"(?:^\s*|{self.before})({self.any})"


BLANK_LINE, LINE = r"\r?\n\r?\n", r"\r?\n[ \t]*"
SPELLINGS = (
    Spelling("Human:", "Assistant:", BLANK_LINE),  # of hh-rlhf, where a single line break is part of a turn
    Spelling("User:", "Assistant:", BLANK_LINE),
    Spelling("USER:", "ASSISTANT:", LINE),
    Spelling("### ?(?:Human|User):", "### ?Assistant:", LINE),
    Spelling(r"\[(?:Human|User)\]:?", r"\[(?:Assistant|AI)\]:?", LINE),
    Spelling("<(?:human|user)>:", "<(?:bot|assistant)>:", LINE),
)
# Of turns before a prompt, of which is known that they are turns: a single line break is enough.
EARLIER = (*(s._replace(before=LINE) for s in SPELLINGS[:2]), *SPELLINGS[2:])


def _template(marker: str, end: str, *, assistant: str = "assistant") -> Spelling:
    """Return the spelling of a chat template; `marker` has ROLE in place of the role."""
    roles = (re.escape(marker).replace("ROLE", role) for role in ("user", assistant, "system"))
    user, answer, system = (rf"(?:<s>|<bos>|<\|begin_of_text\|>)?{role}(?:\s+|$)" for role in roles)
    return Spelling(user, answer, r"\s*", system, end)


TEMPLATES = (
    _template("<|im_start|>ROLE", r"<\|im_end\|>"),  # ChatML
    _template("<|start_header_id|>ROLE<|end_header_id|>", r"<\|eot_id\|>"),  # Llama 3
    _template("<|ROLE|>", r"</s>|<\|end\|>|<\|endoftext\|>"),  # Zephyr, Phi, OLMo
    _template("<start_of_turn>ROLE", "<end_of_turn>", assistant="model"),  # Gemma
    Spelling(  # Llama 2, Mistral
        r"(?:<s>)?\s*\[INST\]|<</SYS>>", r"\[/INST\]", r"\s*", r"(?:<s>)?\s*\[INST\]\s*<<SYS>>", "</s>"
    ),
)
ALL = (*SPELLINGS, *TEMPLATES)


def begins(texts: pl.Series, spellings: Sequence[Spelling] = ALL) -> pl.Series:
    """Return whether each text begins with a turn, in any of the spellings; null stays null."""
    return texts.str.contains("|".join(f"(?:{spelling.first})" for spelling in spellings))


def is_prompt(texts: pl.Series) -> pl.Series:
    """
    Return whether a text is a prompt written as turns: a transcript that ends where the assistant's turn begins, or one
    with the marks of a chat template or of HelpSteer. Others only begin as a transcript would.
    """
    text = pl.col(texts.name)
    ends = [text.str.contains(s.first) & text.str.contains(rf"(?:{s.before}){s.assistant}\s*$") for s in SPELLINGS]
    templates = [text.str.contains(s.first) for s in TEMPLATES]
    whole = pl.any_horizontal(*ends, *templates, text.str.contains(HELPSTEER)).fill_null(value=False)
    return texts.to_frame().select(whole).to_series()


def turns_of(texts: pl.Series, otherwise: Spelling | None = None, spellings: Sequence[Spelling] = ALL) -> pl.Series:
    """
    Return transcripts as messages: str -> list[message]; null for a text that does not begin with a turn.

    Such a text is split by the spelling `otherwise` instead, if there is one. Text before the first marker becomes a
    system message; a turn may be empty.
    """
    frame, text = pl.DataFrame({"text": texts}), pl.col("text")
    cases = [(s.first, _split(text, s)) for s in spellings] + [(HELPSTEER, _split_helpsteer(text))]
    left = frame.with_row_index("row").drop_nulls()
    found = []
    for pattern, turns in cases:  # of all spellings a file has one, so that most of them cost a look at its texts
        fits = left.select(text.str.contains(pattern)).to_series()
        if fits.any():
            found.append(left.filter(fits).select("row", turns=turns.cast(MESSAGES)))
            left = left.filter(~fits)
    if otherwise and len(left):
        found.append(left.select("row", turns=_split(text, otherwise).cast(MESSAGES)))
    none = frame.with_row_index("row").select("row")
    split = pl.concat(found) if found else pl.DataFrame(schema={"row": pl.UInt32, "turns": MESSAGES})
    return none.join(split, on="row", how="left", maintain_order="left").get_column("turns").alias(texts.name)


def prompt_turns(texts: pl.Series) -> pl.Series:
    """Return the turns of texts for which `is_prompt`, without the assistant's empty one at the end."""
    turns = pl.col(texts.name)
    last = turns.list.last().struct
    empty = (last.field("role") == "assistant") & (last.field("content") == "")
    cut = pl.when(empty).then(turns.list.head(turns.list.len() - 1)).otherwise(turns)
    return turns_of(texts).to_frame().select(cut).to_series()


def _split(text: pl.Expr, spelling: Spelling) -> pl.Expr:
    turn = pl.element()
    role = (
        pl.when(turn.str.contains(f"^(?:{spelling.system})")).then(pl.lit("system"))
        .when(turn.str.contains(f"^(?:{spelling.user})")).then(pl.lit("user"))
        .when(turn.str.contains(f"^(?:{spelling.assistant})")).then(pl.lit("assistant"))
        .otherwise(pl.lit("system"))
    )  # fmt: skip
    content = turn.str.replace(f"^(?:{spelling.any})", "").str.strip_chars()
    if spelling.end:
        content = content.str.replace(rf"\s*(?:{spelling.end})$", "")
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
