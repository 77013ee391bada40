"""Pairs that are left → those that go as duplicates and contradictions."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from curate import sources
from curate.dedup import CLAIMS, components, guarded, near, semantic, survivors
from curate.dedup import against as near_vectors
from curate.dedup.jaccard import similarities
from curate.embeddings.cosine import cosines
from curate.errors import InputError
from curate.recipe import Dedup, Near, Semantic
from curate.recipe.load import Recipe, fingerprint
from curate.rundir.store import Stage, Store
from curate.stages.remaining import DROPS, SIDES, Left, best_of, named
from curate.stages.vectors import vectors_of
from curate.text.messages import text_of

VERSION = 1
OTHER_SET = "in_other_set"
Links = pl.DataFrame  # row_a, row_b, similarity: u64, u64, f64


def deduplicate(store: Store, recipe: Recipe, left: Left) -> Stage:
    """The rows that go, as DROPS in one part. `value`: the similarity to the row matched, where texts were compared."""
    settings = recipe.dedup
    others = [feed.fingerprint for feed in _feeds(settings)]
    key = fingerprint("dedup", VERSION, settings.model_dump(mode="json"), others, left.key)
    stage = store.stage("dedup", key)
    if stage.info is None:
        drops = _Duplicates(store, settings, left).drops()
        stage.write(0, drops)
        stage.finish(dropped=len(drops))
    return stage


def near_links(left: Left, settings: Near) -> Links:
    """EDGES among the texts that are left, by their rows."""
    return near(
        left.texts(settings.compare),
        threshold=settings.threshold,
        shingle_size=settings.shingle_size,
        bands=settings.bands,
    )


class _Duplicates:
    """One pass: texts and vectors are compared once, and asked for several times."""

    def __init__(self, store: Store, settings: Dedup, left: Left) -> None:
        self._settings, self._left = settings, left
        best = best_of(settings.keep)
        self._pairs = left.frame("pair_id", "flipped_id", "prompt_id", *([best] if best else []))
        self._best = best
        self._vectors = None
        if settings.semantic:
            self._vectors = vectors_of(store, left, settings.semantic.model, settings.semantic.compare)

    def drops(self) -> pl.DataFrame:
        settings = self._settings
        elsewhere = self._in_other_sets() if settings.against else pl.DataFrame(schema=DROPS)
        pairs = self._pairs.join(elsewhere, on="row", how="anti", maintain_order="left")
        clusters: dict[str, pl.DataFrame] = {}
        links: list[Links] = []
        if settings.near:
            found = near_links(self._left, settings.near)
            links += [found] if settings.near.compare == "prompt" else []
            clusters["near"] = _clustered(found, len(self._left.mask))
        if settings.semantic and self._vectors is not None:
            found = semantic(self._vectors, threshold=settings.semantic.threshold)
            links += [found] if settings.semantic.compare == "prompt" else []
            clusters["semantic"] = guarded(found, self._vectors, settings.semantic.threshold).select("row", "cluster")
        for name, cluster in clusters.items():
            pairs = pairs.join(cluster.rename({"cluster": name}), on="row", how="left", maintain_order="left")
        if settings.responses is not None:
            pairs = self._with_alike_responses(pairs, links, settings.responses)
        claims = survivors(
            pairs,
            exact=settings.exact,
            contradictions=settings.contradictions,
            best=self._best,
            clusters=dict(self._caps()),
            max_pairs_per_prompt=settings.max_pairs_per_prompt,
        )
        return pl.concat([elsewhere, named(self._measured(claims), pairs)]).sort("row")

    def _caps(self) -> Iterator[tuple[str, tuple[str, int]]]:
        for name, section in (("near", self._settings.near), ("semantic", self._settings.semantic)):
            if section and section.max_per_cluster is not None:
                yield name, ("prompt_id" if section.compare == "prompt" else "row", section.max_per_cluster)

    def _with_alike_responses(self, pairs: pl.DataFrame, links: list[Links], threshold: float) -> pl.DataFrame:
        """With `group`, `chosen_like` and `rejected_like`, for `survivors`."""
        count = len(self._left.mask)
        same_prompt = pairs.select(row_a=pl.col("row").min().over("prompt_id"), row_b="row")
        group = components(count, pl.concat([same_prompt, *(link.select("row_a", "row_b") for link in links)]))
        pairs = pairs.with_columns(group=pl.Series(group[pairs.get_column("row").to_numpy()]))
        several = pairs.filter(pl.len().over("group") > 1).get_column("row").to_numpy()
        mask = np.zeros(count, bool)
        mask[several] = True
        sides = [self._left.texts(side, pl.Series(mask)) for side in ("chosen", "rejected")]
        like = components(2 * count, near(lambda: chain(*(side() for side in sides)), threshold=threshold))
        rows = pairs.get_column("row").to_numpy()
        # A blank response is like nothing, not even another one.
        return pairs.with_columns(
            chosen_like=pl.Series(like[rows]), rejected_like=pl.Series(like[rows + count])
        ).with_columns(pl.col("chosen_like", "rejected_like").cast(pl.UInt64))

    def _measured(self, claims: pl.DataFrame) -> pl.DataFrame:
        """With the true similarity to the other row as the value, where texts were compared."""
        settings, measures = self._settings, {}
        if settings.near:
            text, size = settings.near.compare, settings.near.shingle_size
            measures["near_duplicate"] = lambda two: _jaccard(self._left, [text], size, two)
        if settings.responses is not None:
            measures["duplicate_responses"] = lambda two: _jaccard(self._left, ["chosen", "rejected"], 3, two)
        if self._vectors is not None:
            measures["semantic_duplicate"] = self._cosine
        return _with_values(claims, measures)

    def _cosine(self, two: pl.DataFrame) -> pl.Series:
        assert self._vectors is not None  # noqa: S101 - only asked where there are some
        a, b = (two.get_column(name).to_numpy().astype(np.int64) for name in ("row", "other"))
        return pl.Series(cosines(self._vectors, a, self._vectors, b))

    def _in_other_sets(self) -> pl.DataFrame:
        """DROPS for what is in `against`, too."""
        found = [pl.DataFrame(schema=DROPS)]
        settings = self._settings
        for section in (settings.near, settings.semantic):
            if section is None:
                continue
            other = list(_other_texts(settings, section.compare))
            names = pl.concat([block.select("name") for block in other]).to_series()
            texts = [block.get_column("text") for block in other]
            matches = (
                _near_others(self._left, section, texts)
                if isinstance(section, Near)
                else self._semantic_others(section, texts)
            )
            rows = matches.select("row", rule=pl.lit(OTHER_SET), value="similarity", matched=names[matches["other"]])
            found.append(rows.cast(DROPS))
        return pl.concat(found).unique("row", keep="first", maintain_order=True).sort("row")

    def _semantic_others(self, section: Semantic, texts: list[pl.Series]) -> pl.DataFrame:
        from curate.dedup.semantic import embed
        from curate.embeddings.encoder import load_encoder

        assert self._vectors is not None  # noqa: S101 - only asked where there are some
        theirs = embed(texts, load_encoder(section.model))
        return near_vectors(self._vectors, theirs, threshold=section.threshold).rename({"other_row": "other"})


def _near_others(left: Left, section: Near, texts: list[pl.Series]) -> pl.DataFrame:
    """row, other, similarity: the most similar one of another set for every row that has any."""
    ours, count = left.texts(section.compare), sum(map(len, texts))
    options: dict[str, Any] = {"shingle_size": section.shingle_size, "bands": section.bands}
    links = near(lambda: chain(texts, ours()), threshold=section.threshold, **options)
    across = links.filter(pl.col("row_a") < count, pl.col("row_b") >= count)
    # Of ours with the same words only the first is compared with others: what it is found in holds for all of them.
    same = links.filter(pl.col("row_a") >= count, pl.col("similarity") == 1).select("row_a", copy="row_b")
    copies = same.join(across.select("row_b", other="row_a", s="similarity"), left_on="row_a", right_on="row_b")
    direct = across.select(row="row_b", other="row_a", similarity="similarity")
    found = pl.concat([direct, copies.select(row="copy", other="other", similarity="s")])
    best = found.sort("row", "similarity", "other", descending=[False, True, False]).unique("row", maintain_order=True)
    return best.with_columns(pl.col("row") - count)


def _feeds(settings: Dedup) -> list[sources.Feed]:
    return sources.open_feeds(list(settings.against)) if settings.against else []


def _other_texts(settings: Dedup, compare: str) -> Iterator[pl.DataFrame]:
    """name (SET:row), text of every row of the other sets."""
    sides = SIDES[compare]
    read: Callable[[sources.Feed], Iterator[tuple[pl.DataFrame, str]]]
    read = sources.read_prompts if compare == "prompt" else sources.read
    for feed in _feeds(settings):
        for block, _ in read(feed):
            broken = block.filter(pl.col("problem") == "broken_row")
            if len(broken):
                raise InputError(f"dedup.against: {feed.name}: {broken.item(0, 'detail')}")
            yield block.select(
                name=pl.concat_str(pl.lit(feed.name), pl.lit(":"), "source_row"),
                text=pl.concat_str([text_of(side) for side in sides], separator="\n\n"),
            )


def _clustered(links: Links, rows: int) -> pl.DataFrame:
    """row, cluster for every row that is linked."""
    linked = np.unique(np.concatenate([links.get_column(end).to_numpy() for end in ("row_a", "row_b")]))
    cluster = components(rows, links)[linked.astype(np.int64)]
    return pl.DataFrame({"row": linked, "cluster": cluster}, schema={"row": pl.UInt64(), "cluster": pl.UInt64()})


def _jaccard(left: Left, texts: list[str], size: int, two: pl.DataFrame) -> pl.Series:
    """The similarity of the texts of each row and its other; of several texts the least similar one's."""
    pairs = two.select(row_a="row", row_b="other")
    found = [similarities(left.texts(text), pairs, size=size).get_column("similarity") for text in texts]
    return pl.DataFrame({str(number): series for number, series in enumerate(found)}).min_horizontal()


def _with_values(claims: pl.DataFrame, measures: dict[str, Callable[[pl.DataFrame], pl.Series]]) -> pl.DataFrame:
    done = [claims.filter(~pl.col("rule").is_in(list(measures)))]
    for rule, measure in measures.items():
        asked = claims.filter(pl.col("rule") == rule)
        done.append(asked.with_columns(value=measure(asked)) if len(asked) else asked)
    return pl.concat(done).cast(CLAIMS).sort("row")
