"""
Prompts from user data: a set of prompts, our own PROMPTS table, a text file, or pairs, whose answers are ignored. A row
without a usable prompt is kept, with its problem.

in : prompt, instruction, question, query, input, task or text: str | system, input: str, optional, added to the prompt
 or: prompt, messages, conversations or conversation: list[message]; turns after the last user turn are ignored
 or: any of FORMATS; a problem of the pair (a tie, a missing answer) does not affect its prompt
out: STAGED_PROMPTS
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from curate import limits
from curate.errors import InputError, RecipeError, unknown
from curate.schema import MESSAGES, PROMPTS, prompt_ids
from curate.sources.columns import Field, kind_of, text_field, typed
from curate.sources.formats import FORMATS, by_columns, detect, mapped, own
from curate.sources.formats.base import AnswerFormat, DetectedFormat
from curate.sources.formats.comparison import as_messages
from curate.sources.formats.preference import context_fields, join_context
from curate.sources.input import Feed, staged_blocks
from curate.sources.raw_block import Bounds, Columns, RawBlock
from curate.text.end_tokens import without_end_tokens
from curate.text.messages import last_user_text

# PROMPTS, and why a row has no usable prompt (its id is null then; the other columns keep what was read).
STAGED_PROMPTS = pl.Schema({**PROMPTS, "problem": pl.String(), "detail": pl.String()})

PROMPTS_ONLY = "prompts"  # the format's name
CONVERSATIONS = ("messages", "conversations", "conversation")
TEXTS = ("instruction", "question", "query", "input", "task", "text")
OF_PROMPT = ("prompt", "system", "input")  # the fields that form a prompt, in every format
SIDES = (("chosen", "rejected"), ("response_a", "response_b"))
# First bytes that show a .txt file to be something else.
NO_TEXT = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[{\]]|PAR1|ARROW1|\xff\xff\xff\xff|\x1f\x8b|\x28\xb5|$)')
LINES_BYTES = 1 << 20  # of a text file, per block
BOM = b"\xef\xbb\xbf"


def read_prompts(
    feed: Feed,
    *,
    format: str | None = None,  # noqa: A002 - named as in the recipe
    columns: Mapping[str, str] | None = None,
) -> Iterator[tuple[pl.DataFrame, DetectedFormat]]:
    """
    Yield the feed's rows as blocks of STAGED_PROMPTS, row for row, with their format.

    A prompt that occurs twice is read twice. A .txt file holds one prompt per line. A prompt has the same id here as in
    pairs read from the same input.
    """
    if feed.path is not None and _is_text(feed.path):
        feed = replace(feed, blocks=partial(_lines, feed.path))

    def find(block: RawBlock) -> DetectedFormat:
        return _mapped(block, columns) if columns else _detect(block.columns, format)

    return staged_blocks(feed, STAGED_PROMPTS, find, convert)


def convert(block: RawBlock, found: DetectedFormat, name: str) -> pl.DataFrame:
    """Return one raw block as STAGED_PROMPTS, row for row."""
    block = found.prepare(block)
    of_prompt = {name: found.fields[name] for name in OF_PROMPT if name in found.fields}
    others = {name: field for name, field in found.fields.items() if name not in of_prompt}
    # Read separately, to tell problems of the prompt from those of the rest of the pair.
    prompts = typed(_only(block, of_prompt), of_prompt)
    rest = typed(_without(block, of_prompt, others), others)
    frame = rest.with_columns(prompts.select(list(of_prompt)).get_columns())
    frame = found.to_pairs(_fill_missing_side(frame, found.name))
    frame = frame.with_columns(
        source=(pl.col("source") if "source" in frame.columns else pl.lit(None, pl.String)).fill_null(name),
        **_problem(prompts),
    )
    usable = pl.col("problem").is_null()
    frame = without_end_tokens(frame, ["prompt"])
    frame = frame.with_columns(prompt_id=pl.when(usable).then(prompt_ids()))
    return frame.select(pl.col(column).cast(dtype) for column, dtype in STAGED_PROMPTS.items())


def to_prompts(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert texts to messages and cut conversations after the last user turn; then add system and input."""
    frame = frame.with_columns(as_messages("prompt", "user", frame.schema))
    from_user = pl.col("prompt").list.eval(pl.element().struct.field("role") == "user")
    after = from_user.list.reverse().list.arg_max()  # number of turns after the last user turn
    cut = pl.when(from_user.list.any()).then(pl.col("prompt").list.head(pl.col("prompt").list.len() - after))
    return join_context(frame.with_columns(prompt=cut))


def _problem(prompts: pl.DataFrame) -> dict[str, pl.Expr]:
    """Return problem and detail of a row's prompt; problems of the pair count only if there is no prompt."""
    unreadable, why = prompts.get_column("problem"), prompts.get_column("detail")
    question = last_user_text("prompt")
    missing = pl.col("problem").fill_null("missing_").str.replace("^missing_.*", "missing_prompt")
    cases = (
        (pl.lit(unreadable).is_not_null(), unreadable, why),
        (question.is_null(), missing, pl.col("detail").fill_null("there is no user turn")),
        (question.str.strip_chars() == "", pl.lit("prompt_empty"), pl.lit("the last user turn is blank")),
    )
    problem = pl.coalesce(pl.when(case).then(rule) for case, rule, _ in cases)
    return {"problem": problem, "detail": pl.coalesce(pl.when(case).then(detail) for case, _, detail in cases)}


