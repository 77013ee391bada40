"""A run from end to end: its output, the decision for every row, and reproducibility."""

from pathlib import Path

import polars as pl
import pytest

import curate
from curate.errors import InputError, RecipeError
from curate.schema import LEDGER, PAIR
from curate.signals import COLUMNS
from tests.data import contents, row, rows, write_jsonl


def test_every_row_ends_in_one_place(tmp_path: Path) -> None:
    source = write_jsonl(
        tmp_path / "pairs.jsonl",
        [
            row(0),
            row(1, rejected=row(1)["chosen"]),  # identical
            row(2, chosen_score=2, rejected_score=3),  # contradicted by the scores
            row(3, chosen=None),
            row(0),  # a duplicate
            row(4, chosen="a b", rejected=""),
        ],
    )
    run = curate.clean(source, tmp_path / "RUN", settings=["split.test=0"])
    ledger = run.ledger.collect()
    assert ledger.schema == LEDGER
    assert ledger.select("source_row", "kept", "split", "stage", "rule").rows() == [
        (0, True, "train", None, None),
        (1, False, None, "rules", "no_identical_normalized"),
        (2, False, None, "rules", "no_scores_contradict"),
        (3, False, None, "read", "missing_chosen"),
        (4, False, None, "dedup", "duplicate_pair"),
        (5, False, None, "rules", "no_rejected_empty"),
    ]
    assert ledger.row(4, named=True)["matched"] == ledger.row(0, named=True)["pair_id"]
    assert run.counts == {
        "rows": 6, "kept": 1, "dropped": 5, "train": 1, "validation": 0, "test": 0, "ledger": 6,
        "dropped_read": 1, "dropped_rules": 3, "dropped_dedup": 1,
    }  # fmt: skip


@pytest.mark.slow
def test_the_output_has_the_schema_and_the_kept_ledger_rows(tmp_path: Path) -> None:
    run = curate.clean(write_jsonl(tmp_path / "p.jsonl", rows(60)), tmp_path / "RUN")
    train, test = run.train.collect(), run.test.collect()
    assert train.schema == test.schema == PAIR
    kept = run.ledger.filter(pl.col("kept")).collect()
    for name, split in (("train", train), ("test", test)):
        of_split = kept.filter(pl.col("split") == name).get_column("pair_id").to_list()
        assert of_split == split.get_column("pair_id").to_list()
    assert not set(train.get_column("prompt_id")) & set(test.get_column("prompt_id"))
    assert len(train) + len(test) == 60
    assert 0 < len(test) < 20


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [*rows(40), "{broken", row(1)])
    options = ["source.max_bad_rows=0.5"]
    first = curate.clean(source, tmp_path / "A", settings=options)
    second = curate.clean(source, tmp_path / "B", settings=options)
    assert contents(first.folder) == contents(second.folder)


@pytest.mark.slow
def test_cleaning_a_cleaned_set_changes_nothing(tmp_path: Path) -> None:
    lines = [*rows(40), row(3, chosen=""), row(1), *(row(n, topic="x", chosen_score=4) for n in range(50, 60))]
    first = curate.clean(write_jsonl(tmp_path / "p.jsonl", lines), tmp_path / "A")
    second = curate.clean(first.folder, tmp_path / "B")
    assert second.counts["dropped"] == 0
    for name in ("train", "test"):
        a, b = (getattr(run, name).sort("pair_id").collect() for run in (first, second))
        assert a.equals(b)


@pytest.mark.slow
def test_an_edited_recipe_repeats_only_what_depends_on_it(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(30))
    run = curate.clean(source, tmp_path / "RUN")
    measured = run.stage("signals").part(0)
    before = measured.stat().st_mtime_ns
    again = curate.clean(source, tmp_path / "RUN", rules={"max_chosen_chars": 5})
    assert again.counts["kept"] == 0
    assert measured.stat().st_mtime_ns == before
    assert curate.clean(source, tmp_path / "RUN").counts == run.counts


@pytest.mark.slow
def test_changed_data_is_read_again(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(5))
    assert curate.clean(source, tmp_path / "RUN").counts["rows"] == 5
    write_jsonl(source, rows(7))
    assert curate.clean(source, tmp_path / "RUN").counts["rows"] == 7


def test_a_run_of_another_source_is_not_overwritten(tmp_path: Path) -> None:
    curate.clean(write_jsonl(tmp_path / "a.jsonl", rows(3)), tmp_path / "RUN")
    other = write_jsonl(tmp_path / "b.jsonl", rows(4))
    with pytest.raises(RecipeError, match=r"another recipe .*--force"):
        curate.clean(other, tmp_path / "RUN")
    assert curate.clean(other, tmp_path / "RUN", force=True).counts["rows"] == 4


