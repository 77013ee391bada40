"""What both models say: to held-out prompts and to a file of edge cases; and what became longer, or goes in circles."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.schema import CANDIDATES, PAIR, digest, empty, prompt_ids
from curate.signals import measure
from curate.text.messages import one_message
from train.evaluation.logps import REFERENCE, TUNED, ModelPair

EDGE_CASES = Path(__file__).parent / "edge_cases.jsonl"
HELD_OUT = "held out"
# One row a prompt: what it is (held out, or the kind of edge case), and what each model said; null = nothing came.
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
# What may drift, and how it is measured: signals of curate, over the tuned model's answers and the reference's.
DRIFT = {
    "words": "words",
    "refusals": "refusal",
    "no end (stops mid-sentence)": "ends_midsentence",
    "one phrase again and again (share of words)": "top_4gram_share",
    "passages again (share of 10-grams)": "dup_10gram_share",
    "markdown (share of lines)": "markdown_share",
    "says it is an AI": "ai_boilerplate",
}


def prompts(test: pl.DataFrame, count: int) -> pl.DataFrame:
    """kind, prompt_id, prompt: `count` distinct held-out prompts, by their hash the same every time; the edge cases."""
    held_out = test.select("prompt_id", "prompt").unique("prompt_id").sort("prompt_id").head(count)
    lines = [json.loads(line) for line in EDGE_CASES.read_text("utf-8").splitlines()]
    edges = [{"kind": line["kind"], "prompt": _repeated(line)} for line in lines]
    made = pl.DataFrame(edges, schema={"kind": pl.String, "prompt": PAIR["prompt"]}).with_columns(prompt_ids())
    columns = ("kind", "prompt_id", "prompt")
    return pl.concat([held_out.select(pl.lit(HELD_OUT).alias("kind"), "prompt_id", "prompt"), made.select(columns)])


def _repeated(line: dict[str, Any]) -> list[dict[str, str]]:
    times = line.get("repeat", 1)
    return [{**message, "content": message["content"] * times} for message in line["prompt"]]


def answer(models: ModelPair, asked: pl.DataFrame, max_tokens: int) -> pl.DataFrame:
    """
    in : kind, prompt_id, prompt
    out: ANSWERS, row for row. Both take the most probable token each time, so that a difference is the training's.
    """
    said = {TUNED: say(models.tuned, models.tokenizer, asked, max_tokens)}
    with models.as_reference():
        said[REFERENCE] = say(models.reference, models.tokenizer, asked, max_tokens)
    errors = [tuned[2] or other[2] for tuned, other in zip(said[TUNED], said[REFERENCE], strict=True)]
    columns = [pl.Series(who, [text for text, _, _ in replies], pl.String) for who, replies in said.items()]
    columns += [pl.Series(f"{who}_tokens", [n for _, n, _ in replies], pl.UInt32) for who, replies in said.items()]
    return asked.with_columns(*columns, pl.Series("error", errors, pl.String)).match_to_schema(ANSWERS)


Said = tuple[str | None, int | None, str | None]  # text, tokens, error


def say(model: Any, tokenizer: Any, asked: pl.DataFrame, max_tokens: int) -> list[Said]:
    """What a model answers to each prompt, the most probable token each time."""
    from pipelines.clients.local import TransformersModel
    from pipelines.clients.requests import Request

    speaker = TransformersModel.of(model, tokenizer)
    requests = [Request(prompt, {"temperature": 0, "max_tokens": max_tokens}) for prompt in asked.get_column("prompt")]
    return [(reply.text, reply.output_tokens, reply.error) for reply in speaker.generate(requests)]


def drift(answers: pl.DataFrame) -> list[dict[str, Any]]:
    """For each of DRIFT the mean over held-out prompts that both answered: reference, tuned, and how much it moved."""
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
    means = {
        title: [measured.get_column(f"{side}_{signal}").cast(pl.Float64).mean() for side in ("rejected", "chosen")]
        for title, signal in DRIFT.items()
    }
    return [
        {"of the answers": title, REFERENCE: before, TUNED: after, "moved": _moved(before, after)}
        for title, (before, after) in means.items()
        if before is not None or after is not None
    ]


def _moved(before: Any, after: Any) -> float | None:
    return None if before is None or after is None else after - before


def candidates(answers: pl.DataFrame) -> pl.DataFrame:
    """ANSWERS of held-out prompts -> CANDIDATES: two of each prompt, the tuned model's and the reference's."""
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


def kl(models: ModelPair, answers: pl.DataFrame) -> float | None:
    """
    KL divergence of the tuned model from the reference on the tuned model's own answers, nats a token: the plain
    estimate, log p - log q (Schulman 2020, "Approximating KL Divergence"). Of greedy answers, so rather low.
    """
    from train.evaluation.logps import score

    said = answers.filter(pl.col("kind") == HELD_OUT, pl.col(TUNED).is_not_null())
    rows = [_tokens(models.tokenizer, row) for row in said.select("prompt", TUNED).iter_rows()]
    p = score(models.tuned, rows)
    with models.as_reference():
        q = score(models.reference, rows)
    known = [(a - b, len(ids)) for a, b, (_, ids) in zip(p, q, rows, strict=True) if a is not None and b is not None]
    tokens = sum(length for _, length in known)
    return sum(gap for gap, _ in known) / tokens if tokens else None


def _tokens(tokenizer: Any, row: Sequence[Any]) -> tuple[list[int], list[int]]:
    prompt, text = row
    rendered = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    ids = tokenizer([rendered, text], add_special_tokens=False)["input_ids"]
    return ids[0], ids[1]
