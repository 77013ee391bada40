"""Evaluate a trained model against its reference: on held-out pairs, by its answers, and by judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.files import write_json
from curate.rundir.result import Run
from train.evaluation.answers import HELD_OUT, answer_prompts, candidates, drift, evaluation_prompts, kl_per_token
from train.evaluation.intervals import to_plain
from train.evaluation.logps import load_with_reference, log_probs
from train.evaluation.slices import score_pairs, slices
from train.evaluation.wins import judge_answers, judge_section, win_rates
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
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """
    Compare a trained model with its reference on a run's test split and write TRAINING/evaluation/.

    Parameters
    ----------
    run
        A finished run with a test split, normally the one that was trained on.
    training
        A complete training of a language model.
    reference
        Folder or Hub id of the model to compare with. None is the model that training started from: for an adapter
        its base model (after `sft_first` that is the SFT model).
    judges
        As in a recipe: `heuristic`, `openai:MODEL`, `reward:MODEL`. Each adds a win rate.
    count
        Held-out prompts that both models answer, besides the edge cases.
    max_tokens
        Maximum tokens per answer.
    trust_remote_code
        Whether code in the repositories of the models may run.

    Returns
    -------
    dict
        The content of evaluation.json. `slices`: accuracy and margin (nats) overall and by slice; `wins`: a win rate
        per judge; `drift`: mean metrics of both models' answers; `kl_per_token`: nats, null without answers. Estimates
        are dicts of mean, low and high (95 % interval), n (values) and clusters (prompts).

    The folder also gets evaluation.html, pairs.parquet (one row per test pair) and answers.parquet (ANSWERS).

    Raises InputError if the run has no test split or the training is a reward model, and as `pipelines.run` does if a
    judge fails.

        report = evaluate(open_run("RUN"), open_training("RUN/training"), judges=["heuristic"])
        report["slices"][0]["accuracy"]["mean"]
    """
    test = run.test.collect()
    if test.is_empty():
        raise InputError(f"{run.folder} has no test split: nothing was held out (split.test is 0)")
    if training.result["method"] == "reward":
        raise InputError(f"{training.folder} is a reward model; use it as a judge: --judge reward:{training.model}")
    if reference is None and not (training.model / "adapter_config.json").is_file():
        reference = training.result["model"]
    found = _evaluate(test, training, reference, judges, count, max_tokens, remote_code=trust_remote_code)
    plain: dict[str, Any] = to_plain(found)
    write_json(evaluation_folder(training) / RESULT, plain)
    return plain


def _evaluate(
    test: pl.DataFrame,
    training: Training,
    reference: str | None,
    judges: Sequence[str],
    count: int,
    max_tokens: int,
    *,
    remote_code: bool,
) -> dict[str, Any]:
    """Score the test pairs, generate and judge answers, write all files but evaluation.json, and return the report."""
    folder = evaluation_folder(training)
    folder.mkdir(exist_ok=True)
    with quiet():
        models = load_with_reference(training.model, reference, remote_code=remote_code)
        rows = score_pairs(test, log_probs(models, test, training.result["max_length"]))
        answers = answer_prompts(models, evaluation_prompts(test, count), max_tokens)
    rows.write_parquet(folder / "pairs.parquet")
    answers.write_parquet(folder / "answers.parquet")
    offered = candidates(answers)
    verdicts = {line: judge_answers(offered, judge_section(line), folder) for line in judges}
    report: dict[str, Any] = {
        "model": training.result["model"],
        "reference": reference or "the same model without the adapter",
        "pairs": len(test),
        "slices": slices(rows),
        "wins": [win_rates(wins, judge_section(line).models[0].name) for line, wins in verdicts.items()],
        "drift": drift(answers),
        "kl_per_token": kl_per_token(models, answers),
        "prompts": answers.filter(kind=HELD_OUT).height,
        "warnings": training.result["warnings"],
    }
    write_evaluation(folder / PAGE, report, page_rows(answers, verdicts))
    return report


def page_rows(answers: pl.DataFrame, verdicts: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """Return a dict per prompt for the page: ANSWERS with `verdicts`, one per judge (only for held-out prompts)."""
    rows = answers.to_dicts()
    for row in rows:
        row["verdicts"] = [
            {"judge": judge, **verdict}
            for judge, wins in verdicts.items()
            for verdict in wins.filter(prompt_id=row["prompt_id"]).to_dicts()
            if row["kind"] == HELD_OUT
        ]
    return rows


def evaluation_folder(training: Training) -> Path:
    """Return the folder that `evaluate` writes to."""
    return training.folder / FOLDER
