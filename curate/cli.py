"""The command. Each one parses, calls one library function of the same name, and prints."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.errors import CurateError, RecipeError

app = typer.Typer(
    name="curate",
    help="Preference datasets worth training on: clean, explain, publish.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

CLEAN_EXAMPLES = """
Examples:\n
[bold]curate clean pairs.jsonl.gz -o RUN[/]\n
[bold]curate clean OWNER/NAME --split train -o RUN --set rules.max_chars_ratio=4[/]\n
[bold]curate clean 'shards/*.parquet' -o RUN --columns prompt=q,chosen=good,rejected=bad[/]
"""
RECIPE_EXAMPLES = """
Examples:\n
[bold]curate recipe > recipe.yaml[/]\n
[bold]curate recipe recipe.yaml --set split.test=0[/]\n
[bold]curate recipe --schema > recipe.schema.json[/]
"""
INTERRUPTED = 130

Out = Annotated[Path, typer.Option("--out", "-o", help="The run directory; made if need be.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override one value: section.key=value. May be repeated.")]
Force = Annotated[bool, typer.Option("--force", help="Use a folder that holds a run of another source.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table for a person.")]


def version_asked(asked: bool) -> None:  # noqa: FBT001 - typer's form of a callback
    """Print the version and stop."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"prefcurate {version('prefcurate')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=version_asked, is_eager=True, help="Show it and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before the command's name."""


@app.command(epilog=CLEAN_EXAMPLES)
def clean(  # noqa: PLR0913 - the options of the command
    source: Annotated[list[str], typer.Argument(help="Files, folders, globs, or Hub datasets (OWNER/NAME).")],
    out: Out,
    *,
    settings: Set = None,
    format: Annotated[str | None, typer.Option(help="Name the format instead of detecting it.")] = None,  # noqa: A002
    columns: Annotated[str | None, typer.Option(help="Map other columns: prompt=q,chosen=good,rejected=bad")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a Hub dataset or save_to_disk folder.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of a Hub dataset.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub dataset.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read this many rows at most.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Clean a preference dataset: measure, filter, deduplicate, split, and account for every row."""
    from curate import flow

    given = {
        "format": format,
        "columns": _pairs(columns),
        "split": split,
        "config": config,
        "revision": revision,
        "limit": limit,
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _finish(flow.clean(source, out, settings=settings or (), force=force, **chosen), as_json=as_json)


@app.command(epilog="Example: [bold]curate run recipe.yaml -o RUN --set split.test=0.05[/]")
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    out: Out,
    *,
    settings: Set = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a recipe. The same command continues an interrupted run; an edit repeats only what depends on it."""
    from curate import flow
    from curate.recipe import load_recipe

    _finish(flow.run(load_recipe(recipe, settings or ()), out, force=force), as_json=as_json)


@app.command(epilog="Examples: [bold]curate why RUN 17[/] · [bold]curate why RUN 3f9a02c1[/]")
def why(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    row: Annotated[
        str, typer.Argument(metavar="ROW_OR_ID", help="Row number in the source, or a pair_id or its beginning.")
    ],
    *,
    source: Annotated[str | None, typer.Option(help="Which source, where a run has several.")] = None,
    as_json: Json = False,
) -> None:
    """Say where a row went, and why."""
    from curate import show
    from curate.result import open_run

    found = open_run(folder).why(row, source)
    _print_json(found) if as_json else show.why(found)


@app.command()
def signals(
    *,
    rules: Annotated[bool, typer.Option("--rules", help="List the default rules instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the signals that are measured, or the default rules on them."""
    from curate import show
    from curate.rules import DEFAULTS
    from curate.signals import SIGNALS

    if rules:
        table = [{"rule": name, "value": value, "why": reason} for name, (value, reason) in DEFAULTS.items()]
    else:
        table = [
            {"signal": s.name, "of": ", ".join(s.sides) or "pair", "definition": s.about} for s in SIGNALS.values()
        ]
    _print_json(table) if as_json else show.table(table)


@app.command(epilog=RECIPE_EXAMPLES)
def recipe(
    file: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="Check this recipe and write its defaults out.")
    ] = None,
    *,
    settings: Set = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")] = False,
) -> None:
    """Print a recipe with every default written out: a starting point, or the check of your own."""
    from curate.recipe import Recipe, load_recipe, make_recipe, to_yaml

    if schema:
        _print_json(Recipe.model_json_schema())
    elif file is not None:
        typer.echo(to_yaml(load_recipe(file, settings or ())), nl=False)
    else:
        typer.echo(to_yaml(make_recipe({"source": {"paths": ["data.jsonl"]}}, settings or ())), nl=False)


@app.command()
def quickstart(
    out: Out = Path("quickstart-run"),
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Clean the small set that ships with prefcurate, every kind of defect planted in it."""
    from curate import flow

    _finish(flow.quickstart(out, force=force), as_json=as_json)


def main() -> None:
    """Run the command: 0 done, 1 findings or a defect, 2 bad input or usage, 3 a service failed, 130 interrupted."""
    debug = "--debug" in sys.argv
    code: int | str | None = 0
    try:
        app()
    except SystemExit as end:  # typer's own: usage errors, --help, an exit code of ours, an interrupt
        code = end.code
        if code == INTERRUPTED:
            _fail("interrupted; the same command goes on from where it stopped", INTERRUPTED, debug=False)
    except CurateError as error:
        code = _fail(str(error), error.exit_code, debug=debug)
    except OSError as error:
        code = _fail(f"{error.filename or 'file'}: {error.strerror or error}", 2, debug=debug)
    except MemoryError:
        code = _fail("out of memory", 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - a defect of ours: said in one line, the traceback on demand
        first_line = next(iter(str(error).splitlines()), "")
        code = _fail(f"{type(error).__name__}: {first_line} (a defect of prefcurate)", 1, debug=debug)
    sys.exit(code)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    hint = "" if code in (2, 3, 130) or debug else "; --debug before the command shows the traceback"
    print(f"curate: {message}{hint}", file=sys.stderr)  # noqa: T201
    return code


def _finish(finished: Any, *, as_json: bool) -> None:
    """Print what a run made. A run that kept nothing ends with 1."""
    from curate import show

    if as_json:
        _print_json({"run": str(finished.folder), **finished.manifest})
    else:
        show.run(finished)
    if not finished.counts["kept"]:
        raise typer.Exit(1)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _pairs(text: str | None) -> Mapping[str, str] | None:
    """`prompt=q,chosen=good` as a mapping."""
    if text is None:
        return None
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not parts or any(not (name.strip() and column.strip()) for name, _, column in parts):
        raise RecipeError(f"--columns {text!r}: expected prompt=COLUMN,chosen=COLUMN,rejected=COLUMN")
    return {name.strip(): column.strip() for name, _, column in parts}
