"""The stages of a run: each reads what the one before left in the store, and is skipped when its key is there."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import polars as pl

from curate import pairing, sources
from curate import signals as measuring
from curate.dedup.exact import exact
from curate.errors import CurateError, InputError
from curate.product import SplitWriter, TableWriter, ledger_rows
from curate.progress import progress
from curate.recipe import Recipe, fingerprint
from curate.rules import apply_rules
from curate.schema import DUPLICATE_PROMPT, LEDGER, PAIR, SEED
from curate.sections import Source
from curate.split import split
from curate.store import DATA, Stage, Store, atomic
from curate.store import LEDGER as LEDGER_FILE

WORKERS = max(1, min(os.cpu_count() or 1, 8))  # blocks in work at once; polars' own threads come on top
# Why a row that was read well is no pair, and the ledger's stage for it; every other problem is one of reading.
PROBLEM_STAGES = {
    "tie": "pair",
    "no_preference": "pair",
    DUPLICATE_PROMPT: "prompts",
    SEED: "prompts",
    **pairing.STAGES,
}
Read = Callable[[sources.Feed], Iterator[tuple[pl.DataFrame, str]]]  # blocks, with the name of their format
SHOWN = 3  # broken rows named in an error


def read_pairs(store: Store, recipe: Recipe) -> Stage:
    """Sources → pairs: blocks of STAGED. Raises InputError when too many rows are unreadable, or there are none."""
    source = recipe.source
    read = partial(sources.read, format=source.format, columns=source.columns, winners=source.winners)
    return read_rows(store, "pairs", source, read)


def read_rows(store: Store, name: str, source: Source, read: Read) -> Stage:
    """Whatever `read` makes of every input, part by part. Raises InputError as `read_pairs` does."""
    feeds = sources.open_feeds(source.paths, split=source.split, config=source.config, revision=source.revision)
    made_from = source.model_dump(mode="json", exclude={"paths", "max_bad_rows"})
    key = fingerprint(name, sources.VERSION, made_from, [(feed.name, feed.fingerprint) for feed in feeds])
    stage = store.stage(name, key)
    if stage.info is None:
        for part in stage.parts():  # of an interrupted run: the last block may have been cut by a limit
            part.unlink()
        _read(stage, feeds, source, read)
    info = stage.info or {}
    if info["broken"] > source.max_bad_rows * info["rows"]:
        raise InputError(
            f"{info['broken']} of {info['rows']} rows cannot be read (first: {'; '.join(info['first_broken'])}). "
            f"More than source.max_bad_rows={source.max_bad_rows:g} is an error; raise it to go on without them"
        )
    return stage


def _read(stage: Stage, feeds: list[sources.Feed], source: Source, read: Read) -> None:
    inputs: dict[str, dict[str, Any]] = {
        feed.name: {"fingerprint": feed.fingerprint, "rows": 0, "format": "unknown"} for feed in feeds
    }
    first_broken: list[str] = []
    rows = broken = 0
    blocks = ((feed.name, *found) for feed in feeds for found in read(feed))
    with progress("read", source.limit, "rows") as advance:
        for part, (name, block, shape) in enumerate(blocks):
            frame = block.head(source.limit - rows) if source.limit else block
            stage.write(part, frame)
            unreadable = frame.filter(pl.col("problem") == "broken_row").get_column("detail")
            rows, broken = rows + len(frame), broken + len(unreadable)
            inputs[name] |= {"rows": inputs[name]["rows"] + len(frame), "format": shape}
            first_broken += [f"{name}: {detail}" for detail in unreadable.head(SHOWN - len(first_broken))]
            advance(len(frame))
            if source.limit and rows >= source.limit:
                break
    if rows == 0:
        raise InputError(f"{', '.join(source.paths)}: no rows to read")
    stage.finish(inputs=inputs, rows=rows, broken=broken, first_broken=first_broken)


def measure(store: Store, pairs: Stage) -> Stage:
    """Pairs → signals, row for row."""
    stage = store.stage("signals", fingerprint("signals", measuring.VERSION, pairs.key))
    _map_parts("signals", pairs, stage, measuring.measure)
    return stage


def decide(store: Store, recipe: Recipe, pairs: Stage, signals: Stage) -> Stage:
    """Signals → verdicts (stage, rule, value, reasons), row for row; rows that are no pairs keep their problem."""
    rules = recipe.rules.made()
    stage = store.stage("rules", fingerprint("rules", [repr(rule) for rule in rules], signals.key))

    def verdicts(number: int) -> pl.DataFrame:
        problems = pl.read_parquet(pairs.part(number), columns=["problem", "detail"])
        broken = apply_rules(pl.read_parquet(signals.part(number)), rules)
        usable = pl.col("problem").is_null()
        said = pl.concat_str("problem", "detail", separator=": ", ignore_nulls=True)
        return pl.concat([problems, broken], how="horizontal").select(
            stage=pl.when(~usable).then(pl.col("problem").replace_strict(PROBLEM_STAGES, default="read"))
            .when(pl.col("rule").is_not_null()).then(pl.lit("rules")),
            rule=pl.coalesce("problem", "rule"),
            value=pl.when(usable).then("value"),
            reasons=pl.when(usable).then("reasons").otherwise(pl.concat_list(said)),
        )  # fmt: skip

    _each_part("rules", pairs, stage, verdicts)
    return stage


def deduplicate(store: Store, recipe: Recipe, pairs: Stage, signals: Stage, rules: Stage) -> Stage:
    """Pairs that passed → the rows that go as duplicates and contradictions, in one part."""
    settings = recipe.dedup
    stage = store.stage("dedup", fingerprint("dedup", settings.model_dump(mode="json"), rules.key))
    if stage.info is None:
        best = None if settings.keep == "first" else settings.keep
        columns = [pairs.scan().select("pair_id", "flipped_id", "prompt_id"), rules.scan().select("rule")]
        columns += [signals.scan().select(best)] if best else []
        passed = (
            pl.concat(columns, how="horizontal").with_row_index("row").filter(pl.col("rule").is_null()).drop("rule")
        )
        drops = exact(
            passed.collect(engine="streaming"),
            duplicates=settings.exact,
            contradictions=settings.contradictions,
            best=best,
            max_pairs_per_prompt=settings.max_pairs_per_prompt,
        )
        stage.write(0, drops)
        stage.finish(dropped=len(drops))
    return stage


def write_product(store: Store, recipe: Recipe, pairs: Stage, rules: Stage, dedup: Stage) -> dict[str, int]:
    """Everything decided → data/ and the ledger. Returns the rows of each split and of the ledger."""
    drops = pl.read_parquet(dedup.part(0))
    heights = [pl.scan_parquet(part).select(pl.len()).collect().item() for part in pairs.parts()]
    spans = list(pairwise(accumulate(heights, initial=0)))
    with (
        atomic(store.folder / DATA) as data,
        atomic(store.folder / LEDGER_FILE) as ledger_path,
        progress("write", len(spans)) as advance,
    ):
        data.mkdir()
        ledger = TableWriter(ledger_path, LEDGER)
        with SplitWriter(data, "train") as train, SplitWriter(data, "test") as test:
            train.write(pl.DataFrame(schema=PAIR))  # a run that keeps nothing still has a train split
            for number, span in enumerate(spans):
                block = pl.read_parquet(pairs.part(number))
                sides = split(block.select("prompt_id"), test=recipe.split.test, salt=recipe.split.salt)
                rows = ledger_rows(block, pl.read_parquet(rules.part(number)), _drops_of(drops, *span), sides)
                ledger.write(rows)
                for name, writer in (("train", train), ("test", test)):
                    kept = block.filter(rows.get_column("split").eq_missing(name)).select(list(PAIR))
                    if len(kept):
                        writer.write(kept)
                advance()
        ledger.close()
    return {
        "train": train.rows,
        "test": test.rows,
        "ledger": ledger.rows,
        "train_bytes": train.memory_bytes,
        "test_bytes": test.memory_bytes,
    }


def _drops_of(drops: pl.DataFrame, start: int, end: int) -> pl.DataFrame:
    """The drops of rows start..end, one row for each of them, null where there is none."""
    rows = pl.DataFrame({"row": pl.Series(range(start, end), dtype=pl.UInt64)})
    joined = rows.join(drops, on="row", how="left", maintain_order="left")
    return joined.select(dedup_rule="rule", dedup_value="value", matched="matched")


def _map_parts(what: str, source: Stage, target: Stage, function: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    _each_part(what, source, target, lambda number: function(pl.read_parquet(source.part(number))))


def _each_part(what: str, source: Stage, target: Stage, make: Callable[[int], pl.DataFrame]) -> None:
    """Write every part of the target that is not there yet, several at once."""
    if target.info is not None:
        return
    parts = len(source.parts())
    todo = [number for number in range(parts) if not target.part(number).is_file()]
    pool = ThreadPoolExecutor(WORKERS)
    try:
        with progress(what, parts) as advance:
            advance(parts - len(todo))
            for _ in pool.map(lambda number: target.write(number, make(number)), todo):
                advance()
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for what is still queued
    target.finish(parts=parts)


def account(counts: dict[str, int]) -> None:
    """Raise when rows were lost or doubled: this is a defect of prefcurate, never of the data."""
    if not counts["rows"] == counts["ledger"] == counts["kept"] + counts["dropped"]:
        raise CurateError(f"the counts do not add up, please report this: {counts}")
