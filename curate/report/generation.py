"""What models made for a run, as small tables and sentences for a person: on the terminal, the card and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
LEFT_OUT = ("duplicates", "unusable", "other_language", "bad_replies", "failed")  # of prompts that were asked for
# What the columns of the judges' table mean.
ABOUT_JUDGES = {
    "unusable": "verdicts without a score, after one request to repair",
    "ties": "of two answers, how often neither is better",
    "same both ways": "comparisons that come out the same when the answers change places; the others count as ties",
    "first wins": "of single comparisons, won by the answer that is shown first (50% is fair)",
    "longer wins": "of decided pairs, won by the longer answer",
    "as labelled": "of the pairs that the source labels and the judge decides, decided as the source does",
}


@dataclass(frozen=True)
class GenerationSummary:
    """What models generated; `found` is the manifest's `generation`, empty where the pairs were read."""

    found: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def tables(self) -> dict[str, list[Row]]:
        """By its title what there is of: prompts, answers, judges, requests. Columns that say nothing are left out."""
        judges = [_judge(row) for row in self.found.get("judges", ())]
        found = {
            "Prompts": [_prompts(self.found["prompts"])] if "prompts" in self.found else [],
            "Answers": [_answers(row) for row in self.found.get("answers", ())],
            _pull(judges, "Judges", "method"): judges,
            "Requests": [_requests(row) for row in self.found.get("requests", ())],
        }
        return {title: _telling(rows) for title, rows in found.items() if rows}

    @property
    def judge_columns(self) -> list[tuple[str, str]]:
        """What the columns of the judges' table mean, those that are there."""
        rows = _telling([_judge(row) for row in self.found.get("judges", ())] or [{}])
        return [(name, ABOUT_JUDGES[name]) for name in rows[0] if name in ABOUT_JUDGES]

    @property
    def sentences(self) -> list[str]:
        """What the tables do not say: the spread of the prompts, and how far the judges agree."""
        said = []
        prompts = self.found.get("prompts", {})
        for name, counts in (("Topics", prompts.get("topics")), ("Difficulty", prompts.get("difficulties"))):
            if counts:
                said.append(f"{name} of the new prompts: {', '.join(f'{key} {n:,}' for key, n in counts.items())}.")
        panel = self.found.get("panel", {})
        if panel.get("kappa") is not None:
            statistic = str(panel["statistic"]).capitalize()
            said.append(
                f"The judges agree with each other on {panel['items']:,} pairs of answers with {statistic}'s kappa "
                f"{panel['kappa']:.2f} (1 = always, 0 = as often as by chance)."
            )
        return said

    @property
    def labelled(self) -> bool:
        """Whether a judge was compared with labels of the source."""
        return any(row["human_agreement"] is not None for row in self.found.get("judges", ()))

    @property
    def by_form(self) -> bool:
        """Whether a judge was the heuristic, which is no model."""
        return any(row["method"] == "heuristic" for row in self.found.get("judges", ()))


def _prompts(made: Mapping[str, Any]) -> Row:
    left_out = {name.replace("_", " "): made[name] or None for name in LEFT_OUT}
    return {"method": made["method"], "model": made["model"], "new prompts": made["kept"], **left_out}


def _answers(row: Mapping[str, Any]) -> Row:
    return {
        "model": row["model"],
        "answers": row["answers"],
        "failed": row["failed"] or None,
        "cut off": row["cut_off"] or None,
        "tokens, mean": None if row["mean_tokens"] is None else round(row["mean_tokens"]),
        "on policy": "yes" if row["on_policy"] else None,
    }


def _judge(row: Mapping[str, Any]) -> Row:
    return {
        "judge": row["judge"],
        "method": row["method"],
        "by": row["rubric"] if row["rubric"] not in (None, row["method"]) else None,
        "verdicts": row["verdicts"],
        "unusable": _percent(row["null_rate"] or None),
        "ties": _percent(row["tie_rate"]),
        "same both ways": _percent(row["position_consistency"]),
        "first wins": _percent(row["first_position_rate"]),
        "longer wins": _percent(row["length_bias"]),
        "as labelled": _agreement(row),
    }


def _agreement(row: Mapping[str, Any]) -> str | None:
    share = row["human_agreement"]
    return None if share is None else f"{_percent(share)}\u00a0of\u00a0{row['human_pairs']:,}"  # on one line


def _requests(row: Mapping[str, Any]) -> Row:
    usd = row["usd"]
    return {
        "model": row["model"],
        "requests": row["requests"],
        "tokens in": row["input_tokens"],
        "tokens out": row["output_tokens"],
        "USD, by list price": None if usd is None else f"{usd:,.4f}" if usd else "0",
    }


def _percent(share: float | None) -> str | None:
    if share is None:
        return None
    return f"{share:.1%}" if 0 < min(share, 1 - share) < 0.01 else f"{share:.0%}"  # 0% and 100% mean it


def _pull(rows: Sequence[Row], title: str, name: str) -> str:
    """The title with what all rows have in common under a name, which is taken out of them."""
    same = {row[name] for row in rows}
    if len(same) != 1:
        return title
    for row in rows:
        del row[name]
    return f"{title} ({same.pop()})"


def _telling(rows: Sequence[Row]) -> list[Row]:
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return [{name: row[name] for name in names} for row in rows]
