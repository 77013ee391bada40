"""What a run's report and card say, as plain numbers and rows: read from the run directory, nothing typed by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from curate import pairing
from curate.dedup.finders import FINDERS
from curate.report.generation import GenerationSummary
from curate.rules import DEFAULTS
from curate.rundir.result import Run
from curate.rundir.store import SPLITS
from curate.signals import COLUMNS

EXAMPLES = 20  # rows shown for each reason
SHOWN_CHARS = 1_500  # of each text in an example
# In the order of the flow, with what is left after each.
LEFT_AFTER = {
    "read": "readable",
    "prompts": "prompts to answer, each once",
    "generate": "answered",
    "judge": "judged",
    "pair": "with a preference",
    "rules": "passed the rules",
    "dedup": "no duplicates",
    "decontaminate": "without eval items",
    "select": "selected",
}
STAGES = tuple(LEFT_AFTER)
OPTIONAL = ("decontaminate", "select")  # a recipe without the section has no such step
MAKING = ("read", "prompts", "generate", "judge", "pair")  # what is left after these are sets of answers, then pairs
# Why a row is dropped where no rule of the recipe says it.
ABOUT = pairing.ABOUT | {
    "tie": "the source, or the judges' scores, prefer neither response",
    "broken_row": "the row cannot be read (broken JSON, invalid UTF-8, a wrong number of cells)",
    "not_text": "a number or object stands where text should be",
    "not_messages": "something else stands where a list of messages should be",
    "no_messages": "the list of messages is empty",
    "no_content": "a message has no content",
    "unknown_role": "a message has a role that chat templates do not know",
    "not_supported": "a message holds an image or another part that is not text",
    "missing_prompt": "there is no prompt: none in a column, and none that both sides share",
    "no_shared_prompt": "the two dialogues share no user turn",
    "no_transcript": "the text holds no turns",
    "missing_chosen": "chosen is null",
    "missing_rejected": "rejected is null",
    "missing_response_a": "the first response is null",
    "missing_response_b": "the second response is null",
    "no_preference": "the source does not say which response is better",
    "duplicate_prompt": "the prompt stands further up already; it is answered once",
    "seed": "the prompt served to make others and is not answered itself",
    "duplicate_pair": "the same prompt with the same two responses stands elsewhere",
    "contradiction": "the same two responses stand elsewhere the other way round",
    **{f"{name}_duplicate": finder.about for name, finder in FINDERS.items()},
    "duplicate_responses": "nearly the same two responses to the same, or nearly the same, prompt stand elsewhere",
    "near_contradiction": "nearly the same two responses stand elsewhere the other way round",
    "in_other_set": "it is, or is much like, a row of a set that dedup.against names",
    "eval_item": "it holds an item of an eval set",
    "cluster_cap": "its prompt's cluster has more pairs than the recipe keeps",
    "not_selected": "others were selected",
    "max_pairs_per_prompt": "the prompt has more pairs than the recipe keeps",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for dropping rows: how often it was the first one found, and how often it held at all."""

    stage: str
    rule: str
    about: str
    first: int
    any: int


def about(rule: str) -> str:
    """A sentence for a reason: why the default rules have it, else what the signal measures."""
    if rule in ABOUT:
        return ABOUT[rule]
    if rule in DEFAULTS:
        return DEFAULTS[rule][1]
    column = rule.partition("_")[2]
    return COLUMNS[column].about if column in COLUMNS else rule


