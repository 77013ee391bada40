"""The stages that use models: origin → answers → verdicts → judged → pairs, each part written once complete."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import polars as pl

from curate.errors import CurateError, ServiceError
from curate.files import remove
from curate.pairing import pair as paired_answers
from curate.pairing import pairable
from curate.recipe.models import Generate, Model, Pair, named_model
from curate.recipe.models import Judge as JudgeSection
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.schema import CANDIDATES, STAGED, empty
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import SendRequests
from pipelines.generate import generate
from pipelines.inputs import answers_of, finish, labels_of, reply_settings
from pipelines.judges.agreement import judge_reports, panel_agreement
from pipelines.judges.base import VERDICTS, Judge
from pipelines.judges.llm import rubrics_of
from pipelines.judges.panel import verdicts
from pipelines.judges.scoring import combine
from pipelines.judges.style import sample
from pipelines.likelihood import Likelihood, likelihood_report, topics_of, unmeasured

VERSION = 1  # part of the stages' keys: increase it when the same replies lead to different rows
PARTS_IN_FLIGHT = 2  # parts processed at once, so that the last answers of one do not leave the endpoints idle
OpenClients = Callable[[], Mapping[str, SendRequests]]  # opens the models once a stage needs them


def answer(store: Store, section: Generate, origin: Stage, open_clients: OpenClients, dispatcher: Dispatcher) -> Stage:
    """Prompts → CANDIDATES. Parts with failed answers are requested again at the next start."""
    stage = _stage(store, "answers", settings(section), origin)
    failed = pl.col("response").is_null() & pl.col("finish_reason").is_null()
    # The request after an answer that was cut off may not have been sent for want of budget.
    cut = (pl.col("finish_reason") == "length") & pl.lit(section.retry_cut > 1)
    before = dispatcher.tally.unasked

    def make(number: int) -> dict[str, int]:
        answers = _complete(stage, number, failed | cut)
        if answers is None:
            prompts = pl.read_parquet(origin.part(number), glob=False).filter(pl.col("problem").is_null())
            answers = generate(prompts, section, open_clients())
            stage.write(number, answers)
        return {"answers": len(answers), "failed": len(answers.filter(failed))}

    if stage.info is None:
        counts = _each_part(origin, make, dispatcher)
        finish(stage, {**counts, "unasked": dispatcher.tally.unasked - before})
    counts = _info(stage)
    _check_failed("generate", "answers", counts, section.max_failed, stage)
    return stage


def candidates_from_source(store: Store, origin: Stage) -> Stage:
    """Convert an origin of pairs or candidates to CANDIDATES."""
    stage = _stage(store, "answers", None, origin)
    if stage.info is None:
        answers = 0
        for number, part in enumerate(origin.parts()):
            block = answers_of(pl.read_parquet(part, glob=False))
            stage.write(number, block)
            answers += len(block)
        finish(stage, {"answers": answers, "failed": 0})
    return stage


def measure(
    store: Store, model: Model, answers: Stage, origin: Stage, open_clients: OpenClients, dispatcher: Dispatcher
) -> Stage:
    """CANDIDATES → the same CANDIDATES with their likelihood under the model to be trained."""
    stage = _stage(store, "likelihood", reply_settings(model), answers, origin)
    likelihood = Likelihood(model)

    def make(number: int) -> dict[str, int]:
        failed = 0
        there = stage.part(number).is_file()
        if not there or len(unmeasured(pl.read_parquet(stage.part(number), glob=False))):
            candidates = pl.read_parquet(answers.part(number), glob=False)
            measured, failed = likelihood.measured(candidates, open_clients()[model.model])
            stage.write(number, measured)
        return {"failed": failed}

    if stage.info is None:
        counts = _each_part(answers, make, dispatcher)
        topics = [topics_of(pl.read_parquet(part, glob=False)) for part in origin.parts()]
        rows = likelihood_report(model, stage.scan().collect(), pl.concat(topics)) if topics else []
        finish(stage, {"answers": _info(answers)["answers"], **counts, "on_policy": rows})
    return stage


def judge(  # noqa: PLR0913 - the sections, the stages before, and the clients
    store: Store,
    section: JudgeSection,
    judges: Sequence[Judge],
    answers: Stage,
    origin: Stage,
    open_clients: OpenClients,
    dispatcher: Dispatcher,
    *,
    pair: Pair | None = None,
) -> tuple[Stage, Stage]:
    """
    CANDIDATES → VERDICTS, and the same CANDIDATES with scores. Verdicts that failed or cannot be used are requested
    again at the next start. Answers that by `pair` cannot be in a pair are not judged.
    """
    pair = pair or Pair()
    bounds = (pair.cut_off, pair.min_logp_per_token)
    depends_on = [settings(section), [(rubric.name, rubric.hash) for rubric in rubrics_of(section)], bounds]
    # The reports depend on the origin's labels.
    verdict_stage, judged = (_stage(store, name, depends_on, answers, origin) for name in ("verdicts", "judged"))
    failed = pl.col("score").is_null() & pl.col("raw").is_null() & pl.col("error").is_not_null()
    unusable = pl.col("score").is_null() & pl.col("raw").is_not_null()

    def make(number: int) -> dict[str, int]:
        found = _complete(verdict_stage, number, failed | unusable) if judged.part(number).is_file() else None
        if found is None:
            candidates = pl.read_parquet(answers.part(number), glob=False)
            found = verdicts(candidates.filter(pairable(*bounds)), judges, open_clients())
            verdict_stage.write(number, found)
            judged.write(number, combine(candidates, found))
        counts = {"failed": len(found.filter(failed)), "unusable": len(found.filter(unusable))}
        return {"verdicts": len(found), **counts}

    if verdict_stage.info is None or judged.info is None:
        counts = _each_part(answers, make, dispatcher)
        shown = answers.scan().filter(pairable(*bounds)) if answers.parts() and section.style_check else None
        plain = _without_markdown(section, judges, shown, open_clients, dispatcher)
        finish(verdict_stage, counts)
        finish(judged, {**counts, **_reports(verdict_stage, answers, origin, plain)})
    counts = _info(judged)
    _check_failed("judge", "verdicts", counts, section.max_failed, verdict_stage)
    return verdict_stage, judged


def pair(store: Store, section: Pair, judged: Stage, origin: Stage) -> Stage:
    """CANDIDATES → STAGED: every pair, and every set without one with its reason, in the order of the origin."""
    section = section.model_copy(update={"order": tuple(named_model(line).name for line in section.order)})
    stage = _stage(store, "pairs", section.model_dump(mode="json"), judged, origin)
    if stage.info is None:
        rows = 0
        for number in range(len(origin.parts())):
            block = pl.read_parquet(origin.part(number), glob=False)
            paired = pairs_of(block, pl.read_parquet(judged.part(number), glob=False), section)
            stage.write(number, paired)
            rows += len(paired)
        read, answered = _info(origin), _info(judged)
        counts = {"sets": read["rows"], "answers": answered.get("answers", 0)}
        finish(stage, {"rows": rows, "broken": read["broken"], "inputs": read["inputs"], "counts": counts})
    return stage


def pairs_of(origin: pl.DataFrame, judged: pl.DataFrame, section: Pair) -> pl.DataFrame:
    """
    in : rows of the origin, the CANDIDATES of those without a problem
    out: STAGED in the order of the origin; `extra` holds the notes of the pairing, and the origin's extra as `source`
    """
    paired = paired_answers(judged, **section.model_dump())
    keys = ["source", "source_row"]
    known = pl.Series("known", [_as_json(text) for text in origin.get_column("extra")], dtype=pl.String)
    place = origin.select(*keys, known).with_row_index("place")
    answered = paired.join(place.select(*keys, "place", "known"), on=keys, how="left", maintain_order="left")
    answered = answered.with_columns(extra=_joined(pl.col("extra"), pl.col("known"))).drop("known")
    unused = origin.with_row_index("place").join(paired.select(keys), on=keys, how="anti")
    absent = [name for name in STAGED if name not in unused.columns]
    unused = unused.with_columns(empty(STAGED, absent)).select(*STAGED, "place")
    return (
        pl.concat([answered.select(*STAGED, "place"), unused]).sort("place", maintain_order=True).select(list(STAGED))
    )


def settings(section: Generate | JudgeSection) -> dict[str, Any]:
    """Return the settings of a section that affect its results."""
    plain = section.model_dump(mode="json", exclude={"max_failed", "models"})
    return plain | {"models": [reply_settings(model) for model in section.models]}


def _as_json(text: str | None) -> str | None:
    """Return JSON unchanged, and any other text, which a user's own table may hold, as a JSON string."""
    try:
        msgspec.json.decode(text or "null")
    except (msgspec.DecodeError, RecursionError):
        return msgspec.json.encode(text).decode()
    return text


