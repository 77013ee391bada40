"""Findings of the whole set: what tells the chosen side from the rejected one without reading the answer."""

import math
from collections.abc import Iterator
from statistics import NormalDist

import polars as pl

from curate.findings.kinds import BY_NAME
from curate.findings.result import Hits

Z = NormalDist().inv_cdf(0.975)
LENGTH, STYLE, OPENING, TOLD = 0.6, 0.65, 0.8, 0.9  # bounds of the intervals; below 1 - bound as well
LEAST_STYLE, LEAST_OPENING = 0.05, 0.01  # share of the pairs
SHOWN = 5  # findings of one kind, or features in one
# One line is enough: the regexes find the first.
STYLES = {
    "a list": r"(?m)^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]",
    "headings": r"(?m)^#{1,6} ",
    "bold text": r"\*\*[^*\n]",
    "a code block": r"(?m)^[ \t]*```",
}
NOT_SURFACE = ("language_confidence", "repeats_prompt")
TEXTS = {side: pl.col(side).list.eval(pl.element().struct.field("content")).list.join("\n\n")
         for side in ("chosen", "rejected")}  # fmt: skip


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson (1927); 0 to 1 for n = 0."""
    if not n:
        return 0.0, 1.0
    share = count / n
    center = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(center - half, 0.0), min(center + half, 1.0)


def beyond(count: int, n: int, bound: float) -> bool:
    """Return whether the interval of a share is above the bound, or below 1 - bound."""
    low, high = wilson(count, n)
    return low > bound or high < 1 - bound


def interval(count: int, n: int) -> str:
    """Return a share with its interval as text: `73 % (95 % interval 71–75)`."""
    low, high = wilson(count, n)
    return f"{count / n:.0%} (95 % interval {low:.0%} to {high:.0%})"


def length(signals: pl.LazyFrame) -> list[Hits]:
    """Return the length bias; in: the signals of all pairs."""
    chosen, rejected = pl.col("chosen_chars"), pl.col("rejected_chars")
    found = signals.select(
        longer=(chosen > rejected).sum(),
        shorter=(chosen < rejected).sum(),
        ratio=(chosen / rejected.replace(0, None)).cast(pl.Float32).median(),
    ).collect(engine="streaming")
    longer, shorter, ratio = found.row(0)
    n = longer + shorter
    if not beyond(longer, n, LENGTH):
        return []
    what = f"chosen is longer in {interval(longer, n)} of {n:,} pairs of unequal length; median ratio {ratio or 0:.2f}"
    return [Hits(BY_NAME["length_bias"].code, max(longer, shorter), what=what, of=n)]


def style(pairs: pl.LazyFrame, total: int) -> list[Hits]:
    """Return the forms whose side is mostly chosen, or mostly rejected; `total` = number of pairs."""
    has = {
        (name, side): text.str.contains(regex).alias(f"{name} {side}")
        for name, regex in STYLES.items()
        for side, text in TEXTS.items()
    }
    flags = pairs.select(has.values()).select(
        expression
        for name in STYLES
        for one, two in [(pl.col(f"{name} chosen"), pl.col(f"{name} rejected"))]
        for expression in ((one & ~two).sum().alias(f"{name} +"), (two & ~one).sum().alias(f"{name} -"))
    )
    counts = flags.collect(engine="streaming").row(0, named=True)
    found = []
    for name in STYLES:
        count, n = counts[f"{name} +"], counts[f"{name} +"] + counts[f"{name} -"]
        if n >= LEAST_STYLE * total and beyond(count, n, STYLE):
            what = f"where one side only has {name}, it is chosen in {interval(count, n)} of {n:,} pairs"
            found.append(Hits(BY_NAME["style_bias"].code, max(count, n - count), what=what, of=n))
    return found


def openings(pairs: pl.LazyFrame, total: int) -> list[Hits]:
    """Return the openings (two words) of mostly chosen, or mostly rejected answers."""
    first = {side: text.str.head(60).str.extract(r"^\s*([\p{L}\p{N}'’]+(?:[^\p{L}\p{N}\n]+[\p{L}\p{N}'’]+)?)")
             for side, text in TEXTS.items()}  # fmt: skip
    both = pairs.select(opening.str.to_lowercase().alias(side) for side, opening in first.items())
    both = both.filter(pl.col("chosen").ne_missing(pl.col("rejected")))  # the same opening tells nothing
    counts = both.unpivot(variable_name="side", value_name="opening").drop_nulls("opening")
    counts = counts.group_by("opening").agg(n=pl.len(), chosen=(pl.col("side") == "chosen").sum())
    return list(_told("opening_bias", counts, "opening", max(LEAST_OPENING * total, 1), OPENING))


def models(pairs: pl.LazyFrame) -> list[Hits]:
    """Return the models whose answers are nearly always chosen, or nearly always rejected."""
    known = pairs.filter(pl.col("chosen_model") != pl.col("rejected_model"))  # and neither is null
    sides = known.select("chosen_model", "rejected_model").unpivot(variable_name="side", value_name="model")
    counts = sides.group_by("model").agg(n=pl.len(), chosen=(pl.col("side") == "chosen_model").sum())
    return list(_told("model_bias", counts, "model", 1, TOLD))


def _told(name: str, counts: pl.LazyFrame, column: str, least: float, bound: float) -> Iterator[Hits]:
    """Yield the values that are mostly on one side, the most frequent ones; in: the column, n, chosen."""
    told = counts.filter(pl.col("n") >= least).sort("n", column, descending=[True, False]).collect(engine="streaming")
    found = [(value, n, count) for value, n, count in told.select(column, "n", "chosen").iter_rows()
             if beyond(count, n, bound)]  # fmt: skip
    for value, n, count in found[:SHOWN]:
        side, most = ("chosen", count) if 2 * count > n else ("rejected", n - count)
        subject = f"{value!r} is" if column == "model" else f"answers that begin with {value!r} are"
        yield Hits(BY_NAME[name].code, most, what=f"{subject} {side} in {interval(most, n)} of {n:,} pairs", of=n)


def surface(signals: pl.LazyFrame) -> list[Hits]:
    """Return the signals whose difference tells the sides apart; in: the signals of all pairs."""
    columns = signals.collect_schema()
    names = [
        name.removeprefix("chosen_")
        for name, dtype in columns.items()
        if name.startswith("chosen_")
        and columns.get(name.replace("chosen_", "rejected_", 1)) == dtype
        and (dtype.is_numeric() or dtype == pl.Boolean)
    ]
    names = [name for name in names if name not in NOT_SURFACE]
    sums = [
        expression
        for name in names
        for one, two in [(pl.col(f"chosen_{name}"), pl.col(f"rejected_{name}"))]
        for expression in (
            (one > two).sum().alias(f"{name} +"),
            (one < two).sum().alias(f"{name} -"),
            (one.is_not_null() & two.is_not_null()).sum().alias(f"{name} n"),
        )
    ]
    counts = signals.select(sums).collect(engine="streaming").row(0, named=True)
    told = []
    for name in names:
        higher, lower, n = (counts[f"{name} {end}"] for end in "+-n")
        # A tie counts half. Rounded down, so that the interval is never narrower than the data.
        wins = higher + (n - higher - lower) // 2
        if n and beyond(wins, n, TOLD):
            side, most = ("higher", wins) if 2 * wins > n else ("lower", n - wins)
            told.append((most / n, most, n, f"{name} ({side} for chosen, AUC {most / n:.2f})"))
    if not told:
        return []
    told.sort(key=lambda one: -one[0])
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    what = f"each alone tells the sides apart: {', '.join(text for *_, text in told[:SHOWN])}{more}"
    return [Hits(BY_NAME["told_by_one_feature"].code, told[0][1], what=what, of=told[0][2])]
