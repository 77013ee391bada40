r"""
Transcripts as in Anthropic's hh-rlhf: each side is a whole dialogue as one text.

in : chosen, rejected: str, "\n\nHuman: …\n\nAssistant: …\n\nHuman: …\n\nAssistant: …", or in another spelling, such as
     "### Human: …\n### Assistant: …" (see `transcripts.SPELLINGS`)
out: PAIR. The prompt is the shared turns up to the last shared Human turn.

Irregularities in the data: the two dialogues may diverge before the last turn (the responses then have several turns),
a turn may be empty, and a marker may occur twice in a row (two Human turns; a signal reports it).

https://github.com/anthropics/hh-rlhf
"""

from itertools import islice

import polars as pl

from curate.sources.columns import Field, kind_of
from curate.sources.formats.comparison import add_problem
from curate.sources.formats.transcripts import SPELLINGS, begins, turns_of
from curate.sources.raw_block import Columns
from curate.text.messages import split_conversations

SAMPLE = 20


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return chosen and rejected as texts if at least half of the first chosen texts start like transcripts."""
    if not {"chosen", "rejected"} <= set(columns) or "prompt" in columns or kind_of(columns["chosen"]) != "text":
        return None
    texts = (value for value in columns["chosen"] if isinstance(value, str) and value)
    marked = begins(pl.Series(list(islice(texts, SAMPLE)), dtype=pl.String))
    if 2 * marked.sum() < max(len(marked), 1):
        return None
    return {"chosen": Field("chosen", "text"), "rejected": Field("rejected", "text")}


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Split the texts into turns, then move the shared turns to the prompt."""
    frame = frame.with_columns(turns_of(frame.get_column(side), SPELLINGS[0]) for side in ("chosen", "rejected"))
    no_turns = pl.any_horizontal(pl.col("chosen", "rejected").list.len() == 0)
    frame = add_problem(frame, no_turns, "no_transcript", "no 'Human:' or 'Assistant:' turn found")
    frame = split_conversations(frame)
    unshared = pl.col("prompt").list.len() == 0
    return add_problem(frame, unshared, "no_shared_prompt", "chosen and rejected share no Human turn")
