"""Check a preference dataset: its findings, without a run directory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from curate.api.locations import line_numbers, local_paths, shown_path
from curate.errors import check_not_hidden, unknown
from curate.findings import annotators, bias, prompts, refusals, rows
from curate.findings.kinds import EXTRA_RULES, KINDS
from curate.findings.outputs import github, sarif
from curate.findings.result import EXCERPT, Example, Finding, Findings, Hits
from curate.recipe.load import Recipe, make_recipe
from curate.recipe.training import Train
from curate.rundir.store import Store
from curate.signals import COLUMNS
from curate.sources.memory import readable_paths
from curate.stages.dedup import deduplicate
from curate.stages.measure import decide, measure
from curate.stages.read import read_pairs
from curate.stages.remaining import Remaining
from curate.terminal import busy

__all__ = ["Findings", "check", "codes", "explain", "github", "sarif"]

SAMPLE = 100  # rows whose other columns are looked at for an annotator or a split
SIDES = ("prompt", "chosen", "rejected")


def check(source: Any, *, examples: int = 3, model: str | None = None, **source_options: Any) -> Findings:
    """
    Check a preference dataset: find what in it harms training, and leave it as it is.

    Parameters
    ----------
    source
        Anything that `curate.read` takes. Several files are checked together; where their names tell splits (train,
        test), leaks between these are findings.
    examples
        How many rows of each finding are shown, 0 or more.
    model
        Folder or Hub id of a model: also find what its tokenizer and chat template would drop, cut or leave out
        (extra: train). None = only the data.
    **source_options
        format, columns, winners, split, config, revision, limit, as for `curate.read`.

    Returns
    -------
    `Findings`, a list of `Finding` (kind, count, of, share, what, examples), the most severe first; empty where
    nothing was found. `.rows`, `.pairs` and `.inputs` are counts, `.settings` what `curate.clean` needs to drop the
    rows, `.to_dict()` plain data. Null scores, models and annotators are unknown, and count nowhere. Every row that was
    read is either a pair or in a finding of group 1xx or 4xx.

    Raises
    ------
    InputError for a source that does not exist or has no known format, RecipeError for an option, MissingExtra for a
    model without the extra.

    Examples
    --------
    >>> import curate
    >>> tea = {"prompt": "Tea?", "chosen": "Green tea, brewed cool.", "rejected": "Tea is a drink."}
    >>> found = curate.check([tea, tea, {"prompt": "Milk?", "chosen": "A splash.", "rejected": None}])
    >>> found
    Findings(3 rows, 2 pairs: 1 error, 1 warning, 1 note)
    >>> [(one.kind.code, one.kind.name, one.count) for one in found]
    [('PC109', 'missing_answer', 1), ('PC301', 'duplicate_pair', 1), ('PC304', 'several_pairs_per_prompt', 2)]
    """
    with readable_paths(source) as paths, _staged(paths, source_options) as staged:
        hits = staged.hits(examples)
        if model is not None:
            hits += staged.under_model(model, examples)
        shown = staged.examples([row for one in hits for row in one.rows])
        total, pairs, inputs = staged.total, staged.usable, len(staged.names)
    findings = [
        Finding(
            KINDS[one.code],
            one.count,
            one.of or total,
            one.what or KINDS[one.code].why,
            tuple(Example(detail=detail, **shown[row]) for row, detail in zip(one.rows, one.details, strict=True)),
        )
        for one in hits
    ]
    return Findings(findings, rows=total, pairs=pairs, inputs=inputs)


def explain(code: str) -> dict[str, str]:
    """Return what is known of a code, such as PC101, as a dict of texts. Raises RecipeError for another."""
    kind = KINDS.get(code.strip().upper())
    if kind is None:
        raise unknown("code", code, KINDS)
    columns = [reason.partition("_")[2] for reason in kind.reasons]
    measured = [COLUMNS[column].about for column in columns if column in COLUMNS]
    return {
        "code": kind.code,
        "name": kind.name,
        "severity": kind.severity,
        "group": kind.group,
        "why": kind.why,
        "repair": kind.repair,
        "measured": " ".join((f"{kind.how}. {' '.join(measured)}").split()),
    }


def codes() -> list[dict[str, str]]:
    """Return code, name, severity and why of every kind of finding."""
    return [
        {"code": kind.code, "severity": kind.severity, "name": kind.name, "why": kind.why} for kind in KINDS.values()
    ]


@contextmanager
def _staged(paths: list[str], options: Mapping[str, Any]) -> Iterator["_Staged"]:
    """Read and measure a source into a temporary folder, which bounds memory as in a run."""
    given = {name: value for name, value in options.items() if value is not None}
    tree = {
        "source": {"paths": paths, "max_bad_rows": 1.0, **given},
        "rules": EXTRA_RULES,
        "dedup": {"near": True},
    }
    with TemporaryDirectory(prefix="prefcurate-") as folder:
        yield _Staged(Path(folder), make_recipe(tree))


class _Staged:
    """The stages of a check. A row is its position in all of them, from 0."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        store = Store(folder / "all")
        self._read = read_pairs(store, recipe)
        self._signals = measure(store, self._read)
        self._verdicts = decide(store, recipe, self._read, self._signals)
        # Duplicates are sought among all pairs, whatever rules they break.
        plain = recipe.model_copy(update={"rules": type(recipe.rules)(defaults=False)})
        readable = decide(Store(folder / "readable"), plain, self._read, self._signals)
        remaining = Remaining(self._read, self._signals, readable)
        with busy("dedup"):
            self._drops = deduplicate(store, plain, remaining).scan().collect()
        inputs = (self._read.info or {})["inputs"]
        self.names = list(inputs)
        self._paths = local_paths(recipe)
        self._inputs = list(inputs.values())
        self.counts = [inputs[name]["rows"] for name in self.names]
        self.total = sum(self.counts)
        self.usable = int(remaining.mask.sum())

    def pairs(self) -> pl.LazyFrame:
        """Return row (u32), feed (u16, the input) and STAGED of all pairs."""
        feed = pl.Series("feed", np.repeat(np.arange(len(self.counts), dtype=np.uint16), self.counts))
        parts = [pl.LazyFrame([feed]), self._read.scan()]
        return pl.concat(parts, how="horizontal").with_row_index("row").filter(pl.col("problem").is_null())

    def signals(self) -> pl.LazyFrame:
        """Return row (u32) and the signals of all pairs."""
        parts = [self._read.scan().select("problem"), self._signals.scan()]
        whole = pl.concat(parts, how="horizontal").with_row_index("row")
        return whole.filter(pl.col("problem").is_null()).drop("problem")

    def hits(self, examples: int) -> list[Hits]:
        """Return everything found in the data."""
        places = list(zip(self.names, accumulate(self.counts, initial=0), self.counts, strict=False))
        inputs = [(*place, found["unused"]) for place, found in zip(places, self._inputs, strict=True)]
        eval_sets = [place for place, found in zip(places, self._inputs, strict=True) if found["is_eval"]]
        verdicts = self._verdicts.scan().select("reasons").with_row_index("row")
        ids, near = self._ids(), self._drops.filter(rule="near_duplicate")
        return [
            *rows.of_reasons(verdicts, examples),
            *rows.of_languages(self.signals(), examples),
            *refusals.of_refusals(self.pairs(), self.signals(), examples),
            *rows.of_columns(inputs, examples),
            *rows.of_eval_sets(eval_sets, examples),
            *rows.of_hits(self._duplicates().lazy(), examples),
            *prompts.several(ids, examples),
            *prompts.repeated(self.pairs(), self.usable, examples),
            *prompts.cycles(self.pairs(), ids, examples),
            *prompts.leaks(ids, self._matched(near, ids), examples),
            *prompts.opposed(ids, "annotator", "annotator_opposed", examples),
            *prompts.opposed(ids, "source", "source_opposed", examples),
            *bias.length(self.signals()),
            *bias.style(self.pairs(), self.usable),
            *bias.openings(self.pairs(), self.usable),
            *bias.models(self.pairs()),
            *bias.surface(self.signals()),
        ]

    def _ids(self) -> pl.DataFrame:
        """Return hashes of the pairs' ids, with split and annotator (str, null = unknown)."""
        ids = prompts.pair_ids(self.pairs())
        splits = pl.Series("split", prompts.split_of(self.names), dtype=pl.String)
        named = ids.with_columns(splits.gather(ids.get_column("feed")))
        return named.with_columns(
            split=pl.coalesce("split", self._other_column(("split",))),
            annotator=self._other_column(annotators.NAMES),
        )

    def _other_column(self, names: tuple[str, ...]) -> pl.Series:
        """Return the first of these columns of the source that exists, of all pairs; null where none does."""
        extra = self.pairs().select("extra")
        sample = extra.head(SAMPLE).collect().to_series()
        found = [name for name in names if sample.str.json_path_match(f"$.{name}").count()]
        if not found:
            return pl.Series([None], dtype=pl.String).new_from_index(0, self.usable)
        value = pl.col("extra").str.json_path_match(f"$.{found[0]}")
        return extra.select(value).collect(engine="streaming").to_series()

    def _duplicates(self) -> pl.DataFrame:
        return self._drops.select(
            "row", reason="rule", detail=pl.format("{} of the pair {}", pl.col("rule"), pl.col("matched").str.head(8))
        )

    def _matched(self, drops: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
        """Return row and other (u32), the row that each matches."""
        others = ids.unique("pair", keep="first").select("pair", other="row")
        return (
            drops.select(pl.col("row").cast(pl.UInt32), pair=pl.col("matched").hash())
            .join(others, on="pair")
            .select("row", "other")
        )

    def examples(self, wanted: list[int]) -> dict[int, dict[str, Any]]:
        """Return source, row and excerpts of rows, with the path and line where it is a local file."""
        texts = {
            side: pl.col(side).list.eval(pl.element().struct.field("content")).list.join(" ").str.head(EXCERPT)
            for side in SIDES
        }
        found = (
            self._read.scan()
            .with_row_index("at")
            .filter(pl.col("at").is_in(sorted(set(wanted))))
            .select("at", "source", row="source_row", **{side: text.fill_null("") for side, text in texts.items()})
            .collect(engine="streaming")
        )
        return {row.pop("at"): row for row in self._placed(found).to_dicts()}

    def _placed(self, found: pl.DataFrame) -> pl.DataFrame:
        """Add path and line: null for rows whose source is not the input itself (of our own tables), or no file."""
        names = [self.names[place] for place in np.searchsorted(np.cumsum(self.counts), found["at"], "right")]
        places: list[dict[str, Any]] = [{"path": None, "line": None}] * len(found)
        for name in set(names) & set(self._paths):
            own = [at for at, one in enumerate(names) if one == name == found.item(at, "source")]
            lines = line_numbers(self._paths[name], {found.item(at, "row") for at in own})
            for at in own:
                places[at] = {"path": shown_path(self._paths[name]), "line": lines.get(found.item(at, "row"))}
        return found.with_columns(pl.DataFrame(places, schema={"path": pl.String, "line": pl.Int64}).get_columns())

    def under_model(self, model: str, examples: int) -> list[Hits]:
        """Return what the model's tokenizer and chat template would drop, cut or leave out."""
        check_not_hidden("train")
        from train.preflight import finding_flags, first_token_tied, preflight_pairs

        if not self.usable:
            return []
        checked = preflight_pairs(self._blocks(), Train(model=model))
        hits = []
        flags = {**finding_flags(checked.max_length), "first_token_tied": first_token_tied}
        for name, flag in flags.items():
            found = checked.rows.filter(flag).get_column("row")
            hits += rows.of_rows(name, found, examples, f"max_length {checked.max_length}")
        return hits

    def _blocks(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield the pairs part by part, with `row`; none is held out."""
        start = 0
        for part in self._read.parts():
            block = pl.read_parquet(part, glob=False).with_row_index("row", start)
            start += len(block)
            if len(pairs := block.filter(pl.col("problem").is_null())):
                yield "train", pairs
