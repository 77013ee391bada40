"""
Chosen and rejected, with or without a prompt, as texts or as conversations: TRL's preference types and similar ones.

in : chosen, rejected (or accepted, preferred, …: `names.NAMES`): a text or a conversation, see `readers.read_turns`
     prompt, optional: the same | a conversation before it, texts it is about, a system prompt: joined in this order
     scores and model names under their usual names | a verdict: its ties are no pairs
     tools (or functions): those offered, in OpenAI's form or as bare functions, as a list or as JSON
     images: a row that has any cannot be read, because they would be lost
out: PAIR

Repaired:
- whole conversations in chosen/rejected, with or without a prompt column: the shared turns move to the prompt
  (ultrafeedback_binarized and distilabel write a text prompt next to whole conversations, which TRL no longer splits
  since 0.29)
- plain texts without a prompt: their common prefix, up to its last whitespace, becomes the prompt
- a question that both answers repeat is cut off them

https://huggingface.co/docs/trl/dataset_formats
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curate.schema import MESSAGES, OPTIONAL
from curate.sources.columns import SAMPLE, Field, kind_of, offers_tools
from curate.sources.formats.comparison import add_problem, as_messages, is_text, text, with_role
from curate.sources.formats.names import (
    ANSWER_NAME,
    CONVERSATION,
    LABELS,
    LABELS_OF_SIDES,
    LOST,
    NAMES,
    NUMBERS,
    PROMPT,
    REFERENCE,
    SIDES,
    SYSTEM,
    TOOLS,
    VERDICT,
)
from curate.sources.formats.transcripts import EARLIER, TEMPLATES, Spelling, begins, is_prompt, prompt_turns, turns_of
from curate.sources.raw_block import Columns
from curate.text.messages import last_user_text, one_message, split_conversations, split_texts


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields of chosen, rejected and all other known columns; None without chosen and rejected."""
    sides = next((names for names in NAMES if set(names) <= set(columns)), None)
    if sides is None or _are_labels(sides, columns):
        return None
    found = {side: Field(column, "turns") for side, column in zip(SIDES, sides, strict=True)}
    found |= prompt_fields({name: values for name, values in columns.items() if name not in sides})
    if "prompt" in found and offers_tools(columns[asked := found["prompt"].column]):
        found |= {"prompt": Field(asked, "asked", needed=False), "tools": Field(asked, "offered", needed=False)}
    numbers = {name: Field(column, "number", needed=False) for name, column in _present(NUMBERS, columns)}
    labels = {name: Field(column, "label", needed=False) for name, column in _present(LABELS, columns)}
    for name in (name for name in VERDICT if name in columns):
        found[f"verdict_{name}"] = Field(name, "label", needed=False, is_kept=True)
    return found | numbers | labels | lost_fields(columns)


def _are_labels(sides: tuple[str, str], columns: Columns) -> bool:
    """Whether the sides only name two other columns, which hold the answers."""
    answers = [name for name, values in columns.items() if ANSWER_NAME.search(name) and kind_of(values) == "text"]
    if len(set(answers) - set(sides)) < 2:
        return False
    first = [v.head(SAMPLE) if isinstance(v := columns[side], pl.Series) else v[:SAMPLE] for side in sides]
    known = {str(value).strip().lower() for values in first for value in values if value is not None}
    return bool(known) and known <= LABELS_OF_SIDES


def lost_fields(columns: Columns) -> dict[str, Field]:
    """Return the fields of columns that say something that the texts do not: tools, and images, which would be lost."""
    offered = _first(TOOLS, columns)
    tools = {"tools": Field(offered, "tools", needed=False)} if offered else {}
    return tools | {f"lost_{name}": Field(name, "absent", needed=False) for name in LOST if name in columns}


