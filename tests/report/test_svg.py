"""Charts with titles, and without what nobody sees."""

import pytest

from curate.report.svg import titled

DRAWN = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1" class="marks" '
    'width="350" height="203" viewBox="0 0 350 203"><g fill="none" stroke-miterlimit="10" transform="translate(44,51)">'
    '<path class="background" aria-hidden="true" d="M0,0h3v1h-3Z"/>'
    '<g class="a"><text text-anchor="middle" opacity="1"/></g>'
    '<path aria-label="1 to 2.125: 3 kept &lt;b&gt;" role="graphics-symbol" aria-roledescription="bar" '
    'd="M2.12345,0h5v130h-5Z" fill="#4c78a8"/></g></svg>'
)


def test_marks_have_tooltips_and_the_picture_a_title() -> None:
    assert titled(DRAWN, 'words "<x>"') == (
        '<svg xmlns="http://www.w3.org/2000/svg" width="350" height="203" viewBox="0 0 350 203" '
        'font-family="sans-serif" role="img" aria-label="words &#34;&lt;x&gt;&#34;">'
        "<title>words &#34;&lt;x&gt;&#34;</title>"
        '<g fill="none" transform="translate(44,51)"><path d="M2.1,0h5v130h-5Z" fill="#4c78a8">'
        "<title>1 to 2.125: 3 kept &lt;b&gt;</title></path></g></svg>"
    )


def test_anything_else_is_an_error() -> None:
    with pytest.raises(ValueError, match="SVG"):
        titled("<html>", "x")
