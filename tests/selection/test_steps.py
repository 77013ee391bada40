"""Steps in order, budgets and mixes, and what is said where nothing would be left."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from curate.errors import RecipeError
from curate.recipe.load import make_recipe, resolved
from curate.schema.section import checked
from curate.selection.choices import Material
from curate.selection.mixing import room_per_source
from curate.selection.sections import Select
from curate.selection.steps import columns_of_steps, needs_vectors, take_steps

SOURCE = {"source": {"paths": ["a.jsonl"]}}
PAIRS = pl.DataFrame(
    {
        "pair_id": list("abcdefgh"),
        "source": ["x.jsonl"] * 5 + ["y.jsonl"] * 3,
        "chosen_chars": [10, 20, 30, 40, 50, 60, 70, 80],
        "rejected_chars": [9, 9, 9, 9, 9, 9, 9, 9],
        "margin": [0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 2.0, 3.0],
    }
)


def select(settings: Any, pairs: pl.DataFrame = PAIRS, **material: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return the ids of the pairs that are left, and (id, rule) of the others."""
    made = Material(
        lambda: material.get("vectors", np.eye(len(pairs), dtype=np.float32)),
        lambda: material.get("clusters", (np.zeros(len(pairs), np.int64), ["all"])),
        lambda like: np.array(material["relevance"][like.texts[0]]),
    )
    section = checked(Select, **({"steps": settings} if isinstance(settings, list) else settings))
    found = take_steps(pairs, section, made)
    ids = pairs.get_column("pair_id")
    dropped = [(ids[at], rule) for at, rule, _ in found.drops.sort("at").iter_rows()]
    return "".join(one for one in ids if one not in dict(dropped)), dropped


def test_steps_are_taken_in_their_order() -> None:
    pairs = PAIRS.with_columns(margin=-pl.col("margin"))
    longest, best = {"top": {"n": 4, "by": "longest"}}, {"top": {"n": 2}}
    assert select([longest, best], pairs)[0] == "dg"
    assert select([best, longest], pairs)[0] == "af"
    left, dropped = select([{"cap": {"per": "source", "n": 1}}, {"random": {"share": 0.5}}])
    assert left in ("e", "h")
    assert {rule for _, rule in dropped} == {"cap", "random"}


def test_each_step_reports_rows_sources_and_how_lengths_moved() -> None:
    section = checked(Select, steps=[{"cap": {"per": "source", "n": 2}}], budget=2, fill="top")
    found = take_steps(PAIRS, section, Material(lambda: np.eye(8), lambda: (np.zeros(8), []), lambda _: np.zeros(8)))
    assert [step["step"] for step in found.steps] == ["cap", "budget"]
    assert found.steps[0] == {
        "step": "cap",
        "rows": [8, 4],
        "sources": {"x.jsonl": [5, 2], "y.jsonl": [3, 2]},
        "medians": {"chosen_chars": [45.0, 60.0], "rejected_chars": [9.0, 9.0], "margin": [0.45, 1.25]},
    }
    assert found.steps[1]["rows"] == [4, 2]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"budget": 3, "fill": "top"}, "deh"),  # quantiles within a source: 1, 1, then 0.8
        ({"budget": 100, "fill": "top"}, "abcdefgh"),
        ({"mix": {"x.jsonl": 1, "y.jsonl": 1}, "fill": "top"}, "cdefgh"),
        ({"mix": {"x.jsonl": 1, "y.jsonl": 0}, "fill": "top"}, "abcde"),
        ({"mix": {"x.jsonl": 3, "y.jsonl": 1}, "budget": 4, "fill": "top"}, "cdeh"),
        ({"mix": {"x.jsonl": 1, "y.jsonl": 1}, "budget": 8, "fill": "top"}, "bcdefgh"),
        ({"rows": {"x.jsonl": 1, "y.jsonl": 2}, "fill": "top"}, "egh"),
        ({"rows": {"x.jsonl": 0, "y.jsonl": 9}, "fill": "top"}, "fgh"),
    ],
)
def test_budgets_and_mixes(settings: dict[str, Any], left: str) -> None:
    found, dropped = select(settings)
    assert found == left
    assert {rule for _, rule in dropped} <= {"budget"}


