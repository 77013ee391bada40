"""Commands that train and compare models: preflight, train, evaluate, bakeoff."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.options import Json, Set, app, print_json

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Folder or Hub id of the model to train.")]
TrlFile = Annotated[Path | None, typer.Option("--config", help="A YAML file as `trl dpo --config` takes it.")]


@app.command(epilog="Example: [bold]curate preflight RUN --model HuggingFaceTB/SmolLM2-135M-Instruct[/]")
def preflight(
    folder: RunFolder,
    *,
    model: ModelName = None,
    settings: Set = None,
    config: TrlFile = None,
    as_json: Json = False,
) -> None:
    """Say what TRL would drop, cut or garble of a run's rows with this model, and what max_length costs."""
    from curate import show
    from curate.result import open_run
    from train.preflight import preflight as measure
    from train.settings import section_of

    run = open_run(folder)
    found = measure(run, section_of(run, model, settings or (), config))
    print_json(found.plain()) if as_json else show.preflight(found.plain())
    if found.findings():
        raise typer.Exit(1)
