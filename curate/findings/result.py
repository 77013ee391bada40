"""The result of a check: findings, with counts, figures and example rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from curate.findings.kinds import Kind, rank

EXCERPT = 120  # characters of a text in an example


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows of one code: how many, the first of them (positions among all rows) with a word on each."""

    code: str
    count: int
    rows: tuple[int, ...] = ()
    details: tuple[str, ...] = ()
    what: str = ""  # a sentence with the figures; "" = what the kind says
    of: int | None = None  # of how many rows; None = all


@dataclass(frozen=True, slots=True)
class Example:
    """
    One row of a finding. `row` is 0-based in its input; `path` and `line` (1-based) where that is a file of JSON Lines.

    prompt, chosen and rejected are excerpts, "" where a row has none.
    """

    source: str
    row: int
    detail: str
    prompt: str = ""
    chosen: str = ""
    rejected: str = ""
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind that occurs: in `count` of `of` rows (or pairs)."""

    kind: Kind
    count: int
    of: int
    what: str
    examples: tuple[Example, ...] = ()

    @property
    def share(self) -> float:
        """Return the share of rows, 0 to 1."""
        return self.count / self.of if self.of else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-compatible data."""
        kind = self.kind
        examples = [{name: getattr(one, name) for name in Example.__slots__} for one in self.examples]
        return {
            "code": kind.code,
            "name": kind.name,
            "severity": kind.severity,
            "count": self.count,
            "of": self.of,
            "share": round(self.share, 6),
            "what": self.what,
            "why": kind.why,
            "repair": kind.repair,
            "examples": examples,
        }


class Findings(list[Finding]):
    """
    All findings of a check, the most severe first; of one code there may be several (one per model, column, style).

    `rows` is how many rows were read, `pairs` how many of them are pairs, `inputs` from how many files they are.
    """

    def __init__(self, findings: Iterable[Finding], *, rows: int, pairs: int, inputs: int = 1) -> None:
        order = sorted(findings, key=lambda one: (-rank(one.kind.severity), one.kind.code, -one.count))
        super().__init__(order)
        self.rows, self.pairs, self.inputs = rows, pairs, inputs

    def __repr__(self) -> str:
        counts = {name: sum(one.kind.severity == name for one in self) for name in ("error", "warning", "note")}
        found = ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count)
        return f"Findings({self.rows:,} rows, {self.pairs:,} pairs: {found or 'nothing found'})"

    def at_least(self, severity: str) -> list[Finding]:
        """Return the findings of this severity (note, warning, error) or a higher one."""
        return [one for one in self if rank(one.kind.severity) >= rank(severity)]

    def first_example(self, one: Finding) -> str:
        """Return where the first example of a finding is: its row, with its file where there are several; else ""."""
        if not one.examples:
            return ""
        first = one.examples[0]
        return f"{first.source} row {first.row}" if self.inputs > 1 else f"row {first.row}"

    @property
    def settings(self) -> list[str]:
        """Return settings with which `curate clean` drops the rows of these findings, beyond what it drops anyway."""
        return list(dict.fromkeys(setting for one in self for setting in one.kind.fix))

    def to_dict(self) -> dict[str, Any]:
        """Return rows, pairs and findings as JSON-compatible data."""
        return {"rows": self.rows, "pairs": self.pairs, "findings": [one.to_dict() for one in self]}
