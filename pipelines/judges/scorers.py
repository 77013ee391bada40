"""Judges that are not asked but score by themselves: the heuristic, and reward models."""

import threading
from importlib.util import find_spec

import polars as pl

from curate.errors import require
from curate.recipe import Model
from pipelines.judges.judge import HEURISTIC, REWARD, Score


def check(model: Model) -> None:
    """Raise MissingExtra where the libraries are not installed."""
    module, extra = ("sentence_transformers", "embed") if model.model == HEURISTIC else ("transformers", "train")
    if find_spec(module) is None:
        require(module, extra)


def scorer(model: Model) -> Score:
    """What scores CANDIDATES in the name of this judge. Its weights are loaded when it first scores."""
    load = _heuristic if model.model == HEURISTIC else _reward
    lock, loaded = threading.Lock(), list[Score]()

    def score(candidates: pl.DataFrame) -> pl.DataFrame:
        with lock:  # one block at a time: they would only take each other's cores
            if not loaded:
                loaded.append(load(model))
            return loaded[0](candidates)

    return score


def _heuristic(model: Model) -> Score:
    from curate.embeddings.encoder import load_encoder
    from pipelines.judges.heuristic import score

    encoder = load_encoder(model.extra.get("encoder"))
    return lambda candidates: score(candidates, encoder)


def _reward(model: Model) -> Score:
    from pipelines.clients.local import RewardModel

    reward = RewardModel(model.model.removeprefix(REWARD))

    def score(candidates: pl.DataFrame) -> pl.DataFrame:
        rows = candidates.select("prompt", "response").iter_rows()
        scores = reward.score([[*prompt, *response] for prompt, response in rows])
        return pl.DataFrame({"score": scores, "reason": None}, schema={"score": pl.Float64, "reason": pl.String})

    return score
