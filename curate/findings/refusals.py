"""Pairs in which one side declines, and the other answers: stricter than the signal `refusal_differs`."""

import polars as pl

from curate.findings.result import Hits
from curate.findings.rows import of_rows

# A longer text declines a part, such as the newest figures, and answers the rest.
ONLY_DECLINES = 400  # characters
BEGINNING = 250  # characters, as in the signal
ASCII_BOUNDARY = r"(?-u:\b)"  # the regex engine is an order of magnitude slower with Unicode ones
# Of a shorter text: it goes on to answer, or speaks of what it could not do before.
GOES_ON = (
    r"\b(?:i can tell|the best i can|but there (?:is|are)|here (?:is|are)|(?:was|were) (?:unable|not able))\b"
).replace(r"\b", ASCII_BOUNDARY)
# Of the other side: it declines, too, in words that the signal does not count because answers have them as well.
ALSO_DECLINES = "|".join(
    (
        r"\b(?:i|we)\b[^.!?\n]{0,25}(?:n['’]t\b|\bnot\b|\bcannot\b|\bunable\b|\bdeclin|\brefuse\b)",
        r"\b(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|regret|inappropriate|unethical|illegal)\b",
        r"\b(?:bad|not a good|terrible) idea\b|\bas an ai\b|\A\W*no\b",
        r"não (?:posso|consigo|sei|tenho)|\bno (?:puedo|sé|tengo)|\b(?:desculp|lamento|infelizmente|lo siento)",
    )
).replace(r"\b", ASCII_BOUNDARY)


def of_refusals(pairs: pl.LazyFrame, signals: pl.LazyFrame, examples: int) -> list[Hits]:
    """
    Return the pairs in which one side only declines, and the other does not.

    in : row and the texts of all pairs; row and the signals of all pairs. Only texts of pairs with the signal are read.
    """
    differing = signals.filter(pl.col("refusal_differs")).select("row", "chosen_refusal")
    texts = [pl.col(side).list.eval(pl.element().struct.field("content")).list.join("\n\n").alias(side)
             for side in ("chosen", "rejected")]  # fmt: skip
    declining = pl.when("chosen_refusal").then("chosen").otherwise("rejected")
    other = pl.when("chosen_refusal").then("rejected").otherwise("chosen")
    also = other.str.head(BEGINNING).str.to_lowercase().str.contains(ALSO_DECLINES)
    found = (
        pairs.join(differing, on="row", how="semi")
        .select("row", *texts)
        .join(differing, on="row")
        .filter((declining.str.len_chars() <= ONLY_DECLINES) & ~declining.str.to_lowercase().str.contains(GOES_ON))
        .filter(~also)
        .select("row")
        .collect(engine="streaming")
    )
    return of_rows("refusal_differs", found.get_column("row"), examples)
