"""Each form: literal rows, and what was written reads back as the same pairs."""

import json
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.errors import InputError
from curate.publish.forms import FORMS
from curate.publish.forms.base import LOSSES, REFUSALS
from curate.publish.forms.writing import reasons_of, survey

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Tea?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Which?"},
]
GOOD, BAD = {"role": "assistant", "content": "Green."}, {"role": "assistant", "content": "Any."}
PAIR = {"prompt": TALK, "chosen": [GOOD], "rejected": [BAD]}
SAID = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Tea?"},
    {"from": "gpt", "value": "Yes."},
    {"from": "human", "value": "Which?"},
]
SAID_GOOD, SAID_BAD = {"from": "gpt", "value": "Green."}, {"from": "gpt", "value": "Any."}
ROWS: dict[str, list[dict[str, Any]]] = {
    "trl-implicit": [{"chosen": [*TALK, GOOD], "rejected": [*TALK, BAD]}],
    "reward": [{"chosen": [*TALK, GOOD], "rejected": [*TALK, BAD]}],
    "kto": [
        {"prompt": TALK, "completion": [GOOD], "label": True},
        {"prompt": TALK, "completion": [BAD], "label": False},
    ],
    "openrlhf": [PAIR],
    "sharegpt": [{"chosen": [*SAID, SAID_GOOD], "rejected": [*SAID, SAID_BAD]}],
    "openai": [{"input": {"messages": TALK}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}],
    "llamafactory": [{"conversations": SAID, "chosen": SAID_GOOD, "rejected": SAID_BAD}],
    "llamafactory-alpaca": [
        {"instruction": "Which?", "input": "", "chosen": "Green.", "rejected": "Any.", "system": "Be brief.",
         "history": [["Tea?", "Yes."]]}
    ],
    "axolotl": [{"messages": TALK, "chosen": GOOD, "rejected": BAD}],
    "ms-swift": [{"messages": [*TALK, GOOD], "rejected_response": "Any."}],
}  # fmt: skip
CALL = {"type": "function", "function": {"name": "steep", "arguments": {"minutes": 3}}}
TOOLS = [{"type": "function", "function": {"name": "steep", "parameters": {"type": "object"}}}]
CALLING = {
    "prompt": [{"role": "user", "content": "Steep it."}],
    "chosen": [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
    "rejected": [{"role": "assistant", "content": "No."}],
    "tools": TOOLS,
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def converted(rows: Any, form: str, folder: Path, **options: Any) -> list[dict[str, Any]]:
    curate.convert(rows, to=form, out=folder / "out.jsonl", **options)
    return lines(folder / "out.jsonl")


@pytest.mark.parametrize("form", ROWS)
def test_rows(tmp_path: Path, form: str) -> None:
    assert converted([PAIR], form, tmp_path) == ROWS[form]


def test_rows_of_trl_are_those_of_a_run(tmp_path: Path) -> None:
    row = converted([PAIR | {"chosen_score": 2, "topic": "tea"}], "trl", tmp_path)[0]
    assert {name: row[name] for name in PAIR} == PAIR
    assert (row["chosen_score"], row["rejected_score"], row["extra"]) == (2.0, None, '{"topic":"tea"}')


def test_rows_of_texts(tmp_path: Path) -> None:
    pairs = [{"prompt": "Tea?", "chosen": "Green.", "rejected": "Any."}]
    assert converted(pairs, "text", tmp_path) == pairs
    curate.convert(pairs, to="verl", out=tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet").to_dicts() == pairs


def test_every_form_has_its_rows_here() -> None:
    assert set(FORMS) == {*ROWS, "trl", "text", "verl"}


def test_scores_models_and_other_columns_are_carried(tmp_path: Path) -> None:
    given = PAIR | {"chosen_score": 4, "rejected_score": 1.5, "chosen_model": "m", "topic": "tea"}
    carried = {"chosen_score": 4.0, "rejected_score": 1.5, "chosen_model": "m", "extra": '{"topic":"tea"}'}
    assert converted([given], "openrlhf", tmp_path) == [PAIR | carried | {"margin": 2.5}]
    (tmp_path / "out.jsonl").unlink()
    assert [(row["score"], row["model"]) for row in converted([given], "kto", tmp_path)] == [(4.0, "m"), (1.5, None)]


def test_a_margin_is_written_only_where_all_pairs_have_one(tmp_path: Path) -> None:
    scored = PAIR | {"chosen_score": 4, "rejected_score": 1}
    assert all("margin" not in row for row in converted([scored, CALLING | {"tools": None}], "reward", tmp_path))


def test_calls_of_tools(tmp_path: Path) -> None:
    folders = [tmp_path / form for form in ("trl", "openai", "sharegpt")]
    trl, openai, sharegpt = (converted([CALLING], folder.name, folder)[0] for folder in folders)
    assert (trl["chosen"], trl["tools"]) == (CALLING["chosen"], TOOLS)
    assert openai["input"]["tools"] == TOOLS
    function = {"name": "steep", "arguments": '{"minutes":3}'}
    assert openai["preferred_output"][0]["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]
    assert sharegpt["chosen"][-1] == {"from": "function_call", "value": '{"name":"steep","arguments":{"minutes":3}}'}
    assert json.loads(sharegpt["tools"]) == TOOLS


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        *product(["trl", "trl-implicit", "reward", "sharegpt", "llamafactory"], ["jsonl", "parquet"]),
        ("openai", "jsonl"),
    ],
)
def test_calls_read_back(tmp_path: Path, form: str, kind: str) -> None:
    out = tmp_path / f"out.{kind}"
    named = {"role": "assistant", "content": "", "tool_calls": [{"id": "mine", **CALL}]}  # others get ids for openai
    pair = CALLING | ({"chosen": [named]} if form == "openai" else {})
    curate.convert([pair], to=form, out=out)
    back, pairs = curate.read(out), curate.read([pair])
    assert back.select("pair_id", "tools").equals(pairs.select("pair_id", "tools"))


RESULT = {"role": "tool", "content": "Done."}


def test_openais_calls_have_ids_that_their_results_name(tmp_path: Path) -> None:
    """Ids are required there (ChatCompletionToolMessageParam), as is a list of tools where the key is."""
    steep = {"role": "assistant", "content": "", "tool_calls": [CALL, {"id": "mine", **CALL}]}
    ask = {"role": "user", "content": "Steep it."}
    calling = PAIR | {
        "prompt": [ask, steep, RESULT, RESULT | {"tool_call_id": "mine"}],
        "chosen": [steep, RESULT, GOOD],
    }
    first, second = converted([calling, CALLING], "openai", tmp_path)
    prompt, chosen = first["input"]["messages"], first["preferred_output"]
    assert [call["id"] for call in prompt[1]["tool_calls"]] == ["call_1", "mine"]
    assert [turn["tool_call_id"] for turn in prompt[2:]] == ["call_1", "mine"]
    assert [call["id"] for call in chosen[0]["tool_calls"]] == ["call_3", "mine"]
    assert chosen[1:] == [RESULT | {"tool_call_id": "call_3"}, GOOD]
    assert (set(first["input"]), set(second["input"])) == ({"messages"}, {"messages", "tools"})


def test_openrlhf_reads_messages_with_more_than_a_text_from_parquet_only(tmp_path: Path) -> None:
    """Of such lines `datasets` makes a type that turns the texts which OpenRLHF renders into lists of letters."""
    for pair, what in ((CALLING, "tool_calls"), (PAIR | {"chosen": [GOOD | {"name": "Ann"}]}, "name")):
        with pytest.raises(InputError, match=f"openrlhf reads messages with {what} from .parquet files only"):
            curate.convert([PAIR, pair], to="openrlhf", out=tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []
    done = curate.convert([PAIR, CALLING], to="openrlhf", out=tmp_path / "a.parquet")
    assert done.lost == {"tools offered": 1}  # it gives them to no chat template
    assert pl.read_parquet(tmp_path / "a.parquet").columns == ["prompt", "chosen", "rejected"]


def test_axolotl_reads_no_empty_answers(tmp_path: Path) -> None:
    """It looks for an answer's text in the rendered conversation, and finds an empty one at its start."""
    rows = [PAIR, PAIR | {"rejected": [BAD | {"content": ""}]}]
    done = curate.convert(rows, to="axolotl", out=tmp_path / "a.jsonl", skip=True)
    assert done.left_out == {"empty answers": 1}


def test_llamafactory_has_no_empty_system_message(tmp_path: Path) -> None:
    done = curate.convert([PAIR | {"prompt": [SYSTEM, TALK[1]]}], to="llamafactory", out=tmp_path / "a.jsonl")
    assert done.lost == {"empty system messages": 1}


WHAT: dict[str, dict[str, Any]] = {  # a pair that each of REFUSALS is about
    "answers of several turns": {"chosen": [GOOD, TALK[1], GOOD]},
    "answers by others than the assistant": {"chosen": [{"role": "tool", "content": "x"}]},
    "prompts of more than a question": {"prompt": TALK},
    "turns that do not alternate": {"prompt": [TALK[1], TALK[1]]},
    "calls of tools or their results": {"prompt": [TALK[1], {"role": "tool", "content": "x"}]},
    "text beside a call": {"chosen": [{"role": "assistant", "content": "Hm.", "tool_calls": "[]"}]},
    "messages of a developer": {"prompt": [{"role": "developer", "content": "x"}, TALK[1]]},
    "empty turns": {"chosen": [{"role": "assistant", "content": ""}]},
    "empty answers": {"rejected": [{"role": "assistant", "content": ""}]},
    "equal answers": {"rejected": [GOOD]},
}
SYSTEM = {"role": "system", "content": ""}
HELD: dict[str, dict[str, Any]] = {  # a pair that each of LOSSES is about
    "scores": {"chosen_score": 1.0},
    "strength": {"strength": 1.0},
    "models": {"rejected_model": "m"},
    "other columns": {"extra": "{}"},
    "tools offered": {"tools": "[]"},
    "reasoning": {"chosen": [GOOD | {"reasoning": "Hm."}]},
    "names of speakers": {"prompt": [TALK[1] | {"name": "Ann"}]},
    "ids of calls": {"chosen": [GOOD | {"tool_calls": '[{"id":"1","type":"function"}]'}]},
    "empty system messages": {"prompt": [SYSTEM, TALK[1]]},
}
PLAIN = {"prompt": [TALK[1]], "chosen": [GOOD], "rejected": [BAD]}


def frame(**changes: Any) -> pl.DataFrame:
    """Return a pair, and one with changes."""
    return pl.DataFrame([PLAIN, PLAIN | changes], schema=curate.PAIR)


@pytest.mark.parametrize("why", REFUSALS)
def test_pairs_that_a_form_cannot_express(why: str) -> None:
    expression = REFUSALS[why].fill_null(value=True)
    assert frame(**WHAT[why]).select(expression).to_series().to_list() == [False, True]


@pytest.mark.parametrize("what", LOSSES)
def test_what_is_lost_of_a_pair(what: str) -> None:
    expression = LOSSES[what].fill_null(value=False)
    assert frame(**HELD[what]).select(expression).to_series().to_list() == [False, True]


@pytest.mark.parametrize("form", FORMS)
def test_forms_name_what_is_known(form: str) -> None:
    assert set(FORMS[form].lost) <= set(LOSSES)
    assert set(FORMS[form].refused) <= set(REFUSALS)
    assert FORMS[form].reference.startswith("https://")


def test_what_was_refused_is_not_counted_as_lost() -> None:
    pair = frame(chosen=[GOOD, TALK[1], GOOD], chosen_score=1.0)
    found = survey(lambda: [pair], FORMS["axolotl"])
    assert (found.pairs, found.expressible, dict(found.refused)) == (2, 1, {"answers of several turns": 1})
    assert found.found == frozenset()


# Texts that no reader takes for something else: a letter, then anything.
text = st.builds(str.__add__, st.sampled_from("abcé日🍵"), st.text(max_size=20)).map(str.strip)
answer = text.map(lambda said: f"so {said}")


@st.composite
def pairs_of_words(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Pairs with prompts of their own: a system message or none, also an empty one, and one question or several."""
    rows = []
    for number in range(draw(st.integers(1, 4))):
        turns = draw(st.lists(text, min_size=1, max_size=5).filter(lambda said: len(said) % 2 == 1))
        talk = [{"role": ("user", "assistant")[place % 2], "content": said} for place, said in enumerate(turns)]
        talk[-1]["content"] += f" {number}?"
        system = draw(st.none() | st.just("") | text)
        prompt = talk if system is None else [{"role": "system", "content": system}, *talk]
        good, bad = draw(st.lists(answer, min_size=2, max_size=2, unique=True))
        sides = {side: [{"role": "assistant", "content": said}] for side, said in (("chosen", good), ("rejected", bad))}
        rows.append({"prompt": prompt, **sides})
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@given(rows=pairs_of_words())
@settings(max_examples=25, deadline=None)
def test_what_was_written_reads_back_as_the_same_pairs(form: str, rows: list[dict[str, Any]]) -> None:
    """All pairs that the form can express; alpaca has no empty system message."""
    if form == "llamafactory-alpaca":
        rows = [row | {"prompt": [turn for turn in row["prompt"] if turn["content"]]} for row in rows]
    pairs = curate.read(rows)
    kept = pairs.filter(reasons_of(pairs, FORMS[form]).is_null())
    if not len(kept):
        return
    with TemporaryDirectory() as folder:
        out = Path(folder) / f"out{FORMS[form].endings[0]}"
        curate.convert(rows, to=form, out=out, skip=True)
        back = curate.read(out, errors="return")[0]
    assert (
        back.select("prompt_id", "pair_id").sort("pair_id").equals(kept.select("prompt_id", "pair_id").sort("pair_id"))
    )
