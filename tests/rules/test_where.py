"""Conditions in SQL: what they look at, what is no condition, and that a pair's fate depends on no other pair."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.errors import RecipeError
from curate.recipe.load import make_recipe, resolved
from curate.rules import make_conditions

ROWS: list[dict[str, Any]] = [
    {"prompt": "Tea?", "chosen": "Green, brewed cool.", "rejected": "No.", "chosen_model": "a", "topic": "tea", "n": 1},
    {"prompt": "Milk?", "chosen": "A splash of it.", "rejected": "No.", "chosen_model": "b", "topic": "milk", "n": 2.5},
    {
        "prompt": "Sugar?",
        "chosen": "It depends.",
        "rejected": "Yes, two.",
        "topic": None,
        "n": 30,
        "meta": {"ok": True},
    },
]


def kept(where: Any, rows: list[dict[str, Any]] = ROWS) -> list[str]:
    result = curate.filter(rows, where=where, defaults=False)
    return [prompt[0]["content"] for prompt in result.kept["prompt"]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("extra.topic = 'tea'", ["Tea?"]),
        ("extra.topic <> 'tea'", ["Milk?"]),  # null is not unequal, as in SQL
        ("extra.topic IS NULL", ["Sugar?"]),
        ("extra.topic IS DISTINCT FROM 'tea'", ["Milk?", "Sugar?"]),
        ("extra.n > 2", ["Milk?", "Sugar?"]),  # a number: as texts, 30 comes before 4
        ("extra.n >= 2.5 AND extra.n < 4", ["Milk?"]),
        ("extra.n = '1'", ["Tea?"]),  # a number that is compared with a text
        ("extra.meta.ok", ["Sugar?"]),
        ("extra.meta.ok = true OR extra.topic IN ('tea', 'x')", ["Tea?", "Sugar?"]),
        ("chosen_model = 'b'", ["Milk?"]),
        ("chosen_words <= 2", ["Sugar?"]),
        ("length(chosen) > length(rejected) * 3", ["Tea?", "Milk?", "Sugar?"][:2]),
        ("chosen LIKE '%brewed%' OR prompt ILIKE 's%'", ["Tea?", "Sugar?"]),
        ("source_row % 2 = 0", ["Tea?", "Sugar?"]),
        ("NOT prompt ~ '^[TS]'", ["Milk?"]),
        ("CASE WHEN extra.n > 2 THEN chosen_words > 3 ELSE true END", ["Tea?", "Milk?"]),
        (["extra.n > 2", "extra.n < 30"], ["Milk?"]),
        ({"condition": "extra.topic <> 'tea'", "on_null": "keep"}, ["Milk?", "Sugar?"]),
        ("1 = 1", ["Tea?", "Milk?", "Sugar?"]),
        ("chosen || '  x' = 'It depends.  x' -- as it is written", ["Sugar?"]),
        ("1 = 2", []),
    ],
)
def test_what_is_kept(where: Any, expected: list[str]) -> None:
    assert kept(where) == expected


def test_names_and_reasons() -> None:
    named = {"condition": "extra.n\n  < 30", "name": "small", "reason": "too many"}
    result = curate.filter(ROWS, where=["extra.topic = 'tea'", named], defaults=False)
    assert result.counts == {"rows": 3, "kept": 1, "dropped": 2, "where_1": 2}
    assert result.dropped["reasons"].to_list() == [
        ["where_1 (extra.topic = 'tea')"],
        ["where_1 (extra.topic = 'tea' is null)", "small (extra.n < 30)"],
    ]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("prompt_words >", "where 'prompt_words >': not a condition in SQL: unable to parse"),
        ("prompt_words > 'x'", "cannot compare string with numeric type"),
        ("prompt_words", "expected true or false for each pair, found UInt32"),
        ("prompt_wrds > 3", "no column 'prompt_wrds'. Did you mean 'prompt_words'?"),
        ("topic = 'x'", "no column 'topic'. A column of the source is extra.topic."),
        ("extra.topik = 'x'", "no row has extra.topik. Did you mean 'topic'?"),
        ("extra.yyyyyy = 'x'", "no row has extra.yyyyyy. It has topic, n, meta."),
        ("extra.topic > 3", "cannot compare string with numeric type"),
        ("cast(extra.topic AS int) > 3", "conversion from `str` to `i32` failed"),
        ("extra = 'x'", "extra is an object; name a field of it: extra.NAME"),
        ("sum(prompt_words) > 3", "it looks at other rows"),
        ("prompt_words > avg(prompt_words)", "it looks at other rows"),
        ("count(*) > 2", "it looks at other rows"),
        ("row_number() OVER (ORDER BY prompt_words) < 3", "it looks at other rows"),
        ("exists (SELECT 1)", "it looks at other rows"),
        ("unnest(prompt_words) = 1", "it looks at other rows"),
        ("chosen IN (SELECT prompt FROM x)", "not a condition in SQL"),
        ("read_csv('/etc/passwd') = 1", "unsupported function"),
        ("random() < 0.5", "unsupported function"),
        ("lpad(prompt, 1000000000, 'x') = 'y'", "it makes longer texts"),
        ("rpad(prompt, 1000000000, 'x') = 'y'", "it makes longer texts"),
        ("replace(replace(prompt, '', 'xxxxxxxx'), '', 'xxxxxxxx') = 'y'", "it makes longer texts"),
        ("regexp_replace(prompt, '', 'xx') = 'y'", "it makes longer texts"),
        ("array_to_string(string_to_array(prompt, ''), 'xxxxxxxx') = 'y'", "it makes longer texts"),
        ("generate_series(1, 1000000000) = 1", "it makes longer texts"),
        ("prompt ~ '((a{99}){99}){99}'", "regex error: Compiled regex exceeds size limit"),
        ("x" * 2001, "2,001 characters; expected at most 2,000"),
        ("", "expected a condition or"),
        (7, "expected a list of conditions, found 7"),
        ([7], "expected a condition or {condition, name, reason, on_null}, found 7"),
        ({"condition": "1 = 1", "nam": "x"}, "expected a condition or"),
        ({"condition": "1 = 1", "name": "max_tea"}, "not that of a bound"),
        ({"condition": "1 = 1", "name": "<b>"}, "a name is lower-case letters"),
        ({"condition": "1 = 1", "name": "tie"}, "not that of a bound or column"),
        ({"condition": "1 = 1", "name": "row"}, "not that of a bound or column"),
        ({"condition": "1 = 1", "on_null": "x"}, "on_null is keep or drop, found 'x'"),
        (["1 = 1", {"condition": "1 = 2", "name": "where_1"}], "'where_1' stands there twice"),
    ],
)
def test_what_is_no_condition(where: Any, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        curate.filter(ROWS, where=where, defaults=False)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_source_without_other_columns() -> None:
    with pytest.raises(RecipeError, match="The source has no other columns"):
        kept("extra.x = 1", [{"prompt": "Tea?", "chosen": "Green.", "rejected": "No."}])


def test_of_a_signal_of_the_users_own() -> None:
    def exclamations(text: pl.Expr) -> pl.Expr:
        return text.str.count_matches("!", literal=True)

    rows = [*ROWS, ROWS[0] | {"prompt": "Tea!!"}]
    result = curate.filter(rows, where="prompt_exclamations > 1", signals=[exclamations], defaults=False)
    assert [prompt[0]["content"] for prompt in result.kept["prompt"]] == ["Tea!!"]


SMALL = {"condition": "extra.n < 30", "name": "small", "reason": "too <b>many"}


def test_in_a_run(tmp_path: Path) -> None:
    settings = ["split.test=0", 'rules.where=[{condition: extra.n < 30, name: small, reason: "too <b>many"}]']
    run = curate.clean(ROWS, out=tmp_path / "RUN", settings=settings)
    ledger = run.ledger.select("kept", "stage", "rule", "reasons").collect().rows()
    assert ledger[0] == (True, None, None, [])
    assert ledger[2] == (False, "rules", "small", ["small (extra.n < 30)"])
    assert [str(one) for one in run.recipe.built_rules[-1:]] == [str(one) for one in make_conditions(SMALL)]
    report = run.report.read_text("utf-8")
    assert "too &lt;b&gt;many: extra.n &lt; 30" in report
    assert "too <b>many" not in report


@pytest.mark.parametrize(
    "where", ["extra.n > 1", ["extra.n > 1", {"condition": "1 = 1", "name": "x", "reason": "y", "on_null": "keep"}]]
)
def test_a_resolved_recipe_is_the_same_recipe(where: Any) -> None:
    recipe = make_recipe({"source": {"paths": ["x"]}, "rules": {"where": where}})
    assert make_recipe(resolved(recipe)).built_rules == recipe.built_rules


def test_an_invalid_one_in_a_recipe_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("source: {paths: x}\nrules:\n  no_tie: true\n  where: [prompt_wrds > 3]\n")
    with pytest.raises(RecipeError, match=r"recipe.yaml, line 4: where 'prompt_wrds > 3': no column 'prompt_wrds'"):
        curate.run(tmp_path / "recipe.yaml", out=tmp_path / "RUN")


# Any text is a condition or an error, and a pair's fate is the same with and without the others.
WORDS = (
    "extra.n extra.topic prompt_words chosen 'tea' 2 2.5 = < AND OR NOT ( ) sum count(*) * + CASE WHEN THEN ELSE END",
    "IN IS NULL LIKE '%a' , length lower coalesce cast AS int SELECT FROM over partition BY first rank() [ ] . ; -- /*",
    "$1 ? ~ '(' regexp null true rejected \0",
)
PARTS = st.sampled_from([word for line in WORDS for word in line.split(" ")])


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.lists(PARTS, max_size=9).map(" ".join))
def test_any_text(where: str) -> None:
    try:
        together = kept(where)
    except RecipeError:
        return
    alone = [prompt for row in ROWS for prompt in _alone(where, row)]
    assert [prompt for prompt in alone if prompt != "no such field"] == together or "no such field" in alone


def _alone(where: str, row: dict[str, Any]) -> list[str]:
    try:
        return kept(where, [row | {"prompt": row["prompt"]}])
    except RecipeError:
        return ["no such field"]  # or another type: what a field is, all rows decide


def test_aspects_and_reasons_of_judges() -> None:
    def answer(number: int, score: float, honesty: float, reason: str) -> dict[str, Any]:
        return {
            "prompt_id": f"p{number // 2}", "candidate_id": f"c{number}", "source": "s", "source_row": number // 2,
            "prompt": [{"role": "user", "content": f"Tea {number // 2}?"}], "score": score, "reason": reason,
            "response": [{"role": "assistant", "content": f"Answer {number}."}],
            "scores": [{"aspect": "helpfulness", "score": 3.0}, {"aspect": "honesty", "score": honesty}],
        }  # fmt: skip

    answers = [answer(0, 4, 5.0, "It is right."), answer(1, 2, 1.0, "-"), answer(2, 4, 2.5, "It is kind.")]
    pairs = curate.pair(pl.DataFrame([*answers, answer(3, 2, 2.5, "-")])).kept
    assert len(pairs) == 2

    def kept(where: str) -> list[str]:
        return [row[0]["content"] for row in curate.filter(pairs, where=where, defaults=False).kept["chosen"]]

    assert kept("extra.chosen_scores.honesty >= 4") == ["Answer 0."]
    assert kept("extra.chosen_scores.honesty = extra.rejected_scores.honesty") == ["Answer 2."]
    assert kept("extra.chosen_reason LIKE '%kind%'") == ["Answer 2."]
    assert kept("extra.chosen_scores.helpfulness = 3") == ["Answer 0.", "Answer 2."]
    with pytest.raises(RecipeError, match=r"no row has extra\.chosen_scores\.truth"):
        kept("extra.chosen_scores.truth > 1")
