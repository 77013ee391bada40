"""Forms whose answers may have several turns, and their messages all fields: TRL's, and those made like them."""

import polars as pl

from curate.publish.forms.base import Form, columns_of
from curate.publish.forms.turns import spoken, whole, with_ids_and_texts
from curate.rundir.file_form import Present, to_file
from curate.schema import PAIR

TRL = "https://huggingface.co/docs/trl/dataset_formats"


def _trl(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    return to_file(pairs.select(list(PAIR)), found)


def _whole(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    """Return whole conversations: the prompt, then the answer."""
    sides = [whole(pairs, side) for side in ("chosen", "rejected")]
    return to_file(pairs.select(*sides, "tools", *columns_of(found)), found)


def _explicit(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    return to_file(pairs.select("prompt", "chosen", "rejected", "tools", *columns_of(found)), found)


def _unpaired(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    """Return two rows per pair, the chosen answer first."""
    shared = [name for name in ("strength", "extra") if name in found]
    sides = [
        pairs.select("prompt", pl.col(side).alias("completion"), pl.lit(good).alias("label"), "tools",
                     *(pl.col(f"{side}_{what}").alias(what) for what in ("score", "model")
                       if {f"chosen_{what}", f"rejected_{what}"} & found), *shared)
        for side, good in (("chosen", True), ("rejected", False))
    ]  # fmt: skip
    order = pl.concat_list(pl.int_range(pl.len()), pl.int_range(pl.len()) + pl.len())
    places = pairs.select(order.alias("place")).explode("place").get_column("place")
    return to_file(pl.concat(sides)[places.drop_nulls()], found)


def _sharegpt(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    calls = "tool_calls" in found
    sides = pl.DataFrame([whole(pairs, side) for side in ("chosen", "rejected")])
    spoken_sides = sides.select(spoken(pl.col(side), calls=calls) for side in sides.columns)
    return pairs.select(*spoken_sides.get_columns(), *(["tools"] if "tools" in found else []), *columns_of(found))


def _preferred(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    """Return rows of OpenAI's preference fine-tuning, whose calls have ids and arguments as JSON in a text."""
    messages = pairs.select("prompt", "chosen", "rejected", "tools")
    if "tool_calls" in found:
        messages, found = with_ids_and_texts(messages), found | {"tool_call_id"}
    messages = to_file(messages, found)
    given = [pl.col("prompt").alias("messages"), *([pl.col("tools")] if "tools" in found else [])]
    return messages.select(
        pl.struct(given).alias("input"),
        pl.col("chosen").alias("preferred_output"),
        pl.col("rejected").alias("non_preferred_output"),
    )


CONVERSATIONS = {
    "trl": Form(
        "prompt, chosen, rejected: messages; the other columns of a run's files",
        "TRL (explicit prompt), prefcurate",
        TRL,
        _trl,
    ),
    "trl-implicit": Form(
        "chosen, rejected: whole conversations",
        "TRL (implicit prompt)",
        TRL,
        _whole,
    ),
    "reward": Form(
        "chosen, rejected: whole conversations; margin where all pairs have scores",
        "TRL's RewardTrainer",
        "https://huggingface.co/docs/trl/reward_trainer",
        _whole,
        has_margin=True,
    ),
    "kto": Form(
        "prompt, completion: messages; label: true or false; two rows per pair",
        "TRL's KTOTrainer",
        "https://huggingface.co/docs/trl/kto_trainer",
        _unpaired,
    ),
    "openrlhf": Form(
        "prompt, chosen, rejected: messages; margin where all pairs have scores",
        "OpenRLHF (`--data.prompt_key prompt --data.apply_chat_template`)",
        "https://github.com/OpenRLHF/OpenRLHF/blob/main/openrlhf/datasets/reward_dataset.py",
        _explicit,
        lost=("tools offered",),
        endings=(".parquet", ".jsonl", ".json"),
        has_margin=True,
        # Of .jsonl, `datasets` makes a type which turns the texts that OpenRLHF renders into lists of letters.
        calls_only_in_parquet=True,
    ),
    "sharegpt": Form(
        "chosen, rejected: whole conversations of from and value",
        "prefcurate; axolotl, answers of one turn without calls (`chat_template.argilla_chat` with "
        "`message_property_mappings` and `roles`)",
        "https://github.com/axolotl-ai-cloud/axolotl/blob/main/src/axolotl/prompt_strategies/dpo/chat_template.py",
        _sharegpt,
        lost=("reasoning", "names of speakers", "ids of calls"),
        refused=("text beside a call",),
        tools_as_text=True,
    ),
    "openai": Form(
        "input: messages and tools; preferred_output, non_preferred_output: messages",
        "OpenAI's preference fine-tuning, Azure, Together, Fireworks",
        "https://developers.openai.com/api/docs/guides/direct-preference-optimization",
        _preferred,
        lost=("scores", "strength", "models", "other columns", "reasoning"),
        endings=(".jsonl",),
    ),
}
