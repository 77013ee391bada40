"""Rows of a run with what decided about each: a few dropped by every reason, and some that were kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import polars as pl
from markupsafe import escape

from curate.report.bounds import Bounds, number
from curate.report.differences import Part, differences
from curate.report.reasons import cell, explanation
from curate.report.summary import EXAMPLES, SHOWN_CHARS, Summary
from curate.report.topics import first_words
from curate.rules import Where
from curate.schema.message import shown_turns
from curate.signals import SIDES

NEAREST = 5  # of the examples of a reason: those whose values are nearest to the bound
MOST_BYTES = 900_000  # of all texts of the dropped rows: further examples of reasons are left out
TURNS = 8  # shown of a side; of more, those in the middle are left out
MOST_EXTRA, EXTRA_BYTES, VALUE_CHARS, REASON_CHARS = 8, 20_000, 120, 400
UNRANKED = ("one response", "other response")
OPPOSED = ("contradiction", "near_contradiction")
FACTS = ("chosen_score", "rejected_score", "strength", "chosen_model", "rejected_model", "extra")
# Of `extra`, shown beside a response or of no use to people.
HIDDEN = ("candidate_id", "finish_reason", "params", "logp_per_token", "scores", "reason")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a turn in parts, some of which differ from another text; `role` is empty for a whole side."""

    role: str
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Side:
    """A side of a pair: its name, facts about it (model, scores, reason), and its texts."""

    name: str
    facts: list[str]
    texts: list[Text]


@dataclass(frozen=True, slots=True)
class Match:
    """The row that a dropped one duplicates or contradicts; `sides` are pairs of a side of either."""

    place: str
    kept: bool
    sides: list[tuple[Side, Side]]


@dataclass(frozen=True, slots=True)
class Example:
    """A row: where it is, what it begins with, what decided, its texts, and the row that it matched."""

    place: str
    start: str
    decided: list[tuple[str, str]]  # what decided, and what the reason means
    facts: list[str]
    sides: list[Side]
    match: Match | None = None
    named: str = ""  # the item of another set that it matched

    @property
    def bytes(self) -> int:
        """The size of its texts in the page."""
        sides = [*self.sides, *(side for both in (self.match.sides if self.match else ()) for side in both)]
        texts = (text for side in sides for turn in side.texts for text, _ in turn.parts)
        return sum(len(escape(text).encode()) for text in texts)


