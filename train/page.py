"""The training page: curves and plain warnings in one HTML file that opens offline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from curate.files import write_text
from curate.report import charts
from curate.report.summary import cell
from train.training.monitor import History, curves


def write_page(path: Path, history: History, beta: float, result: Mapping[str, Any]) -> None:
    """Write training.html."""
    sample_pairs = [Markup(charts.lines(found, title)) for title, found in curves(history, beta).items()]  # noqa: S704 - by us
    html = templates().get_template("training.html.j2").render(result=result, charts=sample_pairs, cell=cell)
    write_text(path, html)


def templates() -> Environment:
    """The pages' templates; every text is escaped."""
    return Environment(
        loader=PackageLoader("train"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def write_evaluation(path: Path, found: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> None:
    """Write evaluation.html: the figures, then both models' answers next to each other."""
    html = templates().get_template("evaluation.html.j2").render(found=found, told=told, cell=cell)
    write_text(path, html)
