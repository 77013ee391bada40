"""What the command prints for a person. Texts from the data are printed as text, never as markup."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate.result import Run
from curate.signals import COLUMNS
from curate.summary import Summary, about

SHOWN_CHARS = 1_000
console = Console(highlight=False)


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of equal keys as a table."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(rows[0]):
        shown.add_column(name, no_wrap=number == 0, justify="right" if _is_count(rows[0][name]) else "left")
    for row in rows:
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    console.print(shown)


def run(finished: Run) -> None:
    """Counts, reasons, and where everything lies."""
    counts, manifest = finished.counts, finished.manifest
    for name, found in manifest["inputs"].items():
        console.print(Text(f"{name}: {found['rows']:,} rows, format {found.get('format', 'unknown')}"))
    console.print(
        f"[bold]{counts['kept']:,} of {counts['rows']:,} pairs kept[/] "
        f"({counts['train']:,} train, {counts['test']:,} test) · {counts['dropped']:,} dropped"
    )
    reasons = Summary(finished).reasons
    if reasons:
        console.print()
        table(
            [
                {"dropped": r.first, "has it": r.any, "stage": r.stage, "reason": r.rule, "meaning": r.about}
                for r in reasons
            ]
        )
    console.print()
    for what, path in (
        ("data", finished.folder / "data"),
        ("ledger", finished.folder / "ledger.parquet"),
        ("report", finished.report),
        ("card", finished.card),
    ):
        console.print(Text(f"{what:<7} {path}"), soft_wrap=True)
    console.print(
        f"{manifest['seconds']['total']:.1f} s, {manifest['peak_memory_mb']['total']:,} MB at most", style="dim"
    )
    if not finished.recipe["publish"]["license"]:
        console.print("no licence is stated yet: --set publish.license=… puts one on the card", style="dim")


def why(found: Sequence[Mapping[str, Any]]) -> None:
    """Ledger rows with what broke each rule, and the texts."""
    for row in found:
        fate = f"kept, in {row['split']}" if row["kept"] else f"dropped at {row['stage']}"
        console.print(
            f"[bold]{escape(row['source'])} row {row['source_row']}[/] · {fate} · pair {row['pair_id'] or '–'}"
        )
        for reason in row["reasons"]:
            console.print(Text(f"  {reason}: {_explain(reason, row)}"), soft_wrap=True)
        if row["matched"]:
            console.print(f"  matched pair {row['matched']}")
        for side in ("prompt", "chosen", "rejected"):
            for message in row[side] or []:
                console.print(Text(f"\n{side} · {message['role']}", style="bold"))
                console.print(Text(_cut(message["content"])), soft_wrap=True)
        console.print()


def _explain(reason: str, row: Mapping[str, Any]) -> str:
    name = reason.split(" ", maxsplit=1)[0].rstrip(":")
    column = name.partition("_")[2]
    if column not in COLUMNS:
        return about(name)
    return f"{about(name)}; measured: {_cell(row.get(column))}"


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= SHOWN_CHARS
        else f"{text[:SHOWN_CHARS]} … ({len(text) - SHOWN_CHARS:,} more characters; --json shows all)"
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
