"""Each code: rows in, the rows that have it out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import curate
from curate.api.checking import codes, explain
from curate.errors import InputError, RecipeError
from curate.findings.kinds import BY_NAME, BY_REASON, EXTRA_RULES, GROUPS, KINDS
from curate.findings.result import Findings
from curate.pairing import ABOUT
from curate.rules import DEFAULTS
from curate.sources.formats import FORMATS, preference
from curate.sources.formats.comparison import add_problem
from curate.sources.problems import PROBLEMS
from tests.data import row, rows, write_jsonl
from tests.findings.cases import (
    ANSWER,
    ONE_CONVERSATION,
    ONE_ROW,
    OTHER,
    SETS,
    Source,
    all_codes,
    many,
    prefers,
    turns,
    votes,
)


def found(source: Any, **options: Any) -> dict[str, tuple[int, list[int]]]:
    """Return count and example rows of each code."""
    checked = curate.check(source, examples=20, **options)
    return {one.kind.code: (one.count, [example.row for example in one.examples]) for one in checked}


def test_every_problem_and_default_rule_has_a_kind() -> None:
    assert set(PROBLEMS) | set(ABOUT) | set(DEFAULTS) | set(EXTRA_RULES) <= set(BY_REASON)


def test_codes_names_and_reasons_are_unique_and_grouped() -> None:
    assert len(BY_NAME) == len(KINDS)
    assert len(BY_REASON) == sum(len(kind.reasons) for kind in KINDS.values())
    assert [code for code in KINDS if code[2] not in GROUPS or not code.startswith("PC") or len(code) != 5] == []
    assert all(kind.why and kind.repair and kind.how for kind in KINDS.values())


def test_codes_stay_as_they_are() -> None:
    """A code in use keeps its meaning: the names by which tools and people know some of them."""
    known = {"PC101": "broken_row", "PC204": "identical_answers", "PC303": "contradiction", "PC404": "length_bias",
             "PC501": "prompt_in_two_splits", "PC609": "content_lost"}  # fmt: skip
    assert {code: KINDS[code].name for code in known} == known


def test_a_clean_set_has_no_findings() -> None:
    """The sides are of equal length, as often as not; the prompts share nothing."""
    topics = ("jars", "kites", "maps", "trains", "ferns", "clocks")
    clean = [
        {"prompt": f"How are {topic} made?", "chosen": f"{topic} by hand, A{n}.", "rejected": f"{topic} by foot, B{n}."}
        for n, topic in enumerate(topics)
    ]
    checked = curate.check(clean)
    assert (checked, checked.rows, checked.pairs, repr(checked)) == (
        [],
        6,
        6,
        "Findings(6 rows, 6 pairs: nothing found)",
    )


def test_every_code_has_a_case() -> None:
    assert sorted(all_codes()) == sorted(KINDS)


@pytest.mark.parametrize(("code", "bad"), ONE_ROW)
def test_one_row(code: str, bad: dict[str, Any]) -> None:
    assert found([row(0), row(1, **bad), row(2)])[code] == (1, [1])


@pytest.mark.parametrize(("code", "bad"), ONE_CONVERSATION)
def test_one_conversation(code: str, bad: dict[str, Any]) -> None:
    assert found([turns(0), turns(1, **bad), turns(2)])[code] == (1, [1])


@pytest.mark.parametrize(("code", "bad", "count", "examples", "clean"), SETS)
def test_a_set(code: str, bad: Source, count: int, examples: list[int], clean: Source, tmp_path: Path) -> None:
    assert found(written(tmp_path / "bad", bad))[code] == (count, examples)
    assert code not in found(written(tmp_path / "clean", clean))


def written(folder: Path, source: Source) -> Any:
    """Return rows as they are, and a folder for lines and files."""
    if not isinstance(source, dict) and all(isinstance(one, dict) for one in source):
        return source
    folder.mkdir()
    for name, lines in (source if isinstance(source, dict) else {"p.jsonl": source}).items():
        write_jsonl(folder / name, lines)
    return folder


def test_a_problem_without_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format of someone else may find what no kind knows; its rows are counted all the same."""

    def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
        return add_problem(preference.to_pairs(frame), pl.col("source_row") == 1, "moon_phase", "the moon is full")

    monkeypatch.setitem(FORMATS, "preference", SimpleNamespace(fields=preference.fields, to_pairs=to_pairs))
    assert found(rows(3))[OTHER] == (1, [1])
    monkeypatch.undo()
    assert OTHER not in found(rows(3))


