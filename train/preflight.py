"""Preflight: check a run's rows with the model's tokenizer before training, as TRL would tokenize them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.recipe.training import Train
from curate.rundir.file_form import from_file
from curate.rundir.result import Run
from curate.text.sequences import SIDES
from train.models import ModelShape, end_tokens, load_tokenizer, model_shape
from train.tokens import tokens
from train.training import memory

QUANTILES = (0.95, 0.99, 1.0)  # of the rows' total lengths
LENGTH_MULTIPLE = 64  # max_length is rounded up to a multiple of it, which matrix kernels prefer
FIRST_ROWS = 5  # rows listed for each finding

total_tokens = pl.col("prompt_tokens") + pl.max_horizontal("chosen_tokens", "rejected_tokens")
# Not a finding of a run: answers may begin alike. Where nearly all do, their first tokens teach nothing.
first_token_tied = (pl.col("shared_tokens") > pl.col("prompt_tokens")).fill_null(value=False)
FINDINGS = {  # name: meaning
    "refused": "the chat template raises an error for the conversation (TRL would stop)",
    "dropped": "the prompt alone fills max_length (TRL drops the row)",
    "equal_after_cut": "chosen and rejected are identical up to max_length, so there is nothing to learn",
    "empty": "one side has no tokens (TRL trains on it without a warning)",
    "cut": "an answer is truncated at max_length and loses its end",
    "prompt_not_prefix": "the rendered prompt is not a prefix of prompt + answer, so training and inference differ",
    "no_end": "an answer does not end with an end-of-text token, so the model does not learn to stop",
    "system_lost": "the chat template omits the system message",
    "content_lost": "the chat template leaves a part of an answer out, so it is not trained on",
}
UNUSABLE = ("refused", "dropped", "equal_after_cut", "empty")  # nothing to learn from, or TRL raises an error


def finding_flags(max_length: int | None) -> Mapping[str, pl.Expr]:
    """Return one boolean expression per finding, over TOKENS: whether a row has it (never null)."""
    limit = pl.lit(max_length if max_length is not None else 2**31)
    chosen, rejected = (pl.min_horizontal(pl.col("prompt_tokens") + pl.col(f"{s}_tokens"), limit) for s in SIDES)
    same = (chosen == rejected) & (pl.col("shared_tokens") >= chosen)
    empty = pl.min_horizontal("chosen_tokens", "rejected_tokens") == 0
    dropped = pl.col("prompt_tokens") >= limit
    flags = {
        "refused": pl.col("refused").is_not_null(),
        "dropped": dropped,
        "equal_after_cut": same & ~dropped,
        "empty": empty & ~dropped,
        "cut": (total_tokens > limit) & ~dropped,
        "prompt_not_prefix": pl.col("lost_tokens") > 0,
        "no_end": ~(pl.col("chosen_ends") & pl.col("rejected_ends")) & ~empty,
        "system_lost": pl.col("system_lost"),
        "content_lost": pl.col("content_lost"),
    }
    return {name: expression.fill_null(value=False) for name, expression in flags.items()}


@dataclass(frozen=True)
class Preflight:
    """
    The result of a preflight.

    `rows` has one row per pair of the train and test split: TOKENS, with `split`, `row` (0-based within its split) and
    `pair_id`. `max_length` is in tokens, prompt and answer together; None = no limit.
    """

    model: str
    max_length: int | None
    rows: pl.DataFrame
    shape: ModelShape
    plan: memory.Plan

    def findings(self) -> list[dict[str, Any]]:
        """Return a dict per finding that occurs: finding, rows (count), share (0..1), first (row numbers), meaning."""
        flags = finding_flags(self.max_length)
        listed = []
        for name, meaning in FINDINGS.items():
            rows = self.rows.filter(flags[name])
            if len(rows):
                first = [f"{split} {row}" for split, row in rows.select("split", "row").head(FIRST_ROWS).iter_rows()]
                share = len(rows) / len(self.rows)
                listed.append(
                    {
                        "finding": name,
                        "rows": len(rows),
                        "share": share,
                        "first": ", ".join(first),
                        "meaning": meaning,
                    }
                )
        return listed

    def lengths(self) -> list[dict[str, Any]]:
        """
        Return a dict for each of 95 %, 99 % and 100 % of the rows: the tokens that this share fits in, the max_length
        to set for it, and estimated memory in GB at batch sizes of 1 and 8 pairs. Empty if no row could be rendered.
        """
        known = self.rows.select(total_tokens.alias("total")).drop_nulls().get_column("total")
        if known.is_empty():
            return []
        exact = {share: int(known.quantile(share, "higher") or 0) for share in QUANTILES}
        return [
            {
                "rows that fit": f"{share:.0%}",
                "tokens": tokens,
                "max_length": rounded(tokens, self.shape.context),
                "GB at batch size 1": round(memory.required_bytes(self.shape, self.plan, 1, tokens) / 1e9, 2),
                "GB at batch size 8": round(memory.required_bytes(self.shape, self.plan, 8, tokens) / 1e9, 2),
            }
            for share, tokens in exact.items()
        ]

    def usable(self, split: str) -> pl.Series:
        """Return a boolean per row of a split, in order: whether there is something to learn from the row."""
        flags = finding_flags(self.max_length)
        rows = self.rows.filter(split=split)
        return rows.select(usable=~pl.any_horizontal(*(flags[name] for name in UNUSABLE))).get_column("usable")

    def to_dict(self) -> dict[str, Any]:
        """Return model, max_length, row count, findings and lengths as JSON-compatible data."""
        return {
            "model": self.model,
            "max_length": self.max_length,
            "rows": len(self.rows),
            "findings": self.findings(),
            "lengths": self.lengths(),
        }


def preflight(run: Run, section: Train) -> Preflight:
    """
    Check every row of a run's splits with the model's own tokenizer and chat template, as TRL 1.16 tokenizes it.

    Parameters
    ----------
    run
        A finished run; its train and test split are checked.
    section
        What to train, as in a recipe's `train` section; `model` is required. `max_length` (or `trl.max_length`) is
        used if set; null takes the smallest multiple of 64 tokens that fits the share `keep` of the train rows.

    Returns
    -------
    Preflight
        The lengths of every row, and what TRL would drop, truncate or garble.

    Raises InputError if the run has no train pairs, no model is given, the model has no chat template or end-of-text
    token, or no row is usable for training.

        checked = preflight(open_run("RUN"), Train(model="HuggingFaceTB/SmolLM2-135M-Instruct"))
        checked.max_length, checked.findings(), checked.lengths()
    """
    splits = {split: pairs_of(run, split).with_row_index("row") for split in ("train", "test")}
    if splits["train"].is_empty():
        raise InputError(f"{run.folder} has no pairs to train on")
    result = preflight_pairs(splits.items(), section)
    limit, rows = result.max_length, result.rows
    if not result.usable("train").any():
        worst = result.findings()[0]
        raise InputError(
            f"no row is usable for training: {worst['rows']} of {len(rows)} {worst['finding']} ({worst['meaning']}); "
            f"max_length is {limit}"
        )
    return result


def preflight_pairs(blocks: Iterable[tuple[str, pl.DataFrame]], section: Train) -> Preflight:
    """
    Check pairs of any origin as `preflight` does, block by block.

    in : blocks of pairs with `row` (u32), each with its split; a section with a model
    """
    if section.model is None:
        raise InputError("no model given: --model ID_OR_FOLDER")
    tokenizer = load_tokenizer(section.model, section.chat_template, remote_code=section.trust_remote_code)
    ends = end_tokens(section.model, tokenizer)
    rows = pl.concat(
        pl.concat([pairs.select(pl.lit(split).alias("split"), "row", "pair_id"), measured], how="horizontal")
        for split, pairs in blocks
        for measured in [tokens(pairs, tokenizer, ends)]
    )
    shape = model_shape(section.model, remote_code=section.trust_remote_code)
    given = section.trl.get("max_length", section.max_length)
    limit = given if given is not None else _fitting_length(rows, section.keep, shape)
    plan = memory.Plan(section.lora_rank if section.lora else None, half_precision=_half_precision(section))
    return Preflight(section.model, limit, rows, shape, plan)


def pairs_of(run: Run, split: str) -> pl.DataFrame:
    """Return the pairs of a split with all columns in its files (`label_confidence`, for example, besides PAIR)."""
    shards = run.shards(split)
    return from_file(pl.scan_parquet(shards, glob=False)).collect() if shards else run.split(split).collect()


def rounded(tokens: int, context: int | None) -> int:
    """Round up to a multiple of 64, but not beyond the model's context."""
    length = -(-tokens // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    return length if context is None else min(length, context)


def _fitting_length(rows: pl.DataFrame, share: float, shape: ModelShape) -> int | None:
    known = rows.filter(split="train").select(total_tokens.alias("total")).drop_nulls().get_column("total")
    return None if known.is_empty() else rounded(int(known.quantile(share, "higher") or 0), shape.context)


def _half_precision(section: Train) -> bool:
    """Return whether to train in 16 bits: as set in `trl`, otherwise if the device supports bfloat16 natively."""
    given = section.trl.get("bf16", section.trl.get("fp16"))
    return memory.supports_bfloat16() if given is None else bool(given)
