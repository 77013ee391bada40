"""The command from a user's view: exit codes, one-line errors, output streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cli import app
from tests.data import row, rows, write_jsonl
from tests.forked import curate

pytestmark = pytest.mark.slow  # together they take a while

RUNNER = CliRunner()


def test_clean_prints_counts_and_paths(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [*rows(9), row(1, chosen="")])
    done = curate("clean", source, "--out", tmp_path / "RUN")
    assert (done.returncode, done.stderr) == (0, "")
    assert "p.jsonl: 10 rows, format preference" in done.stdout
    assert "9 of 10 pairs kept" in done.stdout
    assert "no_chosen_empty" in done.stdout
    assert str(tmp_path / "RUN" / "report.html") in done.stdout


def test_json_prints_the_manifest(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(4))
    done = curate("clean", source, "-o", tmp_path / "RUN", "--json")
    assert json.loads(done.stdout)["counts"]["kept"] == 4


def test_nothing_kept_exits_with_1(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [row(1, chosen="")])
    assert curate("clean", source, "-o", tmp_path / "RUN").returncode == 1


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, (), "does not exist"),
        ("", (), "the file is empty"),
        ('{"a": 1}\n', (), "the columns a match no known format"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--columns", "prompt=q"), "unknown column for prompt 'q'"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--columns", "prompt"), "expected prompt=COLUMN"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--format", "hhrlhf"), "Did you mean 'hh_rlhf'?"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--set", "rules.max_char_ratio=4"), "Did you mean 'max_chars_ratio'?"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--set", "split.tset=0.1"), "Did you mean 'test'?"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--set", "split=3"), "split"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--set", "nonsense"), "expected section.key=value"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--set", "split.test=2"), "less than 1"),
        ('{"chosen": "x", "rejected": "y"}\n', ("--set", "dedup.keep=marginn"), "Did you mean 'margin'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, content: str | None, options: tuple[str, ...], said: str
) -> None:
    source = tmp_path / "p.jsonl"
    if content is not None:
        source.write_text(content)
    done = curate("clean", source, "-o", tmp_path / "RUN", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in curate("--debug", "clean", tmp_path / "nope", "-o", tmp_path / "RUN").stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(2))
    done = curate("clean", source, "-o", "/proc/RUN")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    done = curate("clean", source, "-o", source)
    assert (done.returncode, "is a file" in done.stderr) == (2, True)


def test_why(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [row(0), row(1, chosen_score=1, rejected_score=2), row(0)])
    curate("clean", source, "-o", tmp_path / "RUN")
    dropped = curate("why", tmp_path / "RUN", "1")
    assert "dropped at rules" in dropped.stdout
    assert "no_scores_contradict: the scores prefer the other side" in dropped.stdout
    found = json.loads(curate("why", tmp_path / "RUN", "2", "--json").stdout)
    assert found[0]["rule"] == "duplicate_pair"
    by_id = curate("why", tmp_path / "RUN", found[0]["pair_id"][:8])
    assert by_id.stdout.count("p.jsonl row") == 2
    missing = curate("why", tmp_path / "RUN", "99")
    assert (missing.returncode, "it has 3 rows" in missing.stderr) == (2, True)
    assert curate("why", tmp_path, "1").returncode == 2


def test_text_of_the_data_is_not_read_as_markup(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [row(0, chosen="[bold red]boo[/] and more, [/nothing] here.")])
    curate("clean", source, "-o", tmp_path / "RUN")
    assert "[bold red]boo[/] and more, [/nothing] here." in curate("why", tmp_path / "RUN", "0").stdout


def test_signals_and_rules_are_listed() -> None:
    assert "word_jaccard" in RUNNER.invoke(app, ["signals"]).stdout
    listed = json.loads(RUNNER.invoke(app, ["signals", "--rules", "--json"]).stdout)
    assert {"rule": "no_tie", "value": True, "why": "the scores prefer neither side"} in listed


def test_recipe_prints_what_it_reads(tmp_path: Path) -> None:
    printed = RUNNER.invoke(app, ["recipe"]).stdout
    (tmp_path / "recipe.yaml").write_text(printed)
    again = RUNNER.invoke(app, ["recipe", str(tmp_path / "recipe.yaml")]).stdout
    assert again == printed
    assert "rules" in json.loads(RUNNER.invoke(app, ["recipe", "--schema"]).stdout)["properties"]


def test_run_takes_a_recipe(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(8))
    (tmp_path / "r.yaml").write_text(f"source:\n  paths: {source}\nsplit:\n  test: 0\n")
    done = curate("run", tmp_path / "r.yaml", "-o", tmp_path / "RUN", "--json")
    assert json.loads(done.stdout)["counts"]["train"] == 8


def test_version_and_completion() -> None:
    assert RUNNER.invoke(app, ["--version"]).stdout.startswith("prefcurate 0.")
    assert "--show-completion" in RUNNER.invoke(app, ["--help"]).stdout


@pytest.mark.slow
def test_a_users_own_modules_do_not_shadow_ours(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "raise SystemExit('the user's own train.py was imported')".replace("user's", "users")
    )
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise SystemExit('their pipelines')")
    write_jsonl(tmp_path / "p.jsonl", rows(3))
    program = (
        "import runpy, sys\n"
        "sys.argv = ['curate', 'clean', 'p.jsonl', '-o', 'RUN']\n"
        "try:\n    runpy.run_module('curate', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "import train, pipelines\n"
        "print(train.__file__, pipelines.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stdout.splitlines()[-1]
    script = Path(sys.executable).with_name("curate")
    by_script = subprocess.run([script, "signals"], capture_output=True, text=True, cwd=tmp_path)
    assert by_script.returncode == 0


def test_a_replaced_run_is_compared_with_the_one_before(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [*rows(9), row(1, chosen="")])
    first = curate("clean", source, "--out", tmp_path / "RUN")
    assert "before:" not in first.stdout
    again = curate("clean", source, "--out", tmp_path / "RUN")
    assert "before:" not in again.stdout
    fewer = curate("clean", source, "--out", tmp_path / "RUN", "--where", "source_row < 4")
    assert "4 of 10 pairs kept" in fewer.stdout
    assert "before: 9 kept · 1 dropped" in fewer.stdout
