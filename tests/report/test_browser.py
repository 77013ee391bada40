"""The report in a real browser: inert whatever the rows hold, readable on a phone, in the dark and by keyboard."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import curate
from curate.files import write_json
from curate.report.html import write_report
from curate.report.summary import Summary
from curate.rundir.result import Run
from tests.data import row, rows, write_jsonl

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]

EVIL = (
    "</pre></title></script><script>window.owned = 1</script>"
    "<img src=https://evil.example/x onerror='window.owned = 1'><svg onload='window.owned = 1'></svg>"
    "{{ 7 * 7 }} {% raw %} \u202eright to left שלום \x1b[2J \x07 ok."
)
KINDS = ("model", "source", "language", "topic")
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"
CONTRAST = """selector => {
  const element = document.querySelector(selector), body = getComputedStyle(document.body)
  const color = getComputedStyle(element)[element instanceof SVGElement ? "fill" : "color"]
  const light = text => {
    const [r, g, b] = text.match(/\\d+/g).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const [high, low] = [light(color), light(body.backgroundColor)].sort((a, b) => b - a)
  return [(high + 0.05) / (low + 0.05), light(body.backgroundColor)]
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    models = {"chosen_model": EVIL, "rejected_model": "m" * 300, EVIL[:60]: EVIL, "topic": "x" * 5000}
    long = "wide" * 250_000
    lines = [
        *rows(40),
        row(50, prompt=f"{EVIL} one two three four five six", **models),
        row(51, prompt=f"{EVIL} one two three four five seven", **models),
        row(52, prompt=EVIL, chosen="", rejected=EVIL, **models),
        row(53, prompt=f"{long} 53?", chosen=f"{long}.", rejected=f"No. {EVIL}", **models),
    ]
    source = write_jsonl(folder / "p.jsonl", lines)
    settings = ["dedup.near={threshold: 0.5}", "rules.max_chosen_words=20", "rules.min_strength=0.5"]
    run = curate.clean(source, folder / "RUN", settings=settings)
    curate.audit(run)
    with_hostile_names(run)
    return run.report


def with_hostile_names(run: Run) -> None:
    """Write the report again, with an audit of hostile names of features, models, sources, languages and topics."""
    path = run.folder / "audit.json"
    found = json.loads(path.read_text("utf-8"))
    wins = {"wins": "the longer", "pairs": 30, "rate": 0.7, "low": 0.5, "high": 0.8, "accuracy": 0.6}
    names = [EVIL, "m" * 300, "שלום \u202e עולם", "wide " * 200, *(f"{EVIL} {number}" for number in range(9))]
    found["win_rates"] += [
        {**wins, "by": by, "value": name} for by in ("model", "source", "language", "topic") for name in names
    ]
    found["features"] += [{**found["features"][0], "feature": name, "chosen": name} for name in names]
    found["remedies"] += [{**found["remedies"][-1], "remedy": name, "how": name} for name in names]
    found["auc"] += [{**found["auc"][0], "what": name} for name in names]
    write_json(path, found)
    write_report(Summary(run))


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


def opened(browser: "Browser", report: Path, width: int = 1280, **options: Any) -> tuple["Page", list[str]]:
    """Return the page with everything unfolded, and a list of what it said, asked for or failed at."""
    page = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
    events: list[str] = []
    page.on("console", lambda message: events.append(message.text))
    page.on("pageerror", lambda error: events.append(str(error)))
    page.on("request", lambda request: events.append(request.url))
    page.goto(report.as_uri())
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(200)
    assert events.pop(0) == report.as_uri()
    return page, events


def test_hostile_rows_are_inert(browser: "Browser", report: Path) -> None:
    page, events = opened(browser, report)
    assert events == []
    assert page.evaluate("window.owned") is None
    assert page.evaluate("document.querySelectorAll('script, img, iframe, main pre *:not(ins, del)').length") == 0
    assert page.evaluate("document.querySelectorAll('del').length") > 0
    assert "<script>window.owned = 1</script>" in page.inner_text("main")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways(browser: "Browser", report: Path, width: int) -> None:
    page, _ = opened(browser, report, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(browser: "Browser", report: Path, scheme: str) -> None:
    page, _ = opened(browser, report, color_scheme=scheme)
    for selector in ("body", ".soft", "a", "main svg text"):
        ratio, background = page.evaluate(CONTRAST, selector)
        assert ratio >= 4.5, selector
        assert (background < 0.1) == (scheme == "dark")


def test_the_keyboard_reaches_the_numbers_and_the_contents(browser: "Browser", report: Path) -> None:
    page, _ = opened(browser, report)
    targets = []
    for _ in range(3):
        page.keyboard.press("Tab")
        targets.append(page.evaluate("document.activeElement.getAttribute('href')"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert targets == ["#main", "#funnel", "#dropped"]
    missing = (
        "[...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.getAttribute('href'))).length"
    )
    assert page.evaluate(missing) == 0


def test_the_audit_shows_hostile_names_as_text(browser: "Browser", report: Path) -> None:
    page, events = opened(browser, report, 390)
    names = page.evaluate(
        "[...document.querySelectorAll('#audit ~ .charts svg')].map(svg => svg.getAttribute('aria-label'))"
    )
    assert names[:5] == ["AUC of single features", *(f"win rates by {by}" for by in KINDS)]
    texts = page.evaluate("[...document.querySelectorAll('#audit ~ .charts svg text')].map(text => text.textContent)")
    assert any("<script>" in text for text in texts)
    assert not any("\u202e" in text for text in texts)
    assert events == []


def test_every_chart_has_a_title_and_a_table(browser: "Browser", report: Path) -> None:
    page, _ = opened(browser, report)
    charts = "[...document.querySelectorAll('figure')]"
    count = page.evaluate(f"{charts}.length")
    assert count > 10
    titled = "f => f.querySelector('svg[role=img][aria-label] > title') && f.querySelectorAll('table tr').length > 1"
    assert page.evaluate(f"{charts}.filter({titled}).length") == count
