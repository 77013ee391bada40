"""Forms of plain texts: a question and two answers as they are, or conversations by a model's chat template."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import polars as pl

from curate.errors import InputError
from curate.publish.forms.base import Form, columns_of
from curate.rundir.file_form import Present
from curate.text.chat import render_chat, render_chats

SIDES = ("prompt", "chosen", "rejected")
ROWS = 500  # rendered at once
UNRENDERED = ("reasoning", "names of speakers", "tools offered")


def _texts(pairs: pl.DataFrame, found: Present) -> pl.DataFrame:
    texts = [pl.col(side).list.first().struct.field("content").alias(side) for side in SIDES]
    return pairs.select(*texts, *columns_of(found))


def _rendered(pairs: pl.DataFrame, found: Present, tokenizer: Any) -> pl.DataFrame:
    """Return texts by a chat template, as TRL renders them: the prompt ends where it differs from prompt + answer."""
    blocks = [_rendered_block(block, tokenizer) for block in pairs.iter_slices(ROWS)]
    return pl.concat(blocks).hstack(pairs.select(columns_of(found))) if blocks else _texts(pairs, found)


def _rendered_block(pairs: pl.DataFrame, tokenizer: Any) -> pl.DataFrame:
    prompts, tools = pairs.get_column("prompt").to_list(), pairs.get_column("tools").to_list()
    asked = _render(tokenizer, prompts, tools, add_generation_prompt=True)
    answered = [
        _render(tokenizer, [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)], tools)
        for answers in (pairs.get_column(side).to_list() for side in ("chosen", "rejected"))
    ]
    rows = []
    for texts in zip(asked, *answered, strict=True):
        prompt = os.path.commonprefix(texts)  # noqa: RUF071 - of characters, not of folders
        rows.append((prompt, *(text[len(prompt) :] for text in texts[1:])))
    return pl.DataFrame(rows, schema=dict.fromkeys(SIDES, pl.String), orient="row")


def _render(tokenizer: Any, conversations: Sequence[Any], tools: Sequence[str | None], **options: Any) -> list[str]:
    """
    Render conversations: in one call where no tools are offered, which are an argument of the template.

    Raise InputError for a conversation that the template refuses.
    """
    from jinja2 import TemplateError

    try:
        if not any(tools):
            return render_chats(tokenizer, conversations, **options)
        offered = [msgspec.json.decode(text) if text else None for text in tools]
        return [
            render_chat(tokenizer, conversation, tools=tool, **options)
            for conversation, tool in zip(conversations, offered, strict=True)
        ]
    except TemplateError as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"the chat template refuses a conversation: {said}; use another model or form") from error


TEXTS = {
    "text": Form(
        "prompt, chosen, rejected: texts",
        "TRL (standard form), and most trainers",
        "https://huggingface.co/docs/trl/dataset_formats",
        _texts,
        lost=UNRENDERED,
        refused=(
            "prompts of more than a question",
            "answers of several turns",
            "answers by others than the assistant",
            "calls of tools or their results",
        ),
    ),
}
# verl tokenizes the texts of a parquet file as they are.
TEXTS["verl"] = replace(
    TEXTS["text"],
    reader="verl's RMDataset",
    reference="https://github.com/volcengine/verl/blob/main/verl/utils/dataset/rm_dataset.py",
    endings=(".parquet",),
)


def by_template(form: Form, tokenizer: Any) -> Form:
    """
    Return a form of texts with conversations rendered by the chat template of a tokenizer.

    Whatever the template shows is in the texts, so that no pair is refused; what it leaves out is not known here.
    """
    return replace(form, rows=partial(_rendered, tokenizer=tokenizer), lost=(), refused=())
