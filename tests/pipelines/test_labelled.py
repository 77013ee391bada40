"""Labelled pairs in parts: what is drawn, what is left out, and that no prompt is in two parts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.recipe.load import make_recipe
from pipelines.inputs import answers_of, labels_of
from pipelines.labelled import Labelled, read_labelled
from tests.data import write_jsonl

SIZES = {"held out": 3, "for development": 2, "as examples": 2}
TOPICS = (
    "amber", "basil", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "juniper", "kelp", "larch", "moss",
    "nettle", "oak", "pine",
)  # fmt: skip


def pairs(*topics: str) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {topic}?", "chosen": f"{topic} yes", "rejected": f"{topic} no"} for topic in topics]


def read(rows: Iterable[Mapping[str, Any]], sizes: Mapping[str, int] = SIZES, **options: Any) -> Labelled:
    settings = options.pop("settings", ())
    with TemporaryDirectory() as folder:
        path = write_jsonl(Path(folder) / "p.jsonl", rows)
        return read_labelled(make_recipe({"source": {"paths": [str(path)]}}, settings), sizes, **options)


def prompts(found: Labelled, part: str) -> list[str]:
    content = pl.col("prompt").list.first().struct.field("content")
    return found.parts[part].select(content).to_series().to_list()


def test_parts_have_their_sizes_and_ids_of_their_own() -> None:
    found = read(pairs(*TOPICS))
    assert {name: len(part) for name, part in found.parts.items()} == SIZES
    assert found.rows == 16
    assert list(found.inputs) == ["p.jsonl"]
    held_out = found.parts["held out"]
    assert held_out.select("source", "source_row").rows() == [("held out", 0), ("held out", 1), ("held out", 2)]
    assert (len(answers_of(held_out)), len(labels_of(held_out))) == (6, 3)
    assert [len(part) for part in read(pairs(*TOPICS), spare=4).parts.values()] == [3, 2, 6]
    assert [len(part) for part in read(pairs(*TOPICS), spare=99).parts.values()] == [3, 2, 11]


def test_the_sample_depends_on_the_prompts_and_the_salt_alone() -> None:
    found = read(pairs(*TOPICS))
    turned = read([*reversed(pairs(*TOPICS)), *pairs("oak")])
    assert [prompts(turned, name) for name in SIZES] == [prompts(found, name) for name in SIZES]
    larger = read(pairs(*TOPICS), {"held out": 3, "for development": 5, "as examples": 8})
    assert prompts(larger, "held out") == prompts(found, "held out")
    assert prompts(larger, "for development")[:2] == prompts(found, "for development")
    salted = read(pairs(*TOPICS), settings=["split.salt=other"])
    assert prompts(salted, "held out") != prompts(found, "held out")


def test_what_labels_nothing_is_left_out_and_counted() -> None:
    one, two, three = pairs("amber", "basil", "cedar")
    rows = [
        *pairs(*TOPICS[3:10]),
        one | {"rejected": one["chosen"]},
        two, two | {"chosen": two["rejected"], "rejected": two["chosen"]},
        three | {"rejected": None},
    ]  # fmt: skip
    found = read(rows)
    assert list(found.left_out.items()) == [("labelled_both_ways", 2), ("identical", 1), ("missing_rejected", 1)]
    assert {name for part in SIZES for name in prompts(found, part)} == {f"What is {name}?" for name in TOPICS[3:10]}


def test_ties_are_left_out() -> None:
    rows = [
        {"instruction": f"What is {topic}?", "output_1": "yes", "output_2": "no", "preference": preference}
        for topic, preference in zip(TOPICS, [1.0] * 7 + [1.5] * 9, strict=True)
    ]
    found = read(rows)
    assert found.left_out == {"tie": 9}
    assert sum(map(len, found.parts.values())) == 7


def test_too_few_pairs_are_an_error_that_counts() -> None:
    with pytest.raises(InputError) as error:
        read([*pairs(*TOPICS[:6]), *pairs("amber") * 3, pairs("oak")[0] | {"chosen": None}])
    assert str(error.value) == (
        "7 labelled pairs with different prompts are needed (3 held out, 2 for development, 2 as examples), and there "
        "are 6 in 10 rows (left out: 1 missing_chosen); add pairs, or ask for fewer"
    )


LONG = "please tell me in a few words what the captain of the ship said about the weather on the {} day"
TEXTS = st.sampled_from([*TOPICS[:9], LONG.format("first"), LONG.format("second"), LONG.format("third")])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.integers(0, 3)), min_size=1, max_size=40),
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 3)),
)
def test_no_prompt_nor_one_like_it_is_drawn_twice(rows: list[tuple[str, int]], sizes: tuple[int, int, int]) -> None:
    table = [{"prompt": text, "chosen": f"yes {number}", "rejected": f"no {number}"} for text, number in rows]
    try:
        found = read(table, dict(zip(SIZES, sizes, strict=True)), spare=2)
    except InputError:
        assert len({text.split(" on the ")[0] for text, _ in rows}) < sum(sizes)
        return
    drawn = [text.split(" on the ")[0] for part in SIZES for text in prompts(found, part)]
    assert len(drawn) == len(set(drawn))
    assert [len(found.parts[name]) for name in SIZES][:2] == list(sizes[:2])


def test_more_prompts_are_read_where_many_are_similar() -> None:
    similar = [{"prompt": LONG.format(number), "chosen": "y", "rejected": "n"} for number in range(60)]
    found = read(similar + pairs(*TOPICS[:6]))
    assert sum(map(len, found.parts.values())) == 7
    with pytest.raises(InputError, match="there are 6 in 65 rows"):
        read(similar + pairs(*TOPICS[:5]))
