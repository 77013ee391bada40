"""Duplicates in a frame, for a notebook: pairs in, a `Result` out, without a run directory."""

from typing import Any, Literal

import polars as pl

from curate.dedup.corpus import BlockCorpus, blocks_of
from curate.dedup.equal_form import SIDES, equal_ids
from curate.dedup.finder import DuplicateFinder
from curate.dedup.near_finder import Near, NearFinder
from curate.dedup.resolve import Contradictions, resolve_duplicates
from curate.dedup.semantic_finder import Semantic, SemanticFinder
from curate.schema import with_ids
from curate.schema.result import Result
from curate.schema.section import checked
from curate.signals import measure, signal_of
from curate.sources.frames import as_pairs

Compared = Literal["prompt", "prompt+chosen", "chosen", "rejected"]


def near(
    pairs: Any,
    *,
    on: Compared = "prompt",
    threshold: float = 0.8,
    shingle_size: int = 3,
    bands: tuple[int, int] | None = None,
    keep: str = "first",
    max_per_cluster: int = 1,
) -> Result:
    """
    Drop near-duplicates: texts that share most of their word n-grams, whatever their case, spaces and punctuation.

    Parameters
    ----------
    pairs
        PAIR (a frame, signals beside its columns stay), or anything that `curate.read` takes.
    on
        Which text is compared. On the prompt a cluster keeps one prompt with all its pairs, else one pair.
    threshold
        Least Jaccard similarity of the n-grams, above 0 and at most 1. Every pair found is verified; about one in a
        hundred that lies just at the threshold is missed.
    shingle_size
        Words per n-gram; characters in scripts without spaces.
    bands
        MinHash bands, and minima per band; None = enough to miss few pairs.
    keep
        Which one of a cluster is kept: "first", "longest" (chosen), "chosen_score", or the highest of a signal. A null
        is lowest; ties go to the first.
    max_per_cluster
        How many a cluster keeps.

    Returns
    -------
    Result; `dropped` has the columns of `pairs`, rule ("near_duplicate"), duplicate_of (str, the pair_id of the kept
    one) and similarity (f64, their Jaccard similarity, which may lie below the threshold where others connect them).
    Blank and null texts are similar to nothing.

    Raises
    ------
    RecipeError for an unknown `keep`, and a threshold or size out of range.

    Examples
    --------
    >>> import curate
    >>> prompts = ["How do I open a jar of honey?", "how do I open a jar of honey??", "Why is tea hot?"]
    >>> rows = [{"prompt": p, "chosen": f"{len(p)} ways.", "rejected": "None."} for p in prompts]
    >>> curate.dedup.near(rows)
    Result(2 of 3 kept · dropped: near_duplicate 1)
    >>> curate.dedup.near(rows).dropped.select("source_row", "similarity").rows()
    [(1, 1.0)]
    """
    frame = as_pairs(pairs)
    options = {"shingle_size": shingle_size, "bands": bands, "max_per_cluster": max_per_cluster}
    settings = checked(Near, compare=on, threshold=threshold, **options)
    return _resolved(frame, "near", NearFinder(settings, BlockCorpus.of(frame)), on, keep, max_per_cluster)


def semantic(
    pairs: Any,
    *,
    on: Compared = "prompt",
    threshold: float = 0.9,
    model: str | None = None,
    keep: str = "first",
    max_per_cluster: int = 1,
) -> Result:
    """
    Drop duplicates by meaning: texts whose embeddings have a high cosine similarity (extra: embed).

    Parameters are as for `near`; `threshold` is the least cosine, `model` a folder or Hub id of a sentence-transformers
    model, None = all-MiniLM-L6-v2. Every row of a cluster is at least that similar to the cluster's densest row.
    `dropped` has rule ("semantic_duplicate"), duplicate_of and similarity (f64, the cosine to the kept one, which may
    lie below the threshold where both are similar to a third one). Raises
    MissingExtra without the extra, InputError for a model that cannot be loaded.

        curate.dedup.semantic(pairs, threshold=0.95)
    """
    frame = as_pairs(pairs)
    settings = checked(Semantic, compare=on, threshold=threshold, model=model, max_per_cluster=max_per_cluster)
    return _resolved(frame, "semantic", SemanticFinder(settings, BlockCorpus.of(frame)), on, keep, max_per_cluster)


