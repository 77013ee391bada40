"""The numbers and rows behind a run's report and card, all read from the run directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from curate.report.generation import GenerationSummary
from curate.report.reasons import Reason, about
from curate.rules import Rule, Where
from curate.rundir.result import Run
from curate.rundir.store import SPLITS
from curate.schema.message import shown_turns
from curate.signals import COLUMNS, SIDES

EXAMPLES = 20  # kept pairs that are shown
SHOWN_CHARS = 1_500  # characters shown of each text in an example
# Stages in the order of the flow, with a description of the rows that remain after each.
REMAINING_AFTER = {
    "read": "readable",
    "prompts": "distinct prompts to answer",
    "generate": "answered",
    "judge": "judged",
    "pair": "with a preference",
    "rules": "passed the rules",
    "dedup": "deduplicated",
    "decontaminate": "without eval items",
    "select": "selected",
}
STAGES = tuple(REMAINING_AFTER)
OPTIONAL = ("decontaminate", "select")  # skipped in the funnel if the recipe lacks the section
BEFORE_PAIRS = ("read", "prompts", "generate", "judge", "pair")  # these drop sets of answers, later stages drop pairs
MOVED = {"chosen_chars": "chosen", "rejected_chars": "rejected", "margin": "margin"}  # medians that a selection moves


def _own_reason(rule: Rule | Where) -> str:
    return f"{rule.about}: {rule.condition}" if isinstance(rule, Where) else rule.about


@dataclass(frozen=True)
class Summary:
    """The numbers behind a run's report and card."""

    run: Run

    @cached_property
    def counts(self) -> dict[str, int]:
        """The counts of the manifest."""
        return self.run.counts

    @cached_property
    def funnel(self) -> list[tuple[str, int]]:
        """How many rows remain after each stage."""
        sets = self.counts.get("sets")  # prompts, or sets of answers judged again: each may yield several pairs
        remaining = self.counts["rows"] if sets is None else sets
        steps = [("rows read" if sets is None else "prompts and sets of answers", remaining)]
        for stage, what in REMAINING_AFTER.items():
            remaining -= self.counts.get(f"dropped_{stage}", 0)
            if sets is not None or stage not in ("prompts", "generate", "judge"):
                if stage in OPTIONAL and stage not in self.run.manifest.stages:
                    continue
                steps.append((what, remaining))
            if sets is not None and stage == "pair":
                remaining = self.counts["rows"] - sum(self.counts.get(f"dropped_{s}", 0) for s in BEFORE_PAIRS)
                steps.append(("pairs built", remaining))
        return steps

    @cached_property
    def splits(self) -> dict[str, int]:
        """Rows of train and of every requested split."""
        requested = self.run.recipe.split
        return {name: self.counts[name] for name in SPLITS if name == "train" or getattr(requested, name)}

    @cached_property
    def evals(self) -> list[dict[str, Any]]:
        """For every eval set: its items, how many of them were found in a pair, and how many pairs are contaminated."""
        sets = self.run.manifest.decontaminate.sets if self.run.manifest.decontaminate else {}
        return [
            {"eval set": name, "items": n["items"], "hit": n["hit"], "pairs": n["rows"]} for name, n in sets.items()
        ]

    @cached_property
    def clusters(self) -> list[dict[str, Any]]:
        """Prompt clusters, the largest first: name, number of pairs, and number of kept pairs."""
        names = self.run.manifest.clusters.names if self.run.manifest.clusters else []
        if not names:
            return []
        rows = self.cluster_rows.filter(pl.col("cluster") >= 0)
        sizes = rows.group_by("cluster").agg(pairs=pl.len(), kept=pl.col("kept").sum()).sort("cluster")
        return [{"cluster": names[c], "pairs": pairs, "kept": kept} for c, pairs, kept in sizes.iter_rows()]

    @cached_property
    def cluster_rows(self) -> pl.DataFrame:
        """cluster, x, y and kept of every clustered pair."""
        kept = self.run.ledger.select("kept").with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
        return self.run.stage("clusters").scan().join(kept, on="row", how="left").collect().drop("row")

    @cached_property
    def generation(self) -> GenerationSummary:
        """What models generated for the run."""
        return GenerationSummary(self.run.manifest.generation or {})

    @cached_property
    def reasons(self) -> list[Reason]:
        """Every reason that dropped a row, by stage, the most frequent first."""
        dropped = self.run.ledger.filter(~pl.col("kept"))
        first = dropped.group_by("stage", "rule").len("first").collect()
        every = (
            dropped.select("stage", pl.col("reasons"))
            .explode("reasons", empty_as_null=False, keep_nulls=False)
            .with_columns(rule=pl.col("reasons").str.extract(r"^([a-z0-9_]+)"))
            .group_by("stage", "rule")
            .len("any")
            .collect()
        )
        rows = every.join(first, on=["stage", "rule"], how="left").with_columns(pl.col("first").fill_null(0)).to_dicts()
        rows.sort(key=lambda row: (STAGES.index(row["stage"]), -row["any"], row["rule"]))
        own = {rule.name: _own_reason(rule) for rule in self.run.recipe.built_rules}
        return [
            Reason(r["stage"], r["rule"], own.get(r["rule"]) or about(r["rule"]), r["first"], r["any"]) for r in rows
        ]

    @cached_property
    def selection(self) -> list[dict[str, Any]]:
        """What each step of the selection changed: pairs, and medians of lengths (characters) and margin."""
        facts = self.run.manifest.select
        return [
            {"step": step.step, "pairs before": step.rows[0], "after": step.rows[1]}
            | {f"{MOVED[name]} before": before for name, (before, _) in step.medians.items()}
            | {f"{MOVED[name]} after": after for name, (_, after) in step.medians.items()}
            for step in (facts.steps if facts else ())
        ]

    @cached_property
    def selected_sources(self) -> list[dict[str, Any]]:
        """By source, where there are several: pairs that reached the selection, and that were selected."""
        facts = self.run.manifest.select
        steps = facts.steps if facts else []
        if not steps or len(steps[0].sources) < 2:
            return []
        last = steps[-1].sources
        return [
            {"source": name, "pairs": before, "selected": last.get(name, (0, 0))[1]}
            for name, (before, _) in steps[0].sources.items()
        ]

    @cached_property
    def signals(self) -> pl.LazyFrame:
        """All signals of the rows that became pairs, and `kept`; lazy, as there may be millions of rows."""
        kept = self.run.ledger.select("kept", "pair_id")
        both = pl.concat([kept, self.run.signals.scan()], how="horizontal")
        return both.filter(pl.col("pair_id").is_not_null()).drop("pair_id")

    def values(self, *names: str) -> pl.DataFrame:
        """Return some signals of all pairs, and `kept`."""
        return self.signals.select(*names, "kept").collect(engine="streaming")

    @cached_property
    def flags(self) -> list[dict[str, Any]]:
        """For every boolean or count signal that occurs: the share of pairs with it, before and after."""
        schema = self.signals.collect_schema()
        names = [name for name in COLUMNS if schema[name] == pl.Boolean or COLUMNS[name].counted]
        has = {name: pl.col(name).cast(pl.Float64) > 0 for name in names}
        before = [has[name].mean().alias(name) for name in names]
        after = [has[name].filter(pl.col("kept")).mean().alias(f"kept_{name}") for name in names]
        shares = self.signals.select(*before, *after).collect(engine="streaming").row(0, named=True)
        return [
            {"name": name, "about": COLUMNS[name].about, "before": shares[name], "after": shares[f"kept_{name}"]}
            for name in names
            if shares[name]
        ]

    @cached_property
    def lengths(self) -> dict[str, Any]:
        """Median words, and the share of pairs whose chosen answer is the longer one, before and after."""
        lengths = [
            pl.col("chosen_words").median().alias("chosen"),
            pl.col("rejected_words").median().alias("rejected"),
            pl.col("prompt_words").median().alias("prompt"),
            (pl.col("chosen_chars") > pl.col("rejected_chars")).mean().alias("chosen_longer"),
        ]
        rows = self.values("prompt_words", "chosen_words", "rejected_words", "chosen_chars", "rejected_chars")
        frames = {"before": rows, "after": rows.filter("kept")}
        return {name: frame.select(lengths).row(0, named=True) for name, frame in frames.items()}

    @cached_property
    def languages(self) -> list[tuple[str, float]]:
        """Languages of the kept chosen answers with their shares, the most frequent first."""
        known = self.signals.filter("kept", pl.col("chosen_language").is_not_null()).group_by("chosen_language").len()
        counted = known.sort("len", "chosen_language", descending=[True, False]).collect(engine="streaming")
        total = counted.get_column("len").sum()
        return [(language, count / total) for language, count in counted.iter_rows()]

    @cached_property
    def kept_examples(self) -> list[dict[str, Any]]:
        """A sample of the kept pairs, by hash."""
        ledger = self.run.ledger.with_row_index("place").filter(pl.col("kept"))
        return self._texts(ledger.sort("pair_id").head(EXAMPLES).select("place").collect().get_column("place"))

    def _texts(self, places: pl.Series) -> list[dict[str, Any]]:
        """Return ledger rows with their texts, each shortened for display."""
        rows = self.rows(places)
        for row in rows:
            row |= {side: [_shortened(turn) for turn in shown_turns(row, side)] for side in SIDES}
            del row["tools"]
        return rows

    def rows(self, places: pl.Series, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return ledger rows by their place, with the messages of the pairs, and further columns of the pairs."""
        wanted = pl.col("place").is_in(places.implode())
        ledger = self.run.ledger.with_row_index("place").filter(wanted).collect()
        texts = self.run.stage("pairs").scan("place").select("place", *SIDES, "tools", *columns)
        return ledger.join(texts.filter(wanted).collect(engine="streaming"), on="place").sort("place").to_dicts()

    def measured(self, names: Sequence[str]) -> list[str]:
        """Return the signals that were measured for at least one pair."""
        counts = self.measurements(names)
        return [name for name in names if counts[name]]

    def measurements(self, names: Sequence[str]) -> dict[str, int]:
        """Return for how many pairs each of some signals was measured."""
        return self.signals.select(pl.col(*names).count()).collect(engine="streaming").row(0, named=True)


def _shortened(message: dict[str, str]) -> dict[str, str]:
    content = message["content"]
    if len(content) > SHOWN_CHARS:
        content = f"{content[:SHOWN_CHARS]} … ({len(content) - SHOWN_CHARS:,} more characters)"
    return {"role": message["role"], "content": content}
