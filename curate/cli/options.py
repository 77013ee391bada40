"""Shared by the commands: the app, common options, and the output of results."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.errors import RecipeError
from curate.terminal import show_json, tell

if TYPE_CHECKING:
    from curate.recipe.consent import Use
    from curate.recipe.load import Recipe

app = typer.Typer(
    name="curate",
    help="Preference datasets worth training on: clean, explain, publish.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", "-o", help="The run directory; created if needed.")]
# Of a source; `source_options` makes of them the arguments of `curate.read`.
Format = Annotated[str | None, typer.Option(help="Format of the data, instead of detecting it.")]
Columns = Annotated[str | None, typer.Option(help="Map other columns: prompt=q,chosen=good,rejected=bad")]
Split = Annotated[str | None, typer.Option(help="Split of a Hub dataset or save_to_disk folder.")]
Config = Annotated[str | None, typer.Option(help="Configuration of a Hub dataset.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub dataset.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Read at most this many rows.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override one value: section.key=value. May be repeated.")]
Signals = Annotated[
    list[str] | None,
    typer.Option("--signals", metavar="FILE.py:FUNCTION", help="Measure a signal of your own, too. Repeatable."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Start from the rules of a preset: helpful, safety, code, strict (`curate recipe --preset NAME`)."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Keep pairs that meet a condition in SQL: \"extra.topic = 'code'\". Repeatable (rules.where)."),
]
Like = Annotated[
    list[str] | None,
    typer.Option(help="Keep pairs whose prompts are similar to those of a file. Repeatable (select.like)."),
]
Unlike = Annotated[
    list[str] | None, typer.Option(help="Drop pairs whose prompts are similar to those of a file. Repeatable.")
]
Budget = Annotated[int | None, typer.Option(min=1, help="Keep this many pairs: good ones that differ (select.budget).")]
LabelNoise = Annotated[
    bool,
    typer.Option("--label-noise", help="Estimate how probable it is that each label is right; drops nothing."),
]
Near = Annotated[bool, typer.Option("--near", help="Drop pairs with near-duplicate prompts (dedup.near).")]
Semantic = Annotated[bool, typer.Option("--semantic", help="Drop pairs with paraphrased prompts (dedup.semantic).")]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", help="With --near or --semantic: also compare with this dataset. Repeatable."),
]
Evals = Annotated[
    list[str] | None,
    typer.Option(
        "--decontaminate", help="Drop pairs that contain items of an eval set: name, file, Hub id. Repeatable."
    ),
]
Engine = Annotated[
    str | None, typer.Option(help="Where the work is done: threads, or ray (extra: ray). The data is the same.")
]
Address = Annotated[
    str | None,
    typer.Option(help='With --engine ray: a cluster, HOST:PORT or "auto"; by default one of this machine\'s cores.'),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Cores in use at most.")]
Force = Annotated[bool, typer.Option("--force", help="Use a folder even if it contains a run of another source.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the number of requests, tokens and dollars, and exit.")]
Check = Annotated[
    bool, typer.Option("--check", help="Ask each model for one token, print who answers, and exit (3 if one does not).")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="For a recipe that came from elsewhere: show what it would use, ask, and remember the answer."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --trust: show it and agree without being asked.")]
RemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let Python code in the repository of the model run.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def ask_consent(recipe: "Recipe", *, trusted: bool, yes: bool) -> None:
    """With `--trust`: show what a recipe from elsewhere would use, and ask unless `--yes` was given."""
    if yes and not trusted:
        raise RecipeError("--yes answers the question of --trust; give both")
    if not trusted:
        return
    from curate.recipe.consent import trust

    def agree(wanted: "Sequence[Use]") -> bool:
        where = f"{recipe.origin.repo} on the Hub, at {recipe.origin.revision[:8]}" if recipe.origin else "elsewhere"
        lines = [f"This recipe came from {where}. It would", *(f"  {use.text}  ({use.key})" for use in wanted)]
        for line in lines:
            tell(line)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise RecipeError("--trust asks on a terminal; add --yes to agree without being asked")
        return typer.confirm("Do you agree?", err=True)

    trust(recipe, agree)


def finish(finished: Any, *, as_json: bool) -> None:
    """Print the result of a run. Exit with 1 if it kept nothing."""
    from curate.cli import render

    if as_json:
        show_json({"run": str(finished.folder), **finished.manifest.to_dict()})
    else:
        render.run(finished)
    if not finished.counts["kept"]:
        raise typer.Exit(1)


def engine_settings(engine: str | None, address: str | None, workers: int | None) -> list[str]:
    """Return `--engine`, `--address` and `--workers` as settings of the recipe."""
    given = {"engine.use": engine, "engine.address": address, "engine.workers": workers}
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def pairs_of(text: str | None) -> Mapping[str, str] | None:
    """Parse `prompt=q,chosen=good` as a mapping."""
    if text is None:
        return None
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not parts or any(not (name.strip() and column.strip()) for name, _, column in parts):
        raise RecipeError(f"--columns {text!r}: expected prompt=COLUMN,chosen=COLUMN,rejected=COLUMN")
    return {name.strip(): column.strip() for name, _, column in parts}


def source_options(*, columns: str | None, **given: Any) -> dict[str, Any]:
    """Return the options of a source that were given."""
    return {name: value for name, value in {"columns": pairs_of(columns), **given}.items() if value is not None}


def look_ahead(
    recipe: "Recipe", estimate: Callable[[], Sequence[Any]], *, dry_run: bool, check: bool, as_json: bool
) -> bool:
    """
    Print the requests that a recipe would send (`dry_run`), and which of its models answer (`check`); exit with 3 if
    one does not. Returns whether either was wanted.
    """
    from dataclasses import asdict

    from curate.cli import render

    found: dict[str, list[dict[str, Any]]] = {}
    remark: str | None = None
    if dry_run:
        from pipelines.estimate import budget_remark

        lines = estimate()
        found["requests"] = [asdict(line) for line in lines]
        remark = budget_remark(recipe, lines)
    if check:
        from pipelines.probe import probe

        found["models"] = [asdict(one) for one in probe(recipe)]
    if as_json and found:
        show_json(found if len(found) > 1 else next(iter(found.values())))
    elif found:
        render.look_ahead(**found)
    if remark:
        tell(remark)
    if any(one["problem"] for one in found.get("models", ())):
        raise typer.Exit(3)
    return bool(found)
