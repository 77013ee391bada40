"""What models generated for a run, as small tables and sentences for the terminal, the card and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
NOT_KEPT = ("duplicates", "unusable", "other_language", "bad_replies", "failed")  # requested prompts that were dropped
# Explanations of the columns in the judges' table.
ABOUT_JUDGES = {
    "unusable": "share of verdicts without a score, after one retry",
    "ties": "share of comparisons without a better answer",
    "same both ways": "share of comparisons with the same result after swapping the answers; the others count as ties",
    "first wins": "share of single comparisons won by the answer shown first (50% is unbiased)",
    "longer wins": "share of decided pairs won by the longer answer",
    "style flips": "share of decided pairs decided the other way without the answers' markdown (95% interval)",
    "as labelled": "share of the labelled pairs decided by the judge that it decides as labelled; κ: beyond chance",
    "as each other": "share of pairs of answers on which two judges of the panel agree; κ: beyond chance",
}


@dataclass(frozen=True)
class GenerationSummary:
    """What models generated; `found` is the manifest's `generation`, empty if the pairs were read."""

    found: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def tables(self) -> dict[str, list[Row]]:
        """Tables by title, those that exist of: prompts, answers, judges, requests. Empty columns are omitted."""
        judges = self._judges()
        found = {
            "Prompts": [_prompts(self.found["prompts"])] if "prompts" in self.found else [],
            "Answers": [_answers(row) for row in self.found.get("answers", ())],
            **self._likelihood(),
            _pull(judges, "Judges", "method"): judges,
            "Requests": [_requests(row) for row in self.found.get("requests", ())],
        }
        return {title: _without_empty_columns(rows) for title, rows in found.items() if rows}

    @property
    def judge_columns(self) -> list[tuple[str, str]]:
        """Name and explanation of the columns in the judges' table."""
        rows = _without_empty_columns(self._judges() or [{}])
        return [(name, ABOUT_JUDGES[name]) for name in rows[0] if name in ABOUT_JUDGES]

    @property
    def sentences(self) -> list[str]:
        """Facts that are not in the tables: the distribution of the prompts, and what is wrong with answers."""
        sentences = []
        prompts = self.found.get("prompts", {})
        for name, counts in (("Topics", prompts.get("topics")), ("Difficulty", prompts.get("difficulties"))):
            if counts:
                sentences.append(
                    f"{name} of the new prompts: {', '.join(f'{key} {n:,}' for key, n in counts.items())}."
                )
        for row in self.found.get("answers", ()):
            if row.get("problem"):  # not published: it may name hosts
                count = row["failed"] + row["without_text"]
                sentences.append(
                    f"{_counted(count, 'answer')} of {row['model']} without text, mostly: {row['problem']}."
                )
        if any(row["mean"] is not None for row in self.found.get("on_policy", ())):
            sentences.append(
                "Log-likelihoods are in nats; the nearer to 0, the more an answer is like those that the model to be "
                "trained would give itself."
            )
        for row in self.found.get("judges", ()):
            if row["problem"]:
                count = f"{_counted(row['problems'], 'verdict')} of {row['judge']}"
                sentences.append(f"{count} cannot be used: {row.get('example') or row['problem']}.")
        return sentences

    def _likelihood(self) -> dict[str, list[Row]]:
        rows = self.found.get("on_policy", ())
        return {f"Log-likelihood per token under {rows[0]['under']}": [_likely(row) for row in rows]} if rows else {}

    def _judges(self) -> list[Row]:
        return [_judge(row, self.found["panel"]) for row in self.found.get("judges", ())]

    @property
    def labelled(self) -> bool:
        """Whether a judge was compared with labels of the source."""
        return any(row["human_agreement"] is not None for row in self.found.get("judges", ()))

    @property
    def by_form(self) -> bool:
        """Whether a judge was the heuristic, which is not a model."""
        return any(row["method"] == "heuristic" for row in self.found.get("judges", ()))