def test_relevance_by_threshold_top_and_share() -> None:
    relevance = {"tea": [0.9, 0.6, 0.5, 0.4, np.nan, 0.1, 0.0, 0.7]}
    assert select([{"like": {"texts": "tea"}}], relevance=relevance)[0] == "abch"
    assert select([{"like": {"texts": "tea", "threshold": 0.65}}], relevance=relevance)[0] == "ah"
    assert select([{"like": {"texts": "tea", "top": 3}}], relevance=relevance)[0] == "abh"
    assert select([{"like": {"texts": "tea", "share": 0.25}}], relevance=relevance)[0] == "ah"
    assert select([{"unlike": {"texts": "tea"}}], relevance=relevance)[0] == "defg"
    assert select([{"unlike": {"texts": "tea", "top": 1}}], relevance=relevance)[0] == "bcdefgh"
    assert select([{"unlike": {"texts": "tea", "top": 8}}], relevance=relevance)[0] == "e"  # NaN: like nothing
    both = [{"like": {"texts": "tea"}}, {"unlike": {"texts": "milk"}}]
    assert select(both, relevance=relevance | {"milk": [0.9, 0, 0, 0, 0, 0, 0, 0]})[0] == "bch"


def test_topics_are_kept_or_dropped_by_name_or_word() -> None:
    clusters = np.array([0, 0, 1, 1, 2, 2, -1, -1]), ["bread, oven, rye", "python, code, loop", "dogs, cats"]
    assert select([{"topics": {"keep": "Python"}}], clusters=clusters)[0] == "cd"
    assert select([{"topics": {"drop": ["bread, oven, rye", "cats"]}}], clusters=clusters)[0] == "cdgh"
    assert select([{"topics": {"keep": ["code", "dogs"], "drop": "cats"}}], clusters=clusters)[0] == "cd"
    with pytest.raises(
        RecipeError, match=r"no cluster is named 'pyton'. Did you mean 'python'\? Clusters: bread, oven"
    ):
        select([{"topics": {"keep": "pyton"}}], clusters=clusters)


