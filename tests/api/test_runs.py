"""Runs from Python: any source, a recipe in any form, and how a notebook shows them."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import curate
from curate.errors import CurateError, InputError, RecipeError
from tests.data import contents, row, rows, write_jsonl

pytestmark = pytest.mark.slow  # together they take a while


def test_a_frame_is_cleaned_like_its_file(tmp_path: Path) -> None:
    lines = [*rows(12), row(3), row(20, chosen="")]
    of_file = curate.clean(write_jsonl(tmp_path / "frame", lines), tmp_path / "A", format="preference")
    of_frame = curate.clean(pl.DataFrame(lines), tmp_path / "B")
    ours, theirs = contents(of_frame.folder), contents(of_file.folder)
    same = [name for name in ours if name.endswith(".parquet")]
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert of_frame.recipe.source.paths == ("memory:frame",)
    assert curate.open_run(tmp_path / "B").why(13)[0]["rule"] == "no_chosen_empty"


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    first = curate.clean(rows(8), tmp_path / "RUN")
    again = curate.clean(pl.DataFrame(rows(8)).to_dicts(), tmp_path / "RUN")
    assert {n: s.key for n, s in first.manifest.stages.items()} == {n: s.key for n, s in again.manifest.stages.items()}
    other = curate.clean(rows(9), tmp_path / "RUN")
    assert other.counts["rows"] == 9


def test_a_recipe_of_a_table_in_memory_cannot_be_run_from_its_file(tmp_path: Path) -> None:
    run = curate.clean(rows(3), tmp_path / "RUN")
    with pytest.raises(
        InputError, match="memory:rows was a table in memory and cannot be read again; pass it from Python"
    ):
        curate.run(run.folder / "recipe.yaml", tmp_path / "AGAIN")


def test_run_takes_a_file_a_dict_or_a_recipe(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(6))
    tree = {"source": {"paths": str(source)}, "split": {"test": 0}}
    runs = [curate.run(tree, tmp_path / "A")]
    runs.append(curate.run(tmp_path / "A" / "recipe.yaml", tmp_path / "B"))
    runs.append(curate.run(runs[1].recipe, tmp_path / "C", settings=["rules.max_chosen_chars=5"]))
    assert [run.counts["kept"] for run in runs] == [6, 6, 0]
    assert curate.run(tmp_path / "B" / "recipe.yaml", tmp_path / "B").recipe == runs[1].recipe
    with pytest.raises(RecipeError, match="Did you mean 'split'"):
        curate.run({"source": {"paths": "p"}, "splits": {}}, tmp_path / "D")


def test_a_notebook_shows_the_counts_of_a_run(tmp_path: Path) -> None:
    run = curate.clean([*rows(6), row(9, chosen="")], tmp_path / "RUN", settings=["split.test=0.2"])
    assert repr(run) == f"Run({str(tmp_path / 'RUN')!r}: 6 of 7 kept · train 5, test 1)"
    assert "<td>dropped: rules</td><td>1</td>" in run._repr_html_()
    assert {"train", "test", "ledger", "counts", "recipe", "why", "report"} <= set(dir(run))
    assert not [name for name in dir(run) if name.startswith("_")]


def test_pairing_from_candidates() -> None:
    def answer(number: int, text: str, score: float | None) -> dict[str, object]:
        return {
            "prompt_id": f"p{number}", "candidate_id": f"{number}{text}", "source": "s", "source_row": number,
            "prompt": [{"role": "user", "content": f"Question {number}?"}], "score": score,
            "response": [{"role": "assistant", "content": text}],
        }  # fmt: skip

    answers = [answer(0, "good", 5), answer(0, "poor", 1), answer(1, "same", 3), answer(1, "equal", 3)]
    result = curate.pair(pl.DataFrame(answers))
    assert repr(result) == "Result(1 of 2 kept · dropped: tie 1)"
    assert result.kept.select("chosen_score", "rejected_score").rows() == [(5.0, 1.0)]
    assert result.kept.columns == list(curate.PAIR)
    assert result.dropped.select("source_row", "rule").rows() == [(1, "tie")]


@pytest.mark.slow
def test_answers_and_verdicts_without_a_run_directory() -> None:
    pytest.importorskip("distilabel")
    judged = curate.judge([row(1), row(2)], "heuristic")
    assert judged.columns == list(curate.CANDIDATES)
    assert judged["score"].null_count() == 0
    assert len(judged) == 4
    again = curate.judge(judged.drop("score", "scores", "reason", "judge"), "heuristic")
    assert again["score"].to_list() == judged["score"].to_list()


@pytest.mark.parametrize(
    ("hidden", "call"),
    [
        ("train.py", "curate.train('RUN')"),
        ("pipelines/__init__.py", "curate.generate(['p.jsonl'], 'embedded')"),
        ("pipelines", "curate.judge([{'prompt': 'Tea?', 'chosen': 'Yes.', 'rejected': 'No.'}], 'nope')"),
    ],
)
@pytest.mark.slow
def test_a_user_file_that_hides_our_package_is_named(tmp_path: Path, hidden: str, call: str) -> None:
    if hidden.endswith(".py"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_text("raise SystemExit('this is not prefcurate')")
    else:
        (tmp_path / hidden).mkdir()
    code = f"import curate\ntry:\n    {call}\nexcept curate.CurateError as error:\n    print(error)"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=plain)
    name = hidden.split("/", maxsplit=1)[0].removesuffix(".py")
    if "/" in hidden or hidden.endswith(".py"):
        assert f"hides prefcurate's own package '{name}': rename it" in done.stdout, done.stderr
    else:  # a folder without __init__.py hides nothing: an installed package comes first
        assert "unknown model 'nope'" in done.stdout


def test_functions_raise_curate_errors(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="does not exist"):
        curate.push(tmp_path / "nowhere", "me/set")
