"""What a judge thinks of the same answers without their markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.schema import CANDIDATES
from pipelines.estimate import estimate
from pipelines.flow import judge
from pipelines.judges.agreement import judge_reports
from pipelines.judges.base import VERDICTS
from pipelines.judges.style import sample, without_markdown
from tests.chat_server import Answer, Messages, chat_server, rating
from tests.pipelines.story import prompts, whole


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Plain text.", "Plain text."),
        ("# Title\n\nSome **bold**, *slanted* and `code`.", "Title\nSome bold, slanted and code."),
        ("- one\n- two\n  - three\n\n1. first\n2) second", "one\ntwo\nthree\nfirst\nsecond"),
        ("See [the page](http://a.example/b) ![a cat](c.png).", "See the page a cat."),
        ("> quoted\n> again", "quoted\nagain"),
        ("```python\nx = 1 * 2\n```", "x = 1 * 2"),
        ("| a | b |\n|---|---|\n| 1 | **2** |", "a\nb\n1\n2"),
        ("Two lines\nof one paragraph.", "Two lines\nof one paragraph."),
        ("2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c"),
        ("---", ""),
        ("", ""),
    ],
)
def test_without_markdown(text: str, plain: str) -> None:
    assert without_markdown(text) == plain


@given(st.text(st.sampled_from("ab *_`#|>[]()!-+1.\n\t\\<&"), max_size=60))
def test_any_text_can_be_stripped(text: str) -> None:
    assert isinstance(without_markdown(text), str)


def candidates(*sets: tuple[str | None, ...]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "candidate_id": f"{row}{number}", "source": "s", "source_row": row, "prompt_id": "p",
            "prompt": [{"role": "user", "content": "q"}],
            "response": None if text is None else [{"role": "assistant", "content": text}],
        }
        for row, answers in enumerate(sets)
        for number, text in enumerate(answers)
    ]  # fmt: skip
    return (
        pl.DataFrame(rows, schema_overrides=dict(CANDIDATES))
        .pipe(
            lambda frame: frame.with_columns(
                pl.lit(None, dtype).alias(name) for name, dtype in CANDIDATES.items() if name not in frame.columns
            )
        )
        .select(list(CANDIDATES))
    )


def test_the_sample_has_whole_sets_in_which_something_changes() -> None:
    given_ = candidates(("**a**", "b", None), ("plain", "text"), ("2 * 3 * 4", "x_y"), ("- c", "d"))
    shown = sample(given_, 10)
    texts = shown.sort("candidate_id").get_column("response").list.first().struct.field("content").to_list()
    assert shown.schema == CANDIDATES
    assert sorted(set(shown.get_column("source_row"))) == [0, 3]
    assert texts == ["a", "b", None, "c", "d"]
    assert len(set(sample(given_, 1).get_column("source_row"))) == 1
    assert sample(given_, 1).equals(sample(given_.sort("candidate_id", descending=True), 1).sort("candidate_id"))
    assert sample(given_, 0).is_empty()
    assert sample(candidates(("plain", "text")), 5).is_empty()


def verdicts(*scores: tuple[int, float, float], judge: str = "j") -> pl.DataFrame:
    rows = [
        {"judge": judge, "method": "rubric", "rubric": "overall", "aspect": "overall", "source": "s", "source_row": row,
         "candidate_id": f"{row}{number}", "score": score}
        for row, *both in scores
        for number, score in enumerate(both)
    ]  # fmt: skip
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in VERDICTS.items() if name not in rows[0]]
    return (
        pl.DataFrame(rows, schema_overrides={"source_row": pl.UInt64, "score": pl.Float64})
        .with_columns(absent)
        .select(list(VERDICTS))
    )


@pytest.mark.slow
def test_flips_are_counted_among_pairs_decided_both_times() -> None:
    styled = candidates(*[("**a**", "b")] * 5)
    before = verdicts((0, 5, 1), (1, 5, 1), (2, 5, 1), (3, 3, 3), (4, 1, 5))
    after = verdicts((0, 1, 5), (1, 5, 1), (2, 3, 3), (3, 1, 5), (4, 1, 5))
    (report,) = judge_reports(styled, before, None, after)
    # 0 flips, 1 and 4 stay, 2 and 3 are ties once.
    assert (report["style_flips"], report["style_pairs"]) == (1 / 3, 3)
    assert (report["style_low"], report["style_high"]) == (
        pytest.approx(0.0615, abs=1e-4),
        pytest.approx(0.7923, abs=1e-4),
    )


def test_without_a_check_or_without_markdown_there_is_no_figure() -> None:
    before = verdicts((0, 5, 1))
    names = ("style_flips", "style_pairs", "style_low", "style_high")
    for plain in (None, before.clear()):
        (report,) = judge_reports(candidates(("a", "b")), before, None, plain)
        assert [report[name] for name in names] == [None] * 4
    (report,) = judge_reports(candidates(("a", "b")), before, None, verdicts((0, 3, 3)))
    assert [report[name] for name in names] == [None, 0, None, None]


def test_each_judge_and_the_panel_have_their_own_figure() -> None:
    before = pl.concat([verdicts((0, 5, 1)), verdicts((0, 4, 2), judge="k")])
    after = pl.concat([verdicts((0, 1, 5)), verdicts((0, 4, 2), judge="k")])
    reports = judge_reports(candidates(("**a**", "b")), before, None, after)
    assert [(report["judge"], report["style_flips"]) for report in reports] == [("j", 1.0), ("k", 0.0), ("panel", 1.0)]


@pytest.mark.slow
def test_a_judge_that_likes_markdown(tmp_path: Path) -> None:
    """It prefers the answer with the most asterisks, else the longer one; half of the prompts are checked."""

    def answers(messages: Messages, params: Mapping[str, Any]) -> Answer:
        said = messages[-1]["content"] if "judge" not in params["model"] else messages[1]["content"]
        if "judge" not in params["model"]:
            return f"**Yes** to {said}" if params["seed"] else f"Yes indeed, and more than that, to {said}"
        return rating(5 if "**" in said else 3 if "indeed" in said else 1)

    with chat_server(answers) as server:
        source = prompts(tmp_path / "p.jsonl", count=8)
        section = {"models": [server.line("judge")], "style_check": 4}
        wanted = whole(server, source, judge=section)
        estimates = {line.model: line for line in estimate(wanted)}
        generation = judge(wanted, tmp_path / "RUN")["generation"]
        asked = len(server.of("judge"))
        judge(wanted, tmp_path / "RUN")
        assert len(server.of("judge")) == asked
    (report,) = generation["judges"]
    assert (report["verdicts"], report["style_flips"], report["style_pairs"]) == (16, 1.0, 4)
    assert asked == 16 + 4 <= estimates["openai:judge"].requests  # answers without markdown are known already
    after = {line.model: line for line in estimate(wanted, tmp_path / "RUN")}
    assert after["openai:judge"].requests == after["openai:judge"].known