def exact(pairs: Any, *, contradictions: Contradictions = "drop", keep: str = "first") -> Result:
    """
    Drop pairs that occur twice, and pairs that prefer opposite sides of the same two responses.

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes.
    contradictions
        "drop" drops both sides, "vote" keeps the side of more pairs (none if even), "keep" keeps both.
    keep
        As for `near`.

    Returns
    -------
    Result; `dropped` has the columns of `pairs`, rule ("duplicate_pair" or "contradiction") and duplicate_of (str, the
    pair_id of the kept or the contradicting pair). Prompt, chosen and rejected are compared in Unicode's form NFC, with
    white space folded and trimmed; case, punctuation and roles count.

    Examples
    --------
    >>> import curate
    >>> tea = {"prompt": "Tea?", "chosen": "Green tea, brewed cool.", "rejected": "Tea is a drink."}
    >>> turned = tea | {"chosen": tea["rejected"], "rejected": tea["chosen"]}
    >>> curate.dedup.exact([tea, tea])
    Result(1 of 2 kept · dropped: duplicate_pair 1)
    >>> curate.dedup.exact([tea, turned])
    Result(0 of 2 kept · dropped: contradiction 2)
    """
    frame = as_pairs(pairs)
    rows, best = _numbered(frame, keep)
    rows = equal_ids(rows, blocks_of(frame.select(*SIDES).with_columns(rows.get_column("pair_id"))))
    found = resolve_duplicates(rows, exact=True, contradictions=contradictions, best=best)
    return _result(frame, found.select("row", "rule", "duplicate_of"))


def _resolved(frame: pl.DataFrame, name: str, finder: DuplicateFinder, on: Compared, keep: str, most: int) -> Result:
    rows, best = _numbered(frame, keep)
    clusters = finder.clusters(finder.edges()).rename({"cluster": name})
    rows = rows.join(clusters, on="row", how="left", maintain_order="left")
    caps = {name: ("prompt_id" if on == "prompt" else "row", most)}
    found = resolve_duplicates(rows, exact=False, contradictions="keep", best=best, clusters=caps)
    similarity = finder.similarity(found) if len(found) else pl.Series([], dtype=pl.Float64)
    return _result(frame, found.select("row", "rule", "duplicate_of", similarity=similarity))


def _numbered(frame: pl.DataFrame, keep: str) -> tuple[pl.DataFrame, str | None]:
    """row, ids and the column by which pairs are ranked; and its name."""
    best = {"first": None, "longest": "chosen_chars"}.get(keep, keep)
    ranked = frame.select("prompt", "chosen", "rejected", "chosen_score")
    if best and best != "chosen_score":
        values = frame if best in frame.columns else measure(frame, [signal_of(best)])
        ranked = ranked.with_columns(values.get_column(best))
    rows = with_ids(ranked).with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    return rows.drop("prompt", "chosen", "rejected"), best


def _result(frame: pl.DataFrame, found: pl.DataFrame) -> Result:
    """Split the frame by row numbers; `duplicate_of` becomes a pair_id."""
    rows = frame.with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    ids = rows.select(duplicate_of="row", other_id="pair_id")
    named = found.join(ids, on="duplicate_of", how="left", maintain_order="left").drop("duplicate_of")
    named = named.rename({"other_id": "duplicate_of"})
    named = named.select("row", "rule", "duplicate_of", *(name for name in found.columns if name == "similarity"))
    dropped = rows.join(named, on="row", maintain_order="left").drop("row")
    return Result.of(rows.join(found, on="row", how="anti", maintain_order="left").drop("row"), dropped)