@dataclass(frozen=True)
class Examples:
    """The examples of a run."""

    summary: Summary
    bounds: Bounds
    _matched: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def dropped(self) -> dict[tuple[str, str], list[Example]]:
        """
        Return for each (stage, first rule) some of the rows it dropped, those nearest to the bound first.

        Five are the nearest ones, the others a sample by hash. All together they take at most about 900 kB: the last
        ones of each reason are left out first.
        """
        found: dict[tuple[str, str], list[Example]] = {}
        used = 0
        by_reason: dict[tuple[str, str], list[int]] = {}
        for place, stage, rule in self._dropped.select("place", "stage", "rule").iter_rows():
            by_reason.setdefault((stage, rule), []).append(place)
        for turn in range(EXAMPLES):  # one of each reason, then another one of each
            for reason, places in sorted(by_reason.items()):
                if turn < len(places) and (turn == 0 or used < MOST_BYTES):
                    example = self._example(self._fetched[places[turn]])
                    used += example.bytes
                    found.setdefault(reason, []).append(example)
        return found

    def kept(self) -> list[Example]:
        """Return a sample of the kept pairs, by hash."""
        return [self._example(self._fetched[place]) for place in self._kept.sort()]

    @cached_property
    def _dropped(self) -> pl.DataFrame:
        """place, stage and rule of the dropped rows that are shown."""
        ledger = self.summary.run.ledger.with_row_index("place").filter(~pl.col("kept"))
        below = pl.col("rule").str.starts_with("min_")
        ranked = ledger.select(
            "place", "stage", "rule",
            order=pl.coalesce("pair_id", pl.lit("")), near=pl.when(below).then(-pl.col("value")).otherwise("value"),
        )  # fmt: skip
        nearest = pl.struct("near", "order", "place").rank("ordinal").over("stage", "rule") <= NEAREST
        others = pl.struct("order", "place").rank("ordinal").over("stage", "rule") <= EXAMPLES - NEAREST
        wanted = (pl.col("near").is_not_null() & nearest) | others
        return ranked.filter(wanted).sort("near", "order", "place", nulls_last=True).collect()

    @cached_property
    def _kept(self) -> pl.Series:
        """The places of the kept rows that are shown."""
        ledger = self.summary.run.ledger.with_row_index("place").filter(pl.col("kept"))
        return ledger.sort("pair_id", "place").head(EXAMPLES).select("place").collect().get_column("place")

    @cached_property
    def _fetched(self) -> dict[int, dict[str, Any]]:
        """All of these rows by place."""
        return self._rows(pl.concat([self._dropped.get_column("place"), self._kept]))

    def _rows(self, places: pl.Series) -> dict[int, dict[str, Any]]:
        """
        Return rows by place, with all that their rules look at; and keep the rows that they matched.

        All are read at once, since each reading goes through all texts.
        """
        ledger = self.summary.run.ledger.with_row_index("place")
        names = ledger.filter(pl.col("place").is_in(places.implode())).select("matched").drop_nulls().unique()
        same = ledger.join(names, left_on="pair_id", right_on="matched", how="semi")
        ranked = same.sort("kept", "place", descending=[True, False])
        found = ranked.select("place", "pair_id").group_by("pair_id", maintain_order=True).head(2).collect()
        matched = found.get_column("place")
        every = {row["place"]: row for row in self.summary.rows(pl.concat([places, matched]).unique(), FACTS)}
        for place in matched.sort():
            self._matched.setdefault(every[place]["pair_id"], []).append(dict(every[place]))
        rows = {place: every[place] for place in places.sort()}
        for place, signals in self._signals(places, rows.values()).items():
            rows[place] |= signals
        return rows

    def _signals(self, places: pl.Series, rows: Iterable[Row]) -> dict[int, dict[str, Any]]:
        """Return by place the signals that the broken rules of some rows look at."""
        names = {reason.split(" ", maxsplit=1)[0].rstrip(":") for row in rows for reason in row["reasons"]}
        rules = [rule for name, rule in self.bounds.rules.items() if name in names]
        looked_at = [
            column for rule in rules for column in (rule.columns if isinstance(rule, Where) else (rule.column,))
        ]
        signals = self.summary.run.signals.scan("place")
        columns = [name for name in signals.collect_schema() if name in looked_at]
        if not columns:
            return {}
        found = signals.select("place", *columns).filter(pl.col("place").is_in(places.implode()))
        return {row.pop("place"): row for row in found.collect(engine="streaming").to_dicts()}

    def _example(self, row: Row) -> Example:
        match = self._match(row)
        extra = _extra(row["extra"])
        generated = self.summary.generation and row["stage"] and not row["pair_id"]  # no answers were picked
        sides = [] if match else [_side(row, extra, side) for side in SIDES[: 1 if generated else 3]]
        if row["stage"] == "pair":
            sides = [*sides[:1], *(Side(name, s.facts, s.texts) for name, s in zip(UNRANKED, sides[1:], strict=False))]
        prompt = shown_turns(row, "prompt")
        return Example(
            place=_place(row),
            start=first_words(prompt[-1]["content"], 90) if prompt else "not readable",
            decided=[(self._decided(reason, row), _about(reason, row)) for reason in row["reasons"]],
            facts=_facts(row, extra),
            sides=sides,
            match=match,
            named=row["matched"] if row["matched"] and not match else "",
        )

    def _decided(self, reason: str, row: Row) -> str:
        name = reason.split(" ", maxsplit=1)[0].rstrip(":")
        return self.bounds.decided(reason, row) or name

    def _match(self, row: Row) -> Match | None:
        others = [other for other in self._matched.get(row["matched"] or "", ()) if other["place"] != row["place"]]
        if not others:
            return None
        other = max(others, key=lambda one: (one["kept"], -one["place"]))
        opposite = {"chosen": "rejected", "rejected": "chosen"} if row["rule"] in OPPOSED else {}
        sides = []
        for side in SIDES:
            mine, theirs = (
                _side(row, _extra(row["extra"]), side),
                _side(other, _extra(other["extra"]), opposite.get(side, side)),
            )
            one, two = differences(_whole(row, side), _whole(other, theirs.name), SHOWN_CHARS)
            sides.append(
                (Side(mine.name, mine.facts, [Text("", one)]), Side(theirs.name, theirs.facts, [Text("", two)]))
            )
        return Match(_place(other), other["kept"], sides)