@pytest.mark.parametrize(
    ("declines", "other", "count"),
    [
        ("I can't help with that.", ANSWER, 1),
        ("Sorry, I cannot do that. My maker wants me to be careful.", ANSWER, 1),
        ("I can't help with that.", "I don't think that's a good idea.", 0),  # both decline
        ("I can't help with that.", "That would be illegal.", 0),
        ("I can't help with that.", "No, never.", 0),
        ("I can't open it for you, but there are two ways. Turn the lid, or lift it.", ANSWER, 0),
        ("I'm sorry that I was unable to help you with the jar before.", ANSWER, 0),
        ("I can't help with that." + " Jars are hard." * 25, ANSWER, 1),  # 398 characters
        ("I can't help with that." + " Jars are hard." * 26, ANSWER, 0),  # 413
        ("I can't help with that.", ANSWER * 4 + " I cannot say more.", 1),  # after the first 250 characters
    ],
)
def test_a_refusal_is_one_where_the_other_side_answers(declines: str, other: str, count: int) -> None:
    pairs = [row(0), row(1, chosen=declines, rejected=other), row(2, chosen=other, rejected=declines)]
    assert found(pairs).get("PC232", (0, [])) == (2 * count, [1, 2][: 2 * count])


def test_unreadable_lines_are_counted_and_located(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [row(0), "", "{broken", row(1), "[1]"])
    source.write_text(source.read_text().replace("\n{broken", "\n\n{broken"))
    (broken,) = [one for one in curate.check(source) if one.kind.code == "PC101"]
    assert (broken.count, broken.of) == (2, 4)
    assert [(example.row, example.line) for example in broken.examples] == [(1, 4), (3, 6)]


def test_a_column_that_may_belong_to_the_pairs_is_named() -> None:
    tables = [row(n, database=f"CREATE TABLE t{n} (a int, b text, c date)", id=n) for n in range(5)]
    (unused,) = [one for one in curate.check(tables) if one.kind.code == "PC114"]
    assert (unused.count, unused.what) == (
        5, "column 'database' of rows holds a text of its own per row and is not part of the pairs"
    )  # fmt: skip


def test_duplicates_contradictions_and_near_duplicates() -> None:
    prompt = "How do I open the jar of honey that my neighbour gave me for my birthday last week?"
    turned = row(0)
    turned["chosen"], turned["rejected"] = turned["rejected"], turned["chosen"]
    three = [
        row(1), row(2), row(1, chosen=f" {row(1)['chosen']}  "), row(0), turned,
        row(5, prompt=prompt), row(6, prompt=f"{prompt}?"),
    ]  # fmt: skip
    checked = found(three)
    assert {code: checked[code] for code in ("PC301", "PC302", "PC303", "PC304")} == {
        "PC301": (1, [2]), "PC302": (1, [6]), "PC303": (2, [3, 4]), "PC304": (4, [0, 2, 3, 4])
    }  # fmt: skip


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        (("AB", "BC", "CA"), [0, 1, 2]),
        (("AB", "BC", "CD", "DB"), [1, 2, 3]),
        (("AB", "BC", "CA", "AD"), [0, 1, 2]),  # D is not on the way back to A
        (("AB", "BC", "AC"), []),
        (("AB", "BA", "BC", "CB"), []),  # contradictions, not cycles
    ],
)
def test_cycles(order: tuple[str, ...], rows: list[int]) -> None:
    assert found(prefers(*order)).get("PC305", (0, []))[1] == rows


def test_one_answer_to_many_prompts() -> None:
    canned = [one | {"chosen": "Buy it."} for one in many("", "Lid {n}.", 12)]
    checked = curate.check([*canned, *rows(3)])
    (repeated,) = [one for one in checked if one.kind.code == "PC306"]
    assert (repeated.count, repeated.what) == (
        12, "one text answers 12 different prompts, and is chosen in 100% of 12 pairs"
    )  # fmt: skip
    assert [example.row for example in repeated.examples] == [0, 1, 2]
    assert "PC306" not in found(canned[:9])
    more = [one | {"prompt": f"{one['prompt']} {n}", "chosen": "Sell it."} for n in (1, 2) for one in canned]
    assert [one.count for one in curate.check([*canned, *more]) if one.kind.code == "PC306"] == [24, 12]


def test_the_five_most_repeated_answers_are_named() -> None:
    canned = [
        one | {"prompt": f"{count}: {one['prompt']}"}
        for count in range(10, 16)
        for one in many(f"Buy {count}.", f"Lid {count} of {{n}}.", count)
    ]
    assert [one.count for one in curate.check(canned) if one.kind.code == "PC306"] == [15, 14, 13, 12, 11]


def test_examples_are_the_first_rows() -> None:
    for code, sets in {
        "PC304": [row(n, prompt="Tea?") for n in range(5)],
        "PC202": [row(n, chosen="") for n in range(5)],
    }.items():
        (one,) = [one for one in curate.check(sets, examples=2) if one.kind.code == code]
        assert (one.count, [example.row for example in one.examples]) == (5, [0, 1])


def test_an_eval_set_is_named() -> None:
    bench = [row(n, chosen_model="a", rejected_model="b", subset="math", id=n) for n in range(3)]
    assert [one.what for one in curate.check(bench) if one.kind.code == "PC504"] == ["rows is a known eval set"]


def test_cycles_are_within_a_prompt() -> None:
    others = [one | {"prompt": f"Which jar, {n}?"} for n, one in enumerate(prefers("AB", "BC", "CA"))]
    assert "PC305" not in found(others)