def test_a_folder_with_other_files_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="not empty and contains no run"):
        curate.clean(write_jsonl(tmp_path / "a.jsonl", rows(3)), tmp_path)


def test_too_many_broken_rows_stop_the_run(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [*rows(20), "{", "also broken"])
    with pytest.raises(InputError, match=r"2 of 22 rows cannot be read .*line 21.*max_bad_rows"):
        curate.clean(source, tmp_path / "RUN")
    run = curate.clean(source, tmp_path / "RUN", settings=["source.max_bad_rows=0.1"])
    assert run.counts["dropped_read"] == 2
    assert [row["reasons"] for row in run.why(20)] == [["broken_row: line 21: invalid JSON: Input data was truncated"]]


def test_a_run_that_keeps_nothing_writes_a_report_and_a_card(tmp_path: Path) -> None:
    run = curate.clean(write_jsonl(tmp_path / "a.jsonl", [row(1, chosen="")]), tmp_path / "RUN")
    assert run.counts["kept"] == 0
    assert run.train.collect().is_empty()
    assert "every row was dropped" in run.report.read_text("utf-8")
    assert run.card.is_file()


def test_files_read_side_by_side_give_what_files_read_in_turn_give(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        lines = rows(40)[number * 8 : number * 8 + 8]
        write_jsonl(source / f"{number}.jsonl", [*lines, "no JSON"] if number % 2 else lines)
    together = curate.clean(source, tmp_path / "together", max_bad_rows=0.5)
    in_turn = curate.clean(source, tmp_path / "in_turn", max_bad_rows=0.5, limit=1_000)
    assert together.ledger.collect().equals(in_turn.ledger.collect())
    assert together.train.collect().equals(in_turn.train.collect())
    assert together.manifest.inputs == in_turn.manifest.inputs
    assert together.counts["rows"] == 42
    first, second = (run.stage("pairs").info or {} for run in (together, in_turn))
    assert first["first_broken"] == second["first_broken"] != []
    assert not list((together.folder / "stages" / "pairs").glob("feed-*"))


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    run = curate.clean(write_jsonl(tmp_path / "a.jsonl", rows(30)), tmp_path / "RUN", limit=7)
    assert run.counts["rows"] == 7


def test_several_sources_keep_their_names(tmp_path: Path) -> None:
    a, b = write_jsonl(tmp_path / "a.jsonl", rows(2)), write_jsonl(tmp_path / "b.jsonl", [row(8), row(9)])
    run = curate.clean([a, b], tmp_path / "RUN")
    assert run.ledger.select("source", "source_row").collect().rows() == [
        ("a.jsonl", 0), ("a.jsonl", 1), ("b.jsonl", 0), ("b.jsonl", 1),
    ]  # fmt: skip
    assert [found["source_row"] for found in run.why(1, "b.jsonl")] == [1]
    assert len(run.why(1)) == 2


@pytest.mark.parametrize("signal", ["chosen_words", "chosen_refusal", "strength"])
def test_any_number_or_flag_can_decide_which_pair_is_kept(tmp_path: Path, signal: str) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [row(1), row(1)])
    assert curate.clean(source, tmp_path / "RUN", settings=[f"dedup.keep={signal}"]).counts["kept"] == 1


def test_the_best_of_duplicates_by_a_signal(tmp_path: Path) -> None:
    lines = [row(1, chosen_score=3, rejected_score=2), row(1, chosen_score=5, rejected_score=2)]
    source = write_jsonl(tmp_path / "a.jsonl", lines)
    run = curate.clean(source, tmp_path / "RUN", settings=["dedup.keep=margin", "split.test=0"])
    assert run.train.collect().get_column("chosen_score").to_list() == [5]


def test_single_stages_work_without_a_run(tmp_path: Path) -> None:
    pairs = curate.clean(write_jsonl(tmp_path / "a.jsonl", rows(3)), tmp_path / "RUN").train.collect()
    measured = curate.measure(pairs)
    assert set(measured.columns) == {*curate.PAIR, *COLUMNS}
    verdicts = curate.filter(measured, defaults=False, max_chosen_chars=10).dropped
    assert verdicts.get_column("rule").to_list() == ["max_chosen_chars"] * len(pairs)


@pytest.mark.slow
def test_each_part_of_dedup_can_be_switched_separately(tmp_path: Path) -> None:
    lines = [row(1), row(1), row(1, chosen="Look into Backups; there it is.")]
    source = write_jsonl(tmp_path / "a.jsonl", lines)
    only_cap = ["dedup.exact=false", "dedup.max_pairs_per_prompt=1"]
    run = curate.clean(source, tmp_path / "RUN", settings=only_cap)
    assert run.ledger.select("rule").collect().to_series().to_list() == [None, *["max_pairs_per_prompt"] * 2]
    assert curate.clean(source, tmp_path / "RUN", settings=["dedup.exact=false"]).counts["kept"] == 3
