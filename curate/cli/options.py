"""Shared by the commands: the app, common options, and the output of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.errors import RecipeError
from curate.terminal import show, show_json

app = typer.Typer(
    name="curate",
    help="Preference datasets worth training on: clean, explain, publish.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", "-o", help="The run directory; created if needed.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override one value: section.key=value. May be repeated.")]
Force = Annotated[bool, typer.Option("--force", help="Use a folder even if it contains a run of another source.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the number of requests, tokens and dollars, and exit.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def finish(finished: Any, *, as_json: bool) -> None:
    """Print the result of a run. Exit with 1 if it kept nothing."""
    from curate.cli import render

    if as_json:
        show_json({"run": str(finished.folder), **finished.manifest.to_dict()})
    else:
        render.run(finished)
    if not finished.counts["kept"]:
        raise typer.Exit(1)


def pairs_of(text: str | None) -> Mapping[str, str] | None:
    """Parse `prompt=q,chosen=good` as a mapping."""
    if text is None:
        return None
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not parts or any(not (name.strip() and column.strip()) for name, _, column in parts):
        raise RecipeError(f"--columns {text!r}: expected prompt=COLUMN,chosen=COLUMN,rejected=COLUMN")
    return {name.strip(): column.strip() for name, _, column in parts}


def show_estimates(lines: Sequence[Any], *, as_json: bool) -> None:
    """Print the requests that a run would send."""
    from dataclasses import asdict

    from curate.cli import render

    rows = [asdict(line) for line in lines]
    if as_json:
        show_json(rows)
    elif rows:
        render.estimates(rows)
    else:
        show("no requests to models")
