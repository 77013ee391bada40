"""How well verdicts by one rubric agree with labels, and whether those by another one agree better."""

from math import sqrt
from statistics import NormalDist
from typing import Any

import polars as pl

from pipelines.judges.agreement import judge_reports
from pipelines.judges.scoring import SET, combine

Z = NormalDist().inv_cdf(0.975)


def outcomes(candidates: pl.DataFrame, verdicts: pl.DataFrame, labels: pl.DataFrame) -> pl.Series:
    """
    in : CANDIDATES, VERDICTS of one judge on them, HUMAN labels
    out: f64, one per label: 1 = the judge prefers the answer that the label prefers, 0 = the other one, 0.5 = a tie, or
         no usable verdict. A pair without one is not left out: two rubrics are compared on the same pairs, and neither
         gains by verdicts that it makes impossible.
    """
    scored = combine(candidates, verdicts).select(*SET, "candidate_id", "score")
    both = labels
    for side in ("better", "worse"):
        names = {"candidate_id": f"{side}_id", "score": side}
        both = both.join(scored.rename(names), on=[*SET, f"{side}_id"], how="left", maintain_order="left")
    preference = (pl.col("better") - pl.col("worse")).sign()
    return both.select(((preference + 1) / 2).fill_null(0.5)).to_series().rename("outcome")


def figures(candidates: pl.DataFrame, verdicts: pl.DataFrame, labels: pl.DataFrame) -> dict[str, Any]:
    """
    in : as for `outcomes`
    out: rubric_hash: of the rubric, several joined by ", " | pairs: number of labels | agreement: mean outcome
         decided, ties, unusable: numbers of pairs, which add up
         decided_agreement: share of the decided pairs decided as labelled | kappa: the same beyond chance
         position_consistency: share of pairs compared in both orders with the same result; null for ratings
         length_bias: share of decided pairs of unequal length won by the longer answer
         problem: what is wrong with most of the unusable verdicts
         A share of zero pairs is null.
    """
    found = outcomes(candidates, verdicts, labels)
    (report,) = judge_reports(candidates, verdicts, labels)
    decided, ties = report["human_pairs"], report["human_ties"]
    return {
        "rubric_hash": report["rubric_hash"],
        "pairs": len(labels),
        "agreement": found.mean(),
        "decided": decided,
        "ties": ties,
        "unusable": len(labels) - decided - ties,
        "decided_agreement": report["human_agreement"],
        "kappa": report["human_kappa"],
        "position_consistency": report["position_consistency"],
        "length_bias": report["length_bias"],
        "problem": report["problem"],
    }


def gain(new: pl.Series, old: pl.Series) -> dict[str, float]:
    """
    Return how much better `new` outcomes are than `old` ones of the same pairs: mean difference, low and high end of
    its 95 % interval.

    The interval is the adjusted one of Agresti and Min (2005, Statistics in Medicine 24) for paired proportions: two
    more pairs are assumed, which the rubrics decide alike once, and in favour of each half a time. Unlike a bootstrap
    it stays honest where few pairs are decided differently. A tie is half of a difference.
    """
    differences = (new - old).to_list()
    n = len(differences) + 2
    mean = sum(differences) / n
    square = (sum(each * each for each in differences) + 1) / n
    half = Z * sqrt((square - mean * mean) / n)
    return {"mean": sum(differences) / len(differences), "low": max(mean - half, -1.0), "high": min(mean + half, 1.0)}
