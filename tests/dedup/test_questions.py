"""What prompts ask: without the system message and without context that many prompts with different questions share."""

import random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.dedup.contexts import shared_contexts
from curate.dedup.corpus import BlockCorpus, blocks_of
from curate.dedup.near_finder import Near, NearFinder
from curate.dedup.questions import Questions, asked
from curate.engine import sliced
from curate.schema import MESSAGES

DOCUMENT = "In the first year the cooperative built a mill beside the river and hired ten workers. " * 4
OTHER = "A gull flew over the harbour at dawn, looking for bread that the sailors had dropped there. " * 4
QUESTIONS = ["Translate the text into French.", "How many workers were hired?", "Write a poem about bakers."]


def frame(*prompts: Any) -> pl.DataFrame:
    """Return a frame of prompts: messages, or the text of a user turn."""
    turns = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    return pl.DataFrame({"prompt": turns}, schema={"prompt": MESSAGES})


def own(*prompts: Any) -> list[str | None]:
    found = frame(*prompts)
    return compared(Questions(sliced(found, 2)), found, "prompt", "own")


def compared(questions: Questions, frame: pl.DataFrame, compare: str, form: str = "named") -> list[str | None]:
    return [text for block in questions.texts(sliced(frame, 3), compare, form) for text in block.read()]


def similar(*prompts: Any) -> list[tuple[int, int]]:
    finder = NearFinder(Near(), BlockCorpus.of(frame(*prompts)))
    return finder.edges().select("row_a", "row_b").rows()


