"""The stages that ask models: origin → answers → verdicts → judged → pairs, each part written when it is whole."""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from curate import pairing
from curate.errors import CurateError, ServiceError
from curate.recipe import fingerprint
from curate.schema import CANDIDATES, STAGED, empty
from curate.sections import Generate, Judge, Pair, Section
from curate.store import Stage, Store, remove
from pipelines import judge as judging
from pipelines.agreement import judge_reports, panel_agreement
from pipelines.desk import Desk
from pipelines.generate import generate, variants
from pipelines.origin import answers_of, labels_of
from pipelines.requests import Ask
from pipelines.scoring import VERDICTS, combine

VERSION = 1  # part of the stages' keys: raise it when the same replies give other rows
AT_ONCE = 2  # parts under way together, so that one's last answers do not leave the endpoints idle
Asks = Callable[[], Mapping[str, Ask]]  # opens the models when a stage turns out to need them


def answer(store: Store, section: Generate, origin: Stage, asks: Asks, desk: Desk) -> Stage:
    """Prompts → CANDIDATES. A part with failed answers is asked for again by the next start."""
    stage = _stage(store, "answers", settings(section), origin)

    def make(number: int) -> dict[str, int]:
        prompts = pl.read_parquet(origin.part(number)).filter(pl.col("problem").is_null())
        answers = generate(prompts, section, asks())
        stage.write(number, answers)
        return {"answers": len(answers), "failed": answers.get_column("response").null_count()}

    if stage.info is None:
        _each_part(origin, make, stage, desk)
    counts = _info(stage)
    _check_failed(counts["failed"], counts["answers"], section.max_failed, "generate", stage.scan())
    return stage


def bring(store: Store, origin: Stage) -> Stage:
    """Pairs or candidates that were read → CANDIDATES."""
    stage = _stage(store, "answers", None, origin)
    if stage.info is None:
        answers = 0
        for number, part in enumerate(origin.parts()):
            block = answers_of(pl.read_parquet(part))
            stage.write(number, block)
            answers += len(block)
        _finish(stage, {"answers": answers, "failed": 0})
    return stage


def judge(
    store: Store,
    section: Judge,
    answers: Stage,
    origin: Stage,
    asks: Asks,
    scores: Mapping[str, judging.Score],
    desk: Desk,
) -> tuple[Stage, Stage]:
    """CANDIDATES → VERDICTS, and the same CANDIDATES with scores. Verdicts without a reply are asked for again."""
    made_by = [settings(section), [(rubric.name, rubric.hash) for rubric in judging.rubrics(section)]]
    said, judged = (_stage(store, name, made_by, answers) for name in ("verdicts", "judged"))

    def make(number: int) -> dict[str, int]:
        candidates = pl.read_parquet(answers.part(number))
        found = judging.verdicts(candidates, section, asks(), scores)
        said.write(number, found)
        judged.write(number, combine(candidates, found))
        failed = found.filter(pl.col("score").is_null(), pl.col("raw").is_null(), pl.col("error").is_not_null())
        return {"verdicts": len(found), "failed": len(failed)}

    if said.info is None or judged.info is None:
        counts = _each_part(answers, make, said, desk)
        _finish(judged, {**counts, **_reports(said, answers, origin)})
    counts = _info(judged)
    _check_failed(counts["failed"], counts["verdicts"], section.max_failed, "judge", said.scan())
    return said, judged


def pair(store: Store, section: Pair, judged: Stage, origin: Stage) -> Stage:
    """CANDIDATES → STAGED: every pair, and every set that yields none with its reason, in the order of the origin."""
    stage = _stage(store, "pairs", section.model_dump(mode="json"), judged)
    if stage.info is None:
        rows = 0
        for number in range(len(origin.parts())):
            block = pl.read_parquet(origin.part(number))
            made = pairs_of(block, pl.read_parquet(judged.part(number)), section)
            stage.write(number, made)
            rows += len(made)
        read, answered = _info(origin), _info(judged)
        counts = {"sets": read["rows"], "answers": answered.get("answers", 0)}
        _finish(stage, {"rows": rows, "broken": read["broken"], "inputs": read["inputs"], "counts": counts})
    return stage


