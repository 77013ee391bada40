"""How many pairs of each source are kept: by weights, by numbers of rows, within a budget."""

from collections.abc import Mapping

import polars as pl

from curate.errors import RecipeError, nearest


def room_per_source(
    sources: pl.Series, budget: int | None, mix: Mapping[str, float], rows: Mapping[str, int]
) -> dict[str | None, int]:
    """
    Return how many pairs of each source are kept; the key None stands for all sources together.

    With weights, sources have these shares of what is kept: of the budget, or else of the largest total that they
    allow. A source with fewer pairs than its share gives all it has; the others do not fill its place, so that no
    source has more than its share of the budget. Raises RecipeError for a source without a weight, and for one that
    does not exist.

        >>> import polars as pl
        >>> sources = pl.Series(["a"] * 80 + ["b"] * 20)
        >>> room_per_source(sources, None, {"a": 0.5, "b": 0.5}, {})
        {'a': 20, 'b': 20}
        >>> room_per_source(sources, 60, {"a": 1, "b": 1}, {})
        {'a': 30, 'b': 20}
        >>> room_per_source(sources, 50, {}, {})
        {None: 50}
    """
    there = dict(sources.value_counts().sort(sources.name).iter_rows())
    if not mix and not rows:
        return {None: min(budget or 0, len(sources))}
    named = {_source(name, there): value for name, value in (mix or rows).items()}
    if missing := [name for name in there if name not in named]:
        what = "mix: give it a weight" if mix else "rows: give it a number"
        raise RecipeError(f"select.{what}, or 0: there are also pairs of {', '.join(missing[:5])}")
    if rows:
        room: dict[str | None, int] = {name: min(int(count), there[name]) for name, count in named.items()}
        if budget is not None and sum(room.values()) > budget:
            raise RecipeError(f"select.rows: {sum(room.values()):,} pairs are more than the budget of {budget:,}")
        return room
    total = sum(named.values())
    shares = {name: weight / total for name, weight in named.items()}
    whole = budget if budget is not None else min(int(there[name] / share) for name, share in shares.items() if share)
    return {name: min(there[name], round(share * whole)) for name, share in shares.items()}


def _source(name: str, there: Mapping[str, int]) -> str:
    """Return the source of that name, or the only one whose path ends with it."""
    if name in there:
        return name
    ends = [source for source in there if source.replace("\\", "/").endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    raise RecipeError(f"select: no pair is of the source {name!r}.{nearest(name, there)} Sources: {', '.join(there)}")
