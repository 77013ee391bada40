"""The report: one HTML file that works offline. Texts are escaped by the template engine, never by hand."""

from concurrent.futures import ThreadPoolExecutor

from curate.files import write_text
from curate.recipe.load import to_yaml
from curate.report import scores
from curate.report.audit import audit_section
from curate.report.bounds import Bounds, rule_facts
from curate.report.environment import environment
from curate.report.examples import Examples
from curate.report.figures import figure, length_figure, map_figure, signal_figures
from curate.report.labels import label_tables, least_confident
from curate.report.reasons import cell
from curate.report.summary import Summary
from curate.report.topics import topics
from curate.signals import SIGNALS


def write_report(summary: Summary) -> None:
    """Write report.html into the run directory."""
    bounds = Bounds(summary.run.recipe)
    rules = rule_facts(summary, bounds)
    with ThreadPoolExecutor(1) as pool:  # charts are drawn outside of Python, while the rows are read
        figures = pool.submit(signal_figures, summary, bounds, charted())
        audit = pool.submit(audit_section, summary.run)
        examples = Examples(summary, bounds)
        found = {"dropped": examples.dropped(), "kept": examples.kept(), "topics": topics(summary)}
        answers = scores.answers_of(summary)
        scored = scores.chart_of(answers)
        html = (
            environment("curate.report", html=True)
            .get_template("report.html.j2")
            .render(
                summary=summary,
                counts=summary.counts,
                most=max(remaining for _, remaining in summary.funnel) or 1,
                cell=cell,
                bounds=bounds,
                rules=rules,
                unmeasured=[rule for rule in rules if rule.unmeasured and not rule.by_default],
                scores=scores.by_model(answers, scores.used_of(summary)) if len(answers) else [],
                score_figure=scored and figure(scored, "score", "Scores of all judged answers."),
                map=map_figure(summary),
                labels=label_tables(summary),
                least_confident=least_confident(summary),
                audit=audit.result(),
                inputs=summary.run.manifest.inputs,
                version=summary.run.manifest.prefcurate,
                lengths=length_figure(summary),
                figures=figures.result(),
                recipe=to_yaml(summary.run.recipe),
                **found,
            )
        )
    write_text(summary.run.report, html)


def charted() -> list[str]:
    """Return the columns that the report charts, as declared by their signals."""
    return [column for signal in SIGNALS.values() for column in signal.charted_columns]
