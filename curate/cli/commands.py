"""Commands for existing data: clean, run, why, signals, evals, recipe."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.options import (
    Address,
    Against,
    Budget,
    Check,
    Columns,
    Config,
    DryRun,
    Engine,
    Evals,
    Force,
    Format,
    Json,
    LabelNoise,
    Like,
    Limit,
    Near,
    Out,
    Preset,
    Revision,
    Semantic,
    Set,
    Signals,
    Split,
    Trust,
    Unlike,
    Where,
    Workers,
    Yes,
    app,
    ask_consent,
    engine_settings,
    finish,
    look_ahead,
    source_options,
)
from curate.recipe.presets import NAMES as PRESETS
from curate.terminal import show, show_json

if TYPE_CHECKING:
    from curate.recipe.load import Recipe
    from pipelines.estimator import Estimate

CLEAN_EXAMPLES = """
Examples:\n
[bold]curate clean pairs.jsonl.gz -o RUN[/]\n
[bold]curate clean OWNER/NAME --split train -o RUN --set rules.max_chars_ratio=4[/]\n
[bold]curate clean 'shards/*.parquet' -o RUN --columns prompt=q,chosen=good,rejected=bad[/]\n
[bold]curate clean pairs.jsonl -o RUN --near --semantic --decontaminate mt_bench --decontaminate mine.jsonl[/]\n
[bold]curate clean OWNER/NAME -o RUN --preset helpful --like cooking.txt --budget 5000[/]\n
[bold]curate clean 'shards/*.parquet' -o RUN --near --engine ray[/]
"""
EVALS_EXAMPLES = """
Examples:\n
[bold]curate evals[/]\n
[bold]curate evals gsm8k mmlu mine.jsonl -o evals.parquet[/]\n
[bold]curate clean pairs.jsonl -o RUN --decontaminate evals.parquet[/]
"""
RECIPE_EXAMPLES = """
Examples:\n
[bold]curate recipe > recipe.yaml[/]\n
[bold]curate recipe recipe.yaml --set split.test=0[/]\n
[bold]curate recipe --preset strict[/]\n
[bold]curate recipe --schema > recipe.schema.json[/]
"""


def version_asked(asked: bool) -> None:  # noqa: FBT001 - typer's form of a callback
    """Print the version and exit."""
    if asked:
        from importlib.metadata import version

        show(f"prefcurate {version('prefcurate')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=version_asked, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command's name."""


