"""Compare ways to curate: short trainings on several sets of pairs, scored on the same held-out pairs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from curate.files import atomic, read_json, remove, write_json
from curate.rundir.store import fingerprint
from curate.terminal import say as print_progress
from train.bakeoff.arms import Bakeoff, open_arms, sample_pairs, write_run
from train.evaluation import intervals
from train.evaluation.answers import HELD_OUT, evaluation_prompts, generate_answers
from train.evaluation.intervals import Estimate, Z, to_plain
from train.evaluation.logps import (
    REFERENCE,
    TUNED,
    ModelPair,
    load_with_reference,
    score,
    score_columns,
    tokenized,
)
from train.evaluation.slices import score_pairs
from train.models import model_shape
from train.training.settings import check_trl
from train.training.train import train

RESULT = "bakeoff.json"
DEFAULT_MAX_LENGTH = 1024  # tokens, if train.max_length is null: arms are comparable only with the same max_length


class Facts(TypedDict):
    """What is kept of one training besides its scores."""

    seconds: float
    words: dict[str, float] | None  # mean words of the answers of either model


def bakeoff(
    plan: Bakeoff, out: Path, *, root: Path = Path(), log_line: Callable[[str], None] = print_progress
) -> list[dict[str, Any]]:
    """
    Train every arm × swept options × seed and score each training on the same held-out pairs.

    Parameters
    ----------
    plan
        The arms and options, from `load_bakeoff` or built in Python.
    out
        Folder for runs, trainings and bakeoff.json. Trainings there of the same pairs and options are not repeated.
    root
        Folder that relative paths in the plan start at.
    log_line
        Called with one line per training; by default they go to standard error if it is a terminal.

    Returns
    -------
    list of dict
        One row per arm and option set, also written to bakeoff.json: arm, options, pairs (available), seeds, accuracy,
        difference to first row, margin in nats (all three an Estimate over prompts and seeds), extra words (by how many
        words answers are longer than the reference's), seconds per training. The difference of the first row is null,
        and so is `extra words` if `plan.prompts` is 0.

    Raises RecipeError for an unknown TRL option, InputError if the test split or an arm is empty, and whatever `train`
    raises.

        table = bakeoff(load_bakeoff(Path("bakeoff.yaml")), Path("OUT"))
        {row["arm"]: str(row["accuracy"]) for row in table}
    """
    check_trl(plan.train.method, [*plan.train.trl, *plan.sweep])
    arms, test = open_arms(plan, out, root)
    runs: dict[tuple[str, str], list[tuple[pl.DataFrame, Facts]]] = {}
    for name, pairs in arms.items():
        for point in plan.points():
            options = ", ".join(f"{key}={value}" for key, value in point.items())
            for seed in plan.seeds:
                # Names and values come from the user and may not be valid in a path.
                folder = out / "trainings" / f"{fingerprint(name, options)[:8]}-{seed}"
                rows, facts = _train_and_score(plan, pairs, test, point, seed, folder)
                log_line(f"{name} {options} seed {seed}: accuracy {over_seeds([rows], 'correct').mean:.3f}")
                runs.setdefault((name, options), []).append((rows, facts))
    first = next(iter(runs.values()))
    table = [_row(name, options, len(arms[name]), done, first) for (name, options), done in runs.items()]
    write_json(out / RESULT, to_plain(table))
    return table


def _train_and_score(
    plan: Bakeoff, pairs: pl.DataFrame, test: pl.DataFrame, point: dict[str, Any], seed: int, folder: Path
) -> tuple[pl.DataFrame, Facts]:
    """Return the scored test pairs of one training, and its seconds and mean words; from `folder` if already there."""
    length = plan.train.max_length or min(
        DEFAULT_MAX_LENGTH, model_shape(str(plan.train.model)).context or DEFAULT_MAX_LENGTH
    )
    options = {**plan.train.trl, **point, "max_steps": plan.steps}
    changes = {"seed": seed, "trl": options, "max_length": length, "evaluations": 1, "early_stop": False}
    section = plan.train.model_copy(update=changes)
    sample = sample_pairs(pairs, plan.steps * plan.train.batch, f"seed {seed}")
    inputs = [section.model_dump(mode="json"), sample.get_column("pair_id").to_list()]
    key = fingerprint(inputs, test.get_column("pair_id").to_list(), plan.prompts, plan.max_tokens)
    scores, facts = folder / f"{key}.parquet", folder / f"{key}.json"
    if not scores.is_file():
        remove(folder)
        started = time.perf_counter()
        training = train(write_run(folder / "run", sample), section, folder / "out")
        seconds = time.perf_counter() - started
        adapter = (training.model / "adapter_config.json").is_file()
        models = load_with_reference(training.model, None if adapter else str(section.model))
        answers = tokenized(models.tokenizer, test, length)
        logps = [
            score_columns(TUNED, score(models.tuned, answers)),
            _reference_logps(plan, models, test, length, folder.parent),
        ]
        write_json(facts, {"seconds": seconds, "words": _mean_words(plan, models, test)})
        rows = score_pairs(test, pl.concat(logps, how="horizontal"))
        with atomic(scores) as temporary:  # last: its presence means that the training has been scored
            rows.write_parquet(temporary)
    return pl.read_parquet(scores, glob=False), read_json(facts, Facts)


def _reference_logps(plan: Bakeoff, models: ModelPair, test: pl.DataFrame, length: int, folder: Path) -> pl.DataFrame:
    """Return the reference's log-probs of the test pairs; they are the same for all arms, so they are cached."""
    key = fingerprint(plan.train.model, length, test.get_column("pair_id").to_list())
    file = folder / f"reference-{key}.parquet"
    if not file.is_file():
        with models.as_reference(), atomic(file) as temporary:
            found = score_columns(REFERENCE, score(models.reference, tokenized(models.tokenizer, test, length)))
            found.write_parquet(temporary)
    return pl.read_parquet(file, glob=False)


def _mean_words(plan: Bakeoff, models: ModelPair, test: pl.DataFrame) -> dict[str, float] | None:
    """Return the mean words per answer of the tuned model and the reference; None if `plan.prompts` is 0."""
    if not plan.prompts:
        return None
    prompts = evaluation_prompts(test, plan.prompts).filter(kind=HELD_OUT)
    replies = {TUNED: generate_answers(models.tuned, models.tokenizer, prompts, plan.max_tokens)}
    with models.as_reference():
        replies[REFERENCE] = generate_answers(models.reference, models.tokenizer, prompts, plan.max_tokens)
    return {who: float(np.mean([len((text or "").split()) for text, _, _ in found])) for who, found in replies.items()}


def _row(
    name: str,
    options: str,
    pairs: int,
    done: list[tuple[pl.DataFrame, Facts]],
    first: list[tuple[pl.DataFrame, Facts]],
) -> dict[str, Any]:
    words = [facts["words"] for _, facts in done if facts["words"]]
    extra_words = float(np.mean([each[TUNED] - each[REFERENCE] for each in words])) if words else None
    return {
        "arm": name,
        "options": options,
        "pairs": pairs,
        "seeds": len(done),
        "accuracy": over_seeds([rows for rows, _ in done], "correct"),
        "difference to first row": None if done is first else over_seeds(_differences(done, first), "correct"),
        "margin, nats": over_seeds([rows for rows, _ in done], "margin"),
        "extra words": extra_words,
        "seconds per training": round(float(np.mean([facts["seconds"] for _, facts in done])), 1),
    }


def _differences(done: list[tuple[pl.DataFrame, Facts]], first: list[tuple[pl.DataFrame, Facts]]) -> list[pl.DataFrame]:
    """Return the difference in `correct` pair by pair: pairs that are hard for both cancel out."""
    return [
        rows.select("prompt_id", correct=pl.col("correct") - base.get_column("correct"))
        for (rows, _), (base, _) in zip(done, first, strict=True)
    ]


def over_seeds(rows: list[pl.DataFrame], name: str) -> Estimate:
    """
    Return the mean of a column over test pairs and seeds.

    Its 95 % interval covers both sampling of prompts (variance of the prompts' sums) and the choice of seeds (variance
    between seeds; 0 for a single seed). NaN without values.
    """
    together = pl.select(pl.mean_horizontal(*(frame.get_column(name) for frame in rows))).to_series()
    by_prompt = intervals.mean(together, rows[0].get_column("prompt_id"))
    if by_prompt is None:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    means = [frame.get_column(name).mean() for frame in rows]
    between = (
        float(np.var([float(m) for m in means if isinstance(m, float)], ddof=1)) / len(rows) if len(rows) > 1 else 0.0
    )
    half = float(np.hypot(by_prompt.high - by_prompt.mean, Z * np.sqrt(between)))
    center = by_prompt.mean
    return Estimate(center, center - half, center + half, by_prompt.n, by_prompt.clusters)
