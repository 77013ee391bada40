"""
Reliability of judges: consistency when the order changes, and agreement with other judges and with human labels.

All figures are computed from preferences: which of two answers of a set a judge prefers. A share of zero items is null.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from curate.schema import CANDIDATES, check, empty
from curate.text.messages import text_of
from pipelines.judges.base import VERDICTS
from pipelines.judges.panel import comparing_methods
from pipelines.judges.scoring import ANSWER, JUDGE, SET, combine, comparisons, judge_scores, usable

QUOTED = r"( in| is| near)? ?[\"(].*"  # what a problem quotes from a reply, which differs
PANEL = "panel"  # the judge and the method of a panel's combined scores
# Human labels, one row per judgement; a pair may occur several times, with contradicting labels.
HUMAN = pl.Schema({"source": pl.String(), "source_row": pl.UInt64(), "better_id": pl.String(), "worse_id": pl.String()})


def cohen_kappa(a: ArrayLike, b: ArrayLike) -> float | None:
    """
    Return the chance-corrected agreement of two raters, given each one's category per item: 1 = perfect, 0 = chance.

    None where it is undefined: without items, or if both raters use one and the same category only.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two lists of equal length, found {first.shape} and {second.shape}")
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    left, right = (np.bincount(part, minlength=len(names)) for part in np.split(codes, 2))
    return _beyond_chance(int((first == second).sum()), int(left @ right), len(first))


def fleiss_kappa(table: ArrayLike) -> float | None:
    """
    Return the chance-corrected agreement of many raters. `table` has one row per item and one column per category, with
    the number of raters that chose it.

    None without items, or if all ratings are of one category. Every item needs the same number of raters, 2 or more.
    """
    counts = np.asarray(table, dtype=np.int64)
    if not counts.size:
        return None
    raters = counts.sum(axis=1)
    if (counts < 0).any() or raters[0] < 2 or (raters != raters[0]).any():
        raise ValueError("every item needs the same number of raters, two or more")
    # The share of ordered pairs of raters of one item that agree.
    pairs_of_raters = len(counts) * int(raters[0]) * (int(raters[0]) - 1)
    agreeing = int((counts * (counts - 1)).sum()) / pairs_of_raters
    chosen = counts.sum(axis=0) / counts.sum()
    chance = float(chosen @ chosen)
    return None if (chosen > 0).sum() == 1 else (agreeing - chance) / (1 - chance)


