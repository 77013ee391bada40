"""
Surface features: what can be measured of an answer without understanding it, as differences between the two sides.

`surface_sides` has the numbers and flags of either side, for whoever looks at more than differences (label noise). A
feature is f(chosen) - f(rejected), so that swapping the sides changes its sign. Counts enter as log(1 + count); a
language is 1 on the side that is in it. Where a side was not measured, the difference is 0: it tells nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

# These need the prompt, say how sure another model is, or are its judgement of the answer.
NOT_SURFACE = ("language_confidence", "repeats_prompt", "score")
LENGTH = ("chars", "words")
LEAST_SHARE = 0.01  # of the pairs, from which a language or a model is a feature of its own
MOST_VALUES = 50  # languages or models
# What the chosen answer has more often: with a positive difference, and with a negative one.
WORDING = {
    "chars": ("longer", "shorter"),
    "words": ("more words", "fewer words"),
    "lines": ("more lines", "fewer lines"),
    "mean_word_chars": ("longer words", "shorter words"),
    "distinct_word_share": ("fewer repeated words", "more repeated words"),
    "markdown_share": ("more lists, headings and tables", "fewer lists, headings and tables"),
    "digit_share": ("more digits", "fewer digits"),
    "symbol_share": ("more symbols", "fewer symbols"),
    "upper_share": ("more capitals", "fewer capitals"),
    "alpha_share": ("more letters", "fewer letters"),
    "dup_line_share": ("more repeated lines", "fewer repeated lines"),
    **{
        f"top_{n}gram_share": (f"one phrase of {n} words more often", f"no phrase of {n} words as often")
        for n in (2, 3, 4)
    },
    **{
        f"dup_{n}gram_share": (f"more repeated runs of {n} words", f"fewer repeated runs of {n} words") for n in (5, 10)
    },
    "empty": ("empty", "not empty"),
    "open_fence": ("a code block left open", "no code block left open"),
    "think": ("a reasoning block", "no reasoning block"),
    "template_leak": ("control tokens", "no control tokens"),
    "mojibake": ("broken characters", "no broken characters"),
    "ends_midsentence": ("ends inside a sentence", "does not end inside a sentence"),
    "refusal": ("refuses", "does not refuse"),
    "ai_boilerplate": ('"as an AI"', 'no "as an AI"'),
    "role_label": ("continues the dialogue", "does not continue the dialogue"),
    "control_chars": ("more control characters", "fewer control characters"),
    "zero_width": ("more zero-width characters", "fewer zero-width characters"),
    "urls": ("more links", "fewer links"),
    "emails": ("more e-mail addresses", "fewer e-mail addresses"),
    "phones": ("more telephone numbers", "fewer telephone numbers"),
    "ips": ("more IP addresses", "fewer IP addresses"),
}


@dataclass(frozen=True)
class Sides:
    """Both sides of pairs: a name and a column of `chosen` and `rejected` (f64, [pairs, features]) for each feature."""

    names: tuple[str, ...]
    chosen: np.ndarray
    rejected: np.ndarray


@dataclass(frozen=True)
class Features:
    """Differences between the sides: a name and a column of `x` (f64, [pairs, features]) for each feature."""

    names: tuple[str, ...]
    x: np.ndarray

    def without(self, names: Iterable[str]) -> "Features":
        """Return the other features."""
        return self._only([name not in set(names) for name in self.names])

    def only(self, names: Iterable[str]) -> "Features":
        """Return these features, in their own order."""
        return self._only([name in set(names) for name in self.names])

    def of(self, rows: np.ndarray) -> "Features":
        """Return the features of some pairs; those that are the same on both sides of all of them are left out."""
        x = self.x[rows]
        return Features(self.names, x)._only(list(np.any(x != 0, axis=0)))

    def beside(self, other: "Features") -> "Features":
        """Return the features of both."""
        return Features((*self.names, *other.names), np.hstack([self.x, other.x]))

    def _only(self, wanted: list[bool]) -> "Features":
        names = tuple(name for name, is_wanted in zip(self.names, wanted, strict=True) if is_wanted)
        return Features(names, self.x[:, np.array(wanted, bool)])


def surface_features(signals: pl.DataFrame) -> Features:
    """
    Return the features in which some pair differs.

    in : chosen_NAME and rejected_NAME, numbers, booleans, or a language; other columns are ignored

        >>> frame = pl.DataFrame({"chosen_chars": [9, 4], "rejected_chars": [0, 4], "margin": [1.0, 2.0]})
        >>> surface_features(frame)
        Features(names=('chars',), x=array([[2.30258509],
               [0.        ]]))
    """
    numbers = surface_sides(signals)
    features = Features(numbers.names, numbers.chosen - numbers.rejected)
    languages = ("chosen_language", "rejected_language")
    if set(languages) <= set(signals.columns):
        features = features.beside(_values(signals, languages, "language"))
    return features.of(np.arange(len(signals)))


def surface_sides(signals: pl.DataFrame) -> Sides:
    """
    Return the numbers and flags of both sides, as they enter a model; 0 on both where one was not measured.

        >>> frame = pl.DataFrame({"chosen_chars": [9, None], "rejected_chars": [0, 4]})
        >>> surface_sides(frame)
        Sides(names=('chars',), chosen=array([[2.30258509],
               [0.        ]]), rejected=array([[0.],
               [0.]]))
    """
    names, pairs = [], []
    for name, dtype in signals.schema.items():
        side, _, measure = name.partition("_")
        if side != "chosen" or measure in NOT_SURFACE or signals.schema.get(f"rejected_{measure}") != dtype:
            continue
        if dtype.is_numeric() or dtype == pl.Boolean:
            names.append(measure)
            ends = [pl.col(column).cast(pl.Float64).fill_nan(None) for column in (name, f"rejected_{measure}")]
            pairs.append([end.log1p() for end in ends] if dtype.is_integer() else ends)
    sides = []
    for place in (0, 1):
        known = [pl.when(pl.all_horizontal(end.is_not_null() for end in ends)).then(ends[place]) for ends in pairs]
        columns = [end.fill_null(0.0).alias(name) for name, end in zip(names, known, strict=True)]
        sides.append(signals.select(columns).to_numpy() if columns else np.empty((len(signals), 0)))
    return Sides(tuple(names), *sides)


def model_features(pairs: pl.DataFrame) -> Features:
    """Return a feature per model: 1 where it wrote the chosen answer, -1 where it wrote the rejected one."""
    found = _values(pairs, ("chosen_model", "rejected_model"), "model")
    return found.of(np.arange(len(pairs)))


def wording(name: str, *, more: bool) -> str:
    """Return what the chosen answer is or has, where the difference is positive (more) or negative."""
    if name in WORDING:
        return WORDING[name][0 if more else 1]
    what, _, value = name.partition("=")
    if value:
        return f"{what} {value}" if more else f"{what} other than {value}"
    return f"{'more' if more else 'less'} {what.replace('_', ' ')}"


def _values(frame: pl.DataFrame, columns: tuple[str, str], name: str) -> Features:
    """Return a feature per frequent value of the two columns: 1 on the chosen side, -1 on the rejected one."""
    both = pl.concat([frame.select(value=column) for column in columns]).drop_nulls()
    counts = both.group_by("value").len("n").filter(pl.col("n") >= 2 * LEAST_SHARE * len(frame))
    values = counts.sort("n", "value", descending=[True, False]).head(MOST_VALUES).get_column("value").to_list()
    known = pl.all_horizontal(pl.col(column).is_not_null() for column in columns)
    if not values:
        return Features((), np.empty((len(frame), 0)))
    ends = [[(pl.col(column) == value).cast(pl.Float64) for value in values] for column in columns]
    differences = [
        pl.when(known).then(chosen - rejected).otherwise(0.0).alias(f"{name}={value}")
        for value, chosen, rejected in zip(values, *ends, strict=True)
    ]
    return Features(tuple(f"{name}={value}" for value in values), frame.select(differences).to_numpy())
