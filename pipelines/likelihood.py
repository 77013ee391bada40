"""How likely each answer is under the model to be trained: on-policy answers are, those of other models less so."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curate.recipe.models import Model
from curate.schema import CANDIDATES
from curate.terminal import tell
from pipelines.clients.requests import OF_PROMPT, Messages, Request, SendRequests

MAX_TOPICS = 50  # that are reported, the most frequent; the others together
OTHER_TOPICS = "(others)"
UNSUPPORTED = "the endpoint reports no log-probs of given texts"


def prefix_request(prompt: Messages) -> Request:
    """Build the request whose reply tells how many tokens a prompt has, up to the beginning of the answer."""
    return Request(prompt, {"max_tokens": 1, "temperature": 0})


def answer_request(prompt: Messages, response: Messages, skip: int) -> Request:
    """Build the request for the mean log-prob of an answer; `skip`: the tokens of its prompt."""
    return Request([*prompt, *response], {"max_tokens": 1, "temperature": 0, **OF_PROMPT}, skip=skip)


def unmeasured(candidates: pl.DataFrame) -> pl.DataFrame:
    """Return the CANDIDATES with a text whose likelihood did not come with their reply."""
    return candidates.filter(pl.col("response").is_not_null() & pl.col("logp_per_token").is_null())


class Likelihood:
    """Measures answers under one model. One that cannot is asked once, not once per answer."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._is_able = True

    def measured(self, candidates: pl.DataFrame, send: SendRequests) -> tuple[pl.DataFrame, int]:
        """
        in : CANDIDATES, whole sets; a function that sends requests to the model
        out: the same CANDIDATES with logp_per_token, null where there is no text, or the model does not tell;
             how many requests failed
        """
        rows = unmeasured(candidates)
        if rows.is_empty() or not self._can_tell(rows.row(0, named=True), send):
            return candidates, 0
        prompts = rows.unique("prompt_id", maintain_order=True)
        counted = send([prefix_request(prompt) for prompt in prompts.get_column("prompt").to_list()])
        skip = dict(zip(prompts.get_column("prompt_id"), (reply.input_tokens for reply in counted), strict=True))
        wanted = [
            (row["row"], answer_request(row["prompt"], row["response"], skip[row["prompt_id"]]))
            for row in rows.with_row_index("row").select("row", "prompt_id", "prompt", "response").iter_rows(named=True)
            if skip[row["prompt_id"]]
        ]
        replies = send([request for _, request in wanted])
        found: list[float | None] = [None] * len(rows)
        for (place, _), reply in zip(wanted, replies, strict=True):
            found[place] = reply.logp_per_token
        failed = sum(reply.error is not None for reply in [*counted, *replies])
        return _filled(candidates, rows, found), failed

    def _can_tell(self, row: Mapping[str, Any], send: SendRequests) -> bool:
        """Ask about one answer: an endpoint that ignores what it does not know would charge for all of them."""
        if self._is_able:
            (counted,) = send([prefix_request(row["prompt"])])
            self._is_able = counted.input_tokens is not None or not counted.is_final
            if counted.input_tokens:
                (reply,) = send([answer_request(row["prompt"], row["response"], counted.input_tokens)])
                refused = any(name in (reply.error or "") for name in OF_PROMPT)
                self._is_able = reply.logp_per_token is not None or not (reply.is_final or refused)
            if not self._is_able:
                tell(
                    f"{self.model.name}: {UNSUPPORTED}; only its own answers are measured (transformers: measures all)"
                )
        return self._is_able


def likelihood_report(trained: Model, candidates: pl.DataFrame, topics: pl.DataFrame) -> list[dict[str, Any]]:
    """
    in : the model to be trained; CANDIDATES; source, source_row and topic (str, null = none) of each set
    out: rows of under (the model to be trained), model (that answered), topic (null = all of its answers),
         answers (with a text), measured (of these, count),
         mean, low, high: log-likelihood per token, its mean and its 10 % and 90 % quantiles (null = none measured)
    """
    answers = candidates.filter(pl.col("response").is_not_null()).join(
        topics, on=["source", "source_row"], how="left", maintain_order="left"
    )
    frequent = answers.get_column("topic").drop_nulls().value_counts(sort=True).head(MAX_TOPICS).get_column("topic")
    topic = pl.when(pl.col("topic").is_in(frequent.to_list())).then("topic").otherwise(pl.lit(OTHER_TOPICS))
    answers = answers.with_columns(topic=pl.when(pl.col("topic").is_not_null()).then(topic))
    number = pl.col("logp_per_token")
    figures = {
        "answers": pl.len(),
        "measured": number.count(),
        "mean": number.mean().round(3),
        "low": number.quantile(0.1, "linear").round(3),
        "high": number.quantile(0.9, "linear").round(3),
    }
    whole = answers.group_by("model", maintain_order=True).agg(topic=pl.lit(None, pl.String), **figures)
    parts = answers.filter(pl.col("topic").is_not_null()).group_by("model", "topic").agg(**figures)
    place = pl.col("model").replace_strict(
        {model: place for place, model in enumerate(whole.get_column("model"))}, return_dtype=pl.Int64
    )
    rows = pl.concat([whole, parts.select(whole.columns)])
    rows = rows.sort(place, "topic", nulls_last=False)
    return rows.select(pl.lit(trained.name).alias("under"), pl.all()).to_dicts()


def topics_of(origin: pl.DataFrame) -> pl.DataFrame:
    """Return source, source_row and topic of the prompts of an origin; the topic is that of `extra`, if it has one."""
    topic = pl.col("extra").str.json_path_match("$.topic")
    return origin.select("source", "source_row", topic=topic)


def _filled(candidates: pl.DataFrame, rows: pl.DataFrame, found: Sequence[float | None]) -> pl.DataFrame:
    keys = ["source", "source_row", "candidate_id"]
    new = rows.select(keys).with_columns(pl.Series("new", found, dtype=pl.Float64)).unique(keys)
    joined = candidates.join(new, on=keys, how="left", maintain_order="left")
    return joined.with_columns(logp_per_token=pl.coalesce("logp_per_token", "new")).select(list(CANDIDATES))