def test_leaks_between_files(tmp_path: Path) -> None:
    near = "How do I restore the files of the whole server from the backup that was made in the last week"
    train = [*rows(5), row(50, prompt=f"{near}?")]
    test = [row(10), row(1), row(2, chosen="Another answer to it."), row(51, prompt=f"{near}!")]
    write_jsonl(tmp_path / "train-00000.jsonl", train)
    write_jsonl(tmp_path / "test-00000.jsonl", test)
    leaks = {code: hits for code, hits in found(tmp_path).items() if code[2] == "5"}
    assert leaks == {"PC501": (2, [1, 2]), "PC502": (1, [1]), "PC503": (1, [3])}
    (tmp_path / "test-00000.jsonl").rename(tmp_path / "train-00001.jsonl")
    assert not [code for code in found(tmp_path) if code[2] == "5"]


def test_leaks_between_values_of_a_column() -> None:
    both = [row(1, split="train"), row(2, split="train"), row(1, split="test")]
    assert {code: hits for code, hits in found(both).items() if code[2] == "5"} == {
        "PC501": (1, [2]), "PC502": (1, [2])
    }  # fmt: skip


def told(checked: Findings, code: str) -> list[str]:
    return [one.what for one in checked if one.kind.code == code]


def test_length_bias() -> None:
    checked = curate.check([*many("Jar {n}, and its lid.", "Jar {n}.", 45), *many("Cup {n}.", "Cup {n}, and all.", 15)])
    assert told(checked, "PC404") == [
        "chosen is longer in 75% (95 % interval 63% to 84%) of 60 pairs of unequal length; median ratio 2.86"
    ]
    even = curate.check([*many("Jar {n}, and its lid.", "Jar {n}.", 33), *many("Cup {n}.", "Cup {n}, and all.", 27)])
    assert told(even, "PC404") == []


def test_style_and_opening_and_feature() -> None:
    checked = curate.check(
        [*many("Sure thing: jar {n}\n- lid {n}\n- **top**", "Maybe later: jar {n} and its lid, top.")]
    )
    assert told(checked, "PC405") == [
        "where one side only has a list, it is chosen in 100% (95 % interval 94% to 100%) of 60 pairs",
        "where one side only has bold text, it is chosen in 100% (95 % interval 94% to 100%) of 60 pairs",
    ]
    assert told(checked, "PC406") == [
        "answers that begin with 'maybe later' are rejected in 100% (95 % interval 94% to 100%) of 60 pairs",
        "answers that begin with 'sure thing' are chosen in 100% (95 % interval 94% to 100%) of 60 pairs",
    ]
    (features,) = told(checked, "PC408")
    assert features.startswith(
        "each alone tells the sides apart: lines (higher for chosen, AUC 1.00), words (higher for chosen, AUC 1.00), "
    )
    assert told(curate.check(rows(20)), "PC408") == []  # as many pairs tell nothing with confidence


def test_model_bias() -> None:
    writers = [
        one | {"chosen_model": "gpt-4" if n else "cat-7b", "rejected_model": "cat-7b" if n else "gpt-4"}
        for n, one in enumerate(many("Jar {n}.", "Lid {n}."))
    ]
    assert told(curate.check(writers), "PC407") == [
        "'cat-7b' is rejected in 98% (95 % interval 91% to 100%) of 60 pairs",
        "'gpt-4' is chosen in 98% (95 % interval 91% to 100%) of 60 pairs",
    ]
    same = [one | {"chosen_model": "gpt-4", "rejected_model": "gpt-4"} for one in writers]
    assert told(curate.check(same), "PC407") == []


def test_an_annotator_who_opposes_all_others() -> None:
    labels = votes("ann", "bob", "eve")
    checked = curate.check(labels)
    assert told(checked, "PC409") == ["'eve' agrees with the majority of all others in 0% of 20 comparisons"]
    assert [one.count for one in checked if one.kind.code == "PC409"] == [20]
    assert told(curate.check(labels[:40]), "PC409") == []  # ann and bob agree
    assert told(curate.check(votes("ann", "eve")), "PC409") == []  # of two, nobody can say whose are swapped


def test_settings_that_drop_what_was_found(tmp_path: Path) -> None:
    source = [row(0), row(1), row(2, chosen=ANSWER, rejected="Lift.")]
    checked = curate.check(source)
    assert checked.settings == ["rules.max_chars_ratio=10"]
    run = curate.clean(source, tmp_path / "RUN", settings=[*checked.settings, "split.test=0"])
    assert (run.counts["kept"], run.counts["dropped"]) == (2, 1)


def test_explain_and_list() -> None:
    assert explain("pc404")["name"] == "length_bias"
    assert "Rejected has the higher score" in explain("PC403")["measured"]
    assert [one["code"] for one in codes()] == list(KINDS)
    with pytest.raises(RecipeError, match=r"unknown code 'PC240'\. Did you mean 'PC\d+'"):
        explain("PC240")


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(InputError):
        curate.check(tmp_path / "none.jsonl")
