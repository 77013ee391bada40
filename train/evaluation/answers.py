"""Answers of the tuned model and its reference to held-out prompts and edge cases, and how they drift apart."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.schema import CANDIDATES, PAIR, digest, empty, prompt_ids
from curate.signals import measure
from curate.text.chat import render_chat
from curate.text.messages import one_message
from train.evaluation.logps import REFERENCE, TUNED, ModelPair, score

EDGE_CASES = Path(__file__).parent / "edge_cases.jsonl"
HELD_OUT = "held out"
# One row per prompt: its kind (held out, or the kind of edge case) and both models' answers; null = no answer.
ANSWERS = pl.Schema(
    {
        "kind": pl.String(),
        "prompt_id": pl.String(),
        "prompt": PAIR["prompt"],
        "tuned": pl.String(),
        "reference": pl.String(),
        "tuned_tokens": pl.UInt32(),
        "reference_tokens": pl.UInt32(),
        "error": pl.String(),
    }
)
# Metrics of drift, and the signal that measures each on both models' answers.
DRIFT = {
    "words": "words",
    "refusals": "refusal",
    "ends mid-sentence": "ends_midsentence",
    "repeated phrase (share of words)": "top_4gram_share",
    "repeated passages (share of 10-grams)": "dup_10gram_share",
    "markdown (share of lines)": "markdown_share",
    "says it is an AI": "ai_boilerplate",
}


def evaluation_prompts(test: pl.DataFrame, count: int) -> pl.DataFrame:
    """
    Return the prompts to answer: `count` distinct held-out prompts, the first by prompt_id, and all edge cases.

    in : PAIR
    out: kind, prompt_id, prompt; the same rows for the same data, whatever its order
    """
    held_out = test.select("prompt_id", "prompt").unique("prompt_id").sort("prompt_id").head(count)
    lines = [json.loads(line) for line in EDGE_CASES.read_text("utf-8").splitlines()]
    edge_cases = pl.DataFrame(
        [
            {
                "kind": line["kind"],
                "prompt": [
                    {**message, "content": message["content"] * line.get("repeat", 1)} for message in line["prompt"]
                ],
            }
            for line in lines
        ],
        schema={"kind": pl.String, "prompt": PAIR["prompt"]},
    ).with_columns(prompt_ids())
    columns = ("kind", "prompt_id", "prompt")
    held_out = held_out.select(pl.lit(HELD_OUT).alias("kind"), "prompt_id", "prompt")
    return pl.concat([held_out, edge_cases.select(columns)])


def answer_prompts(models: ModelPair, prompts: pl.DataFrame, max_tokens: int) -> pl.DataFrame:
    """
    Let both models answer every prompt. Decoding is greedy, so any difference comes from training.

    in : kind, prompt_id, prompt
    out: ANSWERS, one row per prompt, in order
    """
    replies = {TUNED: generate_answers(models.tuned, models.tokenizer, prompts, max_tokens)}
    with models.as_reference():
        replies[REFERENCE] = generate_answers(models.reference, models.tokenizer, prompts, max_tokens)
    errors = [tuned[2] or other[2] for tuned, other in zip(replies[TUNED], replies[REFERENCE], strict=True)]
    columns = [pl.Series(who, [text for text, _, _ in found], pl.String) for who, found in replies.items()]
    columns += [pl.Series(f"{who}_tokens", [n for _, n, _ in found], pl.UInt32) for who, found in replies.items()]
    return prompts.with_columns(*columns, pl.Series("error", errors, pl.String)).match_to_schema(ANSWERS)


Reply = tuple[str | None, int | None, str | None]  # text, tokens, error


def generate_answers(model: Any, tokenizer: Any, prompts: pl.DataFrame, max_tokens: int) -> list[Reply]:
    """Return a model's answer to each prompt, decoded greedily."""
    from pipelines.clients.local import TransformersModel
    from pipelines.clients.requests import Request

    client = TransformersModel.of(model, tokenizer)
    parameters = {"temperature": 0, "max_tokens": max_tokens}
    requests = [Request(prompt, parameters) for prompt in prompts.get_column("prompt")]
    return [(reply.text, reply.output_tokens, reply.error) for reply in client.generate(requests)]


