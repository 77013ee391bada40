"""Ids are pinned: they are the same on every machine and in every version, and anyone can recompute them."""

import hashlib

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.schema import CANDIDATES, LEDGER, MESSAGES, PAIR, PROMPTS, canonical, check, digest, empty, with_ids

Turns = list[dict[str, str]]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def triple(prompt: Turns | None, chosen: Turns | None, rejected: Turns | None) -> pl.DataFrame:
    rows = {"prompt": [prompt], "chosen": [chosen], "rejected": [rejected]}
    return pl.DataFrame(rows, schema=dict.fromkeys(rows, MESSAGES))


def ids(prompt: Turns | None, chosen: Turns | None, rejected: Turns | None) -> dict[str, str | None]:
    return with_ids(triple(prompt, chosen, rejected)).select("prompt_id", "pair_id", "flipped_id").row(0, named=True)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


ASKED = [turn("user", "Olá, você aí?")]
YES, NO = [turn("assistant", "Sim! 🙂")], [turn("assistant", "não")]


def test_digest_is_the_first_half_of_sha256_in_hex() -> None:
    texts = pl.DataFrame({"text": ["abc", "", "não 🙂", None]})
    assert texts.select(digest(pl.col("text"))).to_series().to_list() == [
        "ba7816bf8f01cfea414140de5dae2223",
        "e3b0c44298fc1c149afbf4c8996fb924",
        "0e06d432b79f71b936d0ded62211f21c",
        None,
    ]


def test_canonical_prefixes_every_part_with_its_length_in_bytes() -> None:
    rows = [[turn("system", ""), turn("user", "Hi")], [turn("user", "é🙂")], [], None]
    frame = pl.DataFrame({"messages": rows}, schema={"messages": MESSAGES})
    assert frame.select(canonical("messages")).to_series().to_list() == [
        "6:system0:4:user2:Hi",
        "4:user6:é🙂",
        "",
        None,
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([turn("user", "ab")], [turn("user", "a"), turn("user", "b")]),
        ([turn("user", "a")], [turn("system", "a")]),
        ([turn("user", "a4:user1:b")], [turn("user", "a"), turn("user", "b")]),
        ([turn("user", "")], []),
        ([turn("user", "é")], [turn("user", "e\u0301")]),
    ],
)
def test_two_lists_of_messages_have_two_prompt_ids(one: Turns, other: Turns) -> None:
    assert ids(one, YES, NO)["prompt_id"] != ids(other, YES, NO)["prompt_id"]


def test_ids_are_pinned() -> None:
    assert ids([turn("user", "Hi")], [turn("assistant", "Hello.")], [turn("assistant", "Go away.")]) == {
        "prompt_id": "1a869885805ab0847a5fc258dbca55bb",
        "pair_id": "a178cc67de9fd5b2c947454c91b3c158",
        "flipped_id": "88540b022af51aedcb771d9489ec1484",
    }


def test_ids_of_text_beyond_ascii_are_pinned() -> None:
    assert ids(ASKED, YES, NO) == {
        "prompt_id": "db566154a4026141563753ff236957e1",
        "pair_id": "eca1f3d0b66d75824bdcd3f11861d314",
        "flipped_id": "73b2150476182f45b6536b9d3935018d",
    }


def test_orientation_matters_and_flipped_id_is_the_swapped_pair() -> None:
    pair, turned = ids(ASKED, YES, NO), ids(ASKED, NO, YES)
    assert pair["pair_id"] != turned["pair_id"]
    assert (pair["flipped_id"], turned["flipped_id"]) == (turned["pair_id"], pair["pair_id"])
    assert pair["prompt_id"] == turned["prompt_id"]


def test_equal_sides_are_their_own_flip() -> None:
    pair = ids([], [], [])
    assert pair == {
        "prompt_id": "e3b0c44298fc1c149afbf4c8996fb924",
        "pair_id": "6d53203fe6fa4ee077e1a3b0c8408d02",
        "flipped_id": "6d53203fe6fa4ee077e1a3b0c8408d02",
    }


def test_a_missing_side_has_no_ids() -> None:
    assert ids(None, None, None) == {"prompt_id": None, "pair_id": None, "flipped_id": None}
    assert ids(ASKED, YES, None) == {
        "prompt_id": "db566154a4026141563753ff236957e1",
        "pair_id": None,
        "flipped_id": None,
    }


def test_ids_depend_on_the_texts_and_not_on_the_position() -> None:
    first, second = triple(ASKED, YES, NO), triple(ASKED, NO, YES)
    both = with_ids(pl.concat([second, first])).get_column("pair_id").to_list()
    assert both == ["73b2150476182f45b6536b9d3935018d", "eca1f3d0b66d75824bdcd3f11861d314"]


def test_with_ids_keeps_the_other_columns_and_all_rows() -> None:
    frame = triple(ASKED, YES, NO).with_columns(source=pl.lit("a"))
    assert with_ids(frame).columns == ["prompt", "chosen", "rejected", "source", "prompt_id", "pair_id", "flipped_id"]
    assert with_ids(frame.clear()).shape == (0, 7)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=8)), max_size=3))
def test_prompt_id_can_be_recomputed_with_the_standard_library(turns: list[tuple[str, str]]) -> None:
    parts = [part for role, content in turns for part in (role, content)]
    by_hand = "".join(f"{len(part.encode())}:{part}" for part in parts)
    assert ids([turn(*t) for t in turns], YES, NO)["prompt_id"] == sha(by_hand)


def test_check_puts_the_columns_in_order_and_drops_others() -> None:
    schema = {"a": pl.String(), "b": pl.Int64()}
    frame = pl.DataFrame({"c": [0.5], "b": [1], "a": ["x"]})
    assert check(frame, schema).to_dicts() == [{"a": "x", "b": 1}]


def test_check_names_every_column_that_differs() -> None:
    with pytest.raises(InputError) as caught:
        check(pl.DataFrame({"a": [1]}), {"a": pl.String(), "b": pl.Int64()}, "candidates")
    assert str(caught.value) == (
        "candidates does not have the expected columns: a is Int64, expected String; b is missing, expected Int64"
    )


@pytest.mark.parametrize("schema", [PAIR, PROMPTS, CANDIDATES, LEDGER])
def test_an_empty_frame_of_a_schema_passes_its_check(schema: pl.Schema) -> None:
    assert check(pl.DataFrame(schema=schema), schema).schema == schema


def test_pair_columns_are_the_contract() -> None:
    fields = ("role", "content", "reasoning", "tool_calls", "name", "tool_call_id")
    messages = f"List(Struct({{{', '.join(f'{name!r}: String' for name in fields)}}}))"
    assert {name: str(dtype) for name, dtype in PAIR.items()} == {
        "pair_id": "String",
        "prompt_id": "String",
        "source": "String",
        "source_row": "UInt64",
        "prompt": messages,
        "chosen": messages,
        "rejected": messages,
        "chosen_score": "Float64",
        "rejected_score": "Float64",
        "strength": "Float64",
        "chosen_model": "String",
        "rejected_model": "String",
        "tools": "String",
        "extra": "String",
    }


def test_empty_returns_null_columns_of_the_schemas_types() -> None:
    frame = pl.DataFrame({"row": [0, 1]})
    some = frame.with_columns(empty(PAIR, ["strength", "extra"]))
    assert some.to_dict(as_series=False) == {"row": [0, 1], "strength": [None, None], "extra": [None, None]}
    assert some.schema == {"row": pl.Int64, "strength": pl.Float64, "extra": pl.String}
    assert frame.select(empty(PAIR)).schema == PAIR
