"""Rubrics from data: drafted from labelled pairs, and kept if verdicts by them agree with held-out labels better."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import polars as pl

from curate.errors import CurateError, RecipeError, explained
from curate.files import check_ours, claim, read_json, remove, write_json, write_text
from curate.recipe.load import Recipe
from curate.rundir.store import LOCK, REQUESTS, locked
from pipelines import checks
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import open_models
from pipelines.clients.dispatcher import Dispatcher, heed_interrupts
from pipelines.clients.progress import live, spent
from pipelines.drafting import DEVELOPMENT, HELD_OUT, Drafting, Trial, best_of, sections, sizes
from pipelines.estimate import stored_replies
from pipelines.estimator import Estimate, Estimator, requested_models
from pipelines.judges.rubrics import rubric_of
from pipelines.judges.validation import figures, gain, outcomes
from pipelines.judges.writer import MAX_CHARS, NAME, Draft
from pipelines.labelled import Labelled, read_labelled

KIND, RESULT, KEPT = "rubric", "rubric.json", "rubric.txt"
OURS = re.compile(r"draft-\d+\.txt")  # and no copy that somebody edits beside them
LONGEST = "x" * MAX_CHARS  # in an estimate, in place of a draft that is not written yet


class _Result(TypedDict):
    """What is read of an earlier rubric.json."""

    inputs: dict[str, Any]


def draft_rubric(recipe: Recipe, plan: Drafting, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """
    Draft rubrics, and keep the best as `out`/rubric.txt if it agrees with held-out labels better than the one in use.

    First the judge judges the held-out pairs by the rubric in use, then the drafts are written, each from examples of
    its own, then the development pairs are judged by every draft, and the held-out ones by the best of them. Returns
    what `out`/rubric.json holds, and `rubric`, the text of the best draft. Every reply is stored on arrival: the same
    call goes on where it stopped. Raises InputError for too few pairs, ServiceError if no draft can be used or an
    endpoint fails for good, BudgetReached when the budget is spent.
    """
    trial, labelled = _trial(recipe, plan)
    models = requested_models(recipe)
    heed_interrupts()
    with _claimed(Path(out), labelled, force=force) as folder, RequestCache(folder / REQUESTS) as cache:
        dispatcher = Dispatcher(cache, Budget(recipe.budget, models))
        with live(dispatcher, KIND, trial.requests), open_models(models, dispatcher) as clients:
            try:
                before = trial.verdicts(HELD_OUT, None, clients)
                drafts = trial.drafts(clients)
                agreement = trial.on_development(drafts, clients)
                best = best_of(drafts, agreement, trial.writer)
                after = trial.verdicts(HELD_OUT, best.text, clients)
            except CurateError:
                raise  # nothing more is sent; requests in flight may finish and are stored
            except BaseException:
                dispatcher.abort()
                raise
        compared = _compared(trial, before, after, best)
        found = compared | _about(recipe, trial, labelled, drafts, agreement) | {"requests": spent(dispatcher)}
        _write(folder, found, drafts)
    return found | {"rubric": best.text}


def estimate_rubric(recipe: Recipe, plan: Drafting, out: Path) -> list[Estimate]:
    """Estimate the requests of `draft_rubric`; a draft that is not written yet counts as long as it can be."""
    trial, _ = _trial(recipe, plan, keys=False)
    judge = trial.judge()
    with stored_replies(out / REQUESTS) as cache:
        estimator = Estimator(recipe, cache)
        stored = {model.model: estimator.stored(model) for model in requested_models(recipe)}
        drafts = trial.drafts(stored)
        known = all(draft.text for draft in drafts)
        agreement = trial.on_development(drafts, stored) if known else {}
        known = known and None not in agreement.values()
        best = best_of(drafts, agreement, trial.writer).text if known else LONGEST
        verdicts = judge.requests(trial.candidates(HELD_OUT))
        for draft in drafts if len(drafts) > 1 else ():
            verdicts += trial.judge(draft.text or LONGEST).requests(trial.candidates(DEVELOPMENT))
        verdicts += trial.judge(best).requests(trial.candidates(HELD_OUT))
        writing = estimator.requests("draft", trial.writer, trial.writing())
        return [writing, estimator.requests("judge", judge.model, verdicts)]


def _trial(recipe: Recipe, plan: Drafting, *, keys: bool = True) -> tuple[Trial, Labelled]:
    """Check the recipe, read its source and draw the pairs. Raises CurateError."""
    checks.check(recipe, keys=keys)
    generate, section = sections(recipe)
    spare = (generate.n - 1) * plan.examples  # so that each draft has examples of its own
    labelled = read_labelled(recipe, sizes(plan, generate.n), spare=spare)
    return Trial(plan, generate, section, labelled.parts), labelled


def _compared(trial: Trial, before: pl.DataFrame, after: pl.DataFrame, best: Draft) -> dict[str, Any]:
    """Compare verdicts on the held-out pairs: by the rubric in use, and by the best draft."""
    candidates, labels = trial.candidates(HELD_OUT), trial.labels(HELD_OUT)
    in_use = ", ".join(rubric.name for rubric in trial.judge().rubrics)
    rows = [
        {"rubric": name, **figures(candidates, verdicts, labels)}
        for name, verdicts in ((in_use, before), (f"draft {best.number}", after))
    ]
    old, new = (outcomes(candidates, verdicts, labels) for verdicts in (before, after))
    better = gain(new, old)
    kept = better["mean"] > 0 and better["mean"] >= trial.plan.min_gain
    found = {"kept": kept, "draft": best.number, "gain": better, "figures": rows}
    return {"sentence": _sentence(found, trial.plan.min_gain)} | found


def _sentence(found: dict[str, Any], min_gain: float) -> str:
    """Say in words whether the draft is kept, and how sure that is."""
    old, new = found["figures"]
    better = found["gain"]
    points, low, high = (f"{100 * better[name]:+.1f}" for name in ("mean", "low", "high"))
    said = (
        f"on {old['pairs']:,} held-out pairs, verdicts by {new['rubric']} agree with {new['agreement']:.1%} of the "
        f"labels, by {old['rubric']} with {old['agreement']:.1%}: {points} points (95 % interval {low} to {high})"
    )
    if not old["decided"] + new["decided"]:
        said += ". Neither decides a single pair: a stronger judge may, or --method pairwise"
    elif better["low"] <= 0 <= better["high"]:
        said += ". The interval includes 0: the difference may be chance, and more held-out pairs would tell"
    if found["kept"]:
        return f"Kept: {said}."
    least = f" of at least {100 * min_gain:g} points" if min_gain else ""
    return f"Not kept, for want of a gain{least}: {said}."


def _about(
    recipe: Recipe, trial: Trial, labelled: Labelled, drafts: Sequence[Draft], agreement: dict[int, float | None]
) -> dict[str, Any]:
    """Describe what the comparison was made from; without addresses and folders."""
    return {
        "method": trial.section.method,
        "writer": trial.writer.name,
        "judge": trial.judge().model.name,
        "drafts": [
            {
                "draft": draft.number,
                "rubric_hash": rubric_of(NAME, draft.text).hash if draft.text else None,
                "agreement": agreement.get(draft.number),
                "problem": draft.problem,
            }
            for draft in drafts
        ],
        "pairs": {name: len(part) for name, part in labelled.parts.items()},
        "rows": labelled.rows,
        "left_out": dict(labelled.left_out),
        "inputs": dict(labelled.inputs),
        "settings": {
            **trial.plan.model_dump(mode="json"),
            "temperatures": list(trial.generate.temperatures),
            "seed": trial.generate.seed,
            "judge_seed": trial.section.seed,
            "scale": trial.section.scale,
            "salt": recipe.split.salt,
        },
    }


@contextmanager
def _claimed(folder: Path, labelled: Labelled, *, force: bool) -> Iterator[Path]:
    """
    Create and lock the folder. Raise RecipeError for one that holds something else, or (unless `force`) the result of
    other pairs.
    """
    try:
        if folder.is_dir():  # before a lock is left in a folder of somebody else's
            check_ours(folder, KIND, beside=(LOCK,))
        with locked(folder):
            claim(folder, KIND, beside=(LOCK,))
            if (folder / RESULT).is_file() and not force:
                before = read_json(folder / RESULT, _Result)["inputs"]
                if list(before) != list(labelled.inputs):
                    raise RecipeError(
                        f"{folder} holds a rubric from other pairs ({', '.join(before)}); choose another --out, or use "
                        f"--force"
                    )
            yield folder
    except OSError as error:
        raise explained(error) or error from error


def _write(folder: Path, found: dict[str, Any], drafts: Sequence[Draft]) -> None:
    """Replace the result of an earlier call. rubric.json is written last: without it the others are not complete."""
    for old in [folder / RESULT, folder / KEPT, *(path for path in folder.iterdir() if OURS.fullmatch(path.name))]:
        remove(old)
    for draft in drafts:
        if draft.text is not None:
            write_text(folder / f"draft-{draft.number}.txt", f"{draft.text}\n")
    if found["kept"]:
        write_text(folder / KEPT, f"{drafts[found['draft'] - 1].text}\n")
    write_json(folder / RESULT, found)
