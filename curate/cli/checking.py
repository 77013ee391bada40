"""The linter: check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from curate.cli.options import Columns, Config, Format, Json, Limit, Revision, Split, app, finish, source_options
from curate.errors import RecipeError
from curate.terminal import show, show_json, tell

if TYPE_CHECKING:
    from curate.api.checking import Findings

CHECK_EXAMPLES = """
Examples:\n
[bold]curate check pairs.jsonl[/]\n
[bold]curate check train.jsonl test.jsonl --fail-on warning[/]\n
[bold]curate check OWNER/NAME --split train --limit 10000 --json[/]\n
[bold]curate check pairs.jsonl --sarif > findings.sarif[/]\n
[bold]curate check pairs.jsonl --fix RUN[/]\n
[bold]curate check --explain PC204[/]
"""
FailOn = Literal["error", "warning", "never"]


@app.command(epilog=CHECK_EXAMPLES)
def check(
    source: Annotated[list[str] | None, typer.Argument(help="Files, folders, globs, or Hub datasets.")] = None,
    *,
    fail_on: Annotated[FailOn, typer.Option(help="Exit with 1 if there is a finding of this severity.")] = "error",
    fix: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Also clean the source into this run directory.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Also check the rows with the tokenizer of this model (extra: train).")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, max=1000, help="Example rows per finding.")] = 3,
    format: Format = None,
    columns: Columns = None,
    split: Split = None,
    config: Config = None,
    revision: Revision = None,
    limit: Limit = None,
    explain: Annotated[str | None, typer.Option(metavar="CODE", help="Explain one code, such as PC204.")] = None,
    list_codes: Annotated[bool, typer.Option("--list", help="List all codes.")] = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0, for code scanning.")] = False,
    as_github: Annotated[bool, typer.Option("--github", help="Print annotations for GitHub Actions.")] = False,
    as_json: Json = False,
) -> None:
    """Check a preference dataset: what in it harms training, why, and how to repair it. Exits with 1 on errors."""
    from curate.api import checking

    if sum((as_json, as_sarif, as_github)) > 1:
        raise RecipeError("--json, --sarif and --github exclude each other")
    if explain is not None or list_codes:
        _catalog(checking.explain(explain) if explain is not None else checking.codes(), as_json=as_json)
        return
    if not source:
        raise RecipeError("curate check: name a file, a folder or a Hub dataset; --list lists what is checked")
    given = source_options(format=format, columns=columns, split=split, config=config, revision=revision, limit=limit)
    found = checking.check(source, examples=examples, model=model, **given)
    _show(found, "json" if as_json else "sarif" if as_sarif else "github" if as_github else "table")
    if fix is not None:
        from curate.api.runs import clean

        cleaned = clean(source, fix, settings=["source.max_bad_rows=1", *found.settings], **given)
        if as_json or as_sarif or as_github:  # standard output is the findings' alone
            tell(f"{fix}: {cleaned.counts['kept']:,} of {cleaned.counts['rows']:,} pairs kept")
        else:
            finish(cleaned, as_json=False)
    if fail_on != "never" and found.at_least(fail_on):
        raise typer.Exit(1)


def _catalog(found: Any, *, as_json: bool) -> None:
    from curate.cli import render

    if as_json:
        show_json(found)
    elif isinstance(found, list):
        render.table(found)
    else:
        for name, text in found.items():
            show(f"{name:<9} {text}")


def _show(found: "Findings", form: str) -> None:
    from importlib.metadata import version

    from curate.api import checking
    from curate.cli import render

    if form == "json":
        show_json(found.to_dict())
    elif form == "sarif":
        show_json(checking.sarif(found, version("prefcurate")))
    elif form == "github":
        for line in checking.github(found):
            show(line)
    else:
        if found:
            render.table(
                [
                    {
                        "code": one.kind.code,
                        "severity": one.kind.severity,
                        "rows": one.count,
                        "share": f"{one.share:.1%}",
                        "finding": one.kind.name,
                        "what": one.what,
                        "example": found.first_example(one),
                    }
                    for one in found
                ]
            )
        counts = repr(found).removeprefix("Findings(").removesuffix(")")
        show(f"{counts}{'; curate check --explain CODE says more' if found else ''}")
