"""The charts of the report, each with a sentence and the table of its values."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from curate.report import charts
from curate.report.bounds import Bounds, number
from curate.report.charts import Chart, Row
from curate.report.summary import Summary
from curate.rules import Rule
from curate.signals import COLUMNS

MOST_POINTS = 1_500  # of the map


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its name, a sentence about it, the rules whose bounds it shows, and its values."""

    name: str
    svg: Markup
    about: str
    bounds: tuple[str, ...]
    table: list[Row]


def figure(chart: Chart, name: str, about: str, bounds: Sequence[str] = ()) -> Figure:
    """Return a chart as a figure; numbers of its table are shortened."""
    table = [
        {column: number(value) if isinstance(value, float) else value for column, value in row.items()}
        for row in chart.table
    ]
    return Figure(name, chart.svg, about, tuple(bounds), table)


def signal_figures(summary: Summary, bounds: Bounds, charted: Sequence[str]) -> list[Figure]:
    """
    Return a histogram before and after for each charted signal, and for those with a bound that dropped a row.

    Fewer pairs than bins get none: they would show nothing.
    """
    if summary.counts["rows"] < charts.BINS:
        return []
    dropping = {reason.rule for reason in summary.reasons}
    rules = [rule for rule in bounds.rules.values() if isinstance(rule, Rule) and not rule.name.startswith("no_")]
    known = summary.signals.collect_schema()
    others = [
        rule.column
        for rule in rules
        if rule.name in dropping and not rule.allowed and rule.column in known and rule.column not in charted
    ]
    found = []
    # One signal at a time: a million pairs with all of them would take a gigabyte.
    for name in summary.measured([*charted, *dict.fromkeys(others)]):
        rows = summary.values(name)
        of_signal = [rule for rule in rules if rule.column == name]
        drawn = {
            rule.name: bound for rule in of_signal if (bound := rule.min if rule.max is None else rule.max) is not None
        }
        chart = charts.before_after(rows.get_column(name), rows.get_column("kept"), name, drawn)
        notes = [
            f"{rule.name}: {bounds.bound(rule.name)}{', outside the chart' if rule.name in chart.outside else ''}"
            for rule in of_signal
            if rule.name in drawn
        ]
        found.append(figure(chart, name, COLUMNS[name].about if name in COLUMNS else name, notes))
    return found


def length_figure(summary: Summary) -> Figure | None:
    """Return the lengths of the kept responses; None for too few."""
    kept = summary.values("chosen_words", "rejected_words").filter("kept")
    if len(kept) < charts.BINS:
        return None
    chosen, rejected = kept.get_column("chosen_words"), kept.get_column("rejected_words")
    name = "words, kept pairs"
    return figure(charts.chosen_rejected(chosen, rejected, name), name, "Number of words of the kept responses.")


def map_figure(summary: Summary) -> Markup:
    """Return the map of the prompts, empty without clusters."""
    if not summary.clusters:
        return Markup("")
    points = summary.cluster_rows.drop_nulls().filter(pl.col("cluster") >= 0)
    if len(points) > MOST_POINTS:
        points = points.gather_every(-(-len(points) // MOST_POINTS))
    names = summary.run.manifest.clusters.names if summary.run.manifest.clusters else []
    return charts.prompt_map(points, names) if len(points) else Markup("")
