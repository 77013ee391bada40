"""Charts that Vega draws as SVG text, made small and readable by screen readers: a title for them and for each mark."""

import re

from markupsafe import escape

START = re.compile(r"<svg [^>]*?width=\"([\d.]+)\" height=\"([\d.]+)\"[^>]*>")
# What is never seen: outlines of groups, labels without text, roles of the parts of a picture that has one.
UNSEEN = re.compile(
    r'<path class="(?:background|foreground)" [^>]*/>|<text [^>]*/>'
    r'| (?:role|aria-roledescription|class|pointer-events|aria-hidden|stroke-miterlimit)="[^"]*"'
    r'| (?:opacity="1"|font-family="sans-serif")'
)
EMPTY = re.compile(r"<g(?: [^>]*)?>\s*</g>|<g(?: [^>]*)?/>")
LABELLED = re.compile(r'<(path|line|text)([^>]*?) aria-label="([^"]*)"([^>]*?)(?:/>|>(.*?)</\1>)')
LABEL = re.compile(r' aria-label="[^"]*"')
PLACE = re.compile(r' (?:transform|d|x2|y2)="[^"]*"')
DIGITS = re.compile(r"(\.\d)\d+")


def titled(svg: str, title: str) -> str:
    """Return a chart with a title, which is also its label; the description of each mark becomes its tooltip."""
    found = START.match(svg)
    if found is None:
        raise ValueError("Vega wrote something else than SVG")
    width, height = found.groups()
    body = UNSEEN.sub("", svg[found.end() :])
    body = LABELLED.sub(lambda mark: _with_tooltip(*mark.groups()), body)
    body = PLACE.sub(lambda place: DIGITS.sub(r"\1", place[0]), LABEL.sub("", body))
    while (fewer := EMPTY.sub("", body)) != body:
        body = fewer
    name = escape(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" role="img" aria-label="{name}"><title>{name}</title>{body}'
    )


def _with_tooltip(tag: str, before: str, label: str, after: str, content: str | None) -> str:
    return f"<{tag}{before}{after}>{content or ''}<title>{label}</title></{tag}>"
