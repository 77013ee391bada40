"""Commands that train and compare models: preflight, train, evaluate, bakeoff."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.options import Json, RemoteCode, Set, Trust, Yes, app, ask_consent
from curate.terminal import show_json, tell

TRAIN_EXAMPLES = """
Examples:\n
[bold]curate train RUN --model HuggingFaceTB/SmolLM2-135M-Instruct[/]\n
[bold]curate train RUN --model ./base --set train.sft_first=true --set trl.beta=0.05[/]\n
[bold]curate train RUN --model ./model --config dpo.yaml --resume[/]\n
[bold]curate train RUN --push OWNER/NAME --private[/] (a finished training)
"""
EVALUATE_EXAMPLES = """
Examples:\n
[bold]curate evaluate RUN --judge heuristic[/]\n
[bold]curate evaluate RUN --training OUT --judge openai:gpt-4o --prompts 200[/]
"""
# Launches the same command on several GPUs; with --config_file also FSDP, as for any TRL script.
LAUNCH = ("accelerate", "launch", "--num_processes", "8", "-m", "curate")
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Folder or Hub id of the model to train.")]
TrlFile = Annotated[Path | None, typer.Option("--config", help="A YAML file as for `trl dpo --config`.")]


@app.command(epilog="Example: [bold]curate preflight RUN --model HuggingFaceTB/SmolLM2-135M-Instruct[/]")
def preflight(
    folder: RunFolder,
    *,
    model: ModelName = None,
    settings: Set = None,
    config: TrlFile = None,
    trust: Trust = False,
    yes: Yes = False,
    trust_remote_code: RemoteCode = False,
    as_json: Json = False,
) -> None:
    """Report which rows of a run TRL would drop, truncate or garble with this model, and the cost of max_length."""
    from curate.api.training import preflight as check
    from curate.cli import render
    from curate.rundir.result import open_run

    run = open_run(folder)
    ask_consent(run.recipe, trusted=trust, yes=yes)
    found = check(run, model, settings=settings or (), config=config, trust_remote_code=trust_remote_code)
    show_json(found.to_dict()) if as_json else render.preflight(found.to_dict())
    if found.findings():
        raise typer.Exit(1)


@app.command(epilog=TRAIN_EXAMPLES)
def train(
    folder: RunFolder,
    *,
    model: ModelName = None,
    settings: Set = None,
    config: TrlFile = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output folder; default RUN/training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing training.")] = False,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Push the model afterwards; a finished training is pushed at once."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    trust: Trust = False,
    yes: Yes = False,
    trust_remote_code: RemoteCode = False,
    as_json: Json = False,
) -> None:
    """Train a model on a run with TRL, with options that fit the data and the machine; the test split is held out."""
    from curate.cli import render
    from curate.rundir.result import open_run
    from train.push import check_repo, finished_training
    from train.push import push as push_training
    from train.training.processes import is_main
    from train.training.settings import section_of
    from train.training.train import FOLDER
    from train.training.train import train as train_on

    run = open_run(folder)
    ask_consent(run.recipe, trusted=trust, yes=yes)
    section = section_of(run, model, settings or (), config, trust_remote_code=trust_remote_code)
    first = is_main()
    if push and first:
        check_repo(push, private=private)
    wanted = section if model or settings or config else None
    done = finished_training(run, wanted, out or folder / FOLDER) if push and not force else None
    if done is None:
        done = train_on(run, section, out, resume=resume, force=force, log_line=tell)
    if not first:
        return
    if not as_json:
        render.training(done.folder, done.result, shlex.join([*LAUNCH, *sys.argv[1:]]))
    pushed = asdict(push_training(done, run, push, private=private)) if push else None
    if as_json:
        show_json({"training": str(done.folder), **done.result, **({"pushed": pushed} if pushed else {})})
    elif pushed:
        render.pushed_model(pushed)


@app.command(epilog=EVALUATE_EXAMPLES)
def evaluate(
    folder: RunFolder,
    *,
    training: Annotated[Path | None, typer.Option(help="Folder of the training; default RUN/training.")] = None,
    reference: Annotated[str | None, typer.Option(help="Compare with this model instead of the base model.")] = None,
    judge: Annotated[
        list[str] | None, typer.Option("--judge", help="heuristic, openai:NAME[@URL], reward:NAME, … May be repeated.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="Number of held-out prompts that both models answer.")] = 50,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens per answer.")] = 256,
    trust_remote_code: RemoteCode = False,
    as_json: Json = False,
) -> None:
    """Compare a trained model with its reference: held-out pairs by slice, answers side by side, win rate, drift."""
    from curate.api.training import evaluate as compare
    from curate.cli import render
    from train.evaluation.evaluate import evaluation_folder
    from train.training.train import FOLDER, open_training

    done = open_training(training or folder / FOLDER)
    found = compare(
        folder,
        done,
        reference=reference,
        judges=judge or (),
        count=prompts,
        max_tokens=max_tokens,
        trust_remote_code=trust_remote_code,
    )
    show_json(found) if as_json else render.evaluation(found, evaluation_folder(done))


@app.command(epilog="Example: [bold]curate bakeoff bakeoff.yaml -o OUT[/] (`--schema` prints the JSON schema)")
def bakeoff(
    file: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="The bake-off recipe, a YAML file.")] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Output folder; the same command continues an interrupted bake-off.")
    ] = Path("bakeoff"),
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of bake-offs.")] = False,
    trust: Trust = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Compare curations: short trainings on several sets of pairs (and swept options), evaluated on the same pairs."""
    from curate.api.training import bakeoff as bake
    from curate.cli import render
    from train.bakeoff.arms import Bakeoff, load_bakeoff, recipes_of

    if schema:
        show_json(Bakeoff.model_json_schema())
        return
    if file is None:
        raise typer.BadParameter("give the file of a bake-off recipe")
    for recipe in recipes_of(load_bakeoff(file), file.parent):
        ask_consent(recipe, trusted=trust, yes=yes)
    table = bake(file, out)
    show_json(table) if as_json else render.bakeoff(table)
