"""
Two responses and a verdict in columns of their own: sets of this kind are rows of one table.

in : prompt: str or list[message], or none where both responses are whole conversations
     two responses, and who is better: as in `DUELS`
out: PAIR; a tie is a row with a problem

A set is recognized by the names of its columns, and only where the first values of its verdict are of the kind that its
row in the table says: what 1 means is never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field, Kind
from curate.sources.formats import preference
from curate.sources.formats.comparison import orient
from curate.sources.formats.names import PROMPT
from curate.sources.raw_block import Columns
from curate.sources.readers import listed, read_label, read_number

SIDES = ("a", "b", "tie")
SAMPLE = 100  # values of a verdict that are looked at
TIES = ("tie", "tied", "draw", "tie (bothbad)", "both_bad", "bothbad", "both", "neither", "equal", "same", "a=b", "b=a")
STEMS = ("response", "answer", "output", "completion", "assistant", "text", "reply", "model")
WORDS = {
    side: (side, *(f"{stem}{by}{side}" for stem in STEMS for by in ("_", " ", "")), *more)
    for side, more in (("a", ("[[a]]", "a>b", "a>>b", "left")), ("b", ("[[b]]", "b>a", "b>>a", "right")))
} | {"tie": (*TIES, "c", "[[c]]")}
VERDICTS = (
    "winner", "preference", "preferred", "label", "better", "choice", "verdict", "chosen", "selected", "vote",
    "human_preference", "gpt_preference", "better_response", "preferred_response",
)  # fmt: skip


def sides_of(first: str, second: str) -> tuple[tuple[str, str], ...]:
    """Return the names of two columns under every stem, with and without an underscore: response_1, response1, …"""
    return tuple((f"{stem}{by}{first}", f"{stem}{by}{second}") for stem in STEMS[:-1] for by in ("_", ""))


def numbered(first: str, second: str) -> dict[str, str]:
    """Return what labels mean beside numbered columns: the number, and the names of the columns; or a tie."""
    words = {
        f"{stem}{by}{n}": side for stem in STEMS for by in ("_", " ", "") for side, n in (("a", first), ("b", second))
    }
    more = {f"{first}>{second}": "a", f"{second}>{first}": "b"}
    return {first: "a", second: "b", **words, **more, **dict.fromkeys(TIES, "tie")}


@dataclass(frozen=True)
class Duel:
    """
    A set of two responses and a verdict. The kinds of a verdict:

    word: one of WORDS, in any case | index: a key of `values`, which says what it means
    sign: a number below 0 for the first, above 0 for the second, 0 for a tie; its size says how strongly it is better
    one_hot: three columns of 0 and 1: the first is better, the second is, a tie | scores: two columns; the higher wins
    """

    about: str
    sides: tuple[str, str]
    kind: Literal["word", "index", "sign", "one_hot", "scores"]
    verdict: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict)
    prompt: tuple[str, ...] = PROMPT
    scores: tuple[str, ...] = ()  # of the sides, beside another verdict
    strongest: float = 1  # the largest size of a sign
    more_sides: tuple[tuple[str, str], ...] = ()  # other names of the sides
    more_verdicts: tuple[str, ...] = ()  # other names of a verdict in one column
    marks: tuple[str, ...] = ()  # other columns that the set has

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.about)

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the fields of the sides, the verdict and what belongs to them; None for other columns."""
        sides = next((names for names in (self.sides, *self.more_sides) if set(names) <= set(columns)), None)
        verdicts = (self.verdict, *((name,) for name in self.more_verdicts))
        verdict = next((names for names in verdicts if sides and self._are(names, columns, sides)), None)
        if sides is None or verdict is None or not set(self.marks) <= set(columns):
            return None
        kind: Kind = "number" if self.kind in ("sign", "scores") else "label"
        found = {f"response_{side}": Field(column, "turns") for side, column in zip("ab", sides, strict=True)}
        if prompt := next((name for name in self.prompt if name in columns), None):
            found["prompt"] = Field(prompt, "turns", needed=False)
            found |= preference.context_fields(columns, prompt)
        found |= {f"verdict_{n}": Field(column, kind, needed=False) for n, column in enumerate(verdict)}
        for side, column in zip("ab", verdict if self.kind == "scores" else self.scores, strict=False):
            found[f"score_{side}"] = Field(column, "number", needed=False)
        found |= {f"model_{s}": Field(f"model_{s}", "label", needed=False) for s in "ab" if f"model_{s}" in columns}
        return found | preference.lost_fields(columns)

    def to_pairs(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Orient by the verdict, then convert as the preference format does."""
        if "prompt" not in frame.columns:
            frame = frame.with_columns(prompt=pl.lit(None, MESSAGES))
        frame = orient(frame, self._better())
        if {"score_a", "score_b"} <= set(frame.columns):
            a_wins = pl.col("better") == "a"
            frame = frame.with_columns(
                chosen_score=pl.when(a_wins).then("score_a").otherwise("score_b"),
                rejected_score=pl.when(a_wins).then("score_b").otherwise("score_a"),
            )
        if self.kind == "sign":
            frame = frame.with_columns(strength=(pl.col("verdict_0").abs() / self.strongest).clip(0, 1))
        return preference.to_pairs(frame)

    def _better(self) -> pl.Expr:
        """Return "a", "b", "tie" or null."""
        first = pl.col("verdict_0")
        if self.kind in ("sign", "scores"):
            lead = -first if self.kind == "sign" else first - pl.col("verdict_1")
            return (
                pl.when(lead > 0).then(pl.lit("a")).when(lead < 0).then(pl.lit("b")).when(lead == 0).then(pl.lit("tie"))
            )
        if self.kind == "one_hot":
            yes = [pl.col(f"verdict_{n}").str.to_lowercase().is_in(["1", "true"]) for n in range(3)]
            return pl.coalesce(pl.when(is_so).then(pl.lit(side)) for is_so, side in zip(yes, SIDES, strict=True))
        word = first.str.strip_chars().str.to_lowercase()
        meant = {word: side for side, words in WORDS.items() for word in words} if self.kind == "word" else self.values
        return word.replace_strict(dict(meant), default=None, return_dtype=pl.String)

    def _are(self, names: Sequence[str], columns: Columns, sides: Sequence[str]) -> bool:
        """Return whether these columns are the verdict."""
        return set(names) <= set(columns) - set(sides) and all(self._fits(columns[name]) for name in names)

    def _fits(self, values: Sequence[Any] | pl.Series) -> bool:
        """Return whether the first values of a verdict are all of its kind, and there is one."""
        known = (
            values.drop_nulls().head(SAMPLE) if isinstance(values, pl.Series) else [v for v in values if v is not None]
        )
        sample = listed(known) if isinstance(known, pl.Series) else known[:SAMPLE]
        if self.kind in ("sign", "scores"):
            return bool(sample) and read_number(sample)[0].null_count() == 0
        labels = read_label(sample)[0].str.strip_chars().str.to_lowercase()
        domains = {"index": list(self.values), "one_hot": ["0", "1", "true", "false"]}
        domain = domains.get(self.kind, [word for words in WORDS.values() for word in words])
        return bool(sample) and bool(labels.is_in(domain).all())


FROM_0, FROM_1 = {"0": "a", "1": "b"}, {"1": "a", "2": "b"}
DUELS: dict[str, Duel] = {
    "helpsteer2_preference": Duel(
        "HelpSteer2-Preference: two responses and a preference from -3 to 3.",
        ("response_1", "response_2"), "sign", ("preference_strength",), strongest=3,
    ),
    "helpsteer3": Duel(
        "HelpSteer3-Preference: a conversation, two responses and a preference from -3 to 3.",
        ("response1", "response2"), "sign", ("overall_preference",), prompt=("context",), strongest=3,
    ),
    "pku_saferlhf": Duel(
        "PKU-SafeRLHF: two responses and the better one; that the safer one may be another is not used.",
        ("response_0", "response_1"), "index", ("better_response_id",), FROM_0,
    ),
    "shp": Duel(
        "Stanford Human Preferences: a post and two comments, of which readers preferred one.",
        ("human_ref_A", "human_ref_B"), "index", ("labels",), {"1": "a", "0": "b"}, prompt=("history",),
        scores=("score_A", "score_B"),
    ),
    "arena": Duel(
        "Chatbot Arena: two whole conversations and a vote.",
        ("conversation_a", "conversation_b"), "word", ("winner",), prompt=(),
    ),
    "unified_feedback": Duel(
        "Unified-Feedback: two whole conversations with ratings.",
        ("conv_A", "conv_B"), "scores", ("conv_A_rating", "conv_B_rating"), prompt=(),
    ),
    "preference_collection": Duel(
        "Preference Collection of Prometheus 2: two responses, scores and the better one.",
        ("orig_response_A", "orig_response_B"), "word", ("orig_preference",), prompt=("orig_instruction",),
        scores=("orig_score_A", "orig_score_B"),
    ),
    "judge_bench": Duel(
        "JudgeBench: two answers of one model, of which one is correct. An eval set.",
        ("response_A", "response_B"), "word", ("label",), marks=("pair_id", "original_id", "response_model"),
    ),
    "two_answers": Duel(
        "Two answers a and b, and which is better, in words: model_a, B, A>B, tie.",
        ("response_a", "response_b"), "word", ("winner",),
        more_sides=(*sides_of("a", "b"), *sides_of("A", "B")), more_verdicts=VERDICTS,
    ),
    "two_answers_from_1": Duel(
        "Two answers in columns numbered 1 and 2, and which is better: 1, 2, response_2, tie.",
        ("response_1", "response_2"), "index", ("winner",), numbered("1", "2"),
        more_sides=sides_of("1", "2"), more_verdicts=VERDICTS,
    ),
    "two_answers_from_0": Duel(
        "Two answers in columns numbered 0 and 1, and which is better: 0, 1, response_1, tie.",
        ("response_0", "response_1"), "index", ("winner",), numbered("0", "1"),
        more_sides=sides_of("0", "1"), more_verdicts=VERDICTS,
    ),
    "response_ab_scores": Duel(
        "Two responses a and b with scores.", ("response_a", "response_b"), "scores", ("score_a", "score_b")
    ),
    "webgpt": Duel(
        "WebGPT comparisons: two answers with scores.", ("answer_0", "answer_1"), "scores", ("score_0", "score_1")
    ),
}  # fmt: skip
