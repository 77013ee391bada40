"""
Findings for other programs: SARIF for code scanning, and workflow commands of GitHub Actions.

Texts of the data stand in both. JSON escapes them; in a workflow command, a line break would start another command, so
they are percent-encoded as GitHub's own toolkit does.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from curate.findings.kinds import KINDS
from curate.findings.result import Example, Finding, Findings

SARIF = "2.1.0"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}
# What would end a message, or a property of a command; the percent sign first.
OF_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
OF_PROPERTY = {**OF_MESSAGE, ":": "%3A", ",": "%2C"}


def summary(finding: Finding) -> str:
    """Return a finding in one sentence: count, share and what."""
    return f"{finding.kind.name}: {finding.count:,} of {finding.of:,} ({finding.share:.1%}): {finding.what}"


def sarif(findings: Findings, version: str) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log: a result per finding, its example rows as locations; the rules are all kinds."""
    codes = list(KINDS)
    rules = [
        {
            "id": kind.code,
            "name": "".join(word.capitalize() for word in kind.name.split("_")),
            "shortDescription": {"text": kind.why},
            "fullDescription": {"text": kind.how},
            "help": {"text": kind.repair},
            "defaultConfiguration": {"level": kind.severity},
        }
        for kind in KINDS.values()
    ]
    results = [
        {
            "ruleId": one.kind.code,
            "ruleIndex": codes.index(one.kind.code),
            "level": one.kind.severity,
            "message": {"text": f"{summary(one)}. To repair: {one.kind.repair}"},
            "locations": [_location(example) for example in one.examples],
            "properties": {"count": one.count, "of": one.of, "share": one.share},
        }
        for one in findings
    ]
    driver = {"name": "prefcurate", "version": version, "rules": rules}
    return {"$schema": SCHEMA, "version": SARIF, "runs": [{"tool": {"driver": driver}, "results": results}]}


def _location(example: Example) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(Path(example.path or example.source).as_posix())}}
    if example.line is not None:
        place["region"] = {"startLine": example.line}
    where = f"{example.source} row {example.row}"
    return {"physicalLocation": place, "message": {"text": f"{where}: {example.detail}" if example.detail else where}}


def github(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a workflow command for each example of each finding, or one without a place where it has none."""
    for one in findings:
        title = _escaped(f"{one.kind.code} {one.kind.name}", OF_PROPERTY)
        message = _escaped(summary(one), OF_MESSAGE)
        for example in one.examples or (None,):
            place = _properties(example) if example else ""
            yield f"::{COMMANDS[one.kind.severity]} {place}title={title}::{message}"


def _properties(example: Example) -> str:
    file = f"file={_escaped(example.path or example.source, OF_PROPERTY)},"
    return f"{file}line={example.line}," if example.line is not None else file


def _escaped(text: str, escapes: dict[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in text)