def rubric_tables(found: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Tables by title for the content of a rubric.json: both rubrics side by side, the drafts, the requests."""
    held_out, development = found["pairs"]["held out"], found["pairs"]["for development"]
    tables = {
        f"Rubrics, by {held_out:,} held-out pairs": [_rubric(row) for row in found["figures"]],
        f"Drafts, by {development:,} other pairs": [_draft(row) for row in found["drafts"] if development],
        "Requests": [_requests(row) for row in found["requests"]],
    }
    return {title: _without_empty_columns(rows) for title, rows in tables.items() if rows}


def _rubric(row: Mapping[str, Any]) -> Row:
    return {
        "rubric": row["rubric"],
        "agreement": f"{row['agreement']:.1%}",
        "decided": _percent(row["decided"] / row["pairs"]),
        "ties": row["ties"],
        "unusable": row["unusable"],
        "as labelled": _percent(row["decided_agreement"]),
        "κ": None if row["kappa"] is None else f"{row['kappa']:.2f}",
        "same both ways": _percent(row["position_consistency"]),
        "longer wins": _percent(row["length_bias"]),
    }


def _draft(row: Mapping[str, Any]) -> Row:
    agreement = None if row["agreement"] is None else f"{row['agreement']:.1%}"
    return {"draft": str(row["draft"]), "agreement": agreement, "not usable": row["problem"]}


def _prompts(row: Mapping[str, Any]) -> Row:
    dropped = {name.replace("_", " "): row[name] or None for name in NOT_KEPT}
    return {"method": row["method"], "model": row["model"], "new prompts": row["kept"], **dropped}


def _answers(row: Mapping[str, Any]) -> Row:
    return {
        "model": row["model"],
        "answers": row["answers"],
        "failed": row["failed"] or None,
        "cut off": row["cut_off"] or None,
        "without text": row["without_text"] or None,
        "tokens, mean": None if row["mean_tokens"] is None else round(row["mean_tokens"]),
        "on policy": "yes" if row["on_policy"] else None,
    }


def _likely(row: Mapping[str, Any]) -> Row:
    known = row["mean"] is not None
    return {
        "answers of": row["model"],
        "topic": row["topic"],
        "measured": f"{row['measured']:,} of {row['answers']:,}",
        "mean": f"{row['mean']:.2f}" if known else None,
        "10% to 90%": f"{row['low']:.2f} to {row['high']:.2f}" if known else None,
    }


def _judge(row: Mapping[str, Any], panel: Mapping[str, Any]) -> Row:
    is_panel = row["method"] == "panel"
    return {
        "judge": f"panel of {len(panel['judges'])}" if is_panel else row["judge"],
        "method": None if is_panel else row["method"],
        "by": row["rubric"] if row["rubric"] not in (None, row["method"]) else None,
        "verdicts": row["verdicts"],
        "unusable": _percent(row["null_rate"] or None),
        "ties": _percent(row["tie_rate"]),
        "same both ways": _percent(row["position_consistency"]),
        "first wins": _percent(row["first_position_rate"]),
        "longer wins": _percent(row["length_bias"]),
        "style flips": _style(row),
        "as labelled": _agreement(row["human_agreement"], row["human_pairs"], row["human_kappa"]),
        "as each other": _agreement(panel["agreement"], panel["items"], panel["kappa"]) if is_panel else None,
    }


def _style(row: Mapping[str, Any]) -> str | None:
    if row["style_flips"] is None:
        return None
    interval = f"{_percent(row['style_low'])}–{_percent(row['style_high'])}"
    return f"{_percent(row['style_flips'])}\u00a0of\u00a0{row['style_pairs']:,} ({interval})"


def _agreement(share: float | None, items: int, kappa: float | None) -> str | None:
    if share is None:
        return None
    beyond = "" if kappa is None else f", κ\u00a0{kappa:.2f}"
    return f"{_percent(share)}\u00a0of\u00a0{items:,}{beyond}"  # on one line


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


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
    return f"{share:.1%}" if 0 < min(share, 1 - share) < 0.01 else f"{share:.0%}"  # 0% and 100% are exact


def _pull(rows: Sequence[Row], title: str, name: str) -> str:
    """If all rows that have a value under a name have the same, remove it and return the title with it."""
    same = {row[name] for row in rows} - {None}
    if len(same) != 1:
        return title
    for row in rows:
        del row[name]
    return f"{title} ({same.pop()})"


def _without_empty_columns(rows: Sequence[Row]) -> list[Row]:
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return [{name: row[name] for name in names} for row in rows]
