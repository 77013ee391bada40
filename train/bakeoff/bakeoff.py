"""Which curation wins: short trainings on several sets of pairs, judged by the same held-out pairs."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curate.files import atomic, remove, write_json
from curate.progress import say as say_to_watchers
from curate.recipe.load import fingerprint
from train.bakeoff.arms import Bakeoff, write_run, sample_pairs, open_arms
from train.evaluation import intervals
from train.evaluation.answers import HELD_OUT, prompts, say
from train.evaluation.intervals import Estimate, Z
from train.evaluation.logps import REFERENCE, TUNED, ModelPair, load_with_reference, score, sides, tokenized
from train.evaluation.slices import scored
from train.models import shape
from train.training.settings import check_trl
from train.training.train import train

RESULT = "bakeoff.json"
LENGTH = 1024  # tokens, where train.max_length says nothing: one for all arms, or they could not be compared


def bakeoff(
    plan: Bakeoff, out: Path, *, where: Path = Path(), log_line: Callable[[str], None] = say_to_watchers
) -> list[dict[str, Any]]:
    """
    Train and judge every arm × swept options × seed into `out`; what is there of the same pairs and options is not
    done again. Returns one row an arm and point: pairs, accuracy, its difference to the first row's, length, seconds.
    """
    check_trl(plan.train.method, [*plan.train.trl, *plan.sweep])
    arms, test = open_arms(plan, out, where)
    runs: dict[tuple[str, str], list[tuple[pl.DataFrame, dict[str, Any]]]] = {}
    for name, pairs in arms.items():
        for point in plan.points():
            shown = ", ".join(f"{key}={value}" for key, value in point.items())
            for seed in plan.seeds:
                rows, facts = _one(plan, pairs, test, point, seed, out / "trainings" / _folder(name, shown, seed))
                right = over_seeds([rows], "correct").mean
                log_line(f"{name} {shown} seed {seed}: accuracy {right:.3f}")
                runs.setdefault((name, shown), []).append((rows, facts))
    first = next(iter(runs.values()))
    table = [_row(name, shown, len(arms[name]), done, first) for (name, shown), done in runs.items()]
    write_json(out / RESULT, [plain(row) for row in table])
    return table


def _folder(name: str, shown: str, seed: int) -> str:
    return f"{fingerprint(name, shown)[:8]}-{seed}"  # names and values come from outside: they are no path


def _one(
    plan: Bakeoff, pairs: pl.DataFrame, test: pl.DataFrame, point: dict[str, Any], seed: int, folder: Path
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """One training, judged: the scored test pairs, and what it cost."""
    length = plan.train.max_length or min(LENGTH, shape(str(plan.train.model)).context or LENGTH)
    options = {**plan.train.trl, **point, "max_steps": plan.steps}
    changes = {"seed": seed, "trl": options, "max_length": length, "evaluations": 1, "early_stop": False}
    section = plan.train.model_copy(update=changes)
    chosen = sample_pairs(pairs, plan.steps * plan.train.batch, f"seed {seed}")
    made_by = [section.model_dump(mode="json"), chosen.get_column("pair_id").to_list()]
    key = fingerprint(made_by, test.get_column("pair_id").to_list(), plan.prompts, plan.max_tokens)
    done, facts = folder / f"{key}.parquet", folder / f"{key}.json"
    if not done.is_file():
        remove(folder)
        started = time.perf_counter()
        trained = train(write_run(folder / "run", chosen, {"publish": {"license": None}}), section, folder / "out")
        seconds = time.perf_counter() - started
        adapter = (trained.model / "adapter_config.json").is_file()
        models = load_with_reference(trained.model, None if adapter else str(section.model))
        answers = tokenized(models.tokenizer, test, length)
        logps = [sides(TUNED, score(models.tuned, answers)), _reference(plan, models, test, length, folder.parent)]
        write_json(facts, {"seconds": seconds, "words": _words(plan, models, test)})
        rows = scored(test, pl.concat(logps, how="horizontal"))
        with atomic(done) as temporary:  # last: its presence means that the training is judged
            rows.write_parquet(temporary)
    return pl.read_parquet(done), json.loads(facts.read_text("utf-8"))


def _reference(plan: Bakeoff, models: ModelPair, test: pl.DataFrame, length: int, folder: Path) -> pl.DataFrame:
    """The reference's log-probs of the test pairs: the same for all arms, so they are computed once."""
    key = fingerprint(plan.train.model, length, test.get_column("pair_id").to_list())
    file = folder / f"reference-{key}.parquet"
    if not file.is_file():
        with models.as_reference(), atomic(file) as temporary:
            found = sides(REFERENCE, score(models.reference, tokenized(models.tokenizer, test, length)))
            found.write_parquet(temporary)
    return pl.read_parquet(file)


