"""The pairs that finders compare."""

import numpy as np
import polars as pl

from curate.dedup.corpus import BlockCorpus
from curate.engine import sliced
from curate.schema import MESSAGES


def test_only_some_rows_of_several_blocks_are_compared() -> None:
    prompts = [[{"role": "user", "content": text}] for text in ("a", "b", "c", "d")]
    frames = [
        pl.DataFrame({"prompt": some}, schema={"prompt": MESSAGES}, strict=False) for some in (prompts[:3], prompts[3:])
    ]
    corpus = BlockCorpus(
        lambda columns: [block for frame in frames for block in sliced(frame.select(columns))], 4
    ).only(np.array([1, 3]))
    assert [text for block in corpus.texts("prompt") for text in block.read()] == [None, "b", None, "d"]
    assert corpus.rows == 4