def context_fields(columns: Columns, prompt: str | None) -> dict[str, Field]:
    """Return the fields `system` and of references, where such columns exist next to the prompt column."""
    found: dict[str, Field] = {}
    if system := _first(SYSTEM, columns):
        found["system"] = Field(system, "text", needed=False)
    for name in REFERENCE:
        if name in columns and prompt != name and kind_of(columns[name]) != "messages":
            found[name] = Field(name, "text", needed=False)
    return found


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert every variant to prompt, chosen and rejected as messages, then add what else belongs to the prompt."""
    if "prompt" not in frame.columns:
        frame = _split(frame)
    frame = _transcribed(frame)
    frame = _split_texts(frame, SIDES, TEMPLATES)  # tokens of a template on one side only are a leak, and stay
    frame = frame.with_columns(_with_role(frame, "prompt", "user"), *(_with_role(frame, s, "assistant") for s in SIDES))
    for side in SIDES:
        roles = pl.col(side).list.eval(pl.element().struct.field("role"))
        silent = (pl.col(side).list.len() > 0) & ~roles.list.contains("assistant")
        frame = add_problem(frame, silent, "no_assistant_turn", f"{side} has no turn of the assistant")
    frame = _unrepeated(_unpack_conversations(frame))
    if "earlier" in frame.columns:
        frame = _with_earlier(frame)
    frame = join_context(frame)
    for name, words in VERDICT.items():
        if f"verdict_{name}" in frame.columns:
            tied = pl.col(f"verdict_{name}").str.strip_chars().str.to_lowercase().is_in(words).fill_null(value=False)
            frame = add_problem(frame, tied, "tie", "the source marks it as a tie")
    no_prompt = pl.col("prompt").list.len().fill_null(0) == 0
    return add_problem(
        frame, no_prompt, "missing_prompt", "no prompt column, and chosen and rejected share no user turn"
    )


def prompt_fields(columns: Columns, names: Sequence[str] = PROMPT) -> dict[str, Field]:
    """Return the fields that `with_prompt` joins: the prompt, turns before it, a system prompt, references."""
    prompt, earlier = _first(names, columns), _first(CONVERSATION, columns)
    found = {"prompt": Field(prompt or str(earlier), "turns", needed=False)} if prompt or earlier else {}
    if prompt and earlier and prompt != earlier:
        found["earlier"] = Field(earlier, "earlier", needed=False)
    return found | context_fields(columns, prompt)


def with_prompt(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with its whole prompt as messages, from the fields of `prompt_fields`."""
    frame = _transcribed(frame)
    frame = frame.with_columns(_with_role(frame, "prompt", "user"))
    return join_context(_with_earlier(frame) if "earlier" in frame.columns else frame)


def _transcribed(frame: pl.DataFrame) -> pl.DataFrame:
    """Split prompts that are transcripts in one text, up to where the answer begins."""
    texts = frame.select(text("prompt")).to_series()
    likely = begins(texts) | texts.str.contains("<extra_id_1>", literal=True)
    places = likely.fill_null(value=False).arg_true()
    if not len(places):
        return frame
    some = texts.gather(places)
    are = is_prompt(some)
    return _with_turns(frame, "prompt", places.filter(are), prompt_turns(some.filter(are)))