def _joined(notes: pl.Expr, known: pl.Expr) -> pl.Expr:
    both = pl.concat_str(notes.str.strip_suffix("}"), pl.lit(',"source":'), known, pl.lit("}"))
    alone = pl.concat_str(pl.lit('{"source":'), known, pl.lit("}"))
    return pl.when(known.is_null()).then(notes).when(notes.is_null()).then(alone).otherwise(both)


def _stage(store: Store, name: str, settings: Any, *before: Stage) -> Stage:
    """Return the stage for these settings and the content of earlier stages; one with failures is reopened."""
    made_from = [_info(stage).get("content", stage.key) for stage in before]
    stage = store.stage(name, fingerprint(name, VERSION, settings, made_from))
    if stage.info is not None and any(stage.info.get(name) for name in ("failed", "unusable", "unasked")):
        remove(stage.folder / "stage.json")
    return stage


def _complete(stage: Stage, number: int, failed: pl.Expr) -> pl.DataFrame | None:
    """Return a part that an earlier start has written, unless it contains failures."""
    if not stage.part(number).is_file():
        return None
    rows = pl.read_parquet(stage.part(number), glob=False)
    return rows if rows.filter(failed).is_empty() else None


def _each_part(source: Stage, make: Callable[[int], dict[str, int]], dispatcher: Dispatcher) -> dict[str, int]:
    """Process each part of the source, several at once, and return the sums of their counts."""
    counts = Counter[str]()
    pool = ThreadPoolExecutor(PARTS_IN_FLIGHT)
    try:
        for done in pool.map(make, range(len(source.parts()))):
            counts.update(done)
    except CurateError:
        raise  # nothing more is sent; requests in flight may finish and are stored
    except BaseException:
        dispatcher.abort()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return dict(counts)