def pairs_of(origin: pl.DataFrame, judged: pl.DataFrame, section: Pair) -> pl.DataFrame:
    """
    in : rows of the origin, the CANDIDATES of those without a problem
    out: STAGED in the order of the origin. `extra` holds the pairing's own notes, and the origin's extra as `source`.
    """
    made = pairing.pair(judged, **section.model_dump())
    keys = ["source", "source_row"]
    place = origin.select(*keys, pl.col("extra").alias("known"), "problem").with_row_index("place")
    answered = made.join(place.select(*keys, "place", "known"), on=keys, how="left", maintain_order="left")
    answered = answered.with_columns(extra=_joined(pl.col("extra"), pl.col("known"))).drop("known")
    unused = origin.with_row_index("place").join(made.select(keys), on=keys, how="anti")
    absent = [name for name in STAGED if name not in unused.columns]
    unused = unused.with_columns(empty(STAGED, absent)).select(*STAGED, "place")
    return (
        pl.concat([answered.select(*STAGED, "place"), unused]).sort("place", maintain_order=True).select(list(STAGED))
    )


def total(section: Generate, origin: Stage) -> int:
    """How many answers there will be."""
    usable = origin.scan().filter(pl.col("problem").is_null()).select(pl.len()).collect().item()
    return int(usable) * len(variants(section))


def settings(section: Section) -> dict[str, Any]:
    """A section without what does not change its results."""
    plain = section.model_dump(mode="json", exclude={"max_failed"})
    plain["models"] = [{key: value for key, value in model.items() if key not in HOW} for model in plain["models"]]
    return plain


def _joined(notes: pl.Expr, known: pl.Expr) -> pl.Expr:
    both = pl.concat_str(notes.str.strip_suffix("}"), pl.lit(',"source":'), known, pl.lit("}"))
    alone = pl.concat_str(pl.lit('{"source":'), known, pl.lit("}"))
    return pl.when(known.is_null()).then(notes).when(notes.is_null()).then(alone).otherwise(both)


def _stage(store: Store, name: str, settings: Any, before: Stage) -> Stage:
    """The stage for these settings and for what the stage before holds. One with failures is begun again."""
    stage = store.stage(name, fingerprint(name, VERSION, settings, _info(before).get("content", before.key)))
    if stage.info is not None and stage.info.get("failed"):
        remove(stage.folder / "stage.json")
    return stage


def _each_part(source: Stage, make: Callable[[int], dict[str, int]], target: Stage, desk: Desk) -> dict[str, int]:
    counts: dict[str, int] = {}
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for made in pool.map(make, range(len(source.parts()))):
            counts = {name: counts.get(name, 0) + count for name, count in made.items()}
    except CurateError:
        raise  # nothing new is sent; what is under way may end, and is kept
    except BaseException as error:
        desk.abort(error)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    _finish(target, counts)
    return counts


def _finish(stage: Stage, info: Mapping[str, Any]) -> None:
    """Mark the stage complete, with a hash of what is in it: what comes after depends on that alone."""
    content = hashlib.sha256()
    for part in stage.parts():
        content.update(part.read_bytes())
    stage.finish(**info, content=content.hexdigest()[:32])


def _info(stage: Stage) -> dict[str, Any]:
    return stage.info or {}


def _check_failed(failed: int, asked: int, share: float, what: str, rows: pl.LazyFrame) -> None:
    if failed > share * asked:
        errors = rows.filter(pl.col("error").is_not_null()).group_by("error").len().sort("len", descending=True)
        most = errors.head(1).collect().get_column("error").to_list()
        raise ServiceError(
            f"{what}: {failed} of {asked} requests failed{f' (most often: {most[0]})' if most else ''}. More than "
            f"{what}.max_failed={share:g} is an error; the same command asks for them again, and keeps the rest"
        )


def _reports(said: Stage, answers: Stage, origin: Stage) -> dict[str, Any]:
    labels = pl.concat([labels_of(pl.read_parquet(part)) for part in origin.parts()])
    candidates = answers.scan().collect() if answers.parts() else pl.DataFrame(schema=CANDIDATES)
    found = said.scan().collect() if said.parts() else pl.DataFrame(schema=VERDICTS)
    reports = judge_reports(candidates, found, labels if len(labels) else None)
    return {"answers": len(candidates), "judges": reports, "panel": panel_agreement(found)}
