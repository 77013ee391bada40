"""A finished run, opened from its directory: its splits, its ledger, its counts, and the decision for each row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from curate import limits
from curate.errors import InputError, require
from curate.files import digest
from curate.rundir.file_form import SIDES, from_file, is_file_schema
from curate.rundir.manifest import Manifest
from curate.rundir.stage import Stage
from curate.rundir.store import CARD, DATA, LEDGER, MANIFEST, PRODUCT, RECIPE, REPORT, SPLITS, STAGES
from curate.schema import LEDGER as LEDGER_SCHEMA
from curate.schema import PAIR
from curate.schema.result import html_table
from curate.signals import measure

if TYPE_CHECKING:
    from curate.recipe.load import Recipe

MAX_ROW = 2**64 - 1
MIN_ID = 6  # characters of a pair_id that are enough to find it


@dataclass(frozen=True, repr=False)
class Run:
    """A complete run directory."""

    folder: Path
    manifest: Manifest
    replaced: Mapping[str, int] | None = field(default=None, compare=False)  # counts of the run in its place before

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {self.counts.get(name, 0):,}" for name in self._splits())
        kept, rows = self.counts.get("kept", 0), self.counts.get("rows", 0)
        return f"Run({str(self.folder)!r}: {kept:,} of {rows:,} kept · {splits})"

    def _repr_html_(self) -> str:
        rows = [(name, self.counts.get(name, 0)) for name in self._splits()]
        dropped = [
            (name.replace("_", ": "), count) for name, count in self.counts.items() if name.startswith("dropped_")
        ]
        return html_table(repr(self), ("", "pairs"), [*rows, *dropped])

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def _splits(self) -> list[str]:
        return [name for name in SPLITS if name != "validation" or self.counts.get(name)]

    @cached_property
    def recipe(self) -> "Recipe":
        """The recipe with every default written out."""
        from curate.recipe.load import load_recipe

        return load_recipe(self.file(RECIPE))

    @property
    def counts(self) -> dict[str, int]:
        """Counts: rows, kept, dropped, train, test, and dropped_STAGE for every stage that dropped any."""
        return self.manifest.counts

    @property
    def train(self) -> pl.LazyFrame:
        """The train split, PAIR."""
        return self.split("train")

    @property
    def test(self) -> pl.LazyFrame:
        """The test split, PAIR; empty if the recipe asks for none."""
        return self.split("test")

    @property
    def ledger(self) -> pl.LazyFrame:
        """LEDGER: one row for every input row, in input order."""
        return _scan([self.file(LEDGER)], LEDGER_SCHEMA)

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / REPORT

    @property
    def card(self) -> Path:
        """The dataset card."""
        return self.folder / CARD

    def stage(self, name: str) -> Stage:
        """Return a stage of the run. Raise InputError if it is damaged."""
        if name not in self.manifest.stages:
            raise InputError(f"{self.folder} has no stage {name!r}; run the same command again to make it")
        stage = Stage(self.folder / STAGES / name, self.manifest.stages[name].key)
        if self.manifest.files and stage.key not in self._checked:  # a run in the making has just written it
            stage.checked()
            self._checked.add(stage.key)
        return stage

    @property
    def signals(self) -> Stage:
        """The stage with the signals of all pairs, the confidence of labels among them where it was estimated."""
        return self.stage("label_noise" if "label_noise" in self.manifest.stages else "signals")

    def file(self, name: str) -> Path:
        """Return a file that the run wrote, by its path in the folder. Raise InputError if it is not as it was."""
        path, known = self.folder / name, self.manifest.files
        if known and name not in self._checked:  # a run in the making has no checksums yet
            if not path.is_file():
                raise InputError(f"{path} is missing; run the same command again to restore it")
            if known.get(name) != digest(path):
                raise InputError(f"{path} was edited after the run, or is damaged; run the same command again")
            self._checked.add(name)
        return path

    def shards(self, split: str) -> list[Path]:
        """Return the parquet files of a split, in order. Raise InputError if one is missing or not as it was."""
        names = (PurePosixPath(name) for name in self.manifest.files)
        shards = [path for path in names if str(path.parent) == DATA and PRODUCT.fullmatch(path.name)]
        known = [str(path) for path in shards if path.name.startswith(f"{split}-")]
        if self.manifest.files:
            return [self.file(name) for name in sorted(known)]
        return sorted((self.folder / DATA).glob(f"{split}-*.parquet"))

    @cached_property
    def _checked(self) -> set[str]:
        """Files, and keys of stages, that were compared with their checksums: once is enough."""
        return set()

    @property
    def validation(self) -> pl.LazyFrame:
        """The validation split, PAIR; empty unless the recipe asks for one."""
        return self.split("validation")

    def to_datasets(self) -> Any:
        """Return a `datasets.DatasetDict` of the splits (extra: hub)."""
        datasets = require("datasets", "hub")
        files = {name: [str(shard) for shard in self.shards(name)] for name in SPLITS}
        return datasets.load_dataset("parquet", data_files={name: paths for name, paths in files.items() if paths})

    def why(self, row: int | str, source: str | None = None) -> list[dict[str, Any]]:
        """
        Explain what happened to a row, given by its number in the source or by its pair_id (or its first 6 or more
        characters).

        Return one dict per ledger row (an input row may yield several): the ledger's columns, the pair's texts, and all
        its signals. Raise InputError if nothing matches.
        """
        try:
            return why(self, row, source)
        except pl.exceptions.PolarsError as error:  # stages that somebody else wrote
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{self.folder / STAGES} was not written by this run: {line}") from error

    def split(self, name: str) -> pl.LazyFrame:
        """Return a split by name, PAIR; empty if there is none."""
        shards = self.shards(name)
        return from_file(_scan(shards, PAIR)) if shards else pl.LazyFrame(schema=PAIR)


def _scan(paths: list[Path], schema: pl.Schema) -> pl.LazyFrame:
    """Return parquet files as one lazy frame. Raise InputError naming one that does not hold this table."""
    for path in paths:
        try:
            found = pl.scan_parquet(path, glob=False).collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path} is no parquet file: {' '.join(str(error).split())[:200]}") from error
        if not (is_file_schema(found) if schema == PAIR else found == schema):
            raise InputError(f"{path} was not written by a run: it has the columns {', '.join(found)[:200] or 'none'}")
    return pl.scan_parquet(paths, glob=False)


RunLike = Run | str | Path


def opened(run: RunLike) -> Run:
    """Return the run, opening it first if a folder is given."""
    return run if isinstance(run, Run) else open_run(run)


def counts_of(folder: Path) -> dict[str, int] | None:
    """Return the counts of the complete run that a folder holds; None if there is none."""
    try:
        return Manifest.read(folder / MANIFEST).counts
    except (InputError, OSError):
        return None


def open_run(folder: str | Path) -> Run:
    """
    Open a run directory.

    Return the `Run` in `folder`. Raise InputError if it contains no complete run, or one of version 0.1.

        curate.open_run("RUN").why(17)
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        unfinished = (folder / RECIPE).is_file()
        what = "an unfinished run; run the same command again to finish it" if unfinished else "no run"
        raise InputError(f"{folder} contains {what}" if folder.exists() else f"{folder} does not exist")
    return Run(folder, Manifest.read(folder / MANIFEST))


