"""
The audit on the report: what a model could learn of the kept pairs without reading them.

`curate audit RUN` writes audit.json, and then the section of the report. The file is of the present pairs while its key
is that of the run; whatever does not fit, or cannot be read, counts as not there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import msgspec

from curate.files import digest
from curate.report.charts import Chart, bars, intervals
from curate.report.figures import Figure, figure
from curate.report.topics import first_words
from curate.rundir.result import Run
from curate.rundir.store import LEDGER, fingerprint
from curate.terminal import visible

AUDIT = "audit.json"
VERSION = 1  # of what the audit computes
SHOWN, IN_TABLE = 10, 50  # values in a chart, and in the table behind it
LEAST_SHARE, LEAST_PAIRS = 0.01, 10  # of the pairs, from which a value is shown
LABEL_CHARS, VALUE_CHARS = 32, 60
Row = dict[str, Any]


class Told(msgspec.Struct, frozen=True):
    """How well a model of some features tells the sides apart."""

    what: str
    features: int
    pairs: int
    prompts: int
    auc: float | None
    low: float | None
    high: float | None
    accuracy: float | None

    @property
    def row(self) -> Row:
        """The model as a row for people."""
        return {
            "a model of": self.what,
            "features": self.features,
            "pairs": self.pairs,
            "AUC": two(self.auc),
            "95 %": interval(self),
            "right": percent(self.accuracy),
        }


class Feature(msgspec.Struct, frozen=True):
    """What one feature tells, alone and in the model of all."""

    feature: str
    chosen: str
    differs: float
    alone: float
    coefficient: float
    drop: float

    @property
    def row(self) -> Row:
        """The feature as a row for people."""
        return {
            "feature": self.feature,
            "chosen": self.chosen,
            "differs": percent(self.differs),
            "alone": two(self.alone),
            "coef": f"{round(self.coefficient, 2) + 0.0:+.2f}",
            "AUC lost": f"{round(self.drop, 3) + 0.0:+.3f}",
        }


class Win(msgspec.Struct, frozen=True):
    """How often the longer answer, or a model's own, is chosen, among the pairs of one value."""

    by: str
    value: str
    wins: str
    pairs: int
    rate: float
    low: float
    high: float
    accuracy: float

    @property
    def row(self) -> Row:
        """The value as a row for people."""
        return {
            "by": self.by,
            "value": self.value,
            "pairs": self.pairs,
            "chosen": self.wins,
            "in": percent(self.rate),
            "95 %": f"{self.low:.0%}–{self.high:.0%}",
            "right": percent(self.accuracy),
        }


class Remedy(msgspec.Struct, frozen=True):
    """What a remedy costs in rows, and what is left to learn after it."""

    remedy: str
    kept: int
    lost: int
    effective: int
    auc: float | None
    low: float | None
    high: float | None
    model_auc: float | None
    longer: float | None
    how: str


class AuditTables(msgspec.Struct, frozen=True):
    """The tables of an audit."""

    auc: Annotated[list[Told], msgspec.Meta(min_length=1)]
    features: list[Feature]
    win_rates: list[Win]
    remedies: list[Remedy]
    run: str = ""  # `audit_key` of the run that it is of

    @property
    def has_names(self) -> bool:
        """Whether models are named, so that their names could tell."""
        return any(row.model_auc is not None for row in self.remedies)

    @property
    def remedy_rows(self) -> list[Row]:
        """The remedies as rows for people."""
        rows = [
            {
                "remedy": one.remedy,
                "rows lost": one.lost,
                "kept": one.kept,
                "worth": one.effective,
                "AUC": two(one.auc),
                "95 %": interval(one),
                "names": two(one.model_auc),
                "longer": percent(one.longer),
            }
            for one in self.remedies
        ]
        return rows if self.has_names else [{n: value for n, value in row.items() if n != "names"} for row in rows]

    @classmethod
    def of(cls, tables: Mapping[str, Sequence[Row]]) -> Self:
        """Return the tables of an audit from plain data."""
        return msgspec.convert(tables, cls)

    def telling(self) -> dict[str, list[Win]]:
        """Return by kind the values of enough pairs: lengths in their order, of others those first that tell most."""
        found: dict[str, list[Win]] = {}
        least = max(LEAST_SHARE * self.auc[0].pairs, LEAST_PAIRS)
        for win in self.win_rates:
            if win.pairs >= least:
                found.setdefault(win.by, []).append(win)
        for by, wins in found.items():
            if by != "length":
                wins.sort(key=lambda win: -abs(win.rate - 0.5) * win.pairs**0.5)
        return found


