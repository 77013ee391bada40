"""Is the tuned model better? On held-out pairs, in what it says, and by a judge; always against the reference."""

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.files import write_json
from curate.rundir.result import Run
from train.evaluation.answers import HELD_OUT, answer, candidates, drift, kl, prompts
from train.evaluation.logps import load_with_reference, log_probs
from train.evaluation.slices import scored, slices
from train.evaluation.wins import judge_section, judge_answers, win_rates
from train.page import write_evaluation
from train.training.fit import quiet
from train.training.train import Training

FOLDER, RESULT, PAGE = "evaluation", "evaluation.json", "evaluation.html"


def evaluate(
    run: Run,
    training: Training,
    *,
    reference: str | None = None,
    judges: Sequence[str] = (),
    count: int = 50,
    max_tokens: int = 256,
) -> dict[str, Any]:
    """
    Compare a trained model with its reference on a run's test split; writes TRAINING/evaluation/ and returns its
    figures as plain data. `judges` are lines as in a recipe (`heuristic`, `openai:MODEL`, `reward:MODEL`).

    Raises InputError for a run without test split, or a training that is no language model.
    """
    test = run.test.collect()
    if test.is_empty():
        raise InputError(f"{run.folder} has no test split: nothing was held out (split.test is 0)")
    if training.result["method"] == "reward":
        raise InputError(f"{training.folder} is a reward model; use it as a judge: --judge reward:{training.model}")
    folder = training.folder / FOLDER
    folder.mkdir(exist_ok=True)
    if reference is None and not (training.model / "adapter_config.json").is_file():
        reference = training.result["model"]
    with quiet():
        models = load_with_reference(training.model, reference)
        rows = scored(test, log_probs(models, test, training.result["max_length"]))
        answers = answer(models, prompts(test, count), max_tokens)
    rows.write_parquet(folder / "pairs.parquet")
    answers.write_parquet(folder / "answers.parquet")
    offered = candidates(answers)
    verdicts = {line: judge_answers(offered, judge_section(line), folder) for line in judges}
    found: dict[str, Any] = {
        "model": training.result["model"],
        "reference": reference or "the same model without the adapter",
        "pairs": len(test),
        "slices": slices(rows),
        "wins": [win_rates(wins, judge_section(line).models[0].name) for line, wins in verdicts.items()],
        "drift": drift(answers),
        "kl_per_token": kl(models, answers),
        "prompts": answers.filter(kind=HELD_OUT).height,
        "warnings": training.result["warnings"],
    }
    write_evaluation(folder / PAGE, found, told(answers, verdicts))
    plain: dict[str, Any] = plainly(found)
    write_json(folder / RESULT, plain)
    return plain


def told(answers: pl.DataFrame, verdicts: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """What the page shows of each prompt: both answers, and what each judge said of them."""
    rows = answers.to_dicts()
    for row in rows:
        row["said"] = [
            {"judge": judge, **verdict}
            for judge, wins in verdicts.items()
            for verdict in wins.filter(prompt_id=row["prompt_id"]).to_dicts()
            if row["kind"] == HELD_OUT
        ]
    return rows


def plainly(value: Any) -> Any:
    """The same with estimates as dicts, for JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {key: plainly(inner) for key, inner in value.items()}
    return [plainly(inner) for inner in value] if isinstance(value, list) else value


def folder_of(training: Training) -> Path:
    """Where an evaluation of it lies."""
    return training.folder / FOLDER
