"""The report: one HTML file that works offline. Texts are escaped by the template engine, never by hand."""

import polars as pl
from markupsafe import Markup

from curate.files import write_text
from curate.recipe.load import to_yaml
from curate.report import charts
from curate.report.environment import environment
from curate.report.summary import Summary, cell
from curate.signals import COLUMNS, SIGNALS


def write_report(summary: Summary) -> None:
    """Write report.html into the run directory."""
    html = (
        environment("curate.report", html=True)
        .get_template("report.html.j2")
        .render(
            summary=summary,
            counts=summary.counts,
            most=max(remaining for _, remaining in summary.funnel) or 1,
            cell=cell,
            inputs=summary.run.manifest.inputs,
            version=summary.run.manifest.prefcurate,
            length_chart=Markup(_length_chart(summary)),  # noqa: S704 - drawn by us from numbers
            map_chart=Markup(_map(summary)),  # noqa: S704
            charts=[(COLUMNS[name].about, Markup(svg)) for name, svg in _signal_charts(summary)],  # noqa: S704
            recipe=to_yaml(summary.run.recipe),
        )
    )
    write_text(summary.run.report, html)


def _map(summary: Summary) -> str:
    if not summary.clusters:
        return ""
    points = summary.cluster_rows.drop_nulls().filter(pl.col("cluster") >= 0)
    return charts.prompt_map(points, [row["cluster"] for row in summary.clusters]) if len(points) else ""


def _length_chart(summary: Summary) -> str:
    kept = summary.values("chosen_words", "rejected_words").filter("kept")
    if len(kept) < charts.BINS:
        return ""
    chosen, rejected = kept.get_column("chosen_words"), kept.get_column("rejected_words")
    return charts.chosen_rejected(chosen, rejected, "words, kept pairs")


def charted() -> list[str]:
    """Return the columns that the report charts, as declared by their signals."""
    return [column for signal in SIGNALS.values() for column in signal.charted_columns]


def _signal_charts(summary: Summary) -> list[tuple[str, str]]:
    if summary.counts["rows"] < charts.BINS:
        return []  # fewer pairs than bins: such histograms show nothing
    # One signal at a time: a million pairs with all of them would take a gigabyte.
    columns = ((name, summary.values(name)) for name in summary.measured(charted()))
    return [(name, charts.before_after(rows.get_column(name), rows.get_column("kept"), name)) for name, rows in columns]