def _place(row: Row) -> str:
    pair = f" · pair {row['pair_id'][:12]}" if row["pair_id"] else ""
    return f"{row['source']} · row {row['source_row']:,}{pair}"


def _about(reason: str, row: Row) -> str:
    return explanation(reason, row).partition("; measured: ")[0]


def _whole(row: Row, side: str) -> str:
    """Return a side as one text."""
    turns = shown_turns(row, side)
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _side(row: Row, extra: Row, side: str) -> Side:
    turns = shown_turns(row, side)
    left_out = len(turns) - TURNS
    if left_out > 0:
        note = {"role": "…", "content": f"({left_out:,} more turns)"}
        turns = [*turns[:2], note, *turns[2 + left_out :]]
    return Side(side, _side_facts(row, extra, side), [_shown(turn) for turn in turns])


def _shown(turn: Mapping[str, str]) -> Text:
    text, left = turn["content"], len(turn["content"]) - SHOWN_CHARS
    return Text(turn["role"], [(text if left <= 0 else f"{text[:SHOWN_CHARS]} … ({left:,} more characters)", False)])


def _side_facts(row: Row, extra: Row, side: str) -> list[str]:
    """Return the model of a response, its score, the scores by aspect and the judge's reason."""
    if side == "prompt":
        return []
    model, score, reason = row[f"{side}_model"], row[f"{side}_score"], extra.get(f"{side}_reason")
    found = [f"model {first_words(model, VALUE_CHARS)}"] if model else []
    found += [f"score {number(score)}"] if score is not None else []
    scores = extra.get(f"{side}_scores")
    for one in scores if isinstance(scores, list) else ():
        if isinstance(one, dict) and isinstance(one.get("score"), int | float) and one.get("aspect") != "overall":
            found.append(f"{first_words(str(one.get('aspect')), VALUE_CHARS)} {number(one['score'])}")
    return found + ([f"reason: {first_words(reason, REASON_CHARS)}"] if isinstance(reason, str) else [])


def _facts(row: Row, extra: Row) -> list[str]:
    """Return the strength of the preference, and some of the source's other columns."""
    hidden = {f"{side}_{name}" for side in SIDES for name in HIDDEN}
    others = [(name, value) for name, value in extra.items() if value is not None and name not in hidden]
    shown = [
        f"{first_words(name, VALUE_CHARS)}: {first_words(_text(value), VALUE_CHARS)}"
        for name, value in others[:MOST_EXTRA]
    ]
    more = [f"and {len(others) - MOST_EXTRA:,} more columns"] if len(others) > MOST_EXTRA else []
    return [*([f"strength {number(row['strength'])}"] if row["strength"] is not None else []), *shown, *more]


def _extra(text: str | None) -> dict[str, Any]:
    """Return the source's other columns; none where they are too large to be read by people."""
    if text is None or len(text) > EXTRA_BYTES:
        return {}
    found = msgspec.json.decode(text)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return cell(value) if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()
