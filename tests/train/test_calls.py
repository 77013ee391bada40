"""Runs with calls of tools, results, reasoning and tools: from a source to TRL's tokens, and back."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.rundir.file_form import file_schema, from_file, present, to_file
from curate.rundir.writers import SplitWriter
from curate.schema import PAIR, with_ids
from tests.data import write_jsonl
from tests.train.test_tokens import by_trl
from tests.train.tiny import tiny_tokenizer
from train.preflight import pairs_of
from train.tokens import tokens
from train.training.fit import as_dataset

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers

# Renders all that there is, and asks for keys as the templates of Llama 3.1 and gpt-oss do.
TEMPLATE = """\
{% if tools %}<system>{% for tool in tools %}{{ tool.function.name }}:{{ tool.function.parameters | tojson }};\
{% endfor %}{% endif %}\
{% for m in messages %}<{{ m.role }}>\
{% if 'reasoning_content' in m %}[{{ m.reasoning_content }}]{% endif %}{{ m.content }}\
{% if 'tool_calls' in m %}{% for call in m.tool_calls %}\
{{ call.function.name }}({% for key, value in call.function.arguments.items() %}{{ key }}={{ value }},{% endfor %})\
{% endfor %}{% endif %}{% if 'tool_call_id' in m %}#{{ m.tool_call_id }}{% endif %}\
{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}\
{% if add_generation_prompt %}<assistant>{% endif %}"""
OVEN = {
    "type": "function",
    "function": {"name": "oven", "parameters": {"type": "object", "properties": {"dish": {"type": "string"}}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "oven", "arguments": {"dish": "bread"}}}
FRIDGE = {"id": "c1", "type": "function", "function": {"name": "oven", "arguments": {"shelf": 2}}}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "oven", "content": "220"}
ASKED = [{"role": "user", "content": "How hot for bread?"}]
ROWS: list[dict[str, Any]] = [
    {
        "prompt": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT],
        "chosen": [{"role": "assistant", "content": "Heat it to 220 degrees.", "reasoning_content": "It said 220."}],
        "rejected": [{"role": "assistant", "content": "I do not know how hot.", "reasoning_content": "No idea."}],
        "tools": [OVEN],
    },
    {
        "prompt": ASKED,
        "chosen": [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
        "rejected": [{"role": "assistant", "content": "", "tool_calls": [FRIDGE]}],
        "tools": [OVEN],
    },
    {
        "prompt": [{"role": "user", "content": "What is for tea?"}],
        "chosen": [{"role": "assistant", "content": "Bread and butter, as always."}],
        "rejected": [{"role": "assistant", "content": "Nothing at all for you."}],
    },
]
TEXTS = [
    '<system>oven:{"type": "object", "properties": {"dish": {"type": "string"}}};<user>How hot for bread?'
    "<assistant>oven(dish=bread,)</s><tool>220#c1<assistant>",
    "[It said 220.]Heat it to 220 degrees.</s>",
    "oven(dish=bread,)</s>",
    "oven(shelf=2,)</s>",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> curate.Run:
    folder = tmp_path_factory.mktemp("calls")
    return curate.clean(write_jsonl(folder / "rows.jsonl", ROWS), folder / "RUN", settings=["split.test=0"])


def test_nothing_is_lost(run: curate.Run) -> None:
    assert run.counts["kept"] == 3
    assert run.train.collect().equals(curate.read(ROWS).with_columns(source=pl.lit("rows.jsonl")))


def test_files_have_the_fields_that_occur(run: curate.Run, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    schema = pq.read_schema(run.shards("train")[0])
    assert "tools" in schema.names
    assert str(schema.field("chosen").type) == (
        "list<element: struct<role: string, content: string, reasoning_content: string, "
        "tool_calls: list<element: extension<arrow.json>>, name: string, tool_call_id: string>>"
    )
    none = curate.clean(write_jsonl(tmp_path / "rows.jsonl", ROWS[2:]), tmp_path / "RUN", settings=["split.test=0"])
    plain = pq.read_schema(none.shards("train")[0])
    assert "tools" not in plain.names
    assert str(plain.field("chosen").type) == "list<element: struct<role: string, content: string>>"


def test_datasets_loads_calls_as_objects(run: curate.Run) -> None:
    rows = list(run.to_datasets()["train"])
    assert rows[1]["rejected"][0]["tool_calls"] == [FRIDGE]
    assert json.loads(rows[1]["tools"]) == [OVEN]
    assert rows[0]["chosen"][0]["reasoning_content"] == "It said 220."


@pytest.mark.slow
def test_the_same_tokens_as_trl_from_our_files_and_in_our_training(run: curate.Run) -> None:
    from trl.trainer.utils import remove_none_values

    tokenizer = tiny_tokenizer(TEMPLATE, size=900)
    loaded = run.to_datasets()["train"].with_transform(remove_none_values)
    pairs = pairs_of(run, "train")
    ours = tokens(pairs, tokenizer, frozenset({tokenizer.eos_token_id}))
    assert ours.get_column("refused").to_list() == [None] * 3
    for data in (loaded, as_dataset(pairs)):
        theirs = by_trl(data, tokenizer)
        for name in ("prompt", "chosen", "rejected"):
            assert ours.get_column(f"{name}_tokens").to_list() == [len(row[f"{name}_ids"]) for row in theirs]
        first, second = theirs[0], theirs[1]
        rendered = [first["prompt_ids"], first["chosen_ids"]]
        assert [tokenizer.decode(ids) for ids in rendered] == TEXTS[:2]
        assert tokenizer.decode([*second["prompt_ids"], *second["chosen_ids"]]).endswith(TEXTS[2])
        assert tokenizer.decode([*second["prompt_ids"], *second["rejected_ids"]]).endswith(TEXTS[3])


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
word = text.filter(bool)
value = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | text, lambda v: st.lists(v, max_size=2), max_leaves=3
)
function = st.fixed_dictionaries({"name": word, "arguments": st.dictionaries(text, value, max_size=3)})
call = st.fixed_dictionaries({"type": st.just("function"), "function": function}, optional={"id": word})
turn = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": text.filter(lambda said: bool(said.strip()))},
    optional={
        "reasoning": word, "tool_calls": st.lists(call, min_size=1, max_size=2), "name": word, "tool_call_id": word,
    },
)  # fmt: skip
side = st.lists(turn, min_size=1, max_size=1)
row = st.fixed_dictionaries(
    {"prompt": st.just(ASKED), "chosen": side, "rejected": side}, optional={"tools": st.just([OVEN])}
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(row, min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    pairs = curate.read(rows)
    fields = present(pairs)
    written = to_file(pairs, fields)
    assert written.schema == file_schema(fields)
    assert from_file(written.lazy()).collect().equals(pairs)
    folder = tmp_path_factory.mktemp("written")
    with SplitWriter(folder, "train", fields=fields) as writer:
        writer.write(pairs)
    again = curate.read(folder)
    assert again.equals(pairs)
    assert with_ids(again).select(list(PAIR)).equals(pairs)
