"""The report: one HTML file that works offline. Texts are escaped by the template engine, never by hand."""

from concurrent.futures import ThreadPoolExecutor

from markupsafe import Markup

from curate.files import atomic, write_text
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
from curate.rundir.result import Run
from curate.signals import SIGNALS

START, END = b"<!-- audit -->\n", b"\n<!-- end of the audit -->"


def write_report(summary: Summary) -> None:
    """Write report.html into the run directory."""
    bounds = Bounds(summary.run.recipe)
    rules = rule_facts(summary, bounds)
    with ThreadPoolExecutor(1) as pool:  # charts are drawn outside of Python, while the rows are read
        figures = pool.submit(signal_figures, summary, bounds, charted())
        audit = pool.submit(audit_html, summary.run)
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


def add_audit(run: Run) -> None:
    """
    Put the audit of a finished run into its report, which else stays as it is: signals of the user's own, which
    describe themselves in it, are not known here. A page without the place for it is written anew.
    """
    page = run.report.read_bytes() if run.report.is_file() else b""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if start and end:
        with atomic(run.report) as temporary:
            temporary.write_bytes(before + audit_html(run).encode() + after)
    else:
        write_report(Summary(run))


def audit_html(run: Run) -> Markup:
    """Return the section of the audit between its marks, which no text has: `<` is escaped in all of them."""
    template = environment("curate.report", html=True).get_template("audit.html.j2")
    section = template.render(audit=audit_section(run), cell=cell)
    return Markup(START.decode() + section.strip() + END.decode())  # noqa: S704 - rendered and escaped by the engine


def charted() -> list[str]:
    """Return the columns that the report charts, as declared by their signals."""
    return [column for signal in SIGNALS.values() for column in signal.charted_columns]