def why(run: Run, row: int | str, source: str | None = None) -> list[dict[str, Any]]:
    """See `Run.why`."""
    ledger = run.ledger.with_row_index("place")
    text = str(row)
    wanted = pl.lit(value=False)
    if text.isascii() and text.isdigit():
        if len(text) <= len(str(MAX_ROW)) and int(text) <= MAX_ROW:
            wanted = pl.col("source_row") == int(text)
        wanted = wanted & (pl.col("source") == source) if source else wanted
    elif len(text) >= MIN_ID:
        wanted = pl.col("pair_id").str.starts_with(text.lower())
    found = ledger.filter(wanted).head(limits.LEDGER_ROWS + 1).collect()
    if len(found) > limits.LEDGER_ROWS:
        raise InputError(
            f"{run.folder / LEDGER} has more than {limits.LEDGER_ROWS:,} rows for {text}; no run writes that"
        )
    if found.is_empty():
        where = f" of {source}" if source else ""
        raise InputError(
            f"no row {text}{where} in {run.folder}: it has {run.counts['rows']} rows, numbered from 0 in each source "
            f"(of a pair_id at least the first {MIN_ID} characters are needed)"
        )
    texts = _fetched(run, found) if run.manifest.pulled else _staged(run, found)
    rows = found.join(texts, on="place", how="left", maintain_order="left").drop("place").to_dicts()
    return [row | {side: _plain(row[side]) for side in SIDES if side in row} for row in rows]


def _plain(messages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return messages with the fields that they have."""
    if messages is None:
        return None
    return [{name: value for name, value in message.items() if value is not None} for message in messages]


def _staged(run: Run, found: pl.DataFrame) -> pl.DataFrame:
    """Return texts and signals of ledger rows, from the stages."""
    places = pl.col("place").is_in(found.get_column("place").to_list())
    pairs = run.stage("pairs").scan().with_row_index("place").filter(places).drop("source", "source_row", "pair_id")
    signals = run.signals.scan().with_row_index("place").filter(places)
    return pairs.collect().join(signals.collect(), on="place", suffix="_signal")


def _fetched(run: Run, found: pl.DataFrame) -> pl.DataFrame:
    """Return the same for a pulled run: only texts of kept rows were published; their signals are measured again."""
    kept = found.filter("kept").select("place", "pair_id", "source", "source_row")
    ours = pl.concat([run.split(name) for name in SPLITS]).join(kept.lazy(), on=["pair_id", "source", "source_row"])
    pairs = ours.collect(engine="streaming")
    signals = measure(pairs.select(list(PAIR)))
    taken = [name for name in signals.columns if name in pairs.columns]
    signals = signals.rename({name: f"{name}_signal" for name in taken})
    return pairs.drop("source", "source_row", "pair_id").with_columns(signals.get_columns())
