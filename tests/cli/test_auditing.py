"""The command audit from a user's view."""

import json
from pathlib import Path

import pytest

from tests.data import row, write_jsonl
from tests.forked import curate

pytestmark = pytest.mark.slow


@pytest.fixture
def source(tmp_path: Path) -> Path:
    models = {"chosen_model": "big\x1b[31m", "rejected_model": "small"}
    longer = [
        row(n, chosen=f"Open drawer {n} slowly. " * (2 + n % 5), rejected=f"Drawer {n}.", **models) for n in range(30)
    ]
    return write_jsonl(tmp_path / "my pairs.jsonl", longer)


def test_tables_and_lines(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "my RUN"
    assert curate("clean", source, "-o", out, "--set", "rules.defaults=false").returncode == 0
    done = curate("audit", out)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first.startswith(
        "30 pairs, 30 different prompts. Their surface alone tells chosen from rejected with AUC 1.00"
    )
    assert any(line.split()[:3] == ["chars", "longer", "100%"] for line in lines)
    assert f"lengths balanced: curate retune '{out}' --set 'select.length_balanced={{}}'" in lines
    assert f"in Python, with audit = curate.audit('{out}'), whose pairs are joined by pair_id:" in lines
    assert "\x1b" not in done.stdout
    assert any(line.split()[:2] == ["model", r"big\x1b[31m"] for line in lines)
    assert json.loads((out / "audit.json").read_text())["auc"][0]["auc"] == 1.0
    assert lines[-1] == f"{out}/report.html shows this, too"
    as_json = curate("audit", out, "--json")
    written = json.loads((out / "audit.json").read_text())
    assert json.loads(as_json.stdout) == {name: rows for name, rows in written.items() if name != "run"}


def test_files_are_audited_without_a_run(source: Path) -> None:
    done = curate("audit", source)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"lengths balanced: curate clean '{source}' -o RUN --set 'select.length_balanced={{}}'" in done.stdout
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_options_of_a_source(tmp_path: Path) -> None:
    given = [{"q": f"Drawer {n}?", "good": "Open it slowly. " * (2 + n % 5), "bad": "No."} for n in range(30)]
    source = write_jsonl(tmp_path / "odd.jsonl", given)
    columns = "prompt=q,chosen=good,rejected=bad"
    more = write_jsonl(tmp_path / "more pairs.jsonl", given)
    done = curate("audit", source, more, "--columns", columns, "--limit", "40")
    assert done.stderr == ""
    assert done.stdout.startswith("40 pairs, 30 different prompts.")
    line = f"curate clean {source} '{more}' --columns {columns} --limit 40 -o RUN --set 'select.length_balanced={{}}'"
    assert f"lengths balanced: {line}" in done.stdout.splitlines()
    assert f"curate.audit({[str(source), str(more)]!r}, columns={{'prompt': 'q'," in done.stdout
    refused = curate("audit", source, "--columns", "prompt=q,chosen=nope,rejected=bad")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nope" in refused.stderr
    mistyped = curate("audit", source, "--format", "nonsense")
    assert (mistyped.returncode, mistyped.stdout) == (2, "")
    assert "nonsense" in mistyped.stderr


def test_pairs_of_equal_surface(tmp_path: Path) -> None:
    same = [row(n, chosen=f"ab {n:02}", rejected=f"ba {n:02}") for n in range(12)]
    done = curate("audit", write_jsonl(tmp_path / "p.jsonl", same))
    assert done.returncode == 0
    assert "The sides differ in no surface feature." in done.stdout


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(1)], "has pairs of one prompt (or similar ones) only; an audit needs at least two"),
        ([row(1, chosen=None)], "has no pairs to audit"),
        (None, "does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, rows: list[dict[str, str]] | None, said: str) -> None:
    source = tmp_path / "p.jsonl"
    if rows is not None:
        write_jsonl(source, rows)
    done = curate("audit", source)
    *notes, error = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert notes == (["1 of 1 rows cannot become pairs (missing_chosen 1)"] if said == "has no pairs to audit" else [])
    assert said in error


def test_a_run_without_pairs(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "RUN"
    assert curate("clean", source, "-o", out, "--set", "rules.min_chosen_chars=9999").returncode == 1
    done = curate("audit", out)
    assert (done.returncode, done.stderr) == (2, f"curate: {out} has no pairs to audit\n")


def test_help_has_examples() -> None:
    assert "curate audit pairs.jsonl" in " ".join(curate("audit", "--help").stdout.split())
