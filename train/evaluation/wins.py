"""Win rate of the tuned model's answers by any judge of `pipelines`: LLMs in both orders, reward models, heuristic."""

from pathlib import Path
from typing import Any

import polars as pl

from curate.recipe.models import Judge, named
from curate.text.messages import text_of
from train.evaluation import intervals
from train.evaluation.logps import REFERENCE, TUNED

REQUESTS = "requests.sqlite"


def judge_section(line: str) -> Judge:
    """
    Return the judge section for a line such as `openai:MODEL`.

    LLMs compare both answers in both orders; reward models and the heuristic score each answer.
    """
    return Judge.model_validate({"models": [named(line)], "method": "pairwise"})


def judge_answers(candidates: pl.DataFrame, section: Judge, folder: Path) -> pl.DataFrame:
    """
    Judge which of the two answers to each prompt is better.

    in : CANDIDATES, two per prompt, of the models `tuned` and `reference`
    out: prompt_id, win (1 = tuned is better, 0 = reference, 0.5 = tie or the orders disagree; null if the judge gave no
         score), longer (by how many words tuned is longer, negative if shorter), reason

    Replies are cached in `folder`, so that repeating it costs nothing. Raises as `pipelines.run` does.
    """
    scores = _scores(candidates, section, folder)
    words = text_of("response").str.split(" ").list.len().cast(pl.Int64)
    rows = scores.select("prompt_id", "model", "score", "reason", words=words)
    sides = [rows.filter(model=who).drop("model") for who in (TUNED, REFERENCE)]
    both = sides[0].join(sides[1], on="prompt_id", suffix="_reference", maintain_order="left")
    better = (pl.col("score") - pl.col("score_reference")).sign()
    return both.select(
        "prompt_id", win=(better + 1) / 2, longer=pl.col("words") - pl.col("words_reference"), reason="reason"
    )


def win_rates(wins: pl.DataFrame, judge: str) -> dict[str, Any]:
    """Return the win rate (ties count half) and the length-controlled win rate of one judge, with intervals."""
    prompts = wins.get_column("prompt_id")
    return {
        "judge": judge,
        "prompts": len(wins),
        "unjudged": wins.get_column("win").null_count(),
        "ties": int((wins.get_column("win") == 0.5).sum()),
        "win rate": intervals.proportion(wins.get_column("win"), prompts),
        "length-controlled": intervals.length_controlled(wins.get_column("win"), wins.get_column("longer"), prompts),
    }


def _scores(candidates: pl.DataFrame, section: Judge, folder: Path) -> pl.DataFrame:
    from pipelines.clients.budget import Budget
    from pipelines.clients.cache import RequestCache
    from pipelines.clients.connect import open_models
    from pipelines.clients.dispatcher import Dispatcher
    from pipelines.judges.panel import judges_of, verdicts
    from pipelines.judges.scoring import combine

    judges = judges_of(section)
    for judge in judges:
        judge.check()
    models = [judge.model for judge in judges if judge.sends_requests]
    if not models:
        return combine(candidates, verdicts(candidates, judges, {}))
    with RequestCache(folder / REQUESTS) as replies:
        dispatcher = Dispatcher(replies, Budget(None, models))
        with open_models(models, dispatcher) as clients:
            return combine(candidates, verdicts(candidates, judges, clients))