def _fill_missing_side(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Copy a side that is a whole conversation to the other side where that is missing, so that its prompt is read."""
    own: list[pl.Expr]
    given: list[pl.Expr]
    for sides in SIDES:
        if not set(sides) <= set(frame.columns):
            continue
        if name == "hh_rlhf":
            own = given = [pl.when(pl.col(side).str.strip_chars() != "").then(side) for side in sides]
        elif {frame.schema[side] for side in sides if frame[side].null_count() < len(frame)} == {MESSAGES}:
            none = pl.lit(None, MESSAGES)
            own = [pl.col(side) if frame.schema[side] == MESSAGES else none for side in sides]
            given = [_conversation(side) if frame.schema[side] == MESSAGES else none for side in sides]
        else:
            continue
        either = (pl.coalesce(mine, theirs) for mine, theirs in zip(own, given[::-1], strict=True))
        frame = frame.with_columns(**dict(zip(sides, either, strict=True)))
    return frame


def _conversation(side: str) -> pl.Expr:
    """Return the turns of a side that is a conversation; null where it is a plain text."""
    return pl.when(pl.col(side).list.first().struct.field("role").is_not_null()).then(side)


def _detect(columns: Columns, name: str | None) -> DetectedFormat:
    """Return the first of FORMATS that fits, else our own PROMPTS table, else prompts only; or the format `name`."""
    if name not in (None, PROMPTS_ONLY, *FORMATS):
        raise unknown("format", str(name), [*FORMATS, PROMPTS_ONLY])
    for known, shape in FORMATS.items():
        if isinstance(shape, AnswerFormat):  # their prompts, if in a column of their own, are read as such
            continue
        if name in (None, known) and shape.fields(columns) is not None:
            return detect(columns, known)
    if name in (None, "prefcurate") and set(PROMPTS) <= set(columns) and kind_of(columns["prompt"]) == "messages":
        labels = {f"own_{n}": Field(n, kind, needed=False) for n, kind in own.OWN.items() if n in PROMPTS}
        return DetectedFormat("prefcurate", {"prompt": Field("prompt", "messages"), **labels}, own.to_pairs)
    if name in (None, PROMPTS_ONLY) and (fields := _fields(columns)):
        return DetectedFormat(PROMPTS_ONLY, fields, to_prompts)
    if name not in (None, PROMPTS_ONLY):
        return detect(columns, name)  # raises: the columns do not match this format
    names = ", ".join(repr(column)[1:-1] for column in columns)  # a name may contain a line break
    raise InputError(
        f"{f'none of the columns {names}' if columns else 'no column'} contains prompts. Expected one of "
        f"{', '.join(('prompt', *CONVERSATIONS, *TEXTS))}, or pairs ({', '.join(FORMATS)}).",
        "Name it: --columns prompt=… (source.columns in a recipe)",
    )


def _fields(columns: Columns) -> dict[str, Field] | None:
    # Conversations before the other names: next to one, `text` is the same dialogue rendered, and `task` a label.
    for name in ("prompt", *CONVERSATIONS, *TEXTS):
        if name not in columns:
            continue
        kind = kind_of(columns[name])
        if name not in CONVERSATIONS:
            return {"prompt": Field(name, kind or "text"), **context_fields(columns, name)}
        if kind != "text":
            context = context_fields(columns, "input")  # an `input` next to a conversation is already part of it
            return {"prompt": Field(name, "messages"), **context}
    return None


def _mapped(block: RawBlock, columns: Mapping[str, str]) -> DetectedFormat:
    """Return the format described by the user's mapping: a prompt with its context, or a whole pair."""
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
    """Return the block without the fields' columns, except those that other fields also need."""
    names = {field.column for field in fields.values()} - {field.column for field in needed.values()}
    return RawBlock({n: values for n, values in block.columns.items() if n not in names}, block.source_row)


def _is_text(path: Path) -> bool:
    """Whether the file is a .txt file of text: its content does not look like another file type, and has no NUL."""
    if not path.name.lower().endswith(".txt"):
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return b"\0" not in head and NO_TEXT.match(head) is None


def _lines(path: Path) -> Iterator[RawBlock]:
    """Yield every line as a row with the column `text`. `source_row` counts non-blank lines."""
    row = 0
    with path.open("rb") as file:
        numbered = enumerate(iter(partial(file.readline, limits.ROW_BYTES + 1), b""), 1)
        while lines := list(_first(numbered)):
            texts: dict[int, str] = {}
            broken: list[tuple[int, str]] = []
            for number, line in lines:
                Bounds().check_row(len(line), f"line {number:,}")
                plain = line.removeprefix(BOM).strip() if number == 1 else line.strip()
                if not plain:
                    continue
                try:
                    texts[row] = plain.decode("utf-8")
                except UnicodeDecodeError:
                    broken.append((row, f"line {number}: invalid UTF-8"))
                row += 1
            yield RawBlock({"text": list(texts.values())}, list(texts), broken)


def _first(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the next lines, until they have LINES_BYTES."""
    size = 0
    for number, line in lines:
        yield number, line
        size += len(line)
        if size >= LINES_BYTES:
            return
