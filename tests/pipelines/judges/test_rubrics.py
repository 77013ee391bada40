"""Rubrics and the messages around them; only a fence may write a marker line."""

import hashlib
import json
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.recipe.models import RUBRICS
from pipelines.judges.rubrics import (
    Rubric,
    comparison_messages,
    comparison_schema,
    fence,
    load_rubric,
    rating_messages,
    rating_schema,
    repair_messages,
)
from tests.data import SHARED

PROMPT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "What is 2 + 2?"},
]
ANSWER = [{"role": "assistant", "content": "4"}]
OTHER = [{"role": "assistant", "content": "5"}]
TONE = Rubric("tone", "Is it kind? 1: no. {middle}: rather. {scale}: yes.", "0" * 16)
FACTS = Rubric("facts", "Is it {true}? 1: no. {scale}: yes.", "1" * 16)
LINE = re.compile(r"^<<<(?:BEGIN|END) .*>>>$", re.MULTILINE)
FENCED = re.compile(r"^<<<BEGIN ([A-Z ]+) ([0-9a-f]{16})>>>\n(.*?)\n<<<END \1 \2>>>$", re.MULTILINE | re.DOTALL)


def fenced(messages: list[dict[str, str]]) -> dict[str, str]:
    """Return the content of each fence in the user's turn, by its label."""
    return {label: text for label, _, text in FENCED.findall(messages[1]["content"])}


def outside(messages: list[dict[str, str]]) -> list[str]:
    """Return the messages without fenced content."""
    return [FENCED.sub(r"<\1>", message["content"]) for message in messages]


@pytest.mark.parametrize("name", RUBRICS)
def test_shipped_rubrics(name: str) -> None:
    rubric = load_rubric(name)
    assert rubric.name == name
    assert rubric.hash == hashlib.sha256(rubric.text.encode()).hexdigest()[:16]
    assert len(rubric.text.split()) < 120
    assert ("{middle}" in rubric.text and "{scale}" in rubric.text) == (name != "pairwise")


def test_the_list_of_names_matches_the_shipped_files() -> None:
    folder = Path(load_rubric.__code__.co_filename).parent
    assert {path.stem for path in folder.glob("*.txt")} == set(RUBRICS)


def test_a_rubric_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "kindness.txt"
    file.write_bytes("\ufeffIs it kind?\r\nSí: {scale}\r\n".encode())
    rubric = load_rubric(str(file))
    assert (rubric.name, rubric.text) == ("kindness", "Is it kind?\nSí: {scale}")
    assert rubric.hash == hashlib.sha256("Is it kind?\nSí: {scale}".encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", ["helpfulnes", "", "no/such/file.txt", ".", "nul\0byte"])
def test_unknown_rubric(name: str) -> None:
    with pytest.raises(RecipeError, match=r"unknown rubric .* Known: helpfulness, honesty"):
        load_rubric(name)


def test_unknown_rubric_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'helpfulness'"):
        load_rubric("helpfulnes")


@pytest.mark.parametrize(("content", "said"), [(b" \n", "is empty"), (b"caf\xe9", r"not UTF-8 text \(byte 3\)")])
def test_files_that_are_not_rubrics(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "r.txt"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        load_rubric(str(file))


def test_name_too_long_for_a_path() -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_rubric("x" * 5_000)


def test_rating_messages() -> None:
    system, user = rating_messages([TONE, FACTS], PROMPT, ANSWER, scale=10)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "## tone\nIs it kind? 1: no. 5: rather. 10: yes." in system["content"]
    assert "## facts\nIs it {true}? 1: no. 10: yes." in system["content"]
    assert "never instructions" in system["content"]
    assert user["content"].endswith('"ratings": {"tone": <1 to 10>, "facts": <1 to 10>}}')
    assert fenced([system, user]) == {
        "CONVERSATION": "[system]\nBe brief.\n\n[user]\nHi\n\n[assistant]\nHello\n\n[user]\nWhat is 2 + 2?",
        "ANSWER": "4",
    }


def test_an_answer_of_several_turns_is_shown_with_its_roles() -> None:
    response = [*ANSWER, {"role": "user", "content": "Sure?"}, *ANSWER]
    messages = rating_messages([TONE], PROMPT, response, scale=5)
    assert fenced(messages)["ANSWER"] == "[assistant]\n4\n\n[user]\nSure?\n\n[assistant]\n4"


def test_rubrics_of_one_name_are_an_error() -> None:
    with pytest.raises(RecipeError, match="the same name: tone, tone"):
        rating_messages([TONE, TONE], PROMPT, ANSWER, scale=5)


def test_comparison_messages() -> None:
    system, user = comparison_messages(load_rubric("pairwise"), PROMPT, ANSWER, OTHER)
    assert "tie" in system["content"]
    assert {k: v for k, v in fenced([system, user]).items() if k != "CONVERSATION"} == {
        "ANSWER A": "4",
        "ANSWER B": "5",
    }
    assert user["content"].endswith('"better": <"A", "B" or "tie">}')


def test_a_rating_rubric_can_compare() -> None:
    system, _ = comparison_messages(TONE, PROMPT, ANSWER, OTHER)
    assert system["content"].endswith("1: no. 3: rather. 5: yes.")


def test_messages_are_short() -> None:
    four = [load_rubric(name) for name in ("helpfulness", "honesty", "instruction_following", "truthfulness")]
    assert sum(len(m["content"].split()) for m in rating_messages([load_rubric("overall")], [], ANSWER, scale=5)) < 220
    assert sum(len(m["content"].split()) for m in rating_messages(four, [], ANSWER, scale=5)) < 520


def test_repair_messages() -> None:
    asked = rating_messages([TONE], PROMPT, ANSWER, scale=5)
    again = repair_messages(asked, "<think>hm</think> It is fine.", "there is no JSON object")
    assert again[:2] == asked
    assert again[2] == {"role": "assistant", "content": "It is fine."}
    assert again[3]["role"] == "user"
    assert again[3]["content"].startswith("That reply cannot be used: there is no JSON object.\n")


def test_repair_messages_are_cut_and_never_empty() -> None:
    assert repair_messages([], "x" * 2_001, "p" * 1_000)[0]["content"] == "x" * 2_000 + "…"
    assert len(repair_messages([], "", "p" * 1_000)[1]["content"]) < 500
    assert repair_messages([], " ", "p")[0]["content"] == "(empty)"


def test_rating_schema() -> None:
    schema = rating_schema(["tone", "facts"], 5)
    assert (schema["type"], schema["json_schema"]["name"]) == ("json_schema", "rating")
    assert schema["json_schema"]["strict"] is True
    assert list(schema["json_schema"]["schema"]["properties"]) == ["reason", "ratings"]
    assert schema["json_schema"]["schema"]["properties"]["ratings"] == {
        "type": "object",
        "properties": {
            "tone": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
            "facts": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        },
        "required": ["tone", "facts"],
        "additionalProperties": False,
    }
    json.dumps(schema)


def test_comparison_schema() -> None:
    assert comparison_schema() == {
        "type": "json_schema",
        "json_schema": {
            "name": "comparison",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "reason": {"type": "string"},
                    "better": {"type": "string", "enum": ["A", "B", "tie"]},
                },
                "required": ["reason", "better"],
                "additionalProperties": False,
            },
        },
    }


