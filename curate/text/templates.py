"""The one way texts are put into templates: HTML escapes them all, Markdown and prompts take them as they are."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache  # a template is compiled once: a push renders several cards
def templates(package: str, folder: str = "templates", *, html: bool) -> Environment:
    """
    Return the templates of a package's folder. A name that a template does not get is an error.

    `html` escapes every text; without it a template must indent or fence what it gets.

        templates("curate.report", html=True).get_template("report.html.j2").render(…)
    """
    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=html,  # noqa: S701 - the caller says what it renders
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
