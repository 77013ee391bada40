"""Planted duplicates with the same words are all found without a model, and no lookalike is."""

import polars as pl
import pytest

from tests.planted_duplicates import (
    LOOKALIKE,
    SAME_WORDS,
    by_hand,
    contradictions,
    counted,
    in_clusters,
    in_evals,
    longer_texts,
    nearly_same_words,
    planted,
    same_words,
    truths,
)

Found = tuple[dict[str, dict[str, int]], dict[str, tuple[int, int]]]


@pytest.fixture(scope="module")
def found() -> Found:
    foreign = [text for _, text in by_hand("translations")]
    rows = planted(longer_texts(), [" ".join(foreign[at : at + 8]) for at in range(len(foreign) - 7)])
    texts = rows.get_column("text")
    found = {
        "exact words": in_clusters(rows, same_words(texts)),
        "near": in_clusters(rows, nearly_same_words(texts)),
        "decontamination": in_evals(rows),
    }
    table = {row["kind"]: row for row in counted(rows, found).iter_rows(named=True)}
    return table, {method: truths(rows, reported) for method, reported in found.items()}


@pytest.fixture(scope="module")
def table(found: Found) -> dict[str, dict[str, int]]:
    return found[0]


@pytest.mark.parametrize(("name", "count"), [("paraphrases", 50), ("lookalikes", 25), ("translations", 25)])
def test_the_handwritten_pairs_are_complete(name: str, count: int) -> None:
    pairs = by_hand(name)
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}) == count
    assert all(one != other for one, other in pairs)


@pytest.mark.parametrize("kind", SAME_WORDS)
def test_all_with_the_same_words_are_found(table: dict[str, dict[str, int]], kind: str) -> None:
    found = table[kind]
    assert found["exact words"] == found["near"] == found["decontamination"] == found["planted"] == 12


def test_other_edits_are_found_by_near_or_by_decontamination(table: dict[str, dict[str, int]]) -> None:
    assert table["sentences swapped"]["near"] == 12
    assert table["5 % of the words"]["decontamination"] == 12


def test_eval_items_inside_longer_prompts_are_found_by_decontamination_alone(
    table: dict[str, dict[str, int]],
) -> None:
    for kind in ("as it is", "5 % edited"):
        found = table[f"inside a longer prompt, {kind}"]
        assert (found["exact words"], found["near"]) == (0, 0)
        assert found["decontamination"] >= (12 if kind == "as it is" else 11)


def test_no_lookalike_is_a_near_duplicate(table: dict[str, dict[str, int]]) -> None:
    assert (table[LOOKALIKE]["exact words"], table[LOOKALIKE]["near"]) == (0, 0)


def test_nothing_else_is_reported(found: Found) -> None:
    _, truth = found
    assert all(right == every > 0 for right, every in (truth["exact words"], truth["near"]))


def test_contradictory_copies_are_all_found() -> None:
    base = longer_texts()
    assert contradictions(base, same_words) == contradictions(base, nearly_same_words) == len(base) == 12
    assert contradictions(base, lambda texts: pl.int_range(len(texts), eager=True).to_numpy()) == 0
