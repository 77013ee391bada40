"""The command audit."""

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.options import Columns, Config, Format, Json, Limit, Revision, Split, app, source_options
from curate.terminal import show, show_json, tell

if TYPE_CHECKING:
    from curate.api.auditing import Audit

AUDIT_EXAMPLES = """
Examples:\n
[bold]curate audit RUN[/] · [bold]curate audit pairs.jsonl[/] · [bold]curate audit RUN --json > audit.json[/]\n
[bold]curate audit 'shards/*.parquet' --columns prompt=q,chosen=good,rejected=bad[/]
"""
FEATURES, VALUES = 10, 8  # that are shown
LEAST_SHARE = 0.01  # of the pairs, from which a value is shown


@app.command(epilog=AUDIT_EXAMPLES)
def audit(  # noqa: PLR0913 - the options of the command
    source: Annotated[list[str], typer.Argument(metavar="RUN", help="A run directory, or sources as for clean.")],
    *,
    format: Format = None,  # noqa: A002
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
    words = [
        *source,
        *(
            word
            for name, value in {**options, "limit": limit}.items()
            if value is not None
            for word in (f"--{name}", str(value))
        ),
    ]
    _show(found, source, shlex.join(words), call)


def _show(found: "Audit", source: Sequence[str], words: str, call: str) -> None:
    from curate.cli import render

    first = found.auc.row(0, named=True)
    show(
        f"{first['pairs']:,} pairs, {first['prompts']:,} different prompts. Their surface alone tells chosen from "
        f"rejected with AUC {first['auc']:.2f} (95 % interval {_interval(first)}); 0.5 is guessing."
    )
    show("")
    render.table([_auc(row) for row in found.auc.to_dicts()])
    if len(found.features):
        show("")
        render.table([_feature(row) for row in found.features.head(FEATURES).to_dicts()])
    else:
        show("\nThe sides differ in no surface feature.")
    if len(found.win_rates):
        show("")
        render.table([_win(row) for row in _telling(found.win_rates.to_dicts(), first["pairs"])])
    show("")
    rows = found.remedies.to_dicts()
    render.table([_remedy(row, by_name=_has_names(rows)) for row in rows])
    show("")
    _tell_how(rows, source, words, call)


def _auc(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "a model of": row["what"],
        "features": row["features"],
        "pairs": row["pairs"],
        "AUC": _two(row["auc"]),
        "95 %": _interval(row),
        "right": _percent(row["accuracy"]),
    }


def _feature(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "feature": row["feature"],
        "chosen": row["chosen"],
        "differs": _percent(row["differs"]),
        "alone": _two(row["alone"]),
        "coef": f"{round(row['coefficient'], 2) + 0.0:+.2f}",
        "AUC lost": f"{round(row['drop'], 3) + 0.0:+.3f}",
    }


def _win(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "by": row["by"],
        "value": row["value"],
        "pairs": row["pairs"],
        "chosen": row["wins"],
        "in": _percent(row["rate"]),
        "95 %": f"{row['low']:.0%}–{row['high']:.0%}",
        "right": _percent(row["accuracy"]),
    }


def _telling(rows: list[dict[str, Any]], pairs: int) -> list[dict[str, Any]]:
    """Return the values that tell most, of each kind; of lengths all in their order."""
    shown = []
    for by in dict.fromkeys(row["by"] for row in rows):
        its = [row for row in rows if row["by"] == by]
        if by != "length":
            frequent = [row for row in its if row["pairs"] >= LEAST_SHARE * pairs]
            its = sorted(frequent, key=lambda row: -abs(row["rate"] - 0.5) * row["pairs"] ** 0.5)[:VALUES]
        shown += its
    return shown


def _remedy(row: dict[str, Any], *, by_name: bool) -> dict[str, Any]:
    shown = {
        "remedy": row["remedy"],
        "rows lost": row["lost"],
        "kept": row["kept"],
        "worth": row["effective"],
        "AUC": _two(row["auc"]),
        "95 %": _interval(row),
        "names": _two(row["model_auc"]),
        "longer": _percent(row["longer"]),
    }
    return shown if by_name else {name: value for name, value in shown.items() if name != "names"}


def _tell_how(rows: list[dict[str, Any]], source: Sequence[str], words: str, call: str) -> None:
    """Print the line of each remedy, and what the columns mean."""
    is_run = len(source) == 1 and (Path(source[0]) / "manifest.json").is_file()
    command = f"retune {words}" if is_run else f"clean {words} -o RUN"
    for row in rows[1:]:
        if row["how"].startswith("--set"):
            show(f"{row['remedy']}: curate {command} {row['how']}")
    show(f"in Python, with audit = curate.audit({call}), whose pairs are joined by pair_id:")
    for row in rows[1:]:
        if not row["how"].startswith("--set"):
            show(f"{row['remedy']}: {row['how']}")
    notes = [
        "an AUC below 0.5 is guessing, too · 95 %: the interval, over prompts · right: pairs that are told right",
        "lengths equal: within 10 % · alone: AUC of one feature · AUC lost: without what it adds to the score",
        "worth: as many rows of equal weight · longer: chosen is, of the pairs of unequal length",
    ]
    notes[-1] += " · names: AUC of the models' names" if _has_names(rows) else ""
    show("")
    for note in notes:
        show(note)


def _has_names(rows: list[dict[str, Any]]) -> bool:
    return any(row["model_auc"] is not None for row in rows)


def _interval(row: dict[str, Any]) -> str:
    return "–" if row["low"] is None else f"{row['low']:.2f}–{row['high']:.2f}"


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
