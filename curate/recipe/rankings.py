"""What pairs are ranked and grouped by: the columns that a recipe names for it must exist."""

from collections.abc import Sequence

from curate.errors import nearest
from curate.rules import known_columns, numeric_columns
from curate.selection.sections import Select

OTHERS = ("chosen_score", "longest")  # values other than signals by which pairs can be ranked
GROUPS = ("cluster", "source", "chosen_model", "rejected_model", "prompt_id")  # and by which they can be grouped


def check_rankings(keep: str, select: Select | None, own: Sequence[str]) -> None:
    """
    Raise ValueError, with the nearest name, for a column by which pairs cannot be ranked or grouped.

    `keep` is that of the dedup section, `own` are the columns of the user's signals.
    """
    numeric = [*numeric_columns(), *own, *OTHERS]
    rankings = {"dedup.keep": keep, **(select.rankings if select else {})}
    for where, name in rankings.items():
        if name not in (*numeric, *(["first"] if where == "dedup.keep" else [])):
            raise ValueError(f"{where}: {name!r} is not a numeric signal.{nearest(name, numeric)}")
    known = [*GROUPS, *known_columns(own)]
    for name in select.groupings if select else ():
        if name not in known:
            raise ValueError(f"select.cap.per: {name!r} is not a column.{nearest(name, known)}")
