"""The commands preview, diff and retune."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.options import Json, Set, Signals, app
from curate.terminal import show, show_json

if TYPE_CHECKING:
    from curate.api.comparing import Diff
    from curate.rundir.result import RunLike

PREVIEW_EXAMPLES = """
Examples:\n
[bold]curate preview RUN rules.min_strength=0.2,0.5,0.8[/]\n
[bold]curate preview RUN rules.max_chars_ratio=2,4,8 rules.no_refusal_differs=true,false[/]
"""
DIFF_EXAMPLES = """
Examples:\n
[bold]curate diff RUN STRICT[/] · [bold]curate diff RUN STRICT --rows 50[/] · [bold]curate diff RUN STRICT --json[/]
"""
SHOWN = 10  # rows
SHOWN_CHARS = 76  # of a text


@app.command(epilog=PREVIEW_EXAMPLES)
def preview(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUES", help="Values to try: rules.min_strength=0.2,0.5")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Tell what other rules would keep, from stored signals; nothing is written."""
    from curate.api.comparing import preview as look
    from curate.api.comparing import values_of
    from curate.cli import render

    found = look(folder, dict(map(values_of, settings))).to_dicts()
    show_json(found) if as_json else render.table(found)


@app.command(epilog=DIFF_EXAMPLES)
def diff(
    before: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    after: Annotated[Path, typer.Argument(metavar="RUN", help="Another one.")],
    *,
    rows: Annotated[int, typer.Option(min=0, help="How many changed rows are shown.")] = SHOWN,
    as_json: Json = False,
) -> None:
    """Compare two runs: which rows are kept, dropped, or for another reason or in another split, and why."""
    from curate.api.comparing import diff as compare

    found = compare(before, after)
    show_json(_plain(found)) if as_json else _show(after, found, rows)


RETUNE_EXAMPLES = """
Examples:\n
[bold]curate retune RUN --set rules.max_chars_ratio=4[/] · [bold]curate retune RUN --set dedup.near=true --rows 20[/]
"""


@app.command(epilog=RETUNE_EXAMPLES)
def retune(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory; it is changed in place.")],
    *,
    settings: Set = None,
    signals: Signals = None,
    rows: Annotated[int, typer.Option(min=0, help="How many changed rows are shown.")] = SHOWN,
    as_json: Json = False,
) -> None:
    """Change a finished run's rules, or what comes after them, from its stored signals; say what moved."""
    from curate.api.runs import signals_of_files
    from curate.api.tuning import retune as change

    with signals_of_files(signals or ()):
        now, found = change(folder, settings=settings or ())
    if as_json:
        show_json({"counts": now.counts, "diff": found and _plain(found)})
    else:
        show(f"{now!r}")
        _show(now, found, rows) if found else None
    if not now.counts["kept"]:
        raise typer.Exit(1)


def _plain(found: "Diff") -> dict[str, Any]:
    return {"counts": found.counts, "rules": found.rules.to_dicts(), "rows": found.rows.to_dicts()}


def _show(run: "RunLike", found: "Diff", rows: int) -> None:
    from curate.api.comparing import samples
    from curate.cli import render

    show(" · ".join(f"{name} {count:,}" for name, count in found.counts.items()))
    if len(found.rules):
        show("")
        render.table(found.rules.to_dicts())
    shown = samples(run, found, rows).to_dicts() if rows else []
    for row in shown:
        where = f"{row['source']} {row['source_row']} · {row['pair_id'] or '–'}"
        show(f"\n{row['change']}: {row['before']} → {row['after']} · {where}")
        for mark, side in (("?", "prompt"), ("+", "chosen"), ("-", "rejected")):
            if row[side] is not None:
                show(f"  {mark} {' '.join(row[side].split())[:SHOWN_CHARS]}")
    if len(found.rows) > len(shown) > 0:
        show(f"\n… {len(found.rows) - len(shown):,} more (--rows shows more, --json all)")