def test_diversity_takes_the_best_of_each_kind() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 2, 2, 2]]
    assert select([{"farthest": {"n": 3}}], vectors=vectors)[0] == "ceh"
    assert select([{"mmr": {"n": 3, "relevance": 0.1}}], vectors=vectors)[0] == "ceh"
    assert select([{"cap": {"n": 1}}], clusters=(np.array([0, 0, 0, 1, 1, 2, 2, -1]), ["a"] * 3))[0] == "cegh"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["rip"], "select.rip needs rejected_score, which no pair has: let a judge or a reward model score"),
        (["selective"], "select.selective needs heldout_loss, which no pair has: measure it with label_noise: true"),
        (["implicit_gap"], "select.implicit_gap needs implicit_gap, which no pair has: measure it with models"),
        ([{"like": {"texts": "tea", "threshold": 0.9}}], "select.like keeps none of 8 pairs: the highest relevance is "
         "0.30. Name a threshold up to that, or top or share instead"),
        ([{"unlike": {"texts": "tea", "threshold": 0}}], "select.unlike keeps none of 8 pairs: unlike drops 8 "
         "(0.1 to 0.3). Widen it, or leave it out"),
        ({"mix": {"x.json": 1}}, "no pair is of the source 'x.json'. Did you mean 'x.jsonl'? Sources: x.jsonl, y.js"),
        ({"mix": {"x.jsonl": 1}}, "select.mix: give it a weight, or 0: there are also pairs of y.jsonl"),
        ({"rows": {"x.jsonl": 5, "y.jsonl": 3}, "budget": 7}, "select.rows: 8 pairs are more than the budget of 7"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_selection_that_cannot_be(settings: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        select(settings, relevance={"tea": [0.1, 0.2, 0.3] * 2 + [0.1, 0.1]})
    assert message in str(caught.value)


def test_a_gap_that_nothing_exceeds() -> None:
    pairs = PAIRS.with_columns(implicit_gap=pl.lit(-1.0))
    with pytest.raises(RecipeError, match=r"implicit_gap keeps none of 8 pairs: implicit_gap drops 8 \(-1 to -1\)"):
        select(["implicit_gap"], pairs)


@pytest.mark.parametrize(
    ("select_", "steps"),
    [
        (["rip", {"top": {"n": 5}}], ["rip", "top"]),
        ({"rip": {}, "cap": {"n": 3}}, ["rip", "cap"]),
        ({"cap": {"n": 3}, "rip": None}, ["cap"]),
        ({"steps": ["rip"], "random": {"n": 3}}, ["rip", "random"]),
        ({"steps": [{"cap": {"n": 3}}], "cap": {"by": "longest"}}, ["cap"]),
        ({"steps": ["rip", {"cap": {"n": 3}}], "rip": False}, ["cap"]),
    ],
)
def test_steps_as_a_list_and_as_keys(select_: Any, steps: list[str]) -> None:
    recipe = make_recipe({**SOURCE, "select": select_})
    assert recipe.select is not None
    assert [step.name for step in recipe.select.steps] == steps
    plain = resolved(recipe)
    assert make_recipe(plain).select == recipe.select
    assert all(len(step) == 1 for step in plain["select"]["steps"])


def test_settings_are_added_to_a_step_that_is_there() -> None:
    recipe = make_recipe({**SOURCE, "select": {"steps": [{"cap": {"n": 3}}]}}, ["select.cap.by=longest"])
    assert recipe.select is not None
    assert recipe.select.steps[0].settings.model_dump() == {"per": "cluster", "n": 3, "by": "longest"}


@pytest.mark.parametrize(
    ("select_", "message"),
    [
        ({"rap": {}}, "select: unknown key rap. Did you mean 'rip'?"),
        (["rap"], "unknown step rap. Did you mean 'rip'?"),
        ([{"rip": {}, "top": {}}], "expected one step per entry"),
        ({"top": {}}, "name one of n and share"),
        ({"top": {"n": 5, "share": 0.5}}, "name one of n and share"),
        ({"like": {}}, "name examples (a file) or texts"),
        ({"like": {"texts": " "}}, "name examples (a file) or texts"),
        ({"like": {"texts": "x", "top": 5, "share": 0.1}}, "name one of threshold, top and share"),
        ({"topics": {}}, "name topics to keep or to drop"),
        ({"top": {"n": 5, "by": "chosen_txt"}}, "select.top.by: 'chosen_txt' is not a numeric signal"),
        ({"cap": {"n": 5, "per": "chosen_modl"}}, "select.cap.per: 'chosen_modl' is not a column. Did you mean"),
        ({"mix": {"a": 0}}, "at least one weight must be above 0"),
        ({"mix": {"a": 1}, "rows": {"a": 1}}, "name mix (weights) or rows, not both"),
        ({"rip": {"score": 2}}, "less than or equal to 1"),
    ],
)
def test_a_slip_in_the_section(select_: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe({**SOURCE, "select": select_})
    assert message in str(caught.value)


@pytest.mark.parametrize("per", ["cluster", "source", "chosen_model", "rejected_model", "prompt_id", "prompt_language"])
def test_what_pairs_can_be_capped_by(per: str) -> None:
    assert make_recipe({**SOURCE, "select": {"cap": {"per": per, "n": 5}}}).select is not None


def test_what_a_selection_reads() -> None:
    section = checked(Select, steps=["bees", {"cap": {"per": "chosen_model", "n": 5, "by": "longest"}}], budget=3)
    assert columns_of_steps(section)[5:] == ["chosen_model", "implicit_gap"]
    assert needs_vectors(section)
    assert not needs_vectors(checked(Select, steps=["rip"]))
    assert needs_vectors(checked(Select, steps=[{"cap": {"n": 1}}]))


def test_a_source_by_the_end_of_its_path() -> None:
    sources = pl.Series("source", ["data/a.jsonl", "data/b.jsonl", "data/b.jsonl"])
    assert room_per_source(sources, None, {"a.jsonl": 1, "b.jsonl": 1}, {}) == {"data/a.jsonl": 1, "data/b.jsonl": 1}


def test_no_pairs_at_all() -> None:
    assert select({"steps": ["rip"], "budget": 3}, PAIRS.head(0)) == ("", [])
