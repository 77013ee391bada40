"""
What of a recipe may be published: an allow-list, given by the mark of each field (`curate.schema.section.Holds`).

Paths become names, addresses and names of keys stay here. Small text files that a recipe refers to (a rubric, prices, a
chat template) are kept by the run in its folder `files`, and are published with it.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from curate import limits
from curate.files import FILES
from curate.recipe.load import Recipe, resolved, section_in
from curate.recipe.models import public_name
from curate.recipe.options import PLAIN, REQUEST, TRAINER, options
from curate.schema.section import Holds
from curate.sources.hub import HUB_ID

ENDPOINTS = (
    "https://api.openai.com/v1", "https://router.huggingface.co/v1", "https://openrouter.ai/api/v1",
    "https://api.together.xyz/v1", "https://api.fireworks.ai/inference/v1", "https://api.groq.com/openai/v1",
    "https://api.mistral.ai/v1", "https://api.deepseek.com/v1", "https://api.cerebras.ai/v1", "https://api.x.ai/v1",
    "https://integrate.api.nvidia.com/v1", "https://generativelanguage.googleapis.com/v1beta/openai",
)  # fmt: skip
PREFIXES = ("memory:", "shipped:")  # of sources that are no paths
DATA = re.compile(r".*\.(?:jsonl|ndjson|json|csv|parquet|arrow|feather|txt|md|gz|zst)", re.IGNORECASE)


def published(recipe: Recipe, inputs: Collection[str] = (), files: Collection[str] = ()) -> Recipe:
    """
    Return the recipe as it is published. `inputs`: names of what the run read, by which its Hub datasets are known;
    `files`: paths in the run of the files that it keeps.
    """
    say = partial(_said, inputs=inputs, files=files)
    plain = resolved(recipe)
    plain.pop("origin", None)  # who pulls it notes his own
    return Recipe.model_validate(_section(Recipe, plain, "", say))


def published_section(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of one section of a recipe as they are published, as plain data."""
    kind = section_in(Recipe.model_fields[name].annotation)
    return _section(kind, values, name, partial(_said, inputs=(), files=()))


def _said(how: Holds, section: str, text: str, *, inputs: Collection[str], files: Collection[str]) -> str | None:
    """Return what is published of a text; None = nothing."""
    if how.what == "file":
        kept = place_of(section, text)
        return kept if kept in files else text if text in how.known else file_name(text)
    if how.what == "name":
        hub = HUB_ID.fullmatch(text)
        foreign = section == "source" and not (hub and any(name.startswith(hub["repo"]) for name in inputs))
        return file_name(text) if foreign and not text.startswith(PREFIXES) else hub_or_name(text)
    if how.what == "address":
        return next((known for known in ENDPOINTS if text.rstrip("/") == known), None)
    return {"as_is": text, "model": public_name(text)}.get(how.what)


def kept_files(recipe: Recipe) -> Iterator[tuple[str, bytes]]:
    """Yield (path in the run, content) of every small text file that the recipe refers to."""
    found: list[tuple[str, str]] = []

    def note(how: Holds, section: str, text: str) -> str:
        if how.what == "file" and text not in how.known:
            found.append((section, text))
        return text

    _section(Recipe, resolved(recipe), "", note)
    for section, text in found:
        path = Path(text).expanduser()
        if path.is_file() and path.stat().st_size <= limits.PUBLISHED_FILE:
            content = path.read_bytes()
            if _is_text(content):
                yield place_of(section, text), content


def place_of(section: str, path: str) -> str:
    """Return where a run keeps a file that a section of its recipe refers to."""
    return f"{FILES}/{section}/{re.sub(r'[^0-9A-Za-z_.-]', '_', file_name(path)).lstrip('.')[-100:] or '_'}"


def file_name(path: str) -> str:
    """Return a path without its folders."""
    return PurePath(path.replace("\\", "/").rstrip("/")).name or "data"


def hub_or_name(text: str) -> str:
    """Return a Hub id unchanged, and any other path without its folders."""
    is_hub = HUB_ID.fullmatch(text) and not Path(text).exists() and (text.startswith("hf://") or text.count("/") == 1)
    is_hub = is_hub and (text.startswith("hf://") or not DATA.fullmatch(text))
    return text if is_hub or text.startswith(PREFIXES) else file_name(text)


def undecided(kind: type[BaseModel] = Recipe, path: str = "") -> list[str]:
    """Return the fields below a section for which nothing says whether they are published."""
    found = []
    for name, field in kind.model_fields.items():
        inner = section_in(field.annotation)
        if not _mark(field) and inner:
            found += undecided(inner, f"{path}{name}.")
        elif not _mark(field) and not _is_plain(field.annotation):
            found.append(f"{path}{name}")
    return found


Say = Callable[[Holds, str, str], str | None]


def _section(kind: type[BaseModel], tree: Mapping[str, Any], section: str, say: Say) -> dict[str, Any]:
    """Return the values of a section that are published; `say` is asked for every text with a mark."""
    fields, plain = kind.model_fields, {}
    for name, value in tree.items():
        if name not in fields:  # rules, which hold numbers and the codes of languages
            plain[name] = value
            continue
        how, inner = _mark(fields[name]), section_in(fields[name].annotation)
        if how is not None:
            plain[name] = _value(how, value, section or name, say)
        elif inner:
            here = section or name
            each = [_section(inner, one, here, say) for one in value] if isinstance(value, list) else None
            plain[name] = (
                each if each is not None else _section(inner, value, here, say) if isinstance(value, dict) else value
            )
        elif _is_plain(fields[name].annotation):
            plain[name] = value
    return plain


def _value(how: Holds, value: Any, section: str, say: Say) -> Any:
    if isinstance(value, str):
        return say(how, section, value)
    if isinstance(value, list):
        return [_value(how, one, section, say) for one in value]
    if isinstance(value, dict):
        if how.what == "request":
            return options(value, REQUEST)
        if how.what == "trainer":
            return options(value, TRAINER, numbers=True)
        return {file_name(name) if how.what == "name" else name: one for name, one in value.items()}
    return value


def _mark(field: Any) -> Holds | None:
    return next((mark for mark in field.metadata if isinstance(mark, Holds)), None)


def _is_plain(kind: Any) -> bool:
    """Whether a type holds numbers, switches and choices only."""
    if get_origin(kind) is Literal:
        return True
    if get_origin(kind) is Annotated:  # bounds of a number
        return _is_plain(get_args(kind)[0])
    if get_origin(kind) in (tuple, list, Union, UnionType):
        return all(_is_plain(one) for one in get_args(kind) if one is not ...)
    return kind in PLAIN


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False
