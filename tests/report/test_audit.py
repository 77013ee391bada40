"""The audit on the report: shown where it is of the present pairs, and only then."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import curate
from curate.report.audit import (
    LABEL_CHARS,
    AuditTables,
    Told,
    Win,
    _labels,
    _win_figure,
    audit_key,
    audit_section,
    stored_audit,
)
from curate.report.charts import bars, intervals
from curate.rundir.manifest import Manifest, StageKey
from curate.rundir.result import Run
from curate.terminal import CONTROLS
from tests.data import row

FREE = ["rules.defaults=false", "dedup.exact=false"]
MISSING = "Not computed for these pairs: <code>curate audit RUN</code>"


def pairs(count: int) -> list[dict[str, Any]]:
    """Return pairs of two models; chosen is shorter in every fifth."""
    found = []
    for number in range(count):
        long, short = f"Open drawer {number} slowly. " * (3 + number % 7), f"Drawer {number}. " * (1 + 5 * (number % 2))
        sides = {"chosen": short, "rejected": long} if number % 5 == 0 else {"chosen": long, "rejected": short}
        found.append(row(number, **sides, chosen_model="ab"[number % 2], rejected_model="ba"[number % 2]))
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return curate.clean(pairs(60), tmp_path / "RUN", settings=FREE)


def section(run: Run) -> str:
    """Return the section as text without tags, on one line."""
    html = run.report.read_text("utf-8")
    part = html[html.index('<h2 id="audit">') : html.index('<h2 id="lengths">')]
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", "[chart]", part, flags=re.DOTALL)).split())


@pytest.mark.slow
def test_it_is_shown_after_the_command_and_stays(run: Run) -> None:
    before = run.report.read_text("utf-8")
    assert MISSING in before
    assert "Remedies" not in before
    found = curate.audit(run)
    text = section(run)
    assert "60 kept pairs, 60 different prompts." in text
    for told in found.auc.to_dicts():
        if told["auc"] is not None:
            interval = f"{told['low']:.2f}–{told['high']:.2f} {told['accuracy']:.0%}"
            assert f"{told['what']} {told['features']} {told['pairs']} {told['auc']:.2f} {interval}" in text
    assert "lengths balanced 36 24 24" in text
    assert "lengths balanced: curate retune RUN --set &#39;select.length_balanced={}&#39;" in text
    assert "chars longer 100% " in text
    assert (
        "over 4 times as long 30 80% 63%–90%" in text
    )  # all even ones, of which those with a 0 at the end are shorter
    assert "a 60 50% 38%–62%" in text
    assert text.count("[chart]") == 3  # features, length, model: the pairs have one source and one language
    shown = run.report.read_bytes()
    again = curate.clean(pairs(60), run.folder, settings=FREE)
    assert again.manifest.seal != run.manifest.seal  # seconds are in it
    assert run.report.read_bytes() == shown


@pytest.mark.slow
def test_the_rest_of_the_page_stays_as_it_is(tmp_path: Path) -> None:
    def shouting(text: pl.Expr) -> pl.Expr:
        """How loud it is."""
        return text.str.count_matches("[A-Z]")

    marks = "<!-- audit -->\n<!-- end of the audit -->\r\n"
    lines = [*pairs(60), row(60, prompt=f"{marks} 60?", chosen=marks, rejected=f"No. {marks}")]
    rules = {"max_chosen_shouting": 5}
    run = curate.clean(lines, tmp_path / "RUN", settings=FREE, signals=[shouting], rules=rules)
    before = run.report.read_bytes()
    curate.audit(run.folder)
    after = run.report.read_bytes()
    start, end = before.index(b'<h2 id="audit">'), before.index(b'<h2 id="lengths">')
    assert b"How loud it is." in before[:start]
    assert (after[:start], after[-len(before[end:]) :]) == (before[:start], before[end:])
    curate.clean(lines, run.folder, settings=FREE, signals=[shouting], rules=rules)
    assert run.report.read_bytes() == after
    for page in (b"", b"<p>an older one</p>", None):
        run.report.unlink()
        if page is not None:
            run.report.write_bytes(page)
        curate.audit(run.folder)
        assert "max_chosen_shouting" in run.report.read_text("utf-8")
        assert section(run)


@pytest.mark.slow
def test_an_audit_of_other_pairs_is_not_shown(run: Run) -> None:
    curate.audit(run)
    shown = run.report.read_bytes()
    retuned = curate.retune(run, settings=["rules.min_chosen_chars=20"]).run
    assert retuned.counts["kept"] == 54
    assert stored_audit(retuned) is None
    assert MISSING in run.report.read_text("utf-8")
    back = curate.clean(pairs(60), run.folder, settings=FREE)
    assert stored_audit(back) is not None
    assert run.report.read_bytes() == shown


@pytest.mark.slow
def test_other_rows_of_the_same_number_are_other_pairs(run: Run) -> None:
    curate.audit(run)
    other = [{**one, "chosen": f"{one['chosen']} Yes."} for one in pairs(60)]
    again = curate.clean(other, run.folder, settings=FREE, force=True)
    assert again.counts == run.counts
    assert stored_audit(again) is None


def test_the_key_is_of_the_ledger_and_of_the_stages() -> None:
    stages = {"pairs": StageKey("p"), "rules": StageKey("r")}
    manifest = Manifest(files={"ledger.parquet": "one"}, stages=stages)
    changed = [
        manifest.replace(files={"ledger.parquet": "other"}),
        manifest.replace(stages={**stages, "rules": StageKey("other")}),
        manifest.replace(stages={**stages, "clusters": StageKey("c")}),
    ]
    keys = [audit_key(Run(Path("RUN"), one)) for one in (manifest, *changed)]
    assert len(set(keys)) == 4
    same = manifest.replace(seconds={"total": 9.0}, files={"ledger.parquet": "one", "README.md": "x"})
    assert audit_key(Run(Path("RUN"), same)) == keys[0]


@pytest.mark.slow
def test_a_kill_before_the_page_is_written_is_made_up_for(run: Run) -> None:
    before = run.report.read_bytes()
    curate.audit(run)
    shown = run.report.read_bytes()
    run.report.write_bytes(before)  # as a kill after audit.json leaves it
    curate.clean(pairs(60), run.folder, settings=FREE)
    assert run.report.read_bytes() == shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda text: text[:-9],
        lambda text: text.replace(b'"kept": 60', b'"kept": "<b>60</b>"'),
        lambda text: b'{"run": "x", "auc": [], "features": [], "win_rates": [], "remedies": []}' + text[:0],
        lambda text: text.replace(b'"run": "', b'"run": "0'),
        lambda text: b"\xff" + text,
    ],
)
def test_what_cannot_be_read_counts_as_not_there(run: Run, damage: Any) -> None:
    curate.audit(run)
    path = run.folder / "audit.json"
    assert stored_audit(run) is not None
    path.write_bytes(damage(path.read_bytes()))
    assert stored_audit(run) is None
    assert audit_section(run) is None
    path.unlink()
    path.mkdir()
    assert stored_audit(run) is None


@pytest.mark.slow
def test_a_run_in_use_is_audited_and_left_as_it_is(run: Run) -> None:
    from curate.rundir.store import locked

    before = run.report.read_bytes()
    with locked(run.folder):
        assert curate.audit(run).auc["pairs"][0] == 60
    assert run.report.read_bytes() == before
    assert not (run.folder / "audit.json").exists()
    curate.retune(run.folder, settings=["rules.min_chosen_chars=20"])
    curate.audit(run)  # opened before, so its seal is that of pairs that are no longer there
    assert not (run.folder / "audit.json").exists()


@pytest.mark.slow
def test_nothing_kept_needs_no_audit(tmp_path: Path) -> None:
    run = curate.clean(pairs(3), tmp_path / "RUN", settings=["rules.min_chosen_chars=9999"])
    assert "without reading" not in run.report.read_text("utf-8")


def test_values_of_enough_pairs_those_first_that_tell_most() -> None:
    told = Told("all features", 1, 2000, 2000, 0.5, 0.4, 0.6, 0.5)
    counts = {("length", "b"): (25, 0.5), ("length", "a"): (30, 0.9), ("length", "c"): (19, 1.0)}
    counts |= {("model", "x"): (100, 0.6), ("model", "y"): (400, 0.4), ("model", "z"): (20, 0.0)}
    wins = [Win(by, value, "its own", n, rate, 0.0, 1.0, 0.5) for (by, value), (n, rate) in counts.items()]
    found = AuditTables([told], [], wins, []).telling()
    assert {by: [win.value for win in of] for by, of in found.items()} == {
        "length": ["b", "a"],
        "model": ["z", "y", "x"],
    }
    few = AuditTables([Told("all features", 1, 20, 20, 0.5, 0.4, 0.6, 0.5)], [], wins[:1], [])
    assert [win.pairs for win in few.telling()["length"]] == [25]
    assert AuditTables([told], [], [Win("source", "s", "the longer", 9, 1, 0, 1, 1)], []).telling() == {}


@given(st.lists(st.text(st.sampled_from("ab \n\x1b\u202e<&\"'ש"), max_size=60), max_size=12))
def test_labels_are_short_and_different(texts: list[str]) -> None:
    labels = _labels(texts)
    assert len(set(labels)) == len(labels) == len(texts)
    assert all(label.strip() and len(label) <= LABEL_CHARS + 5 and not CONTROLS.search(label) for label in labels)


def test_labels_that_are_equal_when_short_are_numbered() -> None:
    assert _labels(["x" * 40, "y", "x" * 41, "", "\u202e"]) == [
        f"1: {'x' * 32}…", "y", f"3: {'x' * 32}…", "(empty)", "\\u202e",
    ]  # fmt: skip


@pytest.mark.slow
def test_long_names_do_not_move_the_numbers_away() -> None:
    wins = [Win("model", name, "its own", 1200, 0.75, 0.7, 0.8, 0.5) for name in ("m" * 300, "b")]
    found = _win_figure("model", wins)
    numbers = {"pairs": 1200, "in": "75%", "95 %": "70%–80%", "right": "50%"}
    assert found.table == [{"value": f"{'m' * 60}…", **numbers}, {"value": "b", **numbers}]
    assert "m" * 300 in found.svg


@pytest.mark.slow
def test_names_in_charts_are_text() -> None:
    evil = "</text><script>x</script>&\"' {{ 7 * 7 }}"
    rows = [{"label": evil, "about": evil, "value": 0.75, "low": 0.5, "high": 0.9}]
    for svg in (bars(rows, evil), intervals(rows, evil)):
        assert "<script" not in svg
        assert svg.count("&lt;/text&gt;&lt;script&gt;") >= 3  # the label, the tooltip, the title
    assert json.dumps(rows)  # unchanged, so that the table says the same
