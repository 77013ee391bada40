"""Dropped rows with what decided about them, the rows that they matched, and facts about the pair."""

import pytest

import curate
from curate.report.bounds import Bounds, rule_facts
from curate.report.examples import Example, Examples
from curate.report.figures import signal_figures
from curate.report.summary import Summary
from curate.rundir.result import Run
from tests.data import row, rows, write_jsonl

LONG = "Where in the settings do I find the backup of all files, and how do I restore the one named {}?"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("examples")
    lines = [
        *rows(40),
        row(
            40, prompt=LONG.format("first"), chosen_model="m1", rejected_model="m2", chosen_score=4, rejected_score=1.5
        ),
        row(41, prompt=LONG.format("second")),
        row(42, chosen="", topic="files", note={"deep": [1]}),
        row(43, chosen=f"{row(43)['chosen']} {' '.join(f'Step{n}' for n in range(60))}."),
        row(44, chosen=f"{row(44)['chosen']} {' '.join(f'Step{n}' for n in range(10))}."),
        row(0),
    ]
    settings = ["rules.max_chosen_words=20", "rules.min_strength=0.5", "dedup.near=true", "split.test=0"]
    return curate.clean(write_jsonl(folder / "p.jsonl", lines), folder / "RUN", settings=settings)


@pytest.fixture(scope="module")
def dropped(run: Run) -> dict[tuple[str, str], list[Example]]:
    return Examples(Summary(run), Bounds(run.recipe)).dropped()


def test_every_reason_has_examples_with_what_decided(dropped: dict[tuple[str, str], list[Example]]) -> None:
    assert {reason: [one.decided[0][0] for one in found] for reason, found in dropped.items()} == {
        ("dedup", "duplicate_pair"): ["duplicate_pair"],
        ("dedup", "near_duplicate"): ["similarity of prompt 0.9 ≥ 0.8"],
        ("rules", "max_chosen_words"): ["chosen_words 21 > 20", "chosen_words 71 > 20"],  # the nearest one first
        ("rules", "no_chosen_empty"): ["chosen_empty: yes"],
    }


def test_a_near_duplicate_is_beside_the_row_that_is_kept(dropped: dict[tuple[str, str], list[Example]]) -> None:
    (found,) = dropped["dedup", "near_duplicate"]
    assert found.place.startswith("p.jsonl · row 41 · pair ")
    assert found.match is not None
    assert (found.match.place.split(" · pair")[0], found.match.kept) == ("p.jsonl · row 40", True)
    before = LONG.partition("{}")[0]
    mine, other = found.match.sides[0]
    assert (mine.name, mine.texts[0].parts) == ("prompt", [(before, False), ("second", True), ("?", False)])
    assert (other.name, other.texts[0].parts) == ("prompt", [(before, False), ("first", True), ("?", False)])
    assert [(one.name, two.name, two.facts) for one, two in found.match.sides[1:]] == [
        ("chosen", "chosen", ["model m1", "score 4"]), ("rejected", "rejected", ["model m2", "score 1.5"]),
    ]  # fmt: skip


def test_an_exact_duplicate_is_beside_another_row(dropped: dict[tuple[str, str], list[Example]]) -> None:
    (found,) = dropped["dedup", "duplicate_pair"]
    assert found.match is not None
    assert (found.place.split(" · pair")[0], found.match.place.split(" · pair")[0]) == (
        "p.jsonl · row 45", "p.jsonl · row 0",
    )  # fmt: skip


def test_facts_of_a_row(dropped: dict[tuple[str, str], list[Example]]) -> None:
    (found,) = dropped["rules", "no_chosen_empty"]
    assert found.facts == ["topic: files", 'note: {"deep":[1]}']
    assert found.decided == [("chosen_empty: yes", "teaches the model to answer with nothing")]
    assert [(side.name, side.texts[0].role) for side in found.sides] == [
        ("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant"),
    ]  # fmt: skip
    assert found.start == "How do I restore file number 42 from last week's backup?"


def test_rules_that_measured_nothing(run: Run) -> None:
    facts = {rule.name: rule for rule in rule_facts(Summary(run), Bounds(run.recipe))}
    strength, words = facts["min_strength"], facts["max_chosen_words"]
    assert (strength.bound, strength.measured, strength.pairs, strength.unmeasured) == ("strength < 0.5", 0, 46, True)
    assert (words.measured, words.first, words.any, words.unmeasured) == (46, 2, 2, False)
    html = run.report.read_text("utf-8")
    assert "decided nothing: <code>strength &lt; 0.5</code> was measured for 0 of 46 pairs." in html


def test_a_bound_is_a_line_in_the_chart(run: Run) -> None:
    drawn = {one.name: one for one in signal_figures(Summary(run), Bounds(run.recipe), ["chosen_words", "chars_ratio"])}
    assert drawn["chosen_words"].bounds == ("max_chosen_words: chosen_words > 20",)
    assert "<title>max_chosen_words</title>" in drawn["chosen_words"].svg
    assert drawn["chars_ratio"].bounds == ()
    assert "stroke-dasharray" not in drawn["chars_ratio"].svg
    counted = drawn["chosen_words"].table
    assert (sum(one["all pairs"] for one in counted), sum(one["kept"] for one in counted)) == (46, 41)