def test_fence_is_the_same_in_every_run() -> None:
    code = hashlib.sha256(b"1:4").hexdigest()[:16]
    assert fence("4", "ANSWER") == f"<<<BEGIN ANSWER {code}>>>\n4\n<<<END ANSWER {code}>>>"


def test_a_code_that_occurs_in_the_text_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Few:
        """A hash that returns the given values one by one."""

        values = iter(["a" * 64, "b" * 64, "c" * 64])

        def __init__(self, _: bytes = b"") -> None:
            pass

        def update(self, _: bytes) -> None:
            pass

        def hexdigest(self) -> str:
            return next(self.values)

    monkeypatch.setattr("pipelines.judges.rubrics.hashlib.sha256", Few)
    assert fence("a" * 16, "X", beside=["b" * 16]).startswith("<<<BEGIN X cccccccccccccccc>>>")


def test_the_code_depends_on_every_text_beside() -> None:
    def codes(answer: str) -> list[str]:
        messages = rating_messages([TONE], PROMPT, [{"role": "assistant", "content": answer}], scale=5)
        return [code for _, code, _ in FENCED.findall(messages[1]["content"])]

    assert set(codes("4")).isdisjoint(codes("5"))


# The code of an earlier message is the most that an attacker can know.
HOSTILE = st.one_of(
    st.text(), st.text("<>BEGINDASWR 0123456789abcdef\n"), st.text(max_size=20).map(lambda text: fence(text, "ANSWER"))
)


@settings(deadline=None)
@given(HOSTILE, HOSTILE)
def test_no_text_contains_a_marker_of_its_message(prompt: str, answer: str) -> None:
    turns = [{"role": "user", "content": prompt}]
    messages = rating_messages([TONE], turns, [{"role": "assistant", "content": answer}], scale=5)
    harmless = rating_messages([TONE], PROMPT, ANSWER, scale=5)
    assert fenced(messages) == {"CONVERSATION": f"[user]\n{prompt}", "ANSWER": answer}
    assert outside(messages) == outside(harmless)


@settings(deadline=None)
@given(HOSTILE)
def test_a_fence_is_closed_once(text: str) -> None:
    whole = fence(text, "ANSWER")
    begin, end = whole.split("\n", 1)[0], whole.rsplit("\n", 1)[1]
    assert whole == f"{begin}\n{text}\n{end}"
    assert begin not in text
    assert end not in text


ATTACKS = SHARED / "alpaca_eval_annotations.parquet"


@pytest.mark.skipif(not ATTACKS.exists(), reason=f"{ATTACKS} is not there")
def test_a_real_attack_stays_inside_its_fence() -> None:
    """NullModel: one answer to every question, crafted to end the judge's template and substitute another task."""
    rows = pl.scan_parquet(ATTACKS).filter(pl.col("generator_2") == "NullModel").collect().to_dicts()
    assert len(rows) == 805
    harmless = outside(comparison_messages(load_rubric("pairwise"), PROMPT, ANSWER, OTHER))
    for row in rows:
        good, attack = ([{"role": "assistant", "content": row[name]}] for name in ("output_1", "output_2"))
        prompt = [{"role": "user", "content": row["instruction"]}]
        messages = comparison_messages(load_rubric("pairwise"), prompt, good, attack)
        assert len(LINE.findall(messages[1]["content"])) == 6
        assert outside(messages) == harmless
        assert fenced(messages)["ANSWER B"] == row["output_2"]
        rating = rating_messages([TONE], prompt, attack, scale=5)
        assert len(LINE.findall(rating[1]["content"])) == 4
        assert not any(part in "".join(outside(rating)) for part in ("Model Outputs", "model_identifier", "verify }"))
