"""Before training: what TRL will drop, cut or garble of a run's rows with this model's tokenizer, and what fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.recipe import Train
from curate.rundir.result import Run
from train.models import Shape, ends, load_tokenizer, shape
from train.tokens import tokens
from train.training import memory

SHARES = (0.95, 0.99, 1.0)
ROUND = 64  # max_length is a multiple of it: the hardware likes that
SIDES = ("chosen", "rejected")
SHOWN = 5  # rows named for each finding

whole = pl.col("prompt_tokens") + pl.max_horizontal("chosen_tokens", "rejected_tokens")
NAMES = ("refused", "dropped", "equal_after_cut", "empty", "cut", "prompt_not_prefix", "no_end", "system_lost")
USELESS = ("refused", "dropped", "equal_after_cut", "empty")  # nothing to learn from, or TRL stops at them
ABOUT = {
    "refused": "the chat template takes no such conversation (TRL would stop)",
    "dropped": "the prompt alone fills max_length (TRL drops the row)",
    "equal_after_cut": "chosen and rejected are the same up to max_length: nothing to learn",
    "empty": "one side has no token (TRL trains on it without complaint)",
    "cut": "an answer is cut at max_length, and its end with it",
    "prompt_not_prefix": "the rendered prompt is no beginning of prompt + answer: the model is trained on another text",
    "no_end": "an answer does not end with an end-of-text token: the model is not taught to stop",
    "system_lost": "the chat template leaves the system message out",
}


def found(max_length: int | None) -> Mapping[str, pl.Expr]:
    """For each finding, over TOKENS, whether a row has it; null never."""
    limit = pl.lit(max_length if max_length is not None else 2**31)
    chosen, rejected = (pl.min_horizontal(pl.col("prompt_tokens") + pl.col(f"{s}_tokens"), limit) for s in SIDES)
    same = (chosen == rejected) & (pl.col("shared_tokens") >= chosen)
    empty = pl.min_horizontal("chosen_tokens", "rejected_tokens") == 0
    dropped = pl.col("prompt_tokens") >= limit
    holds = {
        "refused": pl.col("refused").is_not_null(),
        "dropped": dropped,
        "equal_after_cut": same & ~dropped,
        "empty": empty & ~dropped,
        "cut": (whole > limit) & ~dropped,
        "prompt_not_prefix": pl.col("lost_tokens") > 0,
        "no_end": ~(pl.col("chosen_ends") & pl.col("rejected_ends")) & ~empty,
        "system_lost": pl.col("system_lost"),
    }
    return {name: expression.fill_null(value=False) for name, expression in holds.items()}


@dataclass(frozen=True)
class Preflight:
    """What is known before training. `rows` is TOKENS with `split`, `row` (0-based in its split) and `pair_id`."""

    model: str
    max_length: int | None
    rows: pl.DataFrame
    shape: Shape
    plan: memory.Plan

    def findings(self) -> list[dict[str, Any]]:
        """For each finding that occurs: name, rows, share, the first rows with it, what it means."""
        holds = found(self.max_length)
        listed = []
        for name in NAMES:
            rows = self.rows.filter(holds[name])
            if len(rows):
                first = [f"{split} {row}" for split, row in rows.select("split", "row").head(SHOWN).iter_rows()]
                share = len(rows) / len(self.rows)
                listed.append(
                    {
                        "finding": name,
                        "rows": len(rows),
                        "share": share,
                        "first": ", ".join(first),
                        "meaning": ABOUT[name],
                    }
                )
        return listed

    def lengths(self) -> list[dict[str, Any]]:
        """For each share of the rows the max_length that keeps them whole, and about how much memory a pair takes."""
        known = self.rows.select(whole.alias("whole")).drop_nulls().get_column("whole")
        if known.is_empty():
            return []
        exact = {share: int(known.quantile(share, "higher") or 0) for share in SHARES}
        return [
            {
                "rows kept whole": f"{share:.0%}",
                "tokens": tokens,
                "max_length": rounded(tokens, self.shape.context),
                "GB a batch of 1": round(self._gb(1, tokens), 2),
                "GB a batch of 8": round(self._gb(8, tokens), 2),
            }
            for share, tokens in exact.items()
        ]

    def usable(self, split: str) -> pl.Series:
        """bool, row for row of a split: whether there is something to learn from the row."""
        holds = found(self.max_length)
        rows = self.rows.filter(split=split)
        return rows.select(usable=~pl.any_horizontal(*(holds[name] for name in USELESS))).get_column("usable")

    def plain(self) -> dict[str, Any]:
        """For a program."""
        return {
            "model": self.model,
            "max_length": self.max_length,
            "rows": len(self.rows),
            "findings": self.findings(),
            "lengths": self.lengths(),
        }

    def _gb(self, pairs: int, length: int) -> float:
        return memory.needed(self.shape, self.plan, pairs, length) / 1e9


def preflight(run: Run, section: Train) -> Preflight:
    """
    Measure every row of a run's splits with the model's own tokenizer and template, as TRL 1.16 tokenizes it.

    Raises InputError for a run without pairs, a model without chat template, and where no row is left to train on.
    """
    if section.model is None:
        raise InputError("no model is named: --model ID_OR_FOLDER")
    tokenizer = load_tokenizer(section.model, section.chat_template)
    splits = {"train": pairs_of(run, "train"), "test": pairs_of(run, "test")}
    if splits["train"].is_empty():
        raise InputError(f"{run.folder} has no pairs to train on")
    stop = ends(section.model, tokenizer)
    measured = [
        pl.concat([places, tokens(pairs, tokenizer, stop)], how="horizontal")
        for split, pairs in splits.items()
        for places in [
            pairs.select("pair_id").with_row_index("row").select(pl.lit(split).alias("split"), "row", "pair_id")
        ]
    ]
    rows = pl.concat(measured)
    sizes = shape(section.model)
    given = section.trl.get("max_length", section.max_length)
    limit = given if given is not None else _fitting(rows, section.keep, sizes)
    plan = memory.Plan(section.lora_rank if section.lora else None, half=_half(section))
    result = Preflight(section.model, limit, rows, sizes, plan)
    if not result.usable("train").any():
        worst = result.findings()[0]
        raise InputError(
            f"no row is left to train on: {worst['rows']} of {len(rows)} {worst['finding']} ({worst['meaning']}); "
            f"max_length is {limit}"
        )
    return result


def pairs_of(run: Run, split: str) -> pl.DataFrame:
    """The pairs of a split with every column that its files have (`label_confidence`, say, beside PAIR)."""
    shards = sorted((Path(run.folder) / "data").glob(f"{split}-*.parquet"))
    lazy = run.train if split == "train" else run.test
    return pl.read_parquet(shards) if shards else lazy.collect()


def rounded(tokens: int, context: int | None) -> int:
    """The next multiple of 64, as far as the model goes."""
    length = -(-tokens // ROUND) * ROUND
    return length if context is None else min(length, context)


def _fitting(rows: pl.DataFrame, share: float, sizes: Shape) -> int | None:
    known = rows.filter(split="train").select(whole.alias("whole")).drop_nulls().get_column("whole")
    return None if known.is_empty() else rounded(int(known.quantile(share, "higher") or 0), sizes.context)


def _half(section: Train) -> bool:
    """Whether weights and activations have 16 bits: where the device is made for it, as TRL has it, or as is said."""
    given = section.trl.get("bf16", section.trl.get("fp16"))
    return memory.half() if given is None else bool(given)
