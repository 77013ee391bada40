"""
Prompts, from whatever the user has: a set of prompts, our own PROMPTS table, a text file, or pairs, whose answers are
left aside. A row that yields no prompt stays in, with its problem.

in : prompt, instruction, question, query, input, task or text: str | system, input: str, optional, join the prompt
 or: prompt, messages, conversations or conversation: list[message]; what follows the last user turn is left aside
 or: any of FORMATS; what is wrong with a pair (a tie, a missing answer) does not cost its prompt
out: STAGED_PROMPTS
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import polars as pl

from curate.errors import InputError, RecipeError, unknown
from curate.schema import MESSAGES, PROMPTS, prompt_ids
from curate.sources.columns import Field, kind_of, typed
from curate.sources.formats import FORMATS, by_columns, detect, mapped, own
from curate.sources.formats.base import DetectedFormat
from curate.sources.formats.comparison import as_messages, text_field
from curate.sources.formats.preference import context_fields, join_context
from curate.sources.input import Feed, staged_blocks
from curate.sources.raw_block import Columns, RawBlock
from curate.text.messages import last_user_text

# PROMPTS, and why a row is no prompt (its id is null then; what was read of it stays).
STAGED_PROMPTS = pl.Schema({**PROMPTS, "problem": pl.String(), "detail": pl.String()})

ALONE = "prompts"  # the format's name
CONVERSATIONS = ("messages", "conversations", "conversation")
TEXTS = ("instruction", "question", "query", "input", "task", "text")
OF_PROMPT = ("prompt", "system", "input")  # the fields that a prompt is made of, in every format
SIDES = (("chosen", "rejected"), ("response_a", "response_b"))
# What a text file begins with when it holds something else, whatever its name says.
NO_TEXT = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[{\]]|PAR1|ARROW1|\xff\xff\xff\xff|\x1f\x8b|\x28\xb5|$)')
LINES_BYTES = 1 << 20  # of a text file, in a block
BOM = b"\xef\xbb\xbf"


def read_prompts(
    feed: Feed,
    *,
    format: str | None = None,  # noqa: A002 - the recipe's word
    columns: Mapping[str, str] | None = None,
) -> Iterator[tuple[pl.DataFrame, str]]:
    """
    The feed's rows as blocks of STAGED_PROMPTS, row for row, with the name of their format.

    A prompt that occurs twice is read twice. A .txt file holds one prompt a line. The same prompt has the same id here
    and in the pairs that are read of the same input.
    """
    if feed.path is not None and _is_text(feed.path):
        feed = replace(feed, blocks=partial(_lines, feed.path))

    def find(block: RawBlock) -> DetectedFormat:
        return _mapped(block, columns) if columns else _detect(block.columns, format)

    return staged_blocks(feed, STAGED_PROMPTS, find, convert)


def convert(block: RawBlock, found: DetectedFormat, name: str) -> pl.DataFrame:
    """One raw block as STAGED_PROMPTS, row for row."""
    block = found.prepare(block)
    asked = {field: found.fields[field] for field in OF_PROMPT if field in found.fields}
    others = {field: where for field, where in found.fields.items() if field not in asked}
    # Read apart, so that it can be told whether the prompt or something else of the pair cannot be used.
    prompts = typed(_only(block, asked), asked)
    rest = typed(_without(block, asked, others), others)
    frame = found.to_pairs(_mended(rest.with_columns(prompts.select(list(asked)).get_columns()), found.name))
    frame = frame.with_columns(
        source=(pl.col("source") if "source" in frame.columns else pl.lit(None, pl.String)).fill_null(name),
        **_problem(prompts),
    )
    usable = pl.col("problem").is_null()
    frame = frame.with_columns(prompt_id=pl.when(usable).then(prompt_ids()))
    return frame.select(pl.col(column).cast(dtype) for column, dtype in STAGED_PROMPTS.items())


def to_prompts(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts to messages, conversations up to their last user turn; then system and input join."""
    frame = frame.with_columns(as_messages("prompt", "user", frame.schema))
    from_user = pl.col("prompt").list.eval(pl.element().struct.field("role") == "user")
    behind = from_user.list.reverse().list.arg_max()  # turns that follow the last of the user's
    cut = pl.when(from_user.list.any()).then(pl.col("prompt").list.head(pl.col("prompt").list.len() - behind))
    return join_context(frame.with_columns(prompt=cut))


def _problem(prompts: pl.DataFrame) -> dict[str, pl.Expr]:
    """What is wrong with a row's prompt; problems of the pair count only where they left no prompt."""
    unread, why = prompts.get_column("problem"), prompts.get_column("detail")
    asked = last_user_text("prompt")
    missing = pl.col("problem").fill_null("missing_").str.replace("^missing_.*", "missing_prompt")
    cases = (
        (pl.lit(unread).is_not_null(), unread, why),
        (asked.is_null(), missing, pl.col("detail").fill_null("there is no user turn")),
        (asked.str.strip_chars() == "", pl.lit("prompt_empty"), pl.lit("the last user turn is blank")),
    )
    problem = pl.coalesce(pl.when(case).then(rule) for case, rule, _ in cases)
    return {"problem": problem, "detail": pl.coalesce(pl.when(case).then(detail) for case, _, detail in cases)}