def judge_reports(
    candidates: pl.DataFrame,
    verdicts: pl.DataFrame,
    human: pl.DataFrame | None = None,
    plain: pl.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """
    in : CANDIDATES, VERDICTS, HUMAN if there is any, VERDICTS on some of the answers without their markdown if any
    out: one dict for each judge and method, sorted:
         judge, method, rubric, rubric_hash (several joined by ", ") | verdicts: count
         null_rate: share of verdicts without a score
         problem: what is wrong with most of those; null without any | problems: how many of them
         example: the same with a quotation from the first of them
         tie_rate: share of ties among the pairs of answers that it judged
         position_consistency: share of pairs compared in both orders with the same result
         first_position_rate: share of single comparisons, without ties, won by the answer shown first
         length_bias: share of decided pairs of unequal length won by the longer answer
         human_agreement, human_pairs: share of labelled pairs that it decides like the labels, and their number
         human_kappa: the same beyond chance | human_ties: number of labelled pairs that it ties
         (these four are null without labels)
         style_flips, style_pairs: share of the pairs decided with and without markdown that are decided the other way
         without it, and their number | style_low, style_high: its 95 % interval (Wilson 1927; all null without `plain`)

    A panel of several judges has one more, the last: judge = PANEL, method = "panel". Its tie_rate, length_bias and
    agreement with labels are those of its combined scores.
    """
    verdicts = usable(verdicts)
    answers = _answers(verdicts)
    lengths = _lengths(candidates, answers)
    labels = None if human is None else _labels(check(human, HUMAN, "human labels"), answers)
    judges = _by_judge(verdicts)
    bare = None if plain is None else usable(plain)
    if len(judges) > 1:
        judges.append(_of_panel(candidates, verdicts, answers))
        bare = bare if bare is None or bare.is_empty() else pl.concat([bare, _of_panel(candidates, bare, answers)])
    return [_report(of_judge, answers, lengths, labels) | _of_style(of_judge, bare, answers) for of_judge in judges]


def panel_agreement(verdicts: pl.DataFrame) -> dict[str, Any]:
    """
    in : VERDICTS
    out: judges: their names | items: pairs of answers that all of them judged (first better, tie, second better)
         agreement: share of the items, over every two judges, on which both give the same result; null without items
         statistic: "cohen" for two judges, "fleiss" for more | kappa: agreement beyond chance; null for one judge,
         without items, or if all results are of one category
    """
    verdicts = usable(verdicts)
    panel, answers = _by_judge(verdicts), _answers(verdicts)
    found = [_preferences(of_judge, answers) for of_judge in panel]
    names = [of_judge.item(0, "judge") for of_judge in panel]
    report = {"judges": names, "items": 0, "agreement": None, "statistic": None, "kappa": None}
    if len(panel) < 2:
        return report
    common = found[0].rename({"side": "0"})
    for number, preferences in enumerate(found[1:], start=1):
        common = common.join(preferences.rename({"side": str(number)}), on=("first", "second"))
    sides = common.drop("first", "second").to_numpy()
    counts = np.stack([(sides == side).sum(axis=1) for side in (1, 0, -1)], axis=1)
    kappa = cohen_kappa(*sides.T) if len(panel) == 2 else fleiss_kappa(counts)
    pairs_of_judges = len(panel) * (len(panel) - 1)
    agreement = float((counts * (counts - 1)).sum() / (len(sides) * pairs_of_judges)) if len(sides) else None
    statistic = "cohen" if len(panel) == 2 else "fleiss"
    return report | {"items": len(sides), "agreement": agreement, "statistic": statistic, "kappa": kappa}


def _of_panel(candidates: pl.DataFrame, verdicts: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Return the combined scores as VERDICTS of one more judge, on all answers that were judged."""
    judged = combine(candidates, verdicts).join(answers.select(ANSWER), on=ANSWER, nulls_equal=True)
    names = {"judge": pl.lit(PANEL), "method": pl.lit(PANEL), "aspect": pl.lit("overall")}
    absent = [name for name in VERDICTS if name not in (*ANSWER, "score", *names)]
    return judged.select(*ANSWER, "score", **names).with_columns(empty(VERDICTS, absent)).select(list(VERDICTS))


def _beyond_chance(agreed: int, by_chance: int, items: int) -> float | None:
    """`by_chance`: sum over categories of the product of both raters' counts. Integers keep 1 - 1 exactly 0."""
    if by_chance == items * items:
        return None
    return (agreed * items - by_chance) / (items * items - by_chance)


def _by_judge(verdicts: pl.DataFrame) -> list[pl.DataFrame]:
    return verdicts.sort(JUDGE).partition_by(JUDGE, maintain_order=True)


def _answers(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Number all judged answers: answers of a set are contiguous and sorted by id."""
    others = verdicts.select(*SET, candidate_id="other_id").drop_nulls("candidate_id")
    return pl.concat([verdicts.select(ANSWER), others]).unique().sort(ANSWER).with_row_index("answer")


def _lengths(candidates: pl.DataFrame, answers: pl.DataFrame) -> pl.Series:
    """Return the characters of every answer, by its number; null for those not among the candidates."""
    texts = check(candidates, CANDIDATES, "candidates").unique(ANSWER, keep="first", maintain_order=True)
    chars = texts.select(*ANSWER, chars=text_of("response").str.len_chars().cast(pl.Int64))
    return answers.join(chars, on=ANSWER, how="left", nulls_equal=True, maintain_order="left").get_column("chars")


def _labels(human: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Return first, second: numbers of two answers | label: 1 = people prefer the first, -1 = the second."""
    for side in ("better", "worse"):
        names = answers.rename({"candidate_id": f"{side}_id", "answer": side})
        human = human.join(names, on=[*SET, f"{side}_id"], nulls_equal=True)
    return human.select(
        first=pl.min_horizontal("better", "worse"),
        second=pl.max_horizontal("better", "worse"),
        label=pl.when(pl.col("better") < pl.col("worse")).then(1).otherwise(-1).cast(pl.Int8),
    )


def _preferences(verdicts: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """
    in : one judge's VERDICTS
    out: first < second: numbers of two answers of a set | side: 1 = the first is better, 0 = tie, -1 = the second
    """
    if verdicts.item(0, "method") in comparing_methods():
        compared = comparisons(verdicts).filter(
            pl.col("result").is_not_null() & (pl.col("candidate_id") < pl.col("other_id"))
        )
        for side, name in (("first", "candidate_id"), ("second", "other_id")):
            numbers = answers.rename({"candidate_id": name, "answer": side})
            compared = compared.join(numbers, on=[*SET, name], nulls_equal=True)
        return compared.select("first", "second", side=(pl.col("result") - 0.5).sign().cast(pl.Int8))
    scored = judge_scores(verdicts).filter(pl.col("score").is_not_null())
    scored = scored.join(answers, on=ANSWER, nulls_equal=True).sort("answer")
    score, answer = scored.get_column("score").to_numpy(), scored.get_column("answer").to_numpy()
    first, second = _two_of_each(scored.select(pl.struct(SET).rle_id()).to_series().to_numpy())
    sides = np.sign(score[first] - score[second]).astype(np.int8)
    return pl.DataFrame({"first": answer[first], "second": answer[second], "side": sides})


def _two_of_each(sets: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions of every two rows of one set; rows of a set are contiguous."""
    places: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    steps: list[int] = [0]
    for step in range(1, len(sets)):  # ends after as many steps as the largest set has rows
        found = np.flatnonzero(sets[:-step] == sets[step:])
        if not len(found):
            break
        places.append(found)
        steps.append(step)
    first = np.concatenate(places)
    return first, first + np.repeat(steps, list(map(len, places)))


def _report(
    verdicts: pl.DataFrame, answers: pl.DataFrame, lengths: pl.Series, labels: pl.DataFrame | None
) -> dict[str, Any]:
    preferences = _preferences(verdicts, answers)
    rubrics = verdicts.select("rubric", "rubric_hash").unique().sort("rubric", "rubric_hash")
    return {
        "judge": verdicts.item(0, "judge"),
        "method": verdicts.item(0, "method"),
        "rubric": _joined(rubrics.get_column("rubric")),
        "rubric_hash": _joined(rubrics.get_column("rubric_hash")),
        "verdicts": verdicts.height,
        "null_rate": _share(verdicts.get_column("score").is_null()),
        **_problem(verdicts),
        "tie_rate": _share(preferences.get_column("side") == 0),
        **_of_positions(verdicts),
        "length_bias": _length_bias(preferences, lengths),
        **_of_labels(preferences, labels),
    }


def _problem(verdicts: pl.DataFrame) -> dict[str, Any]:
    found = (
        verdicts.filter(pl.col("score").is_null(), pl.col("error").is_not_null())
        .group_by(problem=pl.col("error").str.replace(QUOTED, ""), maintain_order=True)
        .agg(problems=pl.len(), example=pl.col("error").first())
        .sort("problems", descending=True, maintain_order=True)
    )
    return found.row(0, named=True) if len(found) else {"problem": None, "problems": 0, "example": None}


def _of_positions(verdicts: pl.DataFrame) -> dict[str, float | None]:
    compared = verdicts.filter(pl.col("method").is_in(comparing_methods()) & (pl.col("score") != 0.5))
    first_won = compared.select((pl.col("score") > 0.5) == pl.col("shown_first")).to_series()
    once = comparisons(verdicts).filter(pl.col("candidate_id") < pl.col("other_id"))
    return {"position_consistency": _share(once.get_column("agree")), "first_position_rate": _share(first_won)}


def _length_bias(preferences: pl.DataFrame, lengths: pl.Series) -> float | None:
    longer = preferences.select(
        "side", longer=(pl.lit(lengths).gather("first") - pl.lit(lengths).gather("second")).sign()
    )
    decided = longer.filter((pl.col("side") != 0) & (pl.col("longer") != 0))
    return _share(decided.get_column("side") == decided.get_column("longer"))


def _of_style(verdicts: pl.DataFrame, plain: pl.DataFrame | None, answers: pl.DataFrame) -> dict[str, Any]:
    same = None if plain is None else plain.join(verdicts.select(JUDGE).unique(), on=JUDGE, how="semi")
    if same is None or same.is_empty():
        return dict.fromkeys(("style_flips", "style_pairs", "style_low", "style_high"))
    both = _preferences(verdicts, answers).join(_preferences(same, answers), on=("first", "second"), suffix="_plain")
    decided = both.filter(pl.col("side") != 0, pl.col("side_plain") != 0)
    flips = int((decided.get_column("side") != decided.get_column("side_plain")).sum())
    low, high = _interval(flips, len(decided))
    share = flips / len(decided) if len(decided) else None
    return {"style_flips": share, "style_pairs": len(decided), "style_low": low, "style_high": high}


def _interval(count: int, of: int) -> tuple[float | None, float | None]:
    from scipy.stats import binomtest  # takes a second

    if not of:
        return None, None
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _of_labels(preferences: pl.DataFrame, labels: pl.DataFrame | None) -> dict[str, float | int | None]:
    if labels is None:
        return dict.fromkeys(("human_agreement", "human_pairs", "human_kappa", "human_ties"))
    both = labels.join(preferences, on=("first", "second"))
    decided = both.filter(pl.col("side") != 0)
    agreed = decided.get_column("side") == decided.get_column("label")
    return {
        "human_agreement": _share(agreed),
        "human_pairs": decided.height,
        "human_kappa": cohen_kappa(decided.get_column("side"), decided.get_column("label")),
        "human_ties": both.height - decided.height,
    }


def _joined(names: pl.Series) -> str | None:
    found: Sequence[str] = names.drop_nulls().to_list()
    return ", ".join(dict.fromkeys(found)) or None


def _share(held: pl.Series) -> float | None:
    """Return the share of True among non-null values; None if there are none."""
    measured = held.drop_nulls()
    return None if measured.is_empty() else int(measured.sum()) / len(measured)
