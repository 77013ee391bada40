"""
How often a judge agrees with people (LLMBar) and with GPT-4 (AlpacaEval's annotations), as a markdown table.

    python tests/benchmarks/judges.py              the judge `heuristic`, and `longer`, which only compares lengths
    python tests/benchmarks/judges.py heuristic embedded pairwise:embedded --cache replies.sqlite
                                                   given judges: any model line, with `pairwise:` to compare

In LLMBar's adversarial subsets the worse answer looks better: 50 % is chance, and a judge of appearance is below it. In
the annotations output_1 is always GPT-4's, better in four of five and mostly longer; so agreement is also shown for the
pairs where length misleads, and for those whose lengths are close.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from curate.recipe.models import Judge as JudgeSection
from curate.schema import CANDIDATES, digest, empty
from curate.text.messages import one_message, text_of
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import open_models
from pipelines.clients.dispatcher import Dispatcher
from pipelines.judges.panel import judges_of
from pipelines.judges.panel import verdicts as ask_judges
from pipelines.judges.scoring import combine

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REPLY_TOKENS = 160  # a reason of a sentence or two, and the grade
SAMPLE = 300  # annotations, the first by a hash of prompt and model: the same ones every time
CLOSE = 1.25  # largest ratio of the longer to the shorter, in characters, of close lengths
Judge = Callable[[pl.DataFrame], pl.Series]  # CANDIDATES, two in a row answer one prompt -> their scores


def main() -> None:
    """Print a table: one row per judge and group of pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("judges", nargs="*", default=["longer", "heuristic"])
    parser.add_argument("--cache", default=":memory:", help="file that keeps the replies of LLM judges")
    parser.add_argument("--every", type=int, default=1, help="use only every n-th pair")
    options = parser.parse_args()
    if not (SHARED / "llmbar.jsonl").is_file():
        sys.exit("skipped: llmbar.jsonl is not beside the repository, in ../shared/data")
    pairs = pl.concat([llmbar(), annotations()]).gather_every(options.every)
    print(f"{datetime.now(UTC):%Y-%m-%d}. Ties count half; unjudged pairs are left out.\n")
    print("| judge | pairs | n | agreement | ties | unjudged | takes the longer |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for name in options.judges:
        judged = verdicts(pairs, judge(name, options.cache))
        for group, rows in groups(judged):
            print(f"| {name} | {group} | {line(rows)} |")


def llmbar() -> pl.DataFrame:
    """Return pairs: set, subset, prompt, one, two, first_is_better."""
    return pl.read_ndjson(SHARED / "llmbar.jsonl").select(
        set=pl.lit("LLMBar"), subset="subset", prompt="input", one="output_1", two="output_2",
        first_is_better=pl.col("label") == 1,
    )  # fmt: skip


def annotations() -> pl.DataFrame:
    """Return pairs with the same columns, without the annotator's ties."""
    rows = pl.read_parquet(SHARED / "alpaca_eval_annotations.parquet")
    rows = rows.filter(pl.col("preference").is_not_null(), pl.col("preference") != 1.5)
    return (
        rows.sort(digest(pl.concat_str("instruction", "generator_1", "generator_2", separator="\n")))
        .head(SAMPLE)
        .select(
            set=pl.lit("AlpacaEval"), subset=pl.lit("all"), prompt="instruction", one="output_1", two="output_2",
            first_is_better=pl.col("preference") < 1.5,
        )
    )  # fmt: skip


def judge(name: str, cache: str) -> Judge:
    """Return the function that scores for the judge of this name."""
    if name == "longer":
        return lambda candidates: candidates.select(text_of("response").str.len_chars().cast(pl.Float64)).to_series()
    if name == "heuristic":
        from curate.embeddings.encoder import load_encoder
        from pipelines.judges.heuristic import score

        encoder = load_encoder()
        return lambda candidates: score(candidates, encoder).get_column("score")
    method, _, model = name.partition(":") if name.startswith("pairwise:") else ("rubric", "", name)
    return lambda candidates: by_llm(candidates, method, model, cache)


def by_llm(candidates: pl.DataFrame, method: str, model: str, cache: str) -> pl.Series:
    """Return the scores of an LLM judge, by the same path as in a recipe."""
    section = JudgeSection.model_validate({"models": model, "method": method, "max_tokens": REPLY_TOKENS})
    with RequestCache(cache) as replies:
        dispatcher = Dispatcher(replies, Budget(None, section.models))
        with open_models(section.models, dispatcher) as clients:
            found = ask_judges(candidates, judges_of(section), clients)
    return combine(candidates, found).get_column("score")


def verdicts(pairs: pl.DataFrame, scores: Judge) -> pl.DataFrame:
    """Return the pairs with a, b (the scores of one and two) and how the lengths compare."""
    scored = scores(candidates_of(pairs))
    one, two = (pl.col(side).str.len_chars() for side in ("one", "two"))
    return pairs.with_columns(
        scored.gather_every(2).alias("a"),
        scored.gather_every(2, 1).alias("b"),
        first_is_longer=pl.when(one != two).then(one > two),
        close=pl.max_horizontal(one, two) <= CLOSE * pl.min_horizontal(one, two),
    )


def candidates_of(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return CANDIDATES, two in a row per pair."""
    rows = pairs.with_row_index("source_row").unpivot(
        ["one", "two"], index=["set", "prompt", "source_row"], variable_name="side", value_name="answer"
    )
    answers = rows.sort("source_row", "side").select(
        *empty(
            CANDIDATES, set(CANDIDATES) - {"prompt_id", "prompt", "candidate_id", "response", "source", "source_row"}
        ),
        prompt_id=digest(pl.col("prompt")),
        prompt=one_message("user", pl.col("prompt")),
        candidate_id=digest(pl.concat_str("source_row", "side", separator=" ")),
        response=one_message("assistant", pl.col("answer")),
        source="set",
        source_row=pl.col("source_row").cast(pl.UInt64),
    )
    return answers.select(list(CANDIDATES))


def groups(judged: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Return the groups that get a row each."""
    (llmbar_rows, alpaca) = (judged.filter(pl.col("set") == name) for name in ("LLMBar", "AlpacaEval"))
    length_is_right = pl.col("first_is_longer") == pl.col("first_is_better")
    subsets = [(f"LLMBar {subset}", rows) for (subset,), rows in llmbar_rows.group_by("subset", maintain_order=True)]
    return [
        *subsets,
        ("LLMBar, all", llmbar_rows),
        ("AlpacaEval, all", alpaca),
        ("… the longer is better", alpaca.filter(length_is_right)),
        ("… the shorter is better", alpaca.filter(~length_is_right)),
        (f"… lengths within {CLOSE - 1:.0%}", alpaca.filter("close")),
    ]


def line(rows: pl.DataFrame) -> str:
    """Return the figures of one group as cells."""
    tie = pl.col("a") == pl.col("b")
    agrees = pl.when(tie).then(0.5).otherwise(((pl.col("a") > pl.col("b")) == pl.col("first_is_better")).cast(float))
    takes_longer = ((pl.col("a") > pl.col("b")) == pl.col("first_is_longer")).filter(~tie)
    unjudged = pl.any_horizontal(pl.col("a", "b").is_null())
    shares = rows.select(
        agreement=agrees.filter(~unjudged).mean(),
        ties=tie.filter(~unjudged).mean(),
        unjudged=unjudged.mean(),
        takes_longer=takes_longer.mean(),
    )
    return " | ".join([str(len(rows)), *("–" if share is None else f"{share:.0%}" for share in shares.row(0))])


if __name__ == "__main__":
    main()
