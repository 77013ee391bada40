"""Looking ahead is what a run with these rules does; two runs are compared row by row."""

from pathlib import Path
from typing import Any

import pytest

import curate
from curate.api.comparing import samples
from curate.errors import InputError, RecipeError
from tests.forked import curate as command

ROWS: list[dict[str, Any]] = [
    *({"prompt": f"Tea {n}?", "chosen": "Green, brewed cool. " * n, "rejected": "No idea."} for n in range(1, 6)),
    {"prompt": "Broken", "chosen": None, "rejected": "x"},
    {"prompt": "Milk?", "chosen": "", "rejected": "A splash."},
]
FREE = ["split.test=0", "rules.defaults=false", "source.max_bad_rows=1"]


def cleaned(out: Path, rows: Any = ROWS, **rules: Any) -> curate.Run:
    return curate.clean(rows, out=out, rules=rules, settings=FREE)


@pytest.fixture
def run(tmp_path: Path) -> curate.Run:
    return cleaned(tmp_path / "RUN", max_chosen_chars=60, no_chosen_empty=True)


def test_a_preview(run: curate.Run) -> None:
    before = sorted((path, path.read_bytes()) for path in run.folder.rglob("*") if path.is_file())
    found = curate.preview(run, {"rules.max_chosen_chars": [30, 60, 1000]})
    assert found.rows() == [("30", 1, 5, 2, 0), ("60", 3, 3, 0, 0), ("1000", 5, 1, 0, 2)]
    assert sorted((path, path.read_bytes()) for path in run.folder.rglob("*") if path.is_file()) == before


def test_combinations_and_conditions(run: curate.Run) -> None:
    found = curate.preview(
        run.folder, {"rules.no_chosen_empty": [True, False], "rules.where": ["prompt = 'Milk?'", ["1 = 1"]]}
    )
    assert found.select("passing", "newly_passing").rows() == [(0, 0), (3, 0), (1, 1), (4, 1)]


@pytest.mark.parametrize("bound", [25, 50, 90])
def test_a_preview_is_what_the_run_does(run: curate.Run, tmp_path: Path, bound: int) -> None:
    ahead = curate.preview(run, {"rules.max_chosen_chars": [bound]})
    then = cleaned(tmp_path / "THEN", max_chosen_chars=bound, no_chosen_empty=True)
    assert ahead["passing"].item() == then.counts["kept"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split.test": [0.1]}, "split.test: only rules can be looked at ahead"),
        ({"rules.max_chosen_char": [1]}, "unknown rule 'max_chosen_char'. Did you mean 'max_chosen_chars'?"),
        ({"rules.max_chosen_chars": ["x"]}, "expected a number, found 'x'"),
        ({"rules.max_chosen_chars": []}, "0 combinations of values; expected 1 to 1,000"),
        ({}, "0 combinations"),
        ({"rules.max_chosen_chars": range(40), "rules.min_chosen_chars": range(40)}, "1,600 combinations"),
    ],
)
def test_what_cannot_be_looked_at(run: curate.Run, settings: Any, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        curate.preview(run, settings)
    assert message in str(error.value)


def test_two_runs(run: curate.Run, tmp_path: Path) -> None:
    other = cleaned(tmp_path / "OTHER", max_chosen_chars=85, min_chosen_chars=25)
    found = curate.diff(run, other)
    assert repr(found) == "Diff(now kept 1 · now dropped 1 · other reason 1 · same 4)"
    assert found.rows.drop("source", "pair_id").rows() == [
        (0, "now dropped", True, False, "train", None, None, "rules", None, "min_chosen_chars"),
        (3, "now kept", False, True, None, "train", "rules", None, "max_chosen_chars", None),
        (6, "other reason", False, False, None, None, "rules", "rules", "no_chosen_empty", "min_chosen_chars"),
    ]
    assert found.rules.rows() == [
        ("rules", "min_chosen_chars", 0, 2),
        ("rules", "max_chosen_chars", 2, 1),
        ("rules", "no_chosen_empty", 1, 0),
        ("read", "missing_chosen", 1, 1),
    ]
    assert curate.diff(run, run).counts == {"same": 7}


def test_rows_that_only_one_run_has(run: curate.Run, tmp_path: Path) -> None:
    fewer = cleaned(tmp_path / "FEWER", ROWS[:2], max_chosen_chars=60)
    assert curate.diff(run, fewer).counts == {"only before": 5, "same": 2}
    assert curate.diff(fewer, run).counts == {"only after": 5, "same": 2}


def test_runs_of_other_sources_are_matched_by_pair(tmp_path: Path) -> None:
    folders = []
    for name, rows in (("a", ROWS[:3]), ("b", ROWS[2::-1])):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in rows))
        folders.append(cleaned(tmp_path / name, tmp_path / f"{name}.jsonl"))
    assert curate.diff(*folders).counts == {"same": 3}
    other = cleaned(tmp_path / "OTHER", [{"prompt": "x", "chosen": "y", "rejected": "z"}])
    with pytest.raises(InputError, match="neither a source nor a pair in common"):
        curate.diff(folders[0], other)


@pytest.mark.slow
def test_the_commands(run: curate.Run, tmp_path: Path) -> None:
    other = cleaned(tmp_path / "OTHER", max_chosen_chars=85)
    done = command("preview", run.folder, "rules.max_chosen_chars=30,60")
    assert (done.returncode, done.stdout.split()[-5:]) == (0, ["60", "3", "3", "0", "0"])
    done = command("diff", run.folder, other.folder, "--rows", "1")
    assert done.stdout.startswith("now kept 2 · same 5\n")
    assert "… 1 more (--rows shows more, --json all)" in done.stdout
    for wrong in ("rules.max_chosen_chars", "rules.max_chosen_chars=", "rules.x=[", "=3"):
        done = command("preview", run.folder, wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1


def test_samples_are_of_every_reason_alike(tmp_path: Path) -> None:
    lines = [{"prompt": f"Tea {n}?", "chosen": "Green. " * n, "rejected": "No idea."} for n in range(1, 9)]
    first = curate.clean(lines, tmp_path / "A", settings=["split.test=0"])
    second = curate.clean(
        lines, tmp_path / "B", settings=["split.test=0"], rules={"max_chosen_chars": 30, "min_chosen_chars": 10}
    )
    found = curate.diff(first, second)
    some = samples(second, found, 2)
    assert some["reason"].to_list() == ["max_chosen_chars", "min_chosen_chars"]
    assert some.select("change", "before", "after", "prompt", "rejected").row(1) == (
        "now dropped", "train", "min_chosen_chars", "Tea 1?", "No idea.",
    )  # fmt: skip
    assert samples(second, found, 0).height == 0
    assert samples(second, found).height == len(found.rows)
