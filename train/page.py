"""HTML pages of a training and an evaluation: one file each, which opens offline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.files import write_text
from curate.report import charts
from curate.report.environment import environment
from curate.report.reasons import cell
from train.training.monitor import History, curves


def write_page(path: Path, history: History, beta: float, result: Mapping[str, Any]) -> None:
    """Write training.html: curves and warnings."""
    drawn = [charts.lines(found, title) for title, found in curves(history, beta).items()]
    html = (
        environment("train", html=True).get_template("training.html.j2").render(result=result, charts=drawn, cell=cell)
    )
    write_text(path, html)


def write_evaluation(path: Path, report: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]]) -> None:
    """Write evaluation.html: the metrics, then both models' answers side by side."""
    html = (
        environment("train", html=True)
        .get_template("evaluation.html.j2")
        .render(report=report, prompts=prompts, cell=cell)
    )
    write_text(path, html)
