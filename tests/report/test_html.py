"""Report and card: self-contained, escaped, and with the run's own numbers."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import curate
from curate.rundir.result import Run
from tests.data import row, rows, write_jsonl

EVIL = (
    "</pre><script>alert('x')</script><img src=x onerror=alert(1)>\n---\nlicense: evil\n"
    "```\n```\n{{ 7 * 7 }} {% raw %} ok."
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("evil")
    lines = [
        *rows(40),
        row(50, prompt=EVIL, chosen=f"Kept. {EVIL}", rejected=f"No. {EVIL}"),
        row(51, prompt=EVIL, chosen=EVIL, rejected=EVIL),
        row(52, prompt=EVIL, chosen=EVIL, rejected="x", chosen_score=1, rejected_score=2),
    ]
    source = write_jsonl(folder / "a <b>`|$(x)'.jsonl", lines)
    return curate.clean(source, folder / "RUN", settings=["publish.name='<i>x</i> | `y`'"])


class Tags(HTMLParser):
    """The tags of a page as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "onerror", "onload")]


@pytest.mark.slow
def test_report_is_self_contained_and_escaped(run: Run) -> None:
    html = run.report.read_text("utf-8")
    page = Tags(html)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert [address for address in page.addresses if not address.startswith("#")] == []
    assert "@import" not in html
    assert "url(http" not in html
    assert "&lt;script&gt;alert" in html


@pytest.mark.slow
def test_report_has_the_numbers_and_the_examples(run: Run) -> None:
    html = run.report.read_text("utf-8")
    assert "41 of 43 pairs kept" in html
    for text in ("no_identical_normalized", "no_scores_contradict", "How do I restore file number", "<svg"):
        assert text in html


def test_card_header_is_what_the_hub_reads(run: Run) -> None:
    text = run.card.read_text("utf-8")
    _, header, body = text.split("---\n", 2)
    card = yaml.safe_load(header)
    assert "license" not in card
    assert card["language"] == ["en"]
    assert card["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "test", "path": "data/test-*.parquet"},
    ]
    assert sum(split["num_examples"] for split in card["dataset_info"]["splits"]) == 41
    assert card["size_categories"] == ["n<1K"]
    assert "Licence: not specified yet" in body
    assert "<i>" not in body


def test_texts_in_the_card_remain_code(run: Run) -> None:
    body = run.card.read_text("utf-8").split("---\n", 2)[2]
    sample = body.split("## Example")[1].split("## Sources")[0]
    for line in sample.splitlines():
        assert not line.strip() or line.startswith("    ") or line in ("prompt:", "chosen:", "rejected:")


def test_a_licence_is_put_on_the_card(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(3))
    run = curate.clean(source, tmp_path / "RUN", settings=["publish.license=mit"])
    assert re.search(r"^license: mit$", run.card.read_text("utf-8"), re.MULTILINE)