def test_a_system_message_is_not_asked() -> None:
    system = {"role": "system", "content": "Be kind."}
    turns = [system, {"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "No."}]
    prompts = frame(turns, [{**system, "role": "developer"}], "Tea?", None)
    assert asked(prompts).to_list() == ["Tea?\n\nNo.", "Be kind.", "Tea?", None]


@pytest.mark.parametrize("form", ["{document}\n\n{question}", "{question}\n\n{document}", "{document}\n{question}"])
def test_a_document_with_different_questions_is_context(form: str) -> None:
    prompts = [form.format(document=DOCUMENT, question=question) for question in QUESTIONS]
    assert [text and text.strip() for text in own(*prompts)] == QUESTIONS
    assert similar(*prompts) == []


def test_the_turns_before_the_question_are_context() -> None:
    turns = [{"role": "user", "content": DOCUMENT}, {"role": "assistant", "content": OTHER}]
    prompts = [[*turns, {"role": "user", "content": question}] for question in QUESTIONS]
    assert own(*prompts) == QUESTIONS


def test_the_same_question_about_another_document_is_another_question() -> None:
    question = "Which of the persons in the text above would you trust with the keys of your own house, and why?"
    prompts = [f"{text}\n\n{one}" for text in (DOCUMENT, OTHER) for one in [*QUESTIONS, question]]
    assert own(*prompts)[3] == own(*prompts)[7] == question
    assert similar(*prompts) == []


def test_equal_questions_about_one_document_are_found() -> None:
    prompts = [f"{DOCUMENT}\n\n{question}" for question in [*QUESTIONS, "how many workers were hired"]]
    assert similar(*prompts) == [(1, 3)]


def test_a_prompt_that_is_only_context_is_compared_whole() -> None:
    prompts = [*(f"{DOCUMENT}\n\n{question}" for question in QUESTIONS), DOCUMENT, DOCUMENT.upper() + " So it was."]
    assert own(*prompts)[3] == DOCUMENT
    assert similar(*prompts) == [(3, 4)]


@pytest.mark.parametrize(("size", "is_context"), [(99, False), (100, True)])
def test_a_line_of_a_hundred_bytes_may_be_context(size: int, is_context: bool) -> None:
    line = DOCUMENT[: size - 1] + "."
    prompts = [f"{line}\n\n{question}" for question in QUESTIONS]
    assert own(*prompts) == (QUESTIONS if is_context else prompts)


def test_short_lines_of_a_shared_paragraph_are_context_with_it() -> None:
    prompts = [f"{DOCUMENT}\nIt was cold.\nSo they say.\n\n{question}" for question in QUESTIONS]
    assert own(*prompts) == QUESTIONS


def test_questions_may_be_one_word_or_long_lines() -> None:
    asked_for = ["Why?", f"{QUESTIONS[1]} {'Say how you know this. ' * 5}", "Write a poem about bakers."]
    assert own(*(f"{DOCUMENT}\n\n{question}" for question in asked_for)) == asked_for


@pytest.mark.parametrize(("words", "numbers"), [(1, 2), (14, 2), (15, 3), (49, 9), (50, 10), (70, 10)])
def test_context_is_named_by_a_number_per_five_words(words: int, numbers: int) -> None:
    question = " ".join(["word"] * words)
    found = frame(*(f"{DOCUMENT * 3}\n\n{one}" for one in (*QUESTIONS, question)))
    named = compared(Questions(sliced(found)), found, "prompt")[3] or ""
    text, _, name = named.rpartition("\n")
    assert (text, len(name.split()), name.replace(" ", "").isdigit()) == (question, numbers, True)


def test_two_prompts_are_not_many() -> None:
    prompts = [f"{DOCUMENT}\n\n{question}" for question in QUESTIONS[:2]]
    assert own(*prompts) == prompts


def test_one_prompt_with_many_pairs_counts_once() -> None:
    prompts = [f"{DOCUMENT}\n\n{question}" for question in [QUESTIONS[0]] * 9 + [QUESTIONS[1]] * 9]
    assert own(*prompts) == prompts


def test_what_nearly_equal_prompts_share_is_no_context() -> None:
    text = "please tell me in which year of the war the old bridge over the river was built again and by whom"
    words = text.split()
    edited = [" ".join([*words[:at], "indeed", *words[at + 1 :]]) for at in range(0, len(words), 4)]
    prompts = [f"{DOCUMENT}\n\n{question}" for question in edited]
    assert own(*prompts) == prompts
    assert {row for edge in similar(*prompts) for row in edge} == set(range(len(prompts)))


def test_prompts_of_which_one_has_no_recognized_context_are_compared_whole() -> None:
    prompts = [f"{DOCUMENT}\n\n{question}" for question in QUESTIONS]
    assert similar(*prompts, prompts[1].replace("\n\n", " ")) == [(1, 3)]


def test_context_that_is_the_smaller_part_stays() -> None:
    context = "Answer in two sentences, and name the sources from which you know what you say, if there are any at all."
    prompts = [f"{context}\n\n{text}" for text in (DOCUMENT, OTHER, "a " * 150)]
    assert own(*prompts) == prompts


def test_responses_are_compared_whole_and_prompts_beside_them_are_not() -> None:
    rows = [
        {"prompt": f"{DOCUMENT}\n\n{question}", "chosen": f"Answer {n}.", "rejected": "No."}
        for n, question in enumerate(QUESTIONS)
    ]
    pairs = curate.read(rows)
    questions = Questions(sliced(pairs))
    assert compared(questions, pairs, "chosen") == ["Answer 0.", "Answer 1.", "Answer 2."]
    assert compared(questions, pairs, "prompt+chosen", "own")[1] == "How many workers were hired?\n\nAnswer 1."
    assert compared(questions, pairs, "prompt", "whole")[1] == f"{DOCUMENT}\n\n{QUESTIONS[1]}"


def test_near_and_split_go_by_the_question() -> None:
    rows = [
        {"prompt": f"{DOCUMENT}\n\nWhat did worker {name} do?", "chosen": f"{name} rested.", "rejected": "No."}
        for name in ("Ada", "Ben", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jo")
    ]
    assert curate.dedup.near(rows).kept.height == 10
    assert {name: part.height for name, part in curate.split(rows, test=0.3).items()} == {"train": 7, "test": 3}


def test_vectors_tell_questions_and_documents_apart() -> None:
    def embed(texts: Any, model: str | None, total: int) -> np.ndarray:
        """One axis for each letter that begins a text; the same text has the same vector."""
        letters = [text[0].lower() if text else None for block in texts for text in block]
        return np.array([[letter == axis for axis in "thwia"] for letter in letters], np.float32)

    prompts = frame(*(f"{text}\n\n{question}" for text in (DOCUMENT, OTHER) for question in QUESTIONS), "Alone?")
    corpus = BlockCorpus(blocks_of(prompts), len(prompts), embed)
    vectors = corpus.vectors("prompt", None)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(7))
    cosines = vectors @ vectors.T
    assert cosines[0, 1] == pytest.approx(0.3)  # the same document
    assert cosines[0, 3] == pytest.approx(0.7)  # the same question
    assert cosines[0, 4] == pytest.approx(0)
    other = corpus.beside(prompts[2:4]).vectors("prompt", None)
    assert (other @ vectors.T)[0] == pytest.approx(cosines[2])


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_contexts_do_not_depend_on_blocks_or_order(size: int, chance: random.Random) -> None:
    texts = [f"{text}\n\n{question}" for text in (DOCUMENT, OTHER) for question in QUESTIONS] + [DOCUMENT, "Tea?"]
    expected = shared_contexts(sliced(pl.Series(texts)))
    chance.shuffle(texts)
    assert shared_contexts(sliced(pl.Series(texts), size)).equals(expected)
    assert len(expected) == 2
