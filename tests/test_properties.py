"""Invariants, on generated inputs."""

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import curate
from curate.dedup.resolve import resolve_duplicates
from curate.rules import apply_rules, make_rules
from curate.schema import MESSAGES, with_ids
from curate.signals import measure
from tests.data import row, write_jsonl

pytestmark = pytest.mark.slow  # together they take a while

# Few distinct texts, so that ties, duplicates and contradictions are common.
TEXT = st.sampled_from(
    ["", " ", "Yes.", "No, and", "A\x00b", "é漢字", "Sure: open the menu and choose Restore.", "\n\n```"]
)
VALUE = st.one_of(TEXT, st.none(), st.integers(), st.booleans(), st.lists(TEXT, max_size=2))
SCORE = st.one_of(st.none(), st.integers(0, 2), st.just("N/A"))
LINE = st.fixed_dictionaries(
    {"prompt": VALUE, "chosen": VALUE, "rejected": VALUE, "chosen_score": SCORE, "rejected_score": SCORE}
)
SLOW = settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])


def run_of(folders: pytest.TempPathFactory, lines: list[Any]) -> curate.Run:
    folder = folders.mktemp("run")
    head = row(0, chosen_score=2, rejected_score=1)  # so that the format is detected
    return curate.clean(write_jsonl(folder / "p.jsonl", [head, *lines]), folder / "RUN", max_bad_rows=1)


@pytest.mark.slow
@SLOW
@given(st.lists(st.one_of(LINE, st.sampled_from(["{", "[]", "3", '"x"'])), max_size=12))
def test_counts_add_up_and_every_row_is_in_the_ledger_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any]
) -> None:
    run = run_of(tmp_path_factory, lines)
    ledger = run.ledger.collect()
    assert ledger.get_column("source_row").to_list() == list(range(len(lines) + 1))
    assert run.counts["kept"] + run.counts["dropped"] == len(lines) + 1
    published = pl.concat([run.train, run.test]).collect()
    kept = ledger.filter("kept")
    assert sorted(published.get_column("pair_id")) == sorted(kept.get_column("pair_id"))
    assert kept.select(pl.col("stage", "rule").is_null().all()).row(0) == (True, True)
    dropped = ledger.filter(~pl.col("kept"))
    assert dropped.filter(pl.col("stage").is_null() | pl.col("rule").is_null()).is_empty()
    assert dropped.filter(pl.col("reasons").list.len() == 0).is_empty()
    assert set(run.train.collect().get_column("prompt_id")).isdisjoint(run.test.collect().get_column("prompt_id"))


@pytest.mark.slow
@SLOW
@given(st.lists(LINE, max_size=10))
def test_cleaning_a_cleaned_set_changes_nothing(tmp_path_factory: pytest.TempPathFactory, lines: list[Any]) -> None:
    first = run_of(tmp_path_factory, lines)
    if not first.counts["kept"]:
        return
    second = curate.clean(first.folder, first.folder.with_name("AGAIN"))
    for name in ("train", "test"):
        a, b = (getattr(run, name).collect().sort("pair_id") for run in (first, second))
        assert a.equals(b)


ROLES = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
Triples = list[tuple[str, str, str]]


def pairs_of(texts: Triples) -> pl.DataFrame:
    sides = zip(*texts, strict=True) if texts else ((), (), ())
    columns = {
        name: pl.Series([[{"role": role, "content": text}] for text in side], dtype=MESSAGES)
        for (name, role), side in zip(ROLES.items(), sides, strict=True)
    }
    return with_ids(pl.DataFrame(columns))


TRIPLES = st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(TRIPLES, st.integers(0, 11))
def test_ids_depend_on_the_texts_alone(texts: Triples, place: int) -> None:
    ids = pairs_of(texts).select("prompt_id", "pair_id", "flipped_id").rows()
    one = texts[place % len(texts)]
    assert pairs_of([one]).select("prompt_id", "pair_id", "flipped_id").row(0) == ids[place % len(texts)]
    assert len(set(texts)) == len({pair_id for _, pair_id, _ in ids})
    turned = pairs_of([(p, r, c) for p, c, r in texts])
    assert turned.get_column("pair_id").to_list() == [flipped for _, _, flipped in ids]


@settings(deadline=None, max_examples=50)
@given(TRIPLES)
def test_no_duplicate_and_no_contradiction_remains(texts: Triples) -> None:
    pairs = pairs_of(texts).with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    drops = resolve_duplicates(pairs)
    remaining = pairs.join(drops, on="row", how="anti")
    assert remaining.get_column("pair_id").is_unique().all()
    others = remaining.filter(pl.col("pair_id") != pl.col("flipped_id"))  # pairs of equal responses contradict none
    assert others.filter(pl.col("flipped_id").is_in(others.get_column("pair_id").to_list())).is_empty()
    assert resolve_duplicates(remaining).is_empty()


@settings(deadline=None, max_examples=25)
@given(TRIPLES)
def test_signals_of_a_row_do_not_depend_on_other_rows(texts: Triples) -> None:
    scores = [pl.lit(None, pl.Float64).alias(name) for name in ("chosen_score", "rejected_score", "strength")]
    together = measure(pairs_of(texts).with_columns(scores))
    alone = pl.concat([measure(pairs_of([text]).with_columns(scores)) for text in texts])
    assert together.equals(alone)
    assert apply_rules(together, make_rules({})).equals(apply_rules(alone, make_rules({})))
