"""The command convert."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.options import Columns, Config, Format, Json, Limit, Revision, app, source_options
from curate.terminal import show, show_json

EXAMPLES = """
Examples:\n
[bold]curate convert pairs.jsonl --to trl -o trl.parquet[/]\n
[bold]curate convert RUN --to llamafactory -o data/pairs.json[/] · [bold]curate convert RUN --to kto -o FOLDER[/]\n
[bold]curate convert OWNER/NAME --split train --to openai -o pairs.jsonl --skip[/]\n
[bold]curate convert pairs.jsonl --to text --model HuggingFaceTB/SmolLM2-135M-Instruct -o texts.csv[/]
"""
TO = (
    "trl, trl-implicit, reward, kto, openrlhf, sharegpt, openai, text, verl, llamafactory, llamafactory-alpaca, "
    "axolotl or ms-swift."
)


@app.command(epilog=EXAMPLES)
def convert(
    source: Annotated[list[str], typer.Argument(help="Files, folders, globs, Hub datasets (OWNER/NAME), or a run.")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="FORM", help=TO)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A .jsonl, .json, .parquet or .csv file (also .gz, .zst), or a folder."),
    ],
    model: Annotated[
        str | None, typer.Option(help="For text and verl: render conversations by this model's chat template.")
    ] = None,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out pairs that the form cannot express.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    format: Format = None,
    columns: Columns = None,
    split: Annotated[str | None, typer.Option(help="Split of a Hub dataset, save_to_disk folder or run.")] = None,
    config: Config = None,
    revision: Revision = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Write pairs in the form of a trainer (TRL, KTO, LLaMA-Factory, axolotl, OpenAI, …); say what it cannot hold."""
    from curate.api.converting import convert as write

    chosen = source_options(format=format, columns=columns, split=split, config=config, revision=revision, limit=limit)
    from_where = source[0] if len(source) == 1 else source
    done = write(from_where, to, out, model=model, skip=skip, force=force, **chosen)
    show_json(done.to_dict()) if as_json else _show(done)


def _show(done: Any) -> None:
    for path, pairs in done.files.items():
        show(f"{path}: {pairs:,} pairs as {done.form}")
    counted = {
        "pairs that have what is not in this form": done.lost,
        "pairs left out": done.left_out,
        "rows that are no pairs": done.problems,
    }
    for what, counts in counted.items():
        if counts:
            show(f"  {what}: {' · '.join(f'{name} {count:,}' for name, count in counts.items())}")
    if done.dataset_info:
        show("for dataset_info.json of LLaMA-Factory:")
        show_json(dict(done.dataset_info))
