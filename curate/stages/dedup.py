"""Remaining pairs → those that are dropped as duplicates or contradictions."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from curate.dedup.clusters import components
from curate.dedup.equal_form import RESPONSES, equal_ids
from curate.dedup.finder import DuplicateFinder
from curate.dedup.finders import FINDERS
from curate.dedup.jaccard import similarities
from curate.dedup.near_edges import near_edges
from curate.dedup.resolve import DUPLICATES, resolve_duplicates
from curate.errors import InputError
from curate.recipe.data import Dedup
from curate.recipe.load import Recipe
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.sources import read
from curate.sources.input import Feed, open_feeds
from curate.sources.prompts import read_prompts
from curate.stages.remaining import DROPS, Remaining, best_of, with_matched
from curate.stages.vectors import run_corpus
from curate.text.messages import COMPARED

VERSION = 2
OTHER_SET = "in_other_set"
SIMILAR_RESPONSES = "duplicate_responses"


def deduplicate(store: Store, recipe: Recipe, remaining: Remaining) -> Stage:
    """Write the dropped rows as DROPS in one part; `value` is the similarity to the matched row, where measured."""
    settings = recipe.dedup
    others = [feed.fingerprint for feed in _feeds(settings)]
    key = fingerprint("dedup", VERSION, settings.model_dump(mode="json"), others, remaining.key)
    stage = store.stage("dedup", key)
    if stage.info is None:
        drops = _Duplicates(store, settings, remaining).drops()
        stage.write(0, drops)
        stage.finish(dropped=len(drops))
    return stage


class _Duplicates:
    """One pass over the remaining pairs; each finder compares the texts once."""

    def __init__(self, store: Store, settings: Dedup, remaining: Remaining) -> None:
        self._settings, self._remaining, self._engine = settings, remaining, store.engine
        self._best = best_of(settings.keep)
        self._pairs = remaining.frame("pair_id", "flipped_id", "prompt_id", *([self._best] if self._best else []))
        self._corpus = run_corpus(store, remaining)
        self._finders: dict[str, DuplicateFinder] = {
            name: FINDERS[name](section, self._corpus) for name, section in settings.finders.items()
        }

    def drops(self) -> pl.DataFrame:
        """Return DROPS of everything that the section asks for."""
        settings = self._settings
        in_others = self._in_other_sets() if settings.against else pl.DataFrame(schema=DROPS)
        pairs = self._equal().join(in_others, on="row", how="anti", maintain_order="left")
        of_prompts: list[pl.DataFrame] = []  # edges between prompts
        caps: dict[str, tuple[str, int]] = {}
        for name, finder in self._finders.items():
            section = settings.finders[name]
            edges = finder.edges()
            clusters = finder.clusters(edges).rename({"cluster": name})
            pairs = pairs.join(clusters, on="row", how="left", maintain_order="left")
            of_prompts += [edges] if section.compare == "prompt" else []
            if section.max_per_cluster is not None:
                caps[name] = ("prompt_id" if section.compare == "prompt" else "row", section.max_per_cluster)
        if settings.responses is not None:
            pairs = self._with_similar_responses(pairs, of_prompts, settings.responses)
        duplicates = resolve_duplicates(
            pairs,
            exact=settings.exact,
            contradictions=settings.contradictions,
            best=self._best,
            clusters=caps,
            max_pairs_per_prompt=settings.max_pairs_per_prompt,
        )
        return pl.concat([in_others, with_matched(self._measured(duplicates), self._pairs)]).sort("row")

    def _equal(self) -> pl.DataFrame:
        """Return the pairs; those of equal texts have equal ids, where these are compared."""
        if not self._settings.exact and self._settings.contradictions == "keep":
            return self._pairs
        return equal_ids(self._pairs, self._remaining.blocks, self._engine)

    def _with_similar_responses(
        self, pairs: pl.DataFrame, of_prompts: list[pl.DataFrame], threshold: float
    ) -> pl.DataFrame:
        """Add `group`, `chosen_cluster` and `rejected_cluster`, for `resolve_duplicates`."""
        count = len(self._remaining.mask)
        same_prompt = pairs.select(row_a=pl.col("row").min().over("prompt_id"), row_b="row")
        group = components(count, pl.concat([same_prompt, *(edges.select("row_a", "row_b") for edges in of_prompts)]))
        pairs = pairs.with_columns(group=pl.Series(group[pairs.get_column("row").to_numpy()]))
        several = pairs.filter(pl.len().over("group") > 1).get_column("row").to_numpy()
        mask = np.zeros(count, bool)
        mask[several] = True
        sides = [block for side in RESPONSES for block in self._remaining.texts(side, pl.Series(mask))]
        cluster = components(2 * count, near_edges(sides, threshold=threshold, engine=self._engine))
        rows = pairs.get_column("row").to_numpy()
        # A blank response is similar to nothing, not even another one.
        return pairs.with_columns(
            chosen_cluster=pl.Series(cluster[rows]), rejected_cluster=pl.Series(cluster[rows + count])
        ).with_columns(pl.col("chosen_cluster", "rejected_cluster").cast(pl.UInt64))

    def _measured(self, duplicates: pl.DataFrame) -> pl.DataFrame:
        """Set `value` to the exact similarity of the two rows, where texts were compared."""
        measures: dict[str, Callable[[pl.DataFrame], pl.Series]]
        measures = {f"{name}_duplicate": finder.similarity for name, finder in self._finders.items()}
        if self._settings.responses is not None:
            measures[SIMILAR_RESPONSES] = self._of_responses
        done = [duplicates.filter(~pl.col("rule").is_in(list(measures)))]
        for rule, measure in measures.items():
            found = duplicates.filter(pl.col("rule") == rule)
            done.append(found.with_columns(value=measure(found)) if len(found) else found)
        return pl.concat(done).cast(DUPLICATES).sort("row")

    def _of_responses(self, duplicates: pl.DataFrame) -> pl.Series:
        """Return the Jaccard similarity of the less similar side."""
        rows = duplicates.select(row_a="row", row_b="duplicate_of")
        sides = [similarities(self._remaining.texts(side), rows, engine=self._engine) for side in RESPONSES]
        return pl.DataFrame({str(n): side["similarity"] for n, side in enumerate(sides)}).min_horizontal()

    def _in_other_sets(self) -> pl.DataFrame:
        """Return DROPS of rows that are also in a set of `against`."""
        found = [pl.DataFrame(schema=DROPS)]
        for name, finder in self._finders.items():
            other = pl.concat(_others(self._settings, self._settings.finders[name].compare))
            matches = finder.against(self._corpus.beside(other))
            matched = other.get_column("name")[matches["other_row"]]
            rows = matches.select("row", rule=pl.lit(OTHER_SET), value="similarity", matched=matched)
            found.append(rows.cast(DROPS))
        return pl.concat(found).unique("row", keep="first", maintain_order=True).sort("row")


def _feeds(settings: Dedup) -> list[Feed]:
    return open_feeds(list(settings.against)) if settings.against else []


def _others(settings: Dedup, compare: str) -> Iterator[pl.DataFrame]:
    """Yield name (SET:row) and the compared sides of every row of the other sets."""
    for feed in _feeds(settings):
        for block, _ in read_prompts(feed) if compare == "prompt" else read(feed):
            broken = block.filter(pl.col("problem") == "broken_row")
            if len(broken):
                raise InputError(f"dedup.against: {feed.name}: {broken.item(0, 'detail')}")
            name = pl.concat_str(pl.lit(feed.name), pl.lit(":"), "source_row")
            yield block.select(name.alias("name"), *COMPARED[compare])
