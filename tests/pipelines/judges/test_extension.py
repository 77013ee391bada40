"""A new kind of judge is one class and one line: here `length:`, defined outside the package."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from curate.cli import main
from curate.errors import RecipeError
from curate.rundir.store import ANSWERS
from curate.text.messages import text_of
from pipelines.estimate import estimate
from pipelines.flow import run
from pipelines.judges.base import LocalJudge
from pipelines.judges.panel import JUDGES
from tests.data import write_jsonl
from tests.pipelines.story import recipe

SHORT, LONG = "Press Restore.", "Open Backups, pick the day you want back, and press the button called Restore."
ROWS = [
    {"prompt": "How do I restore a photo?", "chosen": SHORT, "rejected": LONG},
    {"prompt": "Where are last year's albums kept?", "chosen": LONG, "rejected": SHORT},
    {"prompt": "Who can see a shared album?", "chosen": LONG, "rejected": LONG + " Then wait."},
]


class LengthJudge(LocalJudge):
    """`length:MOST`: characters of an answer, up to MOST."""

    method: ClassVar[str] = "length"

    def check(self, *, keys: bool = True) -> None:
        if not self._most.isdecimal():
            raise RecipeError(f"{self.model.model}: expected a number of characters, as in length:200")

    def rate(self, answers: pl.DataFrame) -> pl.DataFrame:
        length = text_of("response").str.len_chars().clip(upper_bound=int(self._most))
        return answers.select(score=length.cast(pl.Float64), reason=pl.format("{} characters", length))

    @property
    def _most(self) -> str:
        return self.model.model.partition(":")[2]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "length:", LengthJudge)


@pytest.mark.slow
def test_a_run_scores_and_pairs_by_it(tmp_path: Path) -> None:
    section = {"models": "length:100"}
    done = run(recipe(write_jsonl(tmp_path / "pairs.jsonl", ROWS), judge=section), tmp_path / "RUN")
    found = pl.read_parquet(tmp_path / "RUN" / ANSWERS).sort("source_row", "score")
    assert found.select("source_row", "score", "reason", "judge").rows() == [
        (0, 14.0, "14 characters", "length:100"),
        (0, 78.0, "78 characters", "length:100"),
        (1, 14.0, "14 characters", "length:100"),
        (1, 78.0, "78 characters", "length:100"),
        (2, 78.0, "78 characters", "length:100"),
        (2, 89.0, "89 characters", "length:100"),
    ]
    verdicts = done.stage("verdicts").scan().collect()
    assert verdicts.select("method", "aspect", "error").unique().rows() == [("length", "overall", None)]
    pairs = done.ledger.sort("source_row").collect()
    assert pairs.get_column("kept").to_list() == [True] * 3
    chosen = done.train.sort("source_row").select(text_of("chosen"), text_of("rejected"), "chosen_score").collect()
    assert chosen.rows() == [(LONG, SHORT, 78.0), (LONG, SHORT, 78.0), (LONG + " Then wait.", LONG, 89.0)]
    (report,) = done.manifest.generation["judges"]
    assert (report["judge"], report["method"], report["verdicts"]) == ("length:100", "length", 6)
    assert (report["human_agreement"], report["length_bias"]) == (1 / 3, 1.0)
    assert done.manifest.generation["requests"] == []


@pytest.mark.slow
def test_two_judges_share_a_scale_only_if_they_declare_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe(write_jsonl(tmp_path / "pairs.jsonl", ROWS[:1]), judge={"models": ["length:20", "length:100"]})
    run(given, tmp_path / "RANKS")
    assert pl.read_parquet(tmp_path / "RANKS" / ANSWERS).get_column("score").to_list() == [0.0, 1.0]
    monkeypatch.setattr(LengthJudge, "shared_scale", True)
    run(given, tmp_path / "MEANS")
    assert pl.read_parquet(tmp_path / "MEANS" / ANSWERS).get_column("score").to_list() == [14.0, 49.0]


@pytest.mark.slow
def test_it_costs_nothing_and_needs_no_price(tmp_path: Path) -> None:
    given = recipe(write_jsonl(tmp_path / "pairs.jsonl", ROWS), judge={"models": "length:100"}, budget={"usd": 1})
    assert estimate(given) == []
    assert run(given, tmp_path / "RUN").counts["kept"] == 3


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", ROWS)

    def curate(line: str, *options: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["curate", "judge", "pairs.jsonl", "--judge", line, "-o", "RUN", *options])
        with pytest.raises(SystemExit) as end:
            main()
        return (end.value.code or 0, *capsys.readouterr())

    assert curate("length:100", "--dry-run", "--json") == (0, "[]\n", "")
    assert curate("length:100", "--dry-run")[:2] == (0, "no requests to models\n")
    code, out, _ = curate("length:100", "--json")
    assert (code, json.loads(out)["generation"]["judges"][0]["judge"]) == (0, "length:100")
    code, _, err = curate("length:many", "--dry-run")
    assert (code, err) == (2, "curate: length:many: expected a number of characters, as in length:200\n")
    code, _, err = curate("lenght:100", "--dry-run")
    assert code == 2
    assert "Did you mean 'length:'?" in err
    assert err.endswith("reward:NAME, heuristic, length:NAME\n")
