"""Forms that have one message as the answer: those of LLaMA-Factory, axolotl and ms-swift."""

import polars as pl

from curate.publish.forms.base import Form, columns_of
from curate.publish.forms.turns import spoken, whole
from curate.rundir.file_form import Present, to_file

LLAMA_FACTORY = "https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md"
ONE_ANSWER = ("answers of several turns", "answers by others than the assistant")
TEXT_ONLY = (*ONE_ANSWER, "calls of tools or their results", "messages of a developer")
PLAIN: Present = frozenset()  # messages of role and content only


def _tools(found: Present) -> list[str]:
    """Return the column of tools as JSON, where the form takes it as a text."""
    return ["tools"] if "tools" in found else []


def _text(side: str) -> pl.Expr:
    return pl.col(side).list.first().struct.field("content")


def _spoken(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    turns = {side: spoken(pl.col(side), calls="tool_calls" in found) for side in ("prompt", "chosen", "rejected")}
    sides = [turns[side].list.first().alias(side) for side in ("chosen", "rejected")]
    return pairs.select(turns["prompt"].alias("conversations"), *sides, *_tools(found), *columns_of(found))


def _alpaca(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    """Return instructions: earlier turns are pairs of texts, and the system prompt has a column of its own."""
    first = pl.col("prompt").list.first().struct
    is_system = first.field("role") == "system"
    turns = pl.col("prompt").list.slice(is_system.cast(pl.Int64))
    contents = turns.list.head(turns.list.len() - 1).list.eval(pl.element().struct.field("content"))
    exchanges = contents.list.eval(pl.concat_list(pl.element().gather_every(2), pl.element().gather_every(2, 1)))
    return pairs.select(
        instruction=pl.col("prompt").list.last().struct.field("content"),
        input=pl.lit(""),
        chosen=_text("chosen"),
        rejected=_text("rejected"),
        system=pl.when(is_system).then(first.field("content")).otherwise(pl.lit("")),
        history=exchanges,
    ).hstack(pairs.select(*_tools(found), *columns_of(found)))


def _axolotl(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    plain = to_file(pairs.select("prompt", "chosen", "rejected"), PLAIN)
    sides = [pl.col(side).list.first() for side in ("chosen", "rejected")]
    rows = plain.select(pl.col("prompt").alias("messages"), *sides)
    return rows.hstack(pairs.select(columns_of(found)))


def _swift(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    messages = to_file(whole(pairs, "chosen").to_frame("messages"), PLAIN)
    return messages.hstack(
        pairs.select(_text("rejected").alias("rejected_response"), *_tools(found), *columns_of(found))
    )


SINGLE_ANSWERS = {
    "llamafactory": Form(
        "conversations: from and value; chosen, rejected: one such message",
        "LLaMA-Factory (`formatting: sharegpt`, `ranking: true`)",
        LLAMA_FACTORY,
        _spoken,
        lost=("reasoning", "names of speakers", "ids of calls", "empty system messages"),
        refused=(*ONE_ANSWER, "turns that do not alternate", "messages of a developer", "text beside a call"),
        tools_as_text=True,
        entry={
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        },
    ),
    "llamafactory-alpaca": Form(
        "instruction, input, system, chosen, rejected: texts; history: pairs of texts",
        "LLaMA-Factory (`ranking: true`)",
        LLAMA_FACTORY,
        _alpaca,
        lost=("reasoning", "names of speakers", "empty system messages"),
        refused=(*TEXT_ONLY, "turns that do not alternate"),
        tools_as_text=True,
        entry={
            "ranking": True,
            "columns": {
                "prompt": "instruction",
                "query": "input",
                "chosen": "chosen",
                "rejected": "rejected",
                "system": "system",
                "history": "history",
            },
        },
    ),
    "axolotl": Form(
        "messages: the prompt; chosen, rejected: one message",
        "axolotl (`type: chat_template.default`)",
        "https://github.com/axolotl-ai-cloud/axolotl/blob/main/src/axolotl/prompt_strategies/dpo/chat_template.py",
        _axolotl,
        lost=("reasoning", "names of speakers", "tools offered"),
        # axolotl looks for the text of an answer in the rendered conversation.
        refused=(*TEXT_ONLY, "empty answers"),
    ),
    "ms-swift": Form(
        "messages: the whole chosen conversation; rejected_response: a text",
        "ms-swift (DPO, ORPO, CPO, SimPO, RM)",
        "https://github.com/modelscope/ms-swift/blob/main/docs/source_en/Customization/Custom-dataset.md",
        _swift,
        lost=("reasoning", "names of speakers"),
        refused=(*TEXT_ONLY, "turns that do not alternate", "empty turns", "equal answers"),
        tools_as_text=True,
    ),
}