@dataclass(frozen=True, slots=True)
class AuditSection:
    """What the report shows of an audit."""

    first: Row
    prompts: int
    models: list[Row]
    features: Figure | None
    wins: list[Figure]
    remedies: list[Row]
    has_names: bool
    how: list[tuple[str, str]]  # names of remedies with their lines


def audit_key(run: Run) -> str:
    """Return a key of what an audit of a run looks at: its ledger, with the ids of the kept pairs, and its stages."""
    ledger = run.manifest.files.get(LEDGER) or digest(run.folder / LEDGER)  # a run in the making has no checksums yet
    stages = {name: stage.key for name, stage in run.manifest.stages.items()}
    return fingerprint("audit", VERSION, ledger, stages)


def stored_audit(run: Run) -> AuditTables | None:
    """Return the audit in a run's folder; None if there is none, or one of other pairs."""
    path = run.folder / AUDIT
    try:
        found = msgspec.json.decode(path.read_bytes(), type=AuditTables) if path.is_file() else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found and found.run == audit_key(run) else None


def audit_section(run: Run) -> AuditSection | None:
    """Return what the report shows; None where the present pairs were not audited."""
    found = stored_audit(run)
    if found is None:
        return None
    return AuditSection(
        first=found.auc[0].row,
        prompts=found.auc[0].prompts,
        models=[told.row for told in found.auc],
        features=_feature_figure(found.features) if found.features else None,
        wins=[_win_figure(by, wins) for by, wins in found.telling().items() if len(wins) > 1],
        remedies=found.remedy_rows,
        has_names=found.has_names,
        how=[
            (one.remedy, f"curate retune RUN {one.how}" if one.how.startswith("--set") else one.how)
            for one in found.remedies
            if one.how
        ],
    )


def _feature_figure(features: Sequence[Feature]) -> Figure:
    shown = features[:SHOWN]
    labels = _labels([one.chosen for one in shown])
    rows = [
        {
            "label": label,
            "value": one.alone,
            "about": f"{one.feature}: AUC {two(one.alone)} alone, chosen: {one.chosen}",
        }
        for label, one in zip(labels, shown, strict=True)
    ]
    about = (
        f"AUC of one feature alone, by what the chosen answer is or has more often{_of(len(shown), len(features))}. "
        "In the table, coef: coefficient in the model of all features, per standard deviation; AUC lost: without what "
        "the feature adds to its score."
    )
    title = "AUC of single features"
    return figure(Chart(bars(rows, title), [one.row for one in features[:IN_TABLE]]), title, about)


def _win_figure(by: str, wins: Sequence[Win]) -> Figure:
    shown = wins[:SHOWN]
    rows = [
        {"label": label, "value": one.rate, "low": one.low, "high": one.high, "about": f"{one.value}: {_in_words(one)}"}
        for label, one in zip(_labels([one.value for one in shown]), shown, strict=True)
    ]
    subject = "each model's answer" if by == "model" else "the longer answer"
    of = "its pairs with other models" if by == "model" else "the pairs of unequal length"
    about = f"Share of {of} in which {subject} is chosen, by {by}, with the 95 % interval{_of(len(shown), len(wins))}."
    title = f"win rates by {by}"
    # In full, a long name would move the numbers out of sight; the tooltip of its mark has it.
    table = [
        {
            "value": first_words(one.value, VALUE_CHARS),
            **{name: one.row[name] for name in ("pairs", "in", "95 %", "right")},
        }
        for one in wins[:IN_TABLE]
    ]
    return figure(Chart(intervals(rows, title), table), title, about)


def _in_words(win: Win) -> str:
    return f"{win.wins} is chosen in {percent(win.rate)} of {win.pairs:,} pairs"


def _of(shown: int, count: int) -> str:
    return f"; those {shown} of {count:,} that tell most" if shown < count else ""


def _labels(texts: Sequence[str]) -> list[str]:
    """Return labels of a chart: short, without control characters, and different."""
    short = [first_words(visible(text), LABEL_CHARS) or "(empty)" for text in texts]
    counts = Counter(short)
    return [label if counts[label] == 1 else f"{place}: {label}" for place, label in enumerate(short, 1)]


def interval(row: Told | Remedy) -> str:
    """Return the interval of an AUC; a dash where it is not known."""
    return "–" if row.low is None or row.high is None else f"{row.low:.2f}–{row.high:.2f}"


def two(value: float | None) -> str:
    """Return a number with two decimals; a dash for null."""
    return "–" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    """Return a share in percent; a dash for null."""
    return "–" if value is None else f"{value:.0%}"
