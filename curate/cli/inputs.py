"""An input in words: how many rows it has, in which format, and which of its columns went where."""

from collections.abc import Iterator

from curate.rundir.manifest import Input

# The beginnings of fields' names that are not words of their own.
WORDS = {"verdict": "verdict", "answers": "answers", "measure": "score", "earlier": "earlier turns"}


def described(name: str, found: Input) -> Iterator[tuple[str, str]]:
    """Yield lines with their styles: rows and format, columns, and each column that the pairs may lack."""
    yield f"{name}: {found.rows:,} rows, format {found.format}", ""
    if found.is_eval:
        yield "  this is an eval set: keep it out of what you train on", "yellow"
    used = [_origin(field, column) for field, column in found.columns.items() if not field.startswith("lost_")]
    rest = [column for column, holds in found.unused.items() if not holds]
    parts = [f"read: {', '.join(used)}"] if used else []
    parts += [f"in extra: {', '.join(rest)}"] if rest else []
    if parts:
        yield f"  {' · '.join(parts)}", "dim"
    for column, holds in found.unused.items():
        if holds:
            yield f"  {column} holds {holds} and is not part of the pairs (it is in extra)", "yellow"


def _origin(field: str, column: str) -> str:
    """Return a field with its column: "prompt from question"."""
    word = WORDS.get(field.split("_", maxsplit=1)[0], field)
    return word if word == column else f"{word} from {column}"