def _with_turns(frame: pl.DataFrame, name: str, places: pl.Series, turns: pl.Series) -> pl.DataFrame:
    """Return the frame with turns at some places of a column."""
    new = pl.DataFrame({"row": places.cast(pl.UInt32), "turns": turns})
    rows = frame.select(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    found = rows.join(new, on="row", how="left", maintain_order="left").get_column("turns")
    return frame.with_columns(pl.coalesce(found, name).alias(name))


def _split_texts(frame: pl.DataFrame, names: Sequence[str], spellings: Sequence[Spelling]) -> pl.DataFrame:
    """Split the texts of columns where each begins with a turn in one of the spellings."""
    texts = frame.select(text(name) for name in names)
    fits = texts.select(pl.all_horizontal(begins(each, spellings).alias(each.name) for each in texts))
    places = fits.to_series().fill_null(value=False).arg_true()
    if not len(places):
        return frame
    for each in texts:
        frame = _with_turns(frame, each.name, places, turns_of(each.gather(places), spellings=spellings))
    return frame


def _with_role(frame: pl.DataFrame, name: str, role: str) -> pl.Expr:
    """Return `with_role`; the column itself where all of its turns have one."""
    turns = frame.get_column(name).explode(empty_as_null=True, keep_nulls=True).struct
    given = (turns.field("role").is_not_null() | turns.field("content").is_null()).all()
    return pl.col(name) if given else with_role(name, role)


def _split(frame: pl.DataFrame) -> pl.DataFrame:
    """Cut the common beginning off two plain texts, as their prompt; conversations keep theirs for now."""
    for side, other in (SIDES, SIDES[::-1]):  # the last turn of a conversation, and another text in its place
        talks = pl.col(other).list.first().struct.field("role").is_not_null().fill_null(value=False)
        ended = pl.concat_list(pl.col(other).list.head(pl.col(other).list.len() - 1), with_role(side, "assistant"))
        frame = frame.with_columns(pl.when(is_text(side) & talks).then(ended).otherwise(side).alias(side))
    plain = frame.select(pl.all_horizontal(is_text(side) for side in SIDES)).to_series()
    if not plain.any():
        return frame.with_columns(prompt=pl.lit(None, MESSAGES))
    texts = split_texts(frame.select(text(side) for side in SIDES))
    cut = texts.select(
        as_messages("prompt", "user", texts.schema), *(as_messages(s, "assistant", texts.schema) for s in SIDES)
    )
    none = pl.Series([None] * len(frame), dtype=MESSAGES)
    return frame.with_columns(
        cut.get_column("prompt").zip_with(plain, none).alias("prompt"),
        *(cut.get_column(side).zip_with(plain, frame.get_column(side)) for side in SIDES),
    )


def _unrepeated(frame: pl.DataFrame) -> pl.DataFrame:
    """Cut the question off the answers where both begin with it, as a text of its own line."""
    question = last_user_text("prompt").str.strip_chars()
    first = {side: pl.col(side).list.first().struct for side in SIDES}
    contents = {side: turn.field("content") for side, turn in first.items()}
    bare = [turn.field(name).is_null() for turn in first.values() for name in OPTIONAL]
    begins = [content.str.starts_with(question) & (pl.col(s).list.len() == 1) for s, content in contents.items()]
    rest = {s: content.str.slice(question.str.len_chars()).str.strip_chars() for s, content in contents.items()}
    apart = [content.str.slice(question.str.len_chars(), 1).str.contains(r"^\s$") for content in contents.values()]
    both = pl.all_horizontal(
        question.str.len_chars() > 0, *bare, *begins, *apart, *(text != "" for text in rest.values())
    )
    repeated = frame.select(both.fill_null(value=False)).to_series()
    if not repeated.any():
        return frame
    return frame.with_columns(
        pl.when(repeated).then(one_message("assistant", rest[side])).otherwise(side).alias(side) for side in SIDES
    )


def _with_earlier(frame: pl.DataFrame) -> pl.DataFrame:
    """Put the earlier turns before the prompt, unless they are the prompt itself, or the whole conversation with it."""
    frame = _split_texts(frame, ["earlier"], (*EARLIER, *TEMPLATES)).with_columns(with_role("earlier", "user"))
    contents = pl.col("earlier").list.eval(pl.element().struct.field("content").str.strip_chars())
    known = contents.list.contains(last_user_text("prompt").str.strip_chars()).fill_null(value=False)
    some = (pl.col("earlier").list.len() > 0).fill_null(value=False)
    return frame.with_columns(
        prompt=pl.when(some & ~known).then(pl.concat_list("earlier", "prompt")).otherwise("prompt")
    )


def _unpack_conversations(frame: pl.DataFrame) -> pl.DataFrame:
    """Split responses that are whole conversations, i.e. start with a role other than assistant."""
    starts = {s: (pl.col(s).list.first().struct.field("role") != "assistant").fill_null(value=False) for s in SIDES}
    whole = frame.select(pl.any_horizontal(*starts.values()).alias("whole")).get_column("whole")
    if not whole.any():
        return frame
    if whole.all() and frame.get_column("prompt").null_count() == len(frame):  # the usual case of it
        return split_conversations(frame)
    # If only one side is a whole conversation, the other one lacks the prompt.
    has_prompt = pl.col("prompt").is_not_null()
    frame = frame.with_columns(
        pl.when(has_prompt & whole & ~starts[side]).then(pl.concat_list("prompt", side)).otherwise(side).alias(side)
        for side in SIDES
    )
    shared, before = split_conversations(frame), _not_repeated(frame)
    return frame.with_columns(
        prompt=pl.when(whole).then(pl.concat_list(before, shared.get_column("prompt"))).otherwise("prompt"),
        **{side: pl.when(whole).then(shared.get_column(side)).otherwise(side) for side in SIDES},
    )


def _not_repeated(frame: pl.DataFrame) -> pl.Series:
    """Return the prompt's turns that the conversation lacks: all, none, or those before the repeated ones."""
    prompt, question = pl.col("prompt"), last_user_text("prompt")
    contents = pl.col("chosen").list.eval(pl.element().struct.field("content"))
    overlap = frame.select(
        "prompt",
        "chosen",
        begins=pl.col("chosen").list.head(prompt.list.len()) == prompt,  # null where there is no prompt
        repeated=(contents.list.contains(question) | (question.str.strip_chars() == "")).fill_null(value=False),
    )
    some = overlap.select(pl.col("repeated") & ~pl.col("begins") & (prompt.list.len() > 1)).to_series()
    parts = iter([_before(*row) for row in overlap.filter(some).select("prompt", "chosen").rows()])
    before = pl.Series([next(parts) if part else None for part in some], dtype=MESSAGES)
    none = pl.lit([], MESSAGES)
    rest = pl.when(pl.col("repeated") | pl.col("begins")).then(none).otherwise(pl.coalesce(prompt, none))
    return overlap.select(pl.coalesce(before, rest)).to_series()


def _before(prompt: list[Any], conversation: list[Any]) -> list[Any]:
    """Return the prompt's turns before the start of the conversation; none if the prompt does not contain its start."""
    sizes = range(len(prompt), 0, -1)
    return next((prompt[:-size] for size in sizes if prompt[-size:] == conversation[:size]), [])


def join_context(frame: pl.DataFrame) -> pl.DataFrame:
    """Append references to the last user turn, each after a blank line; prepend `system` unless there is one."""
    for name in REFERENCE:
        if name in frame.columns:
            given = pl.col(name).str.strip_chars() != ""
            joined = one_message("user", pl.concat_str(last_user_text(), pl.lit("\n\n"), pl.col(name)))
            one_turn = pl.col("prompt").list.last().struct.field("role") == "user"
            with_text = pl.concat_list(pl.col("prompt").list.head(pl.col("prompt").list.len() - 1), joined)
            frame = frame.with_columns(prompt=pl.when(given & one_turn).then(with_text).otherwise("prompt"))
    if "system" in frame.columns:
        given = pl.col("system").str.strip_chars() != ""
        absent = pl.col("prompt").list.first().struct.field("role") != "system"
        with_system = pl.concat_list(one_message("system", pl.col("system")), pl.col("prompt"))
        frame = frame.with_columns(prompt=pl.when(given & absent).then(with_system).otherwise("prompt"))
    return frame


def _present(known: Mapping[str, Sequence[str]], columns: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, column) for name, names in known.items() if (column := _first(names, columns))]


def _first(names: Sequence[str], columns: Mapping[str, object]) -> str | None:
    return next((name for name in names if name in columns), None)