def _words(plan: Bakeoff, models: ModelPair, test: pl.DataFrame) -> dict[str, float] | None:
    """Mean words of the answers of the tuned model and the reference; None where no prompt is asked."""
    if not plan.prompts:
        return None
    asked = prompts(test, plan.prompts).filter(kind=HELD_OUT)
    said = {TUNED: say(models.tuned, models.tokenizer, asked, plan.max_tokens)}
    with models.as_reference():
        said[REFERENCE] = say(models.reference, models.tokenizer, asked, plan.max_tokens)
    return {who: float(np.mean([len((text or "").split()) for text, _, _ in replies])) for who, replies in said.items()}


def _row(
    name: str,
    shown: str,
    pairs: int,
    done: list[tuple[pl.DataFrame, dict[str, Any]]],
    first: list[tuple[pl.DataFrame, dict[str, Any]]],
) -> dict[str, Any]:
    words = [facts["words"] for _, facts in done if facts["words"]]
    moved = float(np.mean([each[TUNED] - each[REFERENCE] for each in words])) if words else None
    return {
        "arm": name,
        "options": shown,
        "pairs": pairs,
        "seeds": len(done),
        "accuracy": over_seeds([rows for rows, _ in done], "correct"),
        "against the first": None if done is first else over_seeds(_gaps(done, first), "correct"),
        "margin, nats": over_seeds([rows for rows, _ in done], "margin"),
        "words more": moved,
        "seconds a training": round(float(np.mean([facts["seconds"] for _, facts in done])), 1),
    }


def _gaps(
    done: list[tuple[pl.DataFrame, dict[str, Any]]], first: list[tuple[pl.DataFrame, dict[str, Any]]]
) -> list[pl.DataFrame]:
    """Pair by pair the difference in `correct`: what is hard for both cancels out."""
    return [
        rows.select("prompt_id", correct=pl.col("correct") - base.get_column("correct"))
        for (rows, _), (base, _) in zip(done, first, strict=True)
    ]


def over_seeds(rows: list[pl.DataFrame], name: str) -> Estimate:
    """
    The mean over test pairs and seeds. Its 95 % interval holds both what another draw of prompts would change (the
    variance of their sums) and what another seed would (the variance between seeds).
    """
    together = pl.select(pl.mean_horizontal(*(frame.get_column(name) for frame in rows))).to_series()
    middle = intervals.mean(together, rows[0].get_column("prompt_id"))
    if middle is None:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
    means = [frame.get_column(name).mean() for frame in rows]
    between = (
        float(np.var([float(m) for m in means if isinstance(m, float)], ddof=1)) / len(rows) if len(rows) > 1 else 0.0
    )
    half = float(np.hypot(middle.high - middle.mean, Z * np.sqrt(between)))
    return Estimate(middle.mean, middle.mean - half, middle.mean + half, middle.n, middle.clusters)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table with estimates as dicts, for JSON."""
    return {key: asdict(value) if isinstance(value, Estimate) else value for key, value in row.items()}
