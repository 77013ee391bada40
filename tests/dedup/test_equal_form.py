"""Equal pairs: NFC and white space do not count; case, punctuation and roles do."""

import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.dedup.corpus import blocks_of
from curate.dedup.equal_form import SIDES, equal_form, equal_ids
from curate.engine import sliced
from curate.schema import MESSAGES, with_ids

NFC, NFD = "Wickle den Käse ein.", unicodedata.normalize("NFD", "Wickle den Käse ein.")
TEXTS = st.text(st.sampled_from(list("ab.,;<=3\n \u00a0\u0301\u0338\u212a\u037eKéßｱ한\u1112\u1161\u11ab")), max_size=8)


def pairs(*rows: tuple[str, str, str]) -> pl.DataFrame:
    sides = {
        side: [[{"role": "user" if side == "prompt" else "assistant", "content": text}] for text in texts]
        for side, texts in zip(SIDES, zip(*rows, strict=True), strict=True)
    }
    return with_ids(pl.DataFrame(sides, schema=dict.fromkeys(SIDES, MESSAGES)))


def groups(frame: pl.DataFrame, size: int = 2) -> list[int]:
    """Return for each pair the first row that equals it."""
    ids = equal_ids(
        frame.select("pair_id", "flipped_id"), lambda columns: sliced(frame.select(columns), size)
    ).get_column("pair_id")
    return [ids.to_list().index(one) for one in ids]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a \t b\r\n\r\nc ", "a b c"),
        ("a\u00a0b\u3000c", "a b c"),
        ("e\u0301", "é"),
        ("ﬁ x²", "ﬁ x²"),  # NFKC would make them fi and x2
        ("A, b", "A, b"),
        ("\n \n", ""),
        (None, None),
    ],
)
def test_the_form(text: str | None, expected: str | None) -> None:
    assert pl.DataFrame({"t": [text]}, schema={"t": pl.String}).select(equal_form(pl.col("t"))).item() == expected


def test_spaces_and_unicode_forms_do_not_count_and_case_and_marks_do() -> None:
    rows = [
        ("Tea?", NFC, "No."),
        ("Tea?\n", NFC, "No."),
        ("Tea?", f"  {NFD}", "No.\r\n"),
        ("tea?", NFC, "No."),
        ("Tea?", NFC, "No"),
        ("Tea?", NFC, "No!"),
        ("Tea?", "Wickle den  Käse\n\nein.", "No."),
    ]
    assert groups(pairs(*rows)) == [0, 0, 0, 3, 4, 5, 0]


def test_roles_count() -> None:
    one = pairs(("Tea?", "Yes.", "No."))
    role = pl.element().struct.with_fields(role=pl.lit("system"))
    other = with_ids(one.with_columns(pl.col("prompt").list.eval(role)))
    assert groups(pl.concat([one, other])) == [0, 1]


def test_pairs_whose_marks_differ_are_not_normalized() -> None:
    frame = pairs(("Tea?", " a", "b "), ("Tea!", " a", "b "))
    ids = frame.select("pair_id", "flipped_id")
    assert equal_ids(ids, blocks_of(frame)).equals(ids)
    assert equal_ids(ids.clear(), blocks_of(frame.clear())).equals(ids.clear())


def test_responses_that_differ_in_their_indentation_alone_are_no_duplicate_of_their_opposite() -> None:
    assert groups(pairs(("Loop?", "for i:\n  go", "for i:\ngo"), ("Loop?", "for i:\ngo", "for i:\n  go"))) == [0, 1]


def test_exact_drops_equal_pairs_and_opposites() -> None:
    rows = [
        {"prompt": "Tea?", "chosen": NFC, "rejected": "No."},
        {"prompt": " Tea?", "chosen": NFD, "rejected": "No. "},
        {"prompt": "Tea?", "chosen": "No.", "rejected": NFD},
    ]
    frame = curate.read(rows)
    assert curate.dedup.exact(frame[:2]).dropped.select("source_row", "rule").rows() == [(1, "duplicate_pair")]
    dropped = curate.dedup.exact(frame[1:]).dropped
    assert dropped.select("source_row", "rule").rows() == [(1, "contradiction"), (2, "contradiction")]
    assert dropped.get_column("pair_id").to_list() == frame[1:].get_column("pair_id").to_list()


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=8))
def test_pairs_are_equal_if_their_forms_are(rows: list[tuple[str, str, str]]) -> None:
    def form(text: str) -> str:
        return " ".join(unicodedata.normalize("NFC", text).split())

    keys = [tuple(form(text) for text in row) for row in rows]
    # A pair of two equal responses is compared as it is.
    keys = [key if key[1] != key[2] else row for key, row in zip(keys, rows, strict=True)]
    assert groups(pairs(*rows)) == [keys.index(key) for key in keys]
