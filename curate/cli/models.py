"""Commands that use models: generate, judge, rubric, quickstart."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.options import (
    Check,
    DryRun,
    Force,
    Json,
    Out,
    Set,
    Trust,
    Yes,
    app,
    ask_consent,
    finish,
    look_ahead,
)
from curate.errors import RecipeError
from curate.terminal import show_json

if TYPE_CHECKING:
    from curate.recipe.load import Recipe

GENERATE_EXAMPLES = """
Examples:\n
[bold]curate generate prompts.jsonl --model openai:gpt-4o-mini -n 4 -o RUN --dry-run[/]\n
[bold]curate generate prompts.txt --model openai:Qwen/Qwen3-8B@http://localhost:8000/v1 -o RUN[/]\n
[bold]curate generate recipe.yaml -o RUN --set budget.usd=5[/]
"""
JUDGE_EXAMPLES = """
Examples:\n
[bold]curate judge RUN --judge openai:gpt-4o -o RUN2[/] (the candidates of a run)\n
[bold]curate judge pairs.jsonl --judge reward:Skywork/Skywork-Reward-V2-Qwen3-0.6B -o RUN[/]\n
[bold]curate judge recipe.yaml -o RUN --dry-run[/]\n
[bold]curate judge RUN --again openai:gpt-4o[/] (after its server was repaired)
"""
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="openai:NAME\\[@URL], inference:, transformers:, gguf:, embedded; may be repeated"
    ),
]
Judges = Annotated[
    list[str] | None, typer.Option("--judge", help="As --model; also reward:NAME and heuristic. May be repeated.")
]
JudgeOut = Annotated[Path | None, typer.Option("--out", "-o", help="The run directory; created if needed.")]
Again = Annotated[
    list[str] | None,
    typer.Option("--again", metavar="JUDGE", help="Ask this judge of the run for all verdicts again. May be repeated."),
]
RUBRIC_EXAMPLES = """
Examples:\n
[bold]curate rubric pairs.jsonl --model openai:gpt-4.1 --judge openai:gpt-4.1-mini -o RUBRIC --dry-run[/]\n
[bold]curate rubric RUN --model openai:gpt-4.1 --method pairwise --about "Answers of a help desk" -o RUBRIC[/]\n
[bold]curate judge RUN --judge openai:gpt-4.1-mini --rubric RUBRIC/rubric.txt -o RUN2[/] (with the rubric that was kept)
"""
Do = Callable[..., Mapping[str, Any]]


@app.command(epilog=GENERATE_EXAMPLES)
def generate(
    source: Annotated[list[str], typer.Argument(help="A recipe (.yaml), or prompts: files, folders, Hub datasets.")],
    out: Out,
    *,
    model: Models = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Answers per model and prompt.")] = None,
    settings: Set = None,
    dry_run: DryRun = False,
    check: Check = False,
    trust: Trust = False,
    yes: Yes = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Let models answer prompts and store all candidates. `curate run` continues from there."""
    from pipelines import flow

    section = {"models": model, "n": n}
    recipe = _recipe(source, "generate", section, settings or ())
    ask_consent(recipe, trusted=trust, yes=yes)
    _do(flow.generate, recipe, "generate", out, dry_run=dry_run, check=check, force=force, as_json=as_json)


