"""Single steps on frames: measure, filter, decontaminate, pair."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curate import pairing
from curate.contamination.hits import closest, row_texts
from curate.errors import unknown
from curate.recipe.data import Decontaminate
from curate.recipe.scoring import ModelSignals
from curate.rules import apply_rules, field_types, make_conditions, make_rules, with_conditions
from curate.schema import CANDIDATES, PAIR
from curate.schema.result import Result
from curate.schema.section import checked
from curate.signals import COLUMNS, SIGNALS, Signal, as_signal, columns_of
from curate.signals import measure as measure_block
from curate.sources.frames import as_pairs
from curate.stages.decontaminate import finder_of
from curate.stages.models import score_frame

SignalLike = str | Signal | Callable[..., Any]
BLOCK_ROWS = 20_000  # measured at once
Source = Any  # what `curate.read` takes


def measure(
    pairs: Source, signals: Sequence[SignalLike] | None = None, *, models: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """
    Measure signals, one column per side of a text signal, one of a signal of the pair.

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes.
    signals
        Names (`chars`, or a column of it: `chosen_chars`; `curate signals` lists them), and functions of your own: of
        no argument, returning a polars expression over the pair; of `text` (pl.Expr), measured per side; of `pairs`
        (pl.DataFrame), returning a Series. None = all built-in ones.
    models
        What models measure, as in the recipe's section `models`: `{"reward": ["OWNER/NAME"], "policy": …, "reference":
        …, "relevance": True}`. Without it, signals of models stay as they are in the frame, or are null.

    Returns
    -------
    The pairs with the signals beside them. Null means not measured: no text, too little text, no score, no model.

    Raises
    ------
    RecipeError for an unknown name (with the nearest one), or a function of another signature; InputError for a model
    of another kind.

    Examples
    --------
    >>> import curate, polars as pl
    >>> def questions(text: pl.Expr) -> pl.Expr:
    ...     return text.str.count_matches("?", literal=True)
    >>> rows = [{"prompt": "Tea?", "chosen": "Green tea. Cold?", "rejected": "Tea."}]
    >>> curate.measure(rows, signals=["chars_ratio", questions]).select("chars_ratio", "chosen_questions").rows()
    [(4.0, 1)]
    """
    frame = as_pairs(pairs)
    asked = list(SIGNALS.values()) if signals is None else [_signal(each) for each in signals]
    names = [name for name in columns_of(asked) if name not in PAIR]
    scored = score_frame(frame, checked(ModelSignals, **models)).get_columns() if models is not None else []
    whole = frame.with_columns(scored)
    blocks = [measure_block(block, asked).select(names) for block in whole.iter_slices(BLOCK_ROWS)] or [
        measure_block(whole, asked).select(names)
    ]
    return frame.with_columns(pl.concat(blocks).get_columns())


def filter(  # noqa: A001 - the name of the step
    pairs: Source,
    *,
    where: str | Sequence[str | Mapping[str, str]] = (),
    defaults: bool = True,
    signals: Sequence[Callable[..., Any] | Signal] = (),
    **rules: Any,
) -> Result:
    """
    Keep the pairs that pass rules: bounds on signals, and conditions.

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes.
    where
        Conditions in SQL that kept pairs meet, one or several, over the columns of PAIR (messages are their texts),
        signals (`prompt_words > 5`) and the source's other columns (`extra.topic = 'code'`); or {condition, name,
        reason, on_null}. A pair for which a condition is null is dropped, unless `on_null` is "keep".
    defaults
        Whether the default rules hold, too (`curate signals --rules` lists them).
    signals
        Signals of your own that rules name, as for `measure`.
    **rules
        `no_SIGNAL=True`, `min_SIGNAL=…`, `max_SIGNAL=…`, `only_SIGNAL=[…]`, or `{"value": …, "on_null": "drop"}`. False
        switches a default rule off. A pair whose signal was not measured is kept, unless `on_null` says "drop".

    Returns
    -------
    Result; `dropped` has the columns of `pairs`, rule (str, the first broken one), value (f64, what was measured) and
    reasons (list[str], all broken ones in rule order).

    Raises
    ------
    RecipeError for an unknown rule or column (with the nearest one), a value of the wrong type, or a condition that is
    none, or that looks at other pairs (a sum, a subquery).

    Examples
    --------
    >>> import curate
    >>> rows = [
    ...     {"prompt": "Tea?", "chosen": "Green tea, brewed cool.", "rejected": "Tea is a drink."},
    ...     {"prompt": "Milk?", "chosen": "A splash, added last, when the tea has drawn for long.", "rejected": "Yes."},
    ... ]
    >>> result = curate.filter(rows, max_chars_ratio=4)
    >>> result
    Result(1 of 2 kept · dropped: max_chars_ratio 1)
    >>> result.dropped["reasons"].to_list()
    [['max_chars_ratio (13.5)']]
    >>> curate.filter(rows, where="chosen_words < 8 AND prompt LIKE 'T%'").kept["prompt"][0][0]["content"]
    'Tea?'
    """
    frame = as_pairs(pairs)
    own = [_signal(each) for each in signals]
    columns = COLUMNS | columns_of(own)
    bounds, conditions = make_rules(rules, defaults=defaults, columns=columns), make_conditions(where, columns)
    asked = [*(rule.column for rule in bounds), *(name for one in conditions for name in one.columns)]
    needed = list(dict.fromkeys(columns[name] for name in asked if name in columns))
    types = field_types(conditions, lambda: [frame.select("extra")])

    def verdicts_on(block: pl.DataFrame) -> pl.DataFrame:
        measured = measure_block(block, needed)
        together = with_conditions(block, measured, conditions, types) if conditions else measured
        return apply_rules(together, [*bounds, *conditions])

    blocks = [verdicts_on(block) for block in frame.iter_slices(BLOCK_ROWS)]
    verdicts = pl.concat(blocks) if blocks else verdicts_on(frame)
    both = frame.with_columns(verdicts.select("rule", "value", "reasons").get_columns())
    broken = pl.col("rule").is_not_null()
    return Result.of(both.filter(~broken).select(frame.columns), both.filter(broken))


def decontaminate(
    pairs: Source,
    against: str | Path | Sequence[str | Path],
    *,
    method: Literal["ngram", "exact", "embedding"] = "ngram",
    threshold: float | None = None,
    ngram: int = 8,
    fields: Sequence[str] = ("prompt", "chosen", "rejected"),
    model: str | None = None,
) -> Result:
    """
    Drop pairs that hold items of eval sets (the rule of Tülu 3, arXiv 2411.15124).

    Parameters
    ----------
    pairs
        PAIR, or anything that `curate.read` takes.
    against
        Names of known sets (`curate evals` lists them), files, Hub ids, saved indexes; one or several.
    method
        "ngram": an item is hit when more than `threshold` of its words lie in n-grams that it shares with the pair;
        "exact": all of its words, in order; "embedding": a cosine above `threshold` (extra: embed).
    threshold
        0 to 1; None = 0.5, for embedding 0.9.
    ngram
        Words per n-gram.
    fields
        Where items are looked for.
    model
        For "embedding": a sentence-transformers model; None = all-MiniLM-L6-v2.

    Returns
    -------
    Result; `dropped` has the columns of `pairs`, rule ("eval_item"), eval_set, item (str) and overlap (f64, the share
    of the item's words, or the cosine) of the closest item.

    Raises
    ------
    RecipeError for an unknown set, InputError for one that cannot be read.

        curate.decontaminate(pairs, against=["gsm8k", "my_evals.jsonl"])
    """
    frame = as_pairs(pairs)
    sets = [str(each) for each in ([against] if isinstance(against, str | Path) else against)]
    options = {"method": method, "threshold": threshold, "ngram": ngram, "fields": list(fields), "model": model}
    _, find, _ = finder_of(checked(Decontaminate, against=sets, **options))
    hits = closest(find(row_texts(frame, fields))).select("row", "eval_set", "item", "overlap")
    rows = frame.with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    dropped = rows.join(hits.with_columns(rule=pl.lit("eval_item")), on="row", maintain_order="left").drop("row")
    return Result.of(rows.join(hits, on="row", how="anti", maintain_order="left").drop("row"), dropped)


def pair(candidates: pl.DataFrame, **options: Any) -> Result:
    """
    Pair answers that have scores: which two of a prompt's answers become chosen and rejected.

    Parameters
    ----------
    candidates
        `curate.schema.CANDIDATES`, as `generate` and `judge` return it; missing columns are null.
    **options
        strategy (max_min, max_random_lower, sweet_spot, all, best_of_on_policy, delta), min_margin, min_chosen_score,
        near, length_matched, order, max_pairs, salt: see `curate.pairing.pair`.

    Returns
    -------
    Result; `kept` is PAIR, `dropped` has a row per prompt that yields no pair, with source, source_row, rule (tie,
    one_answer, not_judged, …) and detail (its numbers). Ties and answers without a score never become pairs.

    Raises
    ------
    RecipeError for an unknown strategy, InputError for a frame that holds no candidates.

    Examples
    --------
    >>> import curate, polars as pl
    >>> answers = pl.DataFrame({
    ...     "prompt_id": ["p", "p"], "candidate_id": ["a", "b"], "source": ["s", "s"], "source_row": [0, 0],
    ...     "prompt": [[{"role": "user", "content": "Tea?"}]] * 2, "score": [4.0, 2.0],
    ...     "response": [[{"role": "assistant", "content": "Green, brewed cool."}],
    ...                  [{"role": "assistant", "content": "Tea."}]],
    ... })
    >>> curate.pair(answers, strategy="max_min").kept.select("chosen_score", "rejected_score").rows()
    [(4.0, 2.0)]
    """
    known = {name: dtype for name, dtype in CANDIDATES.items() if name in candidates.columns}
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in CANDIDATES.items() if name not in known]
    answers = candidates.select(*(pl.col(name).cast(dtype) for name, dtype in known.items()), *missing)
    staged = pairing.pair(answers.select(list(CANDIDATES)), **options)
    usable = pl.col("problem").is_null()
    dropped = staged.filter(~usable).select("source", "source_row", rule="problem", detail="detail")
    return Result.of(staged.filter(usable).select(list(PAIR)), dropped)


def _signal(given: SignalLike) -> Signal:
    if isinstance(given, Signal):
        return given
    if isinstance(given, str):
        known = SIGNALS.get(given) or COLUMNS.get(given)
        if known is None:
            raise unknown("signal", given, [*SIGNALS, *COLUMNS])
        return known
    return as_signal(given)
