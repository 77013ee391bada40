"""Templates show every text as text, in pages and in cards."""

import pytest
from markupsafe import Markup

from curate.report.environment import environment
from tests.structure import modules


@pytest.mark.parametrize("package", ["curate.report", "train"])
@pytest.mark.parametrize(("html", "shown"), [(True, r"\x1b[2J \u202e &lt;b&gt;"), (False, r"\x1b[2J \u202e <b>")])
def test_control_characters_become_visible(package: str, html: bool, shown: str) -> None:
    template = environment(package, html=html).from_string("{{ text }}")
    assert template.render(text="\x1b[2J \u202e <b>") == shown


def test_our_own_markup_and_numbers_are_unchanged() -> None:
    template = environment("train", html=True).from_string("{{ svg }} {{ number }}\n{{ lines }}")
    assert template.render(svg=Markup("<svg/>"), number=3, lines="a\r\nb\tc") == "<svg/> 3\na\nb\tc"


def test_no_page_or_card_has_an_environment_of_its_own() -> None:
    own = [name for name, path in modules().items() if "Environment(" in path.read_text("utf-8")]
    # The second only splits chat templates into tokens; the third fills in prompts to models.
    assert own == ["curate.report.environment", "curate.text.chat", "pipelines.prompts.methods"]