@app.command(epilog=JUDGE_EXAMPLES)
def judge(
    source: Annotated[list[str], typer.Argument(help="A recipe (.yaml), a run, or pairs: files, folders, Hub ids.")],
    out: JudgeOut = None,
    *,
    judge: Judges = None,
    rubric: Annotated[str | None, typer.Option(help="A rubric that ships with prefcurate, or a text file.")] = None,
    method: Annotated[str | None, typer.Option(help="rubric: rate each answer; pairwise: compare two.")] = None,
    settings: Set = None,
    dry_run: DryRun = False,
    check: Check = False,
    again: Again = None,
    trust: Trust = False,
    yes: Yes = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Let judges score answers, those of a run or both sides of every pair, and report each judge's reliability."""
    from curate.rundir.store import ANSWERS
    from pipelines import flow

    if again:
        if judge or rubric or method or settings or dry_run or check or force:
            raise RecipeError("--again uses the recipe of the run as it is, without other options")
        _judge_again(source, again, out, as_json=as_json, trusted=trust, yes=yes)
        return
    if out is None:
        raise RecipeError("name the run directory: --out RUN (only --again works in the run that it reads)")
    found = [str(Path(path) / ANSWERS) if (Path(path) / ANSWERS).is_file() else path for path in source]
    section = {"models": judge, "rubric": rubric, "method": method}
    recipe = _recipe(found, "judge", section, settings or ())
    ask_consent(recipe, trusted=trust, yes=yes)
    _do(flow.judge, recipe, "judge", out, dry_run=dry_run, check=check, force=force, as_json=as_json)


@app.command(epilog=RUBRIC_EXAMPLES)
def rubric(
    source: Annotated[list[str], typer.Argument(metavar="PAIRS...", help="Labelled pairs: files, folders, Hub ids.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of drafts and result; created if needed.")],
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="Writes the drafts: openai:NAME\\[@URL], embedded, …")],
    judge: Annotated[str | None, typer.Option("--judge", help="Judges by them. By default the same model.")] = None,
    method: Annotated[str, typer.Option(help="rubric: rate each answer; pairwise: compare two.")] = "rubric",
    against: Annotated[
        str, typer.Option(help="The rubric in use: one that ships with prefcurate, or a file.")
    ] = "overall",
    drafts: Annotated[int, typer.Option(min=1, help="Drafts, each from examples of its own.")] = 3,
    examples: Annotated[int | None, typer.Option(help="Pairs that the writer of a draft is shown (24).")] = None,
    development: Annotated[int | None, typer.Option(help="Pairs by which the best draft is chosen (50).")] = None,
    held_out: Annotated[int | None, typer.Option(help="Pairs by which it is compared with --against (100).")] = None,
    min_gain: Annotated[float | None, typer.Option(help="Least gain in agreement, from 0 to 1 (0).")] = None,
    about: Annotated[str | None, typer.Option(help="What the data set is for, told to the writer.")] = None,
    chars: Annotated[
        int | None, typer.Option(help="Characters of pairs in a request to the writer; long texts are cut (60000).")
    ] = None,
    settings: Set = None,
    dry_run: DryRun = False,
    check: Check = False,
    force: Annotated[bool, typer.Option("--force", help="Use a folder with a rubric from other pairs.")] = False,
    as_json: Json = False,
) -> None:
    """Draft a rubric from labelled pairs, and keep it only if a judge then agrees better with held-out labels."""
    from curate.cli import render
    from pipelines import rubric as pipeline
    from pipelines.drafting import drafting, drafting_recipe

    sizes = {"examples": examples, "development": development, "held_out": held_out, "chars": chars}
    given = {name: value for name, value in (sizes | {"min_gain": min_gain}).items() if value is not None}
    plan = drafting(about=about, **given)
    recipe = drafting_recipe(
        source, model, judge, method=method, against=against, drafts=drafts, settings=settings or ()
    )
    estimated = partial(pipeline.estimate_rubric, recipe, plan, out)
    if look_ahead(recipe, estimated, dry_run=dry_run, check=check, as_json=as_json):
        return
    found = pipeline.draft_rubric(recipe, plan, out, force=force)
    show_json({"folder": str(out), **found}) if as_json else render.rubric(found, out, judge or model)
    if not found["kept"]:
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]curate quickstart -o quickstart-run[/] (offline, some minutes)")
def quickstart(out: Out = Path("quickstart-run"), *, force: Force = False, as_json: Json = False) -> None:
    """Run the whole pipeline locally: prompts, answers of a small model, scores, pairs, report and card."""
    from curate.cli import render
    from pipelines import flow

    finished = flow.quickstart(out, force=force)
    finish(finished, as_json=as_json)
    if not as_json:
        render.sample(finished)
        render.next_steps(finished)


def _do(do: Do, recipe: "Recipe", name: str, out: Path, *, force: bool, as_json: bool, **ahead: bool) -> None:
    from curate.cli import render
    from pipelines import checks
    from pipelines.estimate import estimate
    from pipelines.estimator import Estimate

    part = checks.only_answers(recipe) if name == "generate" else checks.up_to_verdicts(recipe)

    def estimated() -> list[Estimate]:
        checks.check(part, keys=False)
        return estimate(part, out)

    if look_ahead(part, estimated, as_json=as_json, **ahead):
        return
    result = do(recipe, out, force=force)
    show_json({"run": str(out), **result}) if as_json else render.generation(
        result["generation"], out, judged=recipe.judge is not None
    )


def _judge_again(
    source: Sequence[str], again: Sequence[str], out: Path | None, *, as_json: bool, trusted: bool, yes: bool
) -> None:
    from curate.cli import render
    from curate.recipe.load import load_recipe
    from curate.rundir.result import Run
    from curate.rundir.store import RECIPE
    from pipelines import flow

    if len(source) > 1 or (out is not None and out != Path(source[0])):
        raise RecipeError("--again asks the judges of one run again, in its own folder: curate judge RUN --again JUDGE")
    if trusted or yes:
        ask_consent(load_recipe(Path(source[0]) / RECIPE), trusted=trusted, yes=yes)
    found = flow.judge_again(source[0], again)
    if isinstance(found, Run):
        finish(found, as_json=as_json)
    elif as_json:
        show_json({"run": source[0], **found})
    else:
        render.generation(found["generation"], Path(source[0]), judged=True)


def _recipe(source: Sequence[str], name: str, section: Mapping[str, Any], settings: Sequence[str]) -> "Recipe":
    """Return a recipe file with the options as overrides, or a recipe built from the options."""
    from curate.recipe.load import load_recipe, make_recipe

    section = {key: value for key, value in section.items() if value is not None}
    if len(source) == 1 and source[0].endswith((".yaml", ".yml")):
        given = [f"{name}.{key}={json.dumps(value)}" for key, value in section.items()]
        return load_recipe(source[0], [*given, *settings])
    if "models" not in section and not any(text.startswith(f"{name}.models=") for text in settings):
        option = "--model" if name == "generate" else "--judge"
        raise RecipeError(f"no model is given: use {option} openai:NAME[@URL], or a recipe (.yaml) instead of data")
    return make_recipe({"source": {"paths": list(source)}, name: section}, settings)
