"""Style bias of judges: how often a preference is reversed when the same answers are shown without their markdown."""

from collections.abc import Iterable, Iterator

import polars as pl
from markdown_it import MarkdownIt
from markdown_it.token import Token

from curate.schema import digest
from curate.text.messages import text_of

MARKS = r"[*_`#|>\[]|(?m:^\s*(?:[-+]|\d+[.)])\s)"  # without any of these a text has no markdown
MAX_CHARS = 50_000  # of an answer: the reader is not made for megabytes of brackets
LITERAL = ("fence", "code_block", "html_block")  # blocks whose content is shown as it is
READER = MarkdownIt("commonmark").enable("table")
SET = ("source", "source_row")


def without_markdown(text: str) -> str:
    r"""
    Return a text without its markdown: the words of headings, lists, tables, links and emphasis, and code as it is.

        without_markdown("# One\n\n- **two**\n- `three`")  # "One\ntwo\nthree"
    """
    blocks = (_plain(token) for token in READER.parse(text))
    return "\n".join(block for block in blocks if block is not None)


def sample(candidates: pl.DataFrame, sets: int) -> pl.DataFrame:
    """
    in : CANDIDATES
    out: CANDIDATES of at most `sets` sets in which markdown can be removed, with the responses without it. Which sets
         these are depends on their place in the source alone. Sets with an answer of more than MAX_CHARS are left out.
    """
    text = text_of("response")
    order = digest(pl.concat_str(*(pl.col(name).cast(pl.String) for name in SET), separator="\n"))
    short = (text.str.len_chars().fill_null(0) <= MAX_CHARS).all().over(SET)
    chosen = candidates.filter(text.str.contains(MARKS), short).select(*SET, order=order).unique(SET).sort("order")
    chosen = chosen.select(SET)
    found: list[pl.DataFrame] = []
    for place in range(len(chosen)):
        if len(found) == sets:
            break
        answers = candidates.join(chosen.slice(place, 1), on=SET, nulls_equal=True, maintain_order="left")
        plain = [
            None if turns is None else list(_stripped(turns)) for turns in answers.get_column("response").to_list()
        ]
        shown = answers.with_columns(pl.Series("response", plain, dtype=candidates.schema["response"]))
        if not shown.equals(answers):
            found.append(shown)
    return pl.concat([candidates.clear(), *found])


def _stripped(turns: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    for turn in turns:
        yield {**turn, "content": without_markdown(turn["content"])}


def _plain(token: Token) -> str | None:
    """Return the text of a block; None for a token that only opens or closes one."""
    if token.type in LITERAL:
        return token.content.rstrip("\n")
    return "".join(map(_inline, token.children or ())) if token.type == "inline" else None


def _inline(token: Token) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    return token.content  # of emphasis and links: empty, their text is a token of its own
