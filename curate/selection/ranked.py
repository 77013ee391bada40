"""
Selections by what was measured, each one function on a frame.

Every function takes one row per pair and returns one row per pair: keep (bool), value (f64: what decided; null where
nothing was measured) and rule (str: what decided where the function has several bounds, else the function's name).
Values of different sources are never compared: they are ranked within their `source`, as the share of its measured
pairs with a lower or equal value. A pair that was not measured is not kept.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from curate.errors import RecipeError
from curate.schema import digest

CHOICE = pl.Schema({"keep": pl.Boolean(), "value": pl.Float64(), "rule": pl.String()})
SURE = 0.99  # the highest probability of BeeS; its lowest is 1 - SURE, so that two margins can always be fused


def rip(pairs: pl.DataFrame, *, score: float = 0.5, length: float = 0.5, gap: float = 0.5) -> pl.DataFrame:
    """
    Keep pairs whose rejected answer is good and long, and little worse than the chosen one.

    Rejecting Instruction Preferences (Yu et al. 2025, arXiv 2501.18578): the worst of many answers tells how good a
    prompt is.

    in : source, rejected_score, rejected_chars, margin
    out: CHOICE; rule: rip_score, rip_length or rip_gap, the first bound that a pair misses, and its value

        >>> import polars as pl
        >>> columns = {"rejected_score": [1, 4, 4, 5], "rejected_chars": [9, 90, 80, 99], "margin": [4, 1, 3, 1]}
        >>> rip(pl.DataFrame({"source": "a", **columns}))["keep"].to_list()
        [False, True, False, True]
    """
    columns = {"rip_score": "rejected_score", "rip_length": "rejected_chars", "rip_gap": "margin"}
    value = {rule: _number(name) for rule, name in columns.items()}
    bound = {
        rule: value[rule].quantile(at, "linear").over("source")
        for rule, at in zip(columns, (score, length, gap), strict=True)
    }
    passing = {
        rule: value[rule] <= bound[rule] if rule == "rip_gap" else value[rule] >= bound[rule] for rule in columns
    }
    return _first_missed(pairs, passing, value)


def bees(pairs: pl.DataFrame, count: int, *, low: float = 0.05, high: float = 0.95) -> pl.DataFrame:
    """
    Keep the pairs with the highest margins; that of the scores and that of implicit rewards are fused.

    BeeS (Deng et al. 2025, "Less is more", arXiv 2502.14560): a margin m counts as the probability
    (clip(m, M1, M2) - M1) / (M2 - M1), here with quantiles of the source as M1 and M2; two probabilities p and q give
    pq / (pq + (1 - p)(1 - q)). Where only one of the margins was measured, it decides alone.

    in : source, margin and, if measured, implicit_gap
    out: CHOICE; value: the probability

        >>> import polars as pl
        >>> found = bees(pl.DataFrame({"source": "a", "margin": [0.1, 0.9, 0.5, None]}), 1)
        >>> found["keep"].to_list(), found["value"].round(2).to_list()
        ([False, True, False, False], [0.01, 0.99, 0.5, None])
    """
    if low >= high:
        raise RecipeError(f"bees: low ({low:g}) must be below high ({high:g})")
    fused: pl.Expr | None = None
    for name in [name for name in ("margin", "implicit_gap") if name in pairs.columns]:
        value = _number(name)
        first, last = (value.quantile(at, "linear").over("source") for at in (low, high))
        within = (value.clip(first, last) - first) / (last - first)
        sure = pl.when(last > first).then(within).when(value.is_not_null()).then(0.5).clip(1 - SURE, SURE)
        fused = sure if fused is None else _fused(fused, sure)
    assert fused is not None  # noqa: S101 - margin is a column of every frame of signals
    return _best(pairs, fused, count, "bees")


def implicit_gap(pairs: pl.DataFrame, count: int, *, floor: float = 0.0) -> pl.DataFrame:
    """
    Keep the hardest pairs: the smallest gaps of implicit reward that are above the floor.

    Qi et al. 2025 (arXiv 2508.04149). The floor is ours: below 0 the model prefers the rejected answer, and pairs with
    a wrong label would rank first.

    in : source, implicit_gap (f64: beta * (log-ratio of chosen - log-ratio of rejected))
    out: CHOICE; value: the gap

        >>> import polars as pl
        >>> implicit_gap(pl.DataFrame({"source": "a", "implicit_gap": [-0.2, 0.3, 0.1, 2.0]}), 2)["keep"].to_list()
        [False, True, True, False]
    """
    gap = _number("implicit_gap")
    above = pairs.with_columns(above=pl.when(gap > floor).then(gap))
    return _best(above, -quantile("above"), count, "implicit_gap", gap)


def selective(pairs: pl.DataFrame, count: int) -> pl.DataFrame:
    """
    Keep the pairs that are easiest to learn: the lowest loss of models that were trained on other pairs.

    Selective DPO (Gao et al. 2025, arXiv 2502.09650) takes the DPO loss of models trained on the other half;
    `heldout_loss` is that of whatever was trained: see `label_noise`.

    in : source, heldout_loss (f64, nats)
    out: CHOICE; value: the loss

        >>> import polars as pl
        >>> selective(pl.DataFrame({"source": "a", "heldout_loss": [0.2, 1.5, 0.7, None]}), 2)["keep"].to_list()
        [True, False, True, False]
    """
    return _best(pairs, -quantile("heldout_loss"), count, "selective", _number("heldout_loss"))


def chosen_first(pairs: pl.DataFrame, *, chosen: float = 0.5, gap: float = 0.5) -> pl.DataFrame:
    """
    Keep the best chosen answers, and of these the largest gaps.

    Pan et al. 2025, "What matters in data for DPO?" (arXiv 2508.18312): the quality of chosen matters most, then the
    contrast.

    in : source, chosen_score, margin
    out: CHOICE; rule: chosen_first_score or chosen_first_gap; value: the quantile of chosen_score, or that of margin
         among the pairs whose chosen_score is high enough

        >>> import polars as pl
        >>> columns = {"chosen_score": [9.0, 8.0, 3.0, 2.0], "margin": [1.0, 4.0, 2.0, 2.0]}
        >>> chosen_first(pl.DataFrame({"source": "a", **columns}))["keep"].to_list()
        [False, True, False, False]
    """
    good = (quantile("chosen_score") > 1 - chosen).fill_null(value=False)
    ranked = pairs.with_columns(good=good, rank=quantile("chosen_score"))
    ranked = ranked.with_columns(margin=pl.when("good").then(_number("margin")))
    passing = {"chosen_first_score": pl.col("good"), "chosen_first_gap": quantile("margin") > 1 - gap}
    return _first_missed(
        ranked, passing, {"chosen_first_score": pl.col("rank"), "chosen_first_gap": quantile("margin")}
    )


def top(pairs: pl.DataFrame, count: int, *, by: str = "margin") -> pl.DataFrame:
    """
    Keep the highest values of a column; equal ones in the order of pair_id's hash.

    in : source, pair_id, the column (longest: chosen_chars)
    out: CHOICE; value: the quantile within the source

        >>> import polars as pl
        >>> columns = {"source": ["a", "a", "b", "b"], "pair_id": list("1234"), "margin": [1, 2, 10, 20]}
        >>> top(pl.DataFrame(columns), 2)["keep"].to_list()
        [False, True, False, True]
    """
    return _best(pairs, quantile(column_of(by)), count, "top")


def random(pairs: pl.DataFrame, count: int, *, seed: int = 0) -> pl.DataFrame:
    """
    Keep a random choice: the lowest hashes of seed and pair_id, whatever the order of the rows.

        >>> import polars as pl
        >>> random(pl.DataFrame({"pair_id": ["x", "y", "z"]}), 2)["keep"].sum()
        2
    """
    order = pairs.select(pl.arg_sort_by(_hash(seed))).to_series().to_numpy()
    kept = np.zeros(len(pairs), bool)
    kept[order[:count]] = True
    return pl.DataFrame({"keep": kept, "value": None, "rule": "random"}, schema=CHOICE)


def length_balanced(pairs: pl.DataFrame, *, width: float = 0.25, seed: int = 0) -> pl.DataFrame:
    """
    Keep as many pairs with a longer chosen answer as with a shorter one, in every bin of the length ratio.

    After it, length tells nothing about which answer is chosen. Pairs of equal length are all kept.

    in : source, pair_id, chosen_chars, rejected_chars
    out: CHOICE; value: log2(chosen_chars / rejected_chars)

        >>> import polars as pl
        >>> columns = {"pair_id": list("1234"), "chosen_chars": [20, 22, 10, 5], "rejected_chars": [10, 11, 20, 5]}
        >>> length_balanced(pl.DataFrame({"source": "a", **columns}))["keep"].sum()
        3
    """
    chosen, rejected = (pl.col(f"{side}_chars").cast(pl.Float64) for side in ("chosen", "rejected"))
    measured = pairs.select("source", ratio=((chosen + 1) / (rejected + 1)).log(2), hash=_hash(seed))
    sign = pl.col("ratio").sign().cast(pl.Int8)
    binned = measured.with_columns(sign=sign, bin=(pl.col("ratio").abs() / width).floor().cast(pl.Int32))
    key = ["source", "bin"]
    least = pl.min_horizontal((pl.col("sign") == 1).sum().over(key), (pl.col("sign") == -1).sum().over(key))
    place = pl.col("hash").rank("ordinal").over([*key, "sign"])
    keep = binned.select(keep=(pl.col("sign") == 0) | (place <= least))
    return keep.with_columns(value=binned.get_column("ratio"), rule=pl.lit("length_balanced"))


def column_of(by: str) -> str:
    """Return the column for a recipe's `by`."""
    return "chosen_chars" if by == "longest" else by