def _mended(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Where only one side of a pair is there and it is a whole conversation, it stands for both: it has the prompt."""
    given: list[pl.Expr]
    for sides in SIDES:
        if not set(sides) <= set(frame.columns):
            continue
        if name == "hh_rlhf":
            given = [pl.when(pl.col(side).str.strip_chars() != "").then(side) for side in sides]
        elif {frame.schema[side] for side in sides if frame[side].null_count() < len(frame)} == {MESSAGES}:
            given = [pl.col(side) if frame.schema[side] == MESSAGES else pl.lit(None, MESSAGES) for side in sides]
        else:
            continue
        either = pl.coalesce(given), pl.coalesce(given[::-1])
        frame = frame.with_columns(**dict(zip(sides, either, strict=True)))
    return frame


def _detect(columns: Columns, name: str | None) -> DetectedFormat:
    """The first of FORMATS that fits, then our own table of prompts, then prompts alone; or the one asked for."""
    if name not in (None, ALONE, *FORMATS):
        raise unknown("format", str(name), [*FORMATS, ALONE])
    for known, shape in FORMATS.items():
        if name in (None, known) and shape.fields(columns) is not None:
            return detect(columns, known)
    if name in (None, "prefcurate") and set(PROMPTS) <= set(columns) and kind_of(columns["prompt"]) == "messages":
        labels = {f"own_{n}": Field(n, kind, needed=False) for n, kind in own.OWN.items() if n in PROMPTS}
        return DetectedFormat("prefcurate", {"prompt": Field("prompt", "messages"), **labels}, own.to_pairs)
    if name in (None, ALONE) and (fields := _fields(columns)):
        return DetectedFormat(ALONE, fields, to_prompts)
    if name not in (None, ALONE):
        return detect(columns, name)  # which says that they are not of this format
    names = ", ".join(repr(column)[1:-1] for column in columns)  # a name may hold a line break
    raise InputError(
        f"{f'none of the columns {names}' if columns else 'no column'} holds prompts. Expected is one of "
        f"{', '.join(('prompt', *CONVERSATIONS, *TEXTS))}, or pairs ({', '.join(FORMATS)}).",
        "Name it: --columns prompt=… (source.columns in a recipe)",
    )


def _fields(columns: Columns) -> dict[str, Field] | None:
    # Conversations before the other names: beside one, `text` is the same talk rendered, and `task` a label.
    for name in ("prompt", *CONVERSATIONS, *TEXTS):
        if name not in columns:
            continue
        kind = kind_of(columns[name])
        if name not in CONVERSATIONS:
            return {"prompt": Field(name, kind or "text"), **context_fields(columns, name)}
        if kind != "text":
            context = context_fields(columns, "input")  # an `input` beside a conversation is a part of it
            return {"prompt": Field(name, "messages"), **context}
    return None


def _mapped(block: RawBlock, columns: Mapping[str, str]) -> DetectedFormat:
    """The format that the user's own mapping describes: a prompt with its context, or a whole pair."""
    if not set(columns) <= set(OF_PROMPT):
        return by_columns(block, columns, {})
    reached = mapped.reach(block, columns).columns
    for name, column in columns.items():
        if column not in reached:
            raise unknown(f"column for {name}", column, reached)
    if "prompt" not in columns:
        raise RecipeError("source.columns must name prompt")
    context = {name: Field(columns[name], "text", needed=False) for name in OF_PROMPT[1:] if name in columns}
    fields = {"prompt": text_field(columns["prompt"], reached), **context}
    return DetectedFormat("columns", fields, to_prompts, partial(mapped.reach, mapping=columns))


def _only(block: RawBlock, fields: Mapping[str, Field]) -> RawBlock:
    names = {field.column for field in fields.values()}
    return RawBlock({n: values for n, values in block.columns.items() if n in names}, block.source_row)


def _without(block: RawBlock, fields: Mapping[str, Field], needed: Mapping[str, Field]) -> RawBlock:
    """The block without the fields' columns, but for those that other fields need, too."""
    names = {field.column for field in fields.values()} - {field.column for field in needed.values()}
    return RawBlock({n: values for n, values in block.columns.items() if n not in names}, block.source_row)


def _is_text(path: Path) -> bool:
    """A .txt file that is one. What begins like another kind of file, or holds a NUL, is read as what it is."""
    if not path.name.lower().endswith(".txt"):
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return b"\0" not in head and NO_TEXT.match(head) is None


def _lines(path: Path) -> Iterator[RawBlock]:
    """Every line as a row with the column `text`. `source_row` counts lines that are not blank."""
    row = 0
    with path.open("rb") as file:
        numbers = count(1)
        while lines := file.readlines(LINES_BYTES):
            texts: dict[int, str] = {}
            broken: list[tuple[int, str]] = []
            for line, number in zip(lines, numbers, strict=False):
                plain = line.removeprefix(BOM).strip() if number == 1 else line.strip()
                if not plain:
                    continue
                try:
                    texts[row] = plain.decode("utf-8")
                except UnicodeDecodeError:
                    broken.append((row, f"line {number}: invalid UTF-8"))
                row += 1
            yield RawBlock({"text": list(texts.values())}, list(texts), broken)