@app.command(epilog=CLEAN_EXAMPLES)
def clean(
    source: Annotated[list[str], typer.Argument(help="Files, folders, globs, or Hub datasets (OWNER/NAME).")],
    out: Out,
    *,
    settings: Set = None,
    format: Format = None,
    columns: Columns = None,
    split: Split = None,
    config: Config = None,
    revision: Revision = None,
    limit: Limit = None,
    where: Where = None,
    signals: Signals = None,
    preset: Preset = None,
    like: Like = None,
    unlike: Unlike = None,
    budget: Budget = None,
    label_noise: LabelNoise = False,
    near: Near = False,
    semantic: Semantic = False,
    against: Against = None,
    evals: Evals = None,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Clean a preference dataset: measure, filter, deduplicate, split, and account for every row."""
    from curate.api.runs import clean as clean_source
    from curate.api.runs import signals_of_files

    switches = {
        "rules.where": where,
        "label_noise": label_noise,
        "dedup.near": near,
        "dedup.semantic": semantic,
        "dedup.against": against,
        "decontaminate.against": evals,
        "select.like.examples": like,
        "select.unlike.examples": unlike,
        "select.budget": budget,
    }
    enabled = [f"{key}={json.dumps(value)}" for key, value in switches.items() if value]

    chosen = source_options(format=format, columns=columns, split=split, config=config, revision=revision, limit=limit)
    chosen["settings"] = [*enabled, *engine_settings(engine, address, workers), *(settings or ())]
    with signals_of_files(signals or ()):
        finish(clean_source(source, out, preset=preset, force=force, **chosen), as_json=as_json)


@app.command(epilog="Example: [bold]curate run recipe.yaml -o RUN --set split.test=0.05[/]")
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    out: Out,
    *,
    settings: Set = None,
    signals: Signals = None,
    engine: Engine = None,
    address: Address = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    check: Check = False,
    trust: Trust = False,
    yes: Yes = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a recipe. The same command continues an interrupted run; an edit repeats only what depends on it."""
    from curate.api.runs import run as run_recipe
    from curate.api.runs import signals_of_files
    from curate.recipe.load import load_recipe

    with signals_of_files(signals or ()):
        loaded = load_recipe(recipe, [*engine_settings(engine, address, workers), *(settings or ())])
        ask_consent(loaded, trusted=trust, yes=yes)
        if not look_ahead(loaded, lambda: _estimated(loaded, out), dry_run=dry_run, check=check, as_json=as_json):
            finish(run_recipe(loaded, out, force=force), as_json=as_json)


def _estimated(recipe: "Recipe", out: Path) -> "list[Estimate]":
    if not recipe.asks_models:
        return []
    from pipelines.checks import check_run
    from pipelines.estimate import estimate

    check_run(recipe, keys=False)
    return estimate(recipe, out)


@app.command(epilog="Examples: [bold]curate why RUN 17[/] · [bold]curate why RUN 3f9a02c1 --raw[/]")
def why(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    row: Annotated[
        str, typer.Argument(metavar="ROW_OR_ID", help="Row number in the source, or a pair_id or a prefix of it.")
    ],
    *,
    source: Annotated[str | None, typer.Option(help="The source, if a run has several.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Also show the judges' replies, word for word.")] = False,
    as_json: Json = False,
) -> None:
    """Explain why a row was kept or dropped."""
    from curate.cli import render
    from curate.rundir.result import open_run

    run = open_run(folder)
    found = run.why(row, source)
    if raw:
        from pipelines.raw import raw_verdicts

        found = [{**line, "replies": raw_verdicts(run, line["source"], line["source_row"])} for line in found]
    show_json(found) if as_json else render.why(found)


@app.command()
def signals(
    *,
    rules: Annotated[bool, typer.Option("--rules", help="List the default rules instead.")] = False,
    as_json: Json = False,
) -> None:
    """List the measured signals, or the default rules on them."""
    from curate.api import catalog
    from curate.cli import render

    table = catalog.rules() if rules else catalog.signals()
    show_json(table) if as_json else render.table(table)


@app.command(epilog=EVALS_EXAMPLES)
def evals(
    sets: Annotated[list[str] | None, typer.Argument(help="Names from the list, files, or Hub datasets.")] = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save the sets as hashes, not as text.")] = None,
    ngram: Annotated[int, typer.Option(min=1, help="Words per n-gram.")] = 8,
    as_json: Json = False,
) -> None:
    """List the eval sets known by name, or save some as an index for `decontaminate`."""
    from curate.api import catalog
    from curate.cli import render
    from curate.errors import RecipeError

    if bool(sets) != bool(out):
        raise RecipeError("curate evals SET… --out FILE saves an index; without both it lists the known sets")
    table = catalog.save_evals(sets, out, ngram=ngram) if sets and out else catalog.evals()
    show_json(table) if as_json else render.table(table)


@app.command(epilog=RECIPE_EXAMPLES)
def recipe(
    file: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="Validate this recipe and print it with all defaults.")
    ] = None,
    *,
    settings: Set = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")] = False,
    preset: Annotated[str | None, typer.Option("--preset", help=f"Print a preset: {', '.join(PRESETS)}.")] = None,
) -> None:
    """Print a recipe with every default written out, as a starting point or to validate your own."""
    from curate.recipe.load import Recipe, load_recipe, make_recipe, to_yaml
    from curate.recipe.presets import preset_text

    if schema:
        show_json(Recipe.model_json_schema())
    elif preset is not None:
        show(preset_text(preset), end="")
    elif file is not None:
        show(to_yaml(load_recipe(file, settings or ())), end="")
    else:
        show(to_yaml(make_recipe({"source": {"paths": ["data.jsonl"]}}, settings or ())), end="")
