"""A user-defined duplicate finder: one class and one line, and a run uses it."""

from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from pydantic import create_model

from curate.dedup.clusters import components
from curate.dedup.finder import Corpus, FinderSection
from curate.dedup.finders import FINDERS
from curate.dedup.tables import EDGES, MATCHES, Texts
from curate.recipe import data, load
from curate.rundir.result import Run
from tests.data import row, write_jsonl


class Anagram(FinderSection):
    """Texts of the same letters."""


class AnagramFinder:
    section: ClassVar = Anagram
    about: ClassVar = "a pair that is kept has the same letters"

    def __init__(self, settings: Anagram, corpus: Corpus) -> None:
        self._texts, self._rows = corpus.texts(settings.compare), corpus.rows

    def _letters(self, blocks: Texts) -> pl.DataFrame:
        texts = [None if text is None else "".join(sorted(text)) for block in blocks for text in block.read()]
        letters = pl.DataFrame({"letters": texts}, schema={"letters": pl.String}).with_row_index("row")
        return letters.with_columns(pl.col("row").cast(pl.UInt64)).drop_nulls()

    def edges(self) -> pl.DataFrame:
        letters = self._letters(self._texts)
        pairs = letters.join(letters, on="letters").filter(pl.col("row") < pl.col("row_right"))
        return pairs.select(row_a="row", row_b="row_right", similarity=pl.lit(1.0)).match_to_schema(EDGES)

    def clusters(self, edges: pl.DataFrame) -> pl.DataFrame:
        cluster = pl.Series("cluster", components(self._rows, edges), dtype=pl.UInt64)
        linked = pl.concat([edges["row_a"].alias("row"), edges["row_b"].alias("row")]).unique().sort()
        return pl.DataFrame({"row": linked, "cluster": cluster.gather(linked)})

    def similarity(self, pairs: pl.DataFrame) -> pl.Series:
        return pl.Series([1.0] * len(pairs))

    def against(self, others: Corpus) -> pl.DataFrame:
        found = self._letters(self._texts).join(self._letters(others.texts("prompt")), on="letters")
        return found.select(row="row", other_row="row_right", similarity=pl.lit(1.0)).match_to_schema(MATCHES)


@pytest.fixture
def recipe_with_anagrams(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the recipe model as it would be with the finder in FINDERS."""
    monkeypatch.setitem(FINDERS, "anagram", AnagramFinder)
    keys: dict[str, Any] = {"anagram": (Anagram | None, None)}
    dedup = create_model("Dedup", __base__=data.Dedup, **keys)
    recipe = create_model("Recipe", __base__=load.Recipe, dedup=(dedup, dedup()))
    monkeypatch.setattr(load, "Recipe", recipe)
    return recipe


def test_a_run_drops_the_duplicates_that_the_finder_finds(tmp_path: Path, recipe_with_anagrams: Any) -> None:
    from curate.flow import run

    prompts = ["What is a dormitory for?", "What is a dirtyroom for?", "What is a listener for?", "So?"]
    write_jsonl(tmp_path / "p.jsonl", [row(n, prompt=prompt) for n, prompt in enumerate(prompts)])
    write_jsonl(tmp_path / "other.jsonl", [row(9, prompt="What is a silenter for?")])
    dedup = {"anagram": {"compare": "prompt"}, "against": [str(tmp_path / "other.jsonl")]}
    tree = {"source": {"paths": [str(tmp_path / "p.jsonl")]}, "dedup": dedup, "split": {"test": 0}}
    done: Run = run(load.make_recipe(tree), tmp_path / "RUN")
    dropped = done.ledger.filter(kept=False).select("source_row", "rule", "value", "matched").collect()
    first = done.ledger.filter(source_row=0).select("pair_id").collect().item()
    assert dropped.rows() == [
        (1, "anagram_duplicate", 1.0, first),
        (2, "in_other_set", 1.0, "other.jsonl:0"),
    ]
