"""Commands that publish: push, pull, export."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.options import Json, Out, Set, app
from curate.terminal import show, show_json

PUSH_EXAMPLES = """
Examples:\n
[bold]curate push RUN OWNER/NAME --dry-run --set publish.license=mit[/]\n
[bold]curate push RUN OWNER/NAME --private --tag v1.0[/]\n
[bold]curate push RUN2 OWNER/NAME --append[/] · [bold]curate push RAW OWNER/NAME --config raw[/]\n
[bold]curate push RUN OWNER/NAME --candidates[/]
"""
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Repo = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The dataset on the Hub.")]
Config = Annotated[str, typer.Option(help="Name of the config; a repository can have several.")]


@app.command(epilog=PUSH_EXAMPLES)
def push(
    folder: Folder,
    repo: Repo,
    *,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    branch: Annotated[str, typer.Option(help="Commit to this branch; created from main if needed.")] = "main",
    pr: Annotated[bool, typer.Option("--pr", help="Open a pull request instead.")] = False,
    tag: Annotated[str | None, typer.Option(help="Tag this commit, e.g. v1.2; tags are never moved.")] = None,
    message: Annotated[str | None, typer.Option(help="Title of the commit.")] = None,
    config: Config = "default",
    candidates: Annotated[
        bool, typer.Option("--candidates", help="Also publish every answer, as the config `candidates`.")
    ] = False,
    append: Annotated[bool, typer.Option("--append", help="Add to the published data, as new shards.")] = False,
    allow_schema_change: Annotated[
        bool, typer.Option("--allow-schema-change", help="Publish even if it breaks readers of the published data.")
    ] = False,
    waive: Annotated[
        list[str] | None, typer.Option(help="Publish even if this gate fails; the card reports it. May be repeated.")
    ] = None,
    settings: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a run on the Hub in one commit, after checks; repeating the command changes nothing."""
    from curate.api.publishing import push as publish
    from curate.cli import render

    waived = [name.strip() for names in waive or () for name in names.split(",") if name.strip()]
    options: dict[str, Any] = {
        "private": private, "branch": branch, "pr": pr, "tag": tag, "message": message, "config": config,
        "candidates": candidates, "append": append, "allow_schema_change": allow_schema_change, "waive": waived,
        "settings": settings or (),
    }  # fmt: skip
    done = publish(folder, repo, dry_run=dry_run, **options).to_dict()
    show_json(done) if as_json else render.pushed(done, dry_run=dry_run)
    if dry_run and (done["breaks"] or any(g["status"] == "failed" and g["name"] not in waived for g in done["gates"])):
        raise typer.Exit(1)


@app.command(epilog="Example: [bold]curate pull OWNER/NAME -o RUN --revision v1.0[/]")
def pull(
    repo: Repo,
    out: Out,
    *,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    config: Config = "default",
    as_json: Json = False,
) -> None:
    """Download a published run: recipe, ledger and data, so that `why` works on it."""
    from curate.api.publishing import pull as fetch

    run = fetch(repo, out, revision=revision, config=config)
    pulled = run.manifest.pulled
    if as_json:
        show_json({"run": str(run.folder), **run.manifest.to_dict()})
    elif pulled is not None:
        show(f"{run.folder}: {run.counts['kept']:,} pairs of {repo} at {pulled.revision[:8]}")


@app.command(epilog="Example: [bold]curate export RUN s3://BUCKET/pairs[/]")
def export(
    folder: Folder,
    target: Annotated[str, typer.Argument(help="A folder, or an fsspec URL: s3://…, gs://…")],
    *,
    form: Annotated[str, typer.Option("--as", help="parquet (as on the Hub), jsonl or datasets (save_to_disk).")] = (
        "parquet"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    as_json: Json = False,
) -> None:
    """Export a run outside the Hub: as on the Hub, JSONL, or save_to_disk, locally or to object storage."""
    from curate.api.publishing import export as write

    files = write(folder, target, form, force=force)
    show_json({"target": target, "files": files}) if as_json else show(f"{target}: {', '.join(files)}")
