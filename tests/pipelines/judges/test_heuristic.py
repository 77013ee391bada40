"""The heuristic judge: the cost of each fault, its reasons, and its reproducibility."""

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from curate.embeddings.encoder import PACKAGES, load_encoder
from curate.schema import CANDIDATES
from pipelines.judges.heuristic import FAULTS, score

QUESTION = "How long do I boil an egg so that its yolk stays soft?"
GOOD = "Boil the egg for six minutes, then cool it in cold water so that the yolk stays soft."


class WordEncoder:
    """Embeds texts as bags of words."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 1000), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[self.places.setdefault(word, len(self.places))] = 1
        unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return unit


def candidates(*answers: str | None, prompt: str = QUESTION, finish: str | None = "stop") -> pl.DataFrame:
    rows = [
        {
            "candidate_id": str(place),
            "prompt": [{"role": "user", "content": prompt}],
            "response": None if answer is None else [{"role": "assistant", "content": answer}],
            "finish_reason": finish,
        }
        for place, answer in enumerate(answers)
    ]
    return pl.DataFrame(rows, schema=CANDIDATES)


def scores(frame: pl.DataFrame) -> list[float]:
    return score(frame, WordEncoder()).get_column("score").to_list()


def reasons(frame: pl.DataFrame) -> list[str]:
    return score(frame, WordEncoder()).get_column("reason").to_list()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("  ", "empty"),
        (f"{GOOD}<|im_end|>", "chat template leaks"),
        (f"{GOOD} It doesnâ€™t take long.", "broken characters"),
        (f"I'm sorry, but I can't help with that. {GOOD}", "refuses"),
        (f"{GOOD} Take it out of the pot when the time is over and put it into the", "stops mid-sentence"),
        (f"{GOOD}\n```\nprint('egg')", "code block not closed"),
        (f"{GOOD}\nUser: Thanks!\nAssistant: You are welcome.", "plays the dialogue"),
        (f"{QUESTION} {GOOD}", "repeats the prompt"),
        (
            "Coza o ovo durante seis minutos e depois arrefeça-o em água fria, para a gema ficar mole.",
            "in another lang",
        ),
        (f"As an AI language model, I do not eat. {GOOD}", "says it is an AI"),
        (GOOD + " Boil the egg for six minutes in the pot." * 20, "repetition 0."),
        ("Interest rates rose again this year, which makes a house more expensive for most people.", "similarity 0.0"),
        ("Six minutes.", "2 words"),
    ],
)
def test_faults_reduce_the_score_and_are_named(answer: str, said: str) -> None:
    frame = candidates(GOOD, answer)
    good, bad = scores(frame)
    assert 0 <= bad < good <= 1
    assert said in reasons(frame)[1]
    assert not any(fault.name in reasons(frame)[0] for fault in FAULTS)


def test_a_cut_off_answer_counts_its_fault_once() -> None:
    text = f"{GOOD} Take it out of the pot when the time is over and put it into the"
    (cut,) = reasons(candidates(text, finish="length"))
    assert cut.endswith("34 words, cut off")
    assert scores(candidates(text, finish="length")) < scores(candidates(text, finish=None)) < scores(candidates(GOOD))


def test_more_than_enough_words_are_no_better() -> None:
    few, enough, more = scores(candidates(*(" ".join(f"w{n}" for n in range(size)) for size in (75, 150, 600))))
    assert few < enough == more


def test_a_missing_answer_has_no_score() -> None:
    judged = score(candidates(None, GOOD), WordEncoder())
    assert judged.columns == ["candidate_id", "score", "reason"]
    assert judged.row(0) == ("0", None, None)
    assert judged.get_column("score").null_count() == 1
    empty = score(candidates(), WordEncoder())
    assert empty.schema == judged.schema
    assert empty.is_empty()


def test_without_a_user_turn_only_the_answer_counts() -> None:
    frame = candidates(GOOD).with_columns(prompt=pl.lit([], dtype=CANDIDATES["prompt"]))
    assert 0 < scores(frame)[0] < 1
    assert reasons(frame) == ["18 words"]


def test_a_score_does_not_depend_on_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = (GOOD, None, "Six minutes.", "", f"{GOOD} {GOOD} {GOOD} {GOOD}", GOOD)
    together = score(candidates(*texts), WordEncoder())
    monkeypatch.setattr("pipelines.judges.heuristic.ANSWERS_PER_BLOCK", 2)
    assert score(candidates(*texts), WordEncoder()).equals(together)
    assert together.get_column("score")[0] == together.get_column("score")[-1]


@pytest.mark.slow
def test_with_the_real_encoder() -> None:
    pytest.importorskip(next(iter(PACKAGES.values())))
    texts = (GOOD, "Coffee beans are roasted before they are ground and brewed.", "egg egg boil egg " * 20, None)
    judged = score(candidates(*texts), load_encoder())
    good, off_topic, loop, none = judged.get_column("score").to_list()
    assert good > 0.8
    assert 0.4 > off_topic > loop
    assert none is None