def drift(answers: pl.DataFrame) -> list[dict[str, Any]]:
    """
    Return a dict per metric of DRIFT: its mean over the reference's answers, over the tuned model's, and the change.

    Only held-out prompts that both models answered count; empty if there are none. A metric that could not be measured
    on either side is left out; a mean is None if it could not be measured on that side.
    """
    both = answers.filter(pl.col("kind") == HELD_OUT, pl.col(TUNED).is_not_null(), pl.col(REFERENCE).is_not_null())
    if both.is_empty():
        return []
    pairs = both.select(
        "prompt",
        *empty(PAIR, ("chosen_score", "rejected_score", "strength")),
        chosen=one_message("assistant", pl.col(TUNED)),
        rejected=one_message("assistant", pl.col(REFERENCE)),
    )
    measured = measure(pairs)
    means: dict[str, list[Any]] = {
        title: [measured.get_column(f"{side}_{signal}").cast(pl.Float64).mean() for side in ("rejected", "chosen")]
        for title, signal in DRIFT.items()
    }
    return [
        {
            "metric": title,
            REFERENCE: before,
            TUNED: after,
            "change": None if before is None or after is None else after - before,
        }
        for title, (before, after) in means.items()
        if before is not None or after is not None
    ]


def candidates(answers: pl.DataFrame) -> pl.DataFrame:
    """Turn ANSWERS of held-out prompts into CANDIDATES, two rows per prompt: the tuned model's and the reference's."""
    rows = answers.filter(kind=HELD_OUT).with_row_index("source_row")
    sides = [
        rows.select(
            *empty(
                CANDIDATES,
                set(CANDIDATES) - {"prompt_id", "prompt", "response", "model", "source", "source_row", "candidate_id"},
            ),
            "prompt_id",
            "prompt",
            candidate_id=digest(pl.concat_str("prompt_id", pl.lit(who), separator=" ")),
            response=pl.when(pl.col(who).is_not_null()).then(one_message("assistant", pl.col(who))),
            model=pl.lit(who),
            source=pl.lit("evaluation"),
            source_row=pl.col("source_row").cast(pl.UInt64),
        ).select(list(CANDIDATES))
        for who in (TUNED, REFERENCE)
    ]
    return pl.concat(sides).sort("source_row", "model")


def kl_per_token(models: ModelPair, answers: pl.DataFrame) -> float | None:
    """
    Return the KL divergence of the tuned model from the reference on the tuned model's answers, in nats per token.

    The plain estimate, log p - log q (Schulman 2020, "Approximating KL Divergence"), over answers to held-out prompts;
    greedy decoding biases it downwards. None without any token.
    """
    answered = answers.filter(pl.col("kind") == HELD_OUT, pl.col(TUNED).is_not_null())
    rows = [_tokens(models.tokenizer, row) for row in answered.select("prompt", TUNED).iter_rows()]
    p = score(models.tuned, rows)
    with models.as_reference():
        q = score(models.reference, rows)
    known = [(a - b, len(ids)) for a, b, (_, ids) in zip(p, q, rows, strict=True) if a is not None and b is not None]
    tokens = sum(length for _, length in known)
    return sum(gap for gap, _ in known) / tokens if tokens else None


def _tokens(tokenizer: Any, row: Sequence[Any]) -> tuple[list[int], list[int]]:
    prompt, text = row
    rendered = render_chat(tokenizer, prompt, add_generation_prompt=True)
    ids = tokenizer([rendered, text], add_special_tokens=False)["input_ids"]
    return ids[0], ids[1]
