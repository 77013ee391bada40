"""Signals of the user's own in a run: measured, named by rules, shown, and never loaded because a recipe says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import curate
from curate.errors import RecipeError
from curate.signals import COLUMNS, SIGNALS
from curate.signals.own import columns_in_use, in_use
from tests.forked import curate as command

ROWS = [
    {"prompt": "Tea?", "chosen": "Green! Brewed cool!", "rejected": "No."},
    {"prompt": "Milk?", "chosen": "A splash of it.", "rejected": "No!"},
]
OWN = '''
import polars as pl

def exclamations(text: pl.Expr) -> pl.Expr:
    """Number of exclamation marks."""
    return text.str.count_matches("!", literal=True)

def tone(pairs):
    return pl.Series(["loud" if "!" in row[0]["content"] else "calm" for row in pairs["chosen"]], dtype=pl.String)
'''


def exclamations(text: pl.Expr) -> pl.Expr:
    """Number of exclamation marks."""
    return text.str.count_matches("!", literal=True)


def test_in_a_run(tmp_path: Path) -> None:
    rules = {"max_chosen_exclamations": 1, "where": "rejected_exclamations < 1"}
    run = curate.clean(ROWS, out=tmp_path / "RUN", signals=[exclamations], rules=rules, settings=["split.test=0"])
    assert run.ledger.select("kept", "reasons").collect().rows() == [
        (False, ["max_chosen_exclamations (2.0)"]),
        (False, ["where_1 (rejected_exclamations < 1)"]),
    ]
    opened = curate.open_run(run.folder)  # what reads the recipe later needs no code
    assert opened.recipe.signals == ("prompt_exclamations", "chosen_exclamations", "rejected_exclamations")
    assert [row["chosen_exclamations"] for row in (*opened.why(0), *opened.why(1))] == [2, 0]
    assert columns_in_use() == ()
    assert "exclamations" not in SIGNALS
    assert "chosen_exclamations" not in COLUMNS


def test_a_changed_signal_is_measured_again(tmp_path: Path) -> None:
    def asked(text: pl.Expr) -> pl.Expr:
        return text.str.len_chars()

    first = curate.clean(ROWS, out=tmp_path / "RUN", signals=[asked])
    before = first.manifest.stages["signals"].key
    assert curate.clean(ROWS, out=tmp_path / "RUN", signals=[asked]).manifest.stages["signals"].key == before

    def asked(text: pl.Expr) -> pl.Expr:  # type: ignore[no-redef]
        return text.str.len_bytes() + 1

    again = curate.clean(ROWS, out=tmp_path / "RUN", signals=[asked])
    assert again.manifest.stages["signals"].key != before
    assert again.why(0)[0]["prompt_asked"] == 5


def test_a_recipe_alone_does_not_run_code(tmp_path: Path) -> None:
    run = curate.clean(ROWS, out=tmp_path / "RUN", signals=[exclamations], rules={"max_chosen_exclamations": 1})
    for signals in ([], [lambda_named("other")]):
        with pytest.raises(RecipeError, match=r"signals of somebody's own \(.*chosen_exclamations.*pass them with"):
            curate.run(run.recipe, out=tmp_path / "AGAIN", signals=signals, settings=["source.paths=x"])


def lambda_named(name: str) -> Callable[..., Any]:
    def function(text: pl.Expr) -> pl.Expr:
        return text.str.len_chars()

    function.__name__ = name
    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda_named("chars"), "the name chars is taken"),
        (lambda_named("chosen"), "the name chosen is taken"),
        (lambda_named("no name"), "cannot be a column name"),
        (lambda a, b: a, "cannot be a column name"),
    ],
)
def test_names(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message), in_use([function]):
        pass
    assert columns_in_use() == ()


def fails(text: pl.Expr) -> pl.Expr:
    raise ValueError("out of\ntea")


def lists(text: pl.Expr) -> pl.Expr:
    return text.str.split(" ")


def short(pairs: pl.DataFrame) -> pl.Series:
    return pl.Series([1, 2, 3])


def late(pairs: pl.DataFrame) -> pl.Series:
    return pl.Series([1 / (3 - len(str(row[0]["content"]))) for row in pairs["chosen"]])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, "signal fails fails: ValueError: out of tea"),
        (lists, r"signal lists measures List\(String\); expected numbers"),
        (short, "signal short fails: .*"),
    ],
)
def test_a_signal_that_fails_is_named_before_anything_is_read(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        curate.clean("no such file", out="RUN", signals=[function])


def test_one_that_fails_later(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a signal of your own \(late\) fails: ZeroDivisionError"):
        curate.clean([ROWS[0] | {"chosen": "Tea"}], out=tmp_path / "RUN", signals=[late])


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "x.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in ROWS))
    own = ["--signals", "own.py:exclamations", "--signals", "own.py:tone"]
    wanted = ["--set", "rules.only_tone=[calm]", "--set", "split.test=0"]
    done = command("clean", "x.jsonl", "-o", "RUN", *own, *wanted, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 pairs kept" in done.stdout
    again = command("run", "RUN/recipe.yaml", "-o", "AGAIN", folder=tmp_path)
    assert (again.returncode, "--signals" in again.stderr) == (2, True)
    again = command("run", "RUN/recipe.yaml", "-o", "AGAIN", *own, folder=tmp_path)
    assert "1 of 2 pairs kept" in again.stdout
    why = command("why", "RUN", "0", folder=tmp_path)
    assert "only_tone (loud)" in why.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("own.py", "expected FILE.py:FUNCTION"),
        ("own.txt:f", "expected FILE.py:FUNCTION"),
        ("other.py:f", "other.py does not exist"),
        ("own.py:exclamation", "has no function 'exclamation'. Did you mean 'exclamations'? It has exclamations, tone"),
        ("broken.py:f", "broken.py fails: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_signal(tmp_path: Path, where: str, message: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("1 / 0")
    done = command("clean", "x.jsonl", "-o", "RUN", "--signals", where, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
