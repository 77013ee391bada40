"""Where a row is in a file: its path as tools expect it, and its line where the file is JSON Lines."""

from collections.abc import Collection
from pathlib import Path

from curate.recipe.load import Recipe
from curate.sources.hub import is_hub
from curate.sources.input import MEMORY, open_feeds


def local_paths(recipe: Recipe) -> dict[str, Path]:
    """Return the files among the inputs, by their names."""
    local = [path for path in recipe.source.paths if not is_hub(path) and not path.startswith(MEMORY)]
    feeds = open_feeds(local, split=recipe.source.split) if local else []
    return {feed.name: feed.path for feed in feeds if feed.path is not None}


def shown_path(path: Path) -> str:
    """Return a path as tools expect it: below the current folder without that."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def line_numbers(path: Path, wanted: Collection[int]) -> dict[int, int]:
    """Return the line (1-based) of rows of a file of JSON Lines; none for any other file. Blank lines are no rows."""
    if path.suffix not in (".jsonl", ".ndjson") or not wanted:
        return {}
    found: dict[int, int] = {}
    with path.open("rb") as file:
        texts = ((number, line.strip()) for number, line in enumerate(file, 1))
        for row, (number, line) in enumerate((number, line) for number, line in texts if line):
            if row == 0 and (line[:1], line[-1:]) != (b"{", b"}"):  # one object may be written over several lines
                return {}
            if row in wanted:
                found[row] = number
            if row >= max(wanted):
                break
    return found