def _first_missed(pairs: pl.DataFrame, passing: Mapping[str, pl.Expr], values: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Return CHOICE that keeps what passes everything; rule and value are those of the first that a pair misses."""
    missed = {rule: ~passes.fill_null(value=False) for rule, passes in passing.items()}
    last = list(passing)[-1]
    rule, value = pl.lit(last), values[last]
    for name in reversed(missed):
        rule = pl.when(missed[name]).then(pl.lit(name)).otherwise(rule)
        value = pl.when(missed[name]).then(values[name]).otherwise(value)
    return pairs.select(keep=~pl.any_horizontal(missed.values()), value=value.cast(pl.Float64), rule=rule)


def _best(pairs: pl.DataFrame, rank: pl.Expr, count: int, rule: str, value: pl.Expr | None = None) -> pl.DataFrame:
    """Return CHOICE that keeps the `count` highest by rank (nulls are never kept); `value` is the rank by default."""
    tie = _hash(0) if "pair_id" in pairs.columns else pl.int_range(pl.len())
    ranked = pairs.select(rank=rank.cast(pl.Float64), tie=tie).with_row_index("row")
    first = ranked.drop_nulls("rank").sort("rank", "tie", descending=[True, False]).head(count)
    keep = ranked.select(keep=pl.col("row").is_in(first.get_column("row").implode()))
    shown = ranked.get_column("rank") if value is None else pairs.select(value).to_series()
    return keep.with_columns(value=shown, rule=pl.lit(rule))


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64).fill_nan(None)


def quantile(name: str) -> pl.Expr:
    """Return the share of the source's measured pairs with a lower or equal value."""
    return _number(name).rank("max").over("source") / _number(name).count().over("source")


def _fused(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    both = one * other / (one * other + (1 - one) * (1 - other))
    return pl.coalesce(both, one, other)


def _hash(seed: int) -> pl.Expr:
    return digest(pl.concat_str(pl.lit(f"{seed}|"), "pair_id"))
