"""The numbers of report and card, checked against manual counts; and a finished run, opened again."""

from pathlib import Path

import pytest

import curate
from curate.errors import InputError
from curate.report.reasons import about
from curate.report.summary import Summary
from curate.rundir.result import Run, open_run
from tests.data import row, rows, write_jsonl


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("summary")
    both = row(31, chosen="", chosen_score=1, rejected_score=2)
    lines = [
        *rows(8),
        row(30, chosen=""),
        both,
        row(0),
        row(32, rejected=7),
        row(33, chosen=f"{row(33)['chosen']} See https://a.b"),
    ]
    return curate.clean(write_jsonl(folder / "p.jsonl", lines), folder / "RUN", settings=["split.test=0"])


def test_funnel_ends_with_what_was_kept(run: Run) -> None:
    assert Summary(run).funnel == [
        ("rows read", 13), ("readable", 12), ("with a preference", 12), ("passed the rules", 10), ("deduplicated", 9),
    ]  # fmt: skip


def test_reasons_count_first_and_all_occurrences(run: Run) -> None:
    counted = [(reason.stage, reason.rule, reason.first, reason.any) for reason in Summary(run).reasons]
    assert counted == [
        ("read", "not_text", 1, 1),
        ("rules", "no_chosen_empty", 2, 2),
        ("rules", "no_scores_contradict", 0, 1),
        ("dedup", "duplicate_pair", 1, 1),
    ]


def test_flags_before_and_after(run: Run) -> None:
    flags = {flag["name"]: (flag["before"], flag["after"]) for flag in Summary(run).flags}
    assert flags["chosen_empty"] == (pytest.approx(2 / 12), 0.0)
    assert flags["chosen_urls"] == (pytest.approx(1 / 12), pytest.approx(1 / 9))
    assert "rejected_urls" not in flags


def test_kept_examples_are_kept_rows(run: Run) -> None:
    assert len(Summary(run).kept_examples) == 9
    assert all(row["kept"] for row in Summary(run).kept_examples)


def test_every_reason_has_a_sentence() -> None:
    assert about("no_tie") == "the scores prefer neither side"
    assert about("max_chars_ratio").startswith("Length of the longer response")
    assert about("broken_row").startswith("the row cannot be read")


def test_open_run_names_what_is_missing(tmp_path: Path, run: Run) -> None:
    assert open_run(run.folder).counts == run.counts
    with pytest.raises(InputError, match="does not exist"):
        open_run(tmp_path / "nope")
    with pytest.raises(InputError, match="no run"):
        open_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(InputError, match="unfinished run"):
        open_run(tmp_path)
