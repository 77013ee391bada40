"""Lists of messages and their texts, as polars expressions over whole columns."""

import numpy as np
import polars as pl

from curate.schema import MESSAGE, MESSAGES

CALL_ID = r'\{"id":"(?:[^"\\]|\\.)*",'  # as `sources.message` writes it


def one_message(role: str, content: pl.Expr) -> pl.Expr:
    """Return a list with one message; null content gives a null list."""
    message = pl.struct(role=pl.lit(role), content=content, schema=dict(MESSAGE))
    return pl.when(content.is_not_null()).then(pl.concat_list(message)).cast(MESSAGES)


def text_of(messages: str) -> pl.Expr:
    """Join all contents by a blank line: list[message] -> str. An empty list gives "", null stays null."""
    return pl.col(messages).list.eval(pl.element().struct.field("content")).list.join("\n\n")


def calls_text(messages: str) -> pl.Expr:
    """
    Return all calls of tools in some messages as one text, null for none: list[message] -> str.

    Texts that are equal may differ in it: `text_of` is what a message says, not what it does. Ids are left out: they
    are new in every conversation.
    """
    calls = pl.element().struct.field("tool_calls").drop_nulls().str.replace_all(CALL_ID, "{")
    joined = pl.col(messages).list.eval(calls).list.join("\n")
    return pl.when(joined != "").then(joined)


COMPARED = {
    "prompt": ("prompt",),
    "prompt+chosen": ("prompt", "chosen"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
}


def compared_text(compare: str) -> pl.Expr:
    """The text of a pair that is compared with that of others: a key of COMPARED -> str."""
    return pl.concat_str([text_of(side) for side in COMPARED[compare]], separator="\n\n")


def last_user_text(messages: str = "prompt") -> pl.Expr:
    """Return the content of the last user turn; null when there is none."""
    user = pl.element().filter(pl.element().struct.field("role") == "user")
    return pl.col(messages).list.eval(user).list.last().struct.field("content")


def split_conversations(frame: pl.DataFrame) -> pl.DataFrame:
    """
    Split two whole conversations into their shared prompt and two responses.

    in : chosen, rejected: list[message], each a whole conversation
    out: prompt, chosen, rejected: shared turns up to the last one of the user, or result of a tool, move to `prompt`.

    Conversations that diverge before their last turn leave responses of several turns. Without such a turn the
    prompt is an empty list. Every response keeps at least one turn: two equal conversations keep their last turn on
    both sides.
    """
    rows = frame.select("chosen", "rejected").with_row_index("row")
    turns = (
        rows.drop_nulls()  # a missing side has no shared turns
        .with_columns(
            length=pl.min_horizontal(pl.col("chosen").list.len(), pl.col("rejected").list.len()),
            position=pl.int_ranges(pl.min_horizontal(pl.col("chosen").list.len(), pl.col("rejected").list.len())),
        )
        .with_columns(pl.col("chosen").list.head(pl.col("length")), pl.col("rejected").list.head(pl.col("length")))
        .explode("position", "chosen", "rejected", empty_as_null=True, keep_nulls=True)
    )
    same = pl.col("chosen").eq_missing(pl.col("rejected")).cum_min().over("row")
    asks = pl.col("chosen").struct.field("role").is_in(("user", "tool"))  # a turn that an answer follows
    cut = (
        turns.filter(same)  # the shared turns …
        .filter(asks & (pl.col("position") < pl.col("length") - 1))  # … up to one that is not the last turn
        .group_by("row")
        .agg(cut=pl.col("position").max() + 1)
    )
    cuts = rows.select("row").join(cut, on="row", how="left", maintain_order="left").get_column("cut").fill_null(0)
    return (
        frame.with_columns(cuts.alias("cut"))
        .with_columns(
            prompt=pl.col("chosen").list.head(pl.col("cut")),
            chosen=pl.col("chosen").list.slice(pl.col("cut")),
            rejected=pl.col("rejected").list.slice(pl.col("cut")),
        )
        .drop("cut")
    )


def split_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """
    Split two texts into their shared prompt and two responses.

    in : chosen, rejected: str, each a prompt and its answer in one text (TRL's implicit prompt)
    out: prompt, chosen, rejected: str, cut at the last white space of their common prefix.

    Without a common prefix the prompt is null.
    """
    both = frame.select(pl.col("chosen", "rejected").fill_null("").cast(pl.Binary))
    both = both.with_columns(size=pl.min_horizontal(pl.all().bin.size()))
    heads = both.select(pl.col("chosen", "rejected").bin.slice(0, pl.col("size")))
    a, b = (np.frombuffer(b"".join(heads.get_column(side)), np.uint8) for side in ("chosen", "rejected"))
    ends = np.cumsum(both.get_column("size").to_numpy(), dtype=np.int64)
    starts = np.append(0, ends)[:-1]
    # The first differing byte at or after each row's start, or the row's end when there is none …
    different = np.append(np.flatnonzero(a != b), len(a))
    diverging = np.minimum(different[np.searchsorted(different, starts)], ends)
    # … and the last white space before it. These bytes never occur inside a multi-byte UTF-8 character.
    spaces = np.append(-1, np.flatnonzero(np.isin(a, np.frombuffer(b" \t\r\n", np.uint8))))
    cut = np.maximum(spaces[np.searchsorted(spaces, diverging) - 1] + 1 - starts, 0)
    cut_at = pl.lit(pl.Series("cut", cut, dtype=pl.UInt32))
    chosen, rejected = (pl.col(side).cast(pl.Binary).bin for side in ("chosen", "rejected"))
    return frame.with_columns(
        prompt=pl.when(cut_at > 0).then(chosen.slice(0, cut_at).cast(pl.String).str.strip_chars()),
        chosen=chosen.slice(cut_at).cast(pl.String).str.strip_chars(),
        rejected=rejected.slice(cut_at).cast(pl.String).str.strip_chars(),
    )
