"""The command audit."""

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.cli.options import Columns, Config, Format, Json, Limit, Revision, Split, app, source_options
from curate.terminal import show, show_json, tell

if TYPE_CHECKING:
    from curate.api.auditing import Audit
    from curate.report.audit import AuditTables

AUDIT_EXAMPLES = """
Examples:\n
[bold]curate audit RUN[/] · [bold]curate audit pairs.jsonl[/] · [bold]curate audit RUN --json > audit.json[/]\n
[bold]curate audit 'shards/*.parquet' --columns prompt=q,chosen=good,rejected=bad[/]
"""
FEATURES, VALUES = 10, 8  # that are shown


@app.command(epilog=AUDIT_EXAMPLES)
def audit(
    source: Annotated[list[str], typer.Argument(metavar="RUN", help="A run directory, or sources as for clean.")],
    *,
    format: Format = None,
    columns: Columns = None,
    split: Split = None,
    config: Config = None,
    revision: Revision = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Tell what a model could learn from the pairs without reading them, and what remedies cost (extra: embed)."""
    from curate.api.auditing import audit as look

    options = {"format": format, "columns": columns, "split": split, "config": config, "revision": revision}
    given = source_options(**options, limit=limit)
    one_or_all = source[0] if len(source) == 1 else source
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            found = look(one_or_all, **given)
        finally:
            for warning in caught:  # of the rows that are no pairs; the rest of it is for Python
                tell(str(warning.message).partition(";")[0])
    if as_json:
        show_json(found.to_dict())
        return
    call = ", ".join([repr(one_or_all), *(f"{name}={value!r}" for name, value in given.items())])
    asked = [(f"--{name}", str(value)) for name, value in {**options, "limit": limit}.items() if value is not None]
    _show(found, source, shlex.join([*source, *(word for words in asked for word in words)]), call)


def _show(found: "Audit", source: Sequence[str], words: str, call: str) -> None:
    from curate.cli import render
    from curate.report.audit import AuditTables, interval, two

    tables = AuditTables.of(found.to_dict())
    first = tables.auc[0]
    show(
        f"{first.pairs:,} pairs, {first.prompts:,} different prompts. Their surface alone tells chosen from "
        f"rejected with AUC {two(first.auc)} (95 % interval {interval(first)}); 0.5 is guessing."
    )
    show("")
    render.table([told.row for told in tables.auc])
    if tables.features:
        show("")
        render.table([feature.row for feature in tables.features[:FEATURES]])
    else:
        show("\nThe sides differ in no surface feature.")
    wins = [win for by, of in tables.telling().items() for win in of[: None if by == "length" else VALUES]]
    if wins:
        show("")
        render.table([win.row for win in wins])
    show("")
    render.table(tables.remedy_rows)
    show("")
    _tell_how(tables, source, words, call)


def _tell_how(tables: "AuditTables", source: Sequence[str], words: str, call: str) -> None:
    """Print the line of each remedy, and what the columns mean."""
    from curate.report.audit import stored_audit
    from curate.rundir.result import open_run

    is_run = len(source) == 1 and (Path(source[0]) / "manifest.json").is_file()
    command = f"retune {words}" if is_run else f"clean {words} -o RUN"
    for one in tables.remedies[1:]:
        if one.how.startswith("--set"):
            show(f"{one.remedy}: curate {command} {one.how}")
    show(f"in Python, with audit = curate.audit({call}), whose pairs are joined by pair_id:")
    for one in tables.remedies[1:]:
        if not one.how.startswith("--set"):
            show(f"{one.remedy}: {one.how}")
    notes = [
        "an AUC below 0.5 is guessing, too · 95 %: the interval, over prompts · right: pairs that are told right",
        "lengths equal: within 10 % · alone: AUC of one feature · AUC lost: without what it adds to the score",
        "worth: as many rows of equal weight · longer: chosen is, of the pairs of unequal length",
    ]
    notes[-1] += " · names: AUC of the models' names" if tables.has_names else ""
    if is_run and stored_audit(run := open_run(source[0])) and run.report.is_file():
        notes.append(f"{run.report} shows this, too")
    show("")
    for note in notes:
        show(note)