@dataclass(frozen=True)
class Summary:
    """The numbers behind a run's report and card."""

    run: Run

    @cached_property
    def counts(self) -> dict[str, int]:
        """As in the manifest."""
        return self.run.counts

    @cached_property
    def funnel(self) -> list[tuple[str, int]]:
        """How many rows are left after each stage."""
        sets = self.counts.get("sets")  # prompts, or what is judged again: each may yield several pairs
        left = self.counts["rows"] if sets is None else sets
        steps = [("rows read" if sets is None else "prompts and sets of answers", left)]
        for stage, what in LEFT_AFTER.items():
            left -= self.counts.get(f"dropped_{stage}", 0)
            if sets is not None or stage not in ("prompts", "generate", "judge"):
                if stage in OPTIONAL and stage not in self.run.manifest.stages:
                    continue
                steps.append((what, left))
            if sets is not None and stage == "pair":
                left = self.counts["rows"] - sum(self.counts.get(f"dropped_{s}", 0) for s in MAKING)
                steps.append(("pairs made", left))
        return steps

    @cached_property
    def splits(self) -> dict[str, int]:
        """Rows of train and of every split that was asked for."""
        asked = self.run.recipe.split
        return {name: self.counts[name] for name in SPLITS if name == "train" or getattr(asked, name)}

    @cached_property
    def evals(self) -> list[dict[str, Any]]:
        """For every eval set: items, how many of them some pair holds, and how many pairs hold one."""
        sets = self.run.manifest.decontaminate.sets if self.run.manifest.decontaminate else {}
        return [
            {"eval set": name, "items": n["items"], "hit": n["hit"], "pairs": n["rows"]} for name, n in sets.items()
        ]

    @cached_property
    def clusters(self) -> list[dict[str, Any]]:
        """Prompt clusters, the largest first: name, and how many pairs of it there were and are kept."""
        names = self.run.manifest.clusters.names if self.run.manifest.clusters else []
        if not names:
            return []
        rows = self.cluster_rows.filter(pl.col("cluster") >= 0)
        sizes = rows.group_by("cluster").agg(pairs=pl.len(), kept=pl.col("kept").sum()).sort("cluster")
        return [{"cluster": names[c], "pairs": pairs, "kept": kept} for c, pairs, kept in sizes.iter_rows()]

    @cached_property
    def cluster_rows(self) -> pl.DataFrame:
        """cluster, x, y, kept of every pair that was clustered."""
        kept = self.run.ledger.select("kept").with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
        return self.run.stage("clusters").scan().join(kept, on="row", how="left").collect().drop("row")

    @cached_property
    def generation(self) -> GenerationSummary:
        """What models generated for it."""
        return GenerationSummary(self.run.manifest.generation or {})

    @cached_property
    def reasons(self) -> list[Reason]:
        """Every reason that dropped a row, stage by stage, the most frequent first."""
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
        return [Reason(row["stage"], row["rule"], about(row["rule"]), row["first"], row["any"]) for row in rows]

    @cached_property
    def signals(self) -> pl.LazyFrame:
        """Every signal of the rows that became pairs, and whether they were kept; lazy, as there may be millions."""
        kept = self.run.ledger.select("kept", "pair_id")
        both = pl.concat([kept, self.run.stage("signals").scan()], how="horizontal")
        return both.filter(pl.col("pair_id").is_not_null()).drop("pair_id")

    def values(self, *names: str) -> pl.DataFrame:
        """Some signals of all pairs, with `kept` beside them."""
        return self.signals.select(*names, "kept").collect(engine="streaming")

    @cached_property
    def flags(self) -> list[dict[str, Any]]:
        """For every yes-or-no or counted signal that occurs: the share of pairs with it, before and after."""
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
        """Medians in words and the share of pairs whose chosen is the longer one, before and after."""
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
        """Languages of the kept chosen answers with their share, the most frequent first."""
        known = self.signals.filter("kept", pl.col("chosen_language").is_not_null()).group_by("chosen_language").len()
        counted = known.sort("len", "chosen_language", descending=[True, False]).collect(engine="streaming")
        total = counted.get_column("len").sum()
        return [(language, count / total) for language, count in counted.iter_rows()]

    @cached_property
    def examples(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """For each (stage, first rule) some rows it dropped: a sample by hash, the same every time."""
        ledger = self.run.ledger.with_row_index("place")
        ranked = ledger.filter(~pl.col("kept")).select(
            "place", "stage", "rule", order=pl.coalesce("pair_id", pl.lit(""))
        )
        rank = pl.struct("order", "place").rank("ordinal").over("stage", "rule")
        places = ranked.filter(rank <= EXAMPLES).select("place").collect().get_column("place")
        rows = self._texts(places)
        return {
            (reason.stage, reason.rule): [
                row for row in rows if (row["stage"], row["rule"]) == (reason.stage, reason.rule)
            ]
            for reason in self.reasons
        }

    @cached_property
    def kept_examples(self) -> list[dict[str, Any]]:
        """Some pairs that stayed, sampled by hash."""
        ledger = self.run.ledger.with_row_index("place").filter(pl.col("kept"))
        return self._texts(ledger.sort("pair_id").head(EXAMPLES).select("place").collect().get_column("place"))

    def _texts(self, places: pl.Series) -> list[dict[str, Any]]:
        """Ledger rows with their texts, each text cut to what a reader wants to see."""
        wanted = pl.col("place").is_in(places.implode())
        ledger = self.run.ledger.with_row_index("place").filter(wanted).collect()
        texts = self.run.stage("pairs").scan().select("prompt", "chosen", "rejected").with_row_index("place")
        rows = ledger.join(texts.filter(wanted).collect(engine="streaming"), on="place").sort("place").to_dicts()
        for row in rows:
            row |= {side: [_shortened(m) for m in row[side] or []] for side in ("prompt", "chosen", "rejected")}
        return rows

    def measured(self, names: Sequence[str]) -> list[str]:
        """Those of the signals that were measured for at least one pair."""
        counts = self.signals.select(pl.col(*names).count()).collect(engine="streaming").row(0, named=True)
        return [name for name in names if counts[name]]


def _shortened(message: dict[str, str]) -> dict[str, str]:
    content = message["content"]
    if len(content) > SHOWN_CHARS:
        content = f"{content[:SHOWN_CHARS]} … ({len(content) - SHOWN_CHARS:,} more characters)"
    return {"role": message["role"], "content": content}


def cell(value: object) -> str:
    """A value of a table for a person; null is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
