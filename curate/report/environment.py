"""Templates of pages and cards. Values are shown as text: escaped, with control characters made visible."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from curate.terminal import visible


@cache  # the templates are compiled once: a push renders several cards
def environment(package: str, *, html: bool) -> Environment:
    """
    Return the templates of a package's folder `templates`, with or without escaping for HTML.

    Markdown is not escaped here: its templates indent texts, or pass them through `card.plain`.

        environment("curate.report", html=True).get_template("report.html.j2")
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=html,  # noqa: S701 - for HTML it is on
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Make control characters of a text visible; our own markup and other values are returned unchanged."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