def _info(stage: Stage) -> dict[str, Any]:
    return stage.info or {}


def _check_failed(what: str, unit: str, counts: Mapping[str, int], share: float, stage: Stage) -> None:
    failed, asked = counts["failed"], counts[unit]
    if failed > share * asked:
        errors = stage.scan().filter(pl.col("error").is_not_null()).group_by("error").len()
        most = errors.sort("len", "error", descending=[True, False]).head(1).collect().get_column("error").to_list()
        raise ServiceError(
            f"{what}: {failed} of {asked} {unit} failed{f' (most often: {most[0]})' if most else ''}. More than "
            f"{what}.max_failed={share:g} is an error; the same command requests them again and keeps the rest"
        )


def _without_markdown(
    section: JudgeSection,
    judges: Sequence[Judge],
    answers: pl.LazyFrame | None,
    open_clients: OpenClients,
    dispatcher: Dispatcher,
) -> pl.DataFrame | None:
    """Return VERDICTS on a sample of the answers without their markdown; None where the recipe asks for none."""
    if answers is None:
        return None
    shown = sample(answers.collect(), section.style_check)
    try:
        return verdicts(shown, judges, open_clients())
    except CurateError:
        raise
    except BaseException:
        dispatcher.abort()
        raise


def _reports(verdict_stage: Stage, answers: Stage, origin: Stage, plain: pl.DataFrame | None) -> dict[str, Any]:
    labels = pl.concat([labels_of(pl.read_parquet(part, glob=False)) for part in origin.parts()])
    candidates = answers.scan().collect() if answers.parts() else pl.DataFrame(schema=CANDIDATES)
    found = verdict_stage.scan().collect() if verdict_stage.parts() else pl.DataFrame(schema=VERDICTS)
    reports = judge_reports(candidates, found, labels if len(labels) else None, plain)
    return {"answers": len(candidates), "judges": reports, "panel": panel_agreement(found)}
