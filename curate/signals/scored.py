"""
Signals that models measure: rewards, likelihood, relevance. The stage `models` of a run writes them.

Here are their definitions, and the arithmetic on what the models gave. `measure` only takes over columns of these
names: without them, the signals are null.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from curate.signals.base import RESPONSES, Signal

ABOUT = {
    "reward": (
        "Score of the answer by a reward model (`models.reward`). Of several models: the mean of their scores, each "
        "minus its mean and over its standard deviation among the answers of the run."
    ),
    "reward_margin": "Reward of chosen minus reward of rejected; of several models the mean of their margins.",
    "reward_std": "Standard deviation of the margins of several reward models; null for one.",
    "reward_strength": (
        "Probability that chosen is preferred, by Bradley and Terry: the sigmoid of the margin of the raw scores; of "
        "several reward models the mean of theirs."
    ),
    "logp": (
        "Log-likelihood of the answer given the prompt under `models.policy`, in nats: the sum over its tokens as TRL "
        "counts them, its end token included. Null for an answer that does not fit into the model."
    ),
    "logp_per_token": "Log-likelihood of the answer under `models.policy` over its number of tokens.",
    "perplexity": "Exponential of minus the log-likelihood per token: how unexpected the answer is under the model.",
    "implicit_gap": (
        "DPO's implicit reward of chosen minus that of rejected: `models.beta` times the difference of the "
        "log-ratios of `models.policy` to `models.reference`."
    ),
    "label_confidence": "How probable it is that chosen is the better answer, 0..1, learnt from the other pairs.",
    "label_verdict": ("What is learnt of a label: reversed (confidence below 0.25), ambiguous (up to 0.6), or agrees."),
    "heldout_loss": "Loss of the label under models that were fitted on other prompts: -ln(label_confidence), nats.",
    "relevance": "Cosine similarity of the answer and the last user turn (`models.relevance`), as embeddings.",
}


def _signal(name: str, sides: tuple[str, ...] = (), *, shown: bool = False) -> Signal:
    charted = sides or shown if shown else ()
    return Signal(name, ABOUT[name], pl.lit, "model", sides, charted, on_card=shown and not sides)


SCORED = (
    _signal("reward", RESPONSES, shown=True),
    _signal("reward_margin", shown=True),
    _signal("reward_std"),
    _signal("reward_strength", shown=True),
    _signal("logp", RESPONSES),
    _signal("logp_per_token", RESPONSES, shown=True),
    _signal("perplexity", RESPONSES),
    _signal("implicit_gap", shown=True),
    _signal("relevance", RESPONSES, shown=True),
    _signal("label_confidence", shown=True),
    Signal("label_verdict", ABOUT["label_verdict"], pl.lit, "model", is_text=True),
    _signal("heldout_loss"),
)


def reward_columns(scores: Sequence[np.ndarray]) -> pl.DataFrame:
    """
    Combine the scores of reward models; see ABOUT.

    in : per model [pairs, 2], the scores of chosen and rejected, NaN for none
    out: chosen_reward, rejected_reward, reward_margin, reward_std, reward_strength; null where a model gave no score

        >>> reward_columns([np.array([[3.0, 1.0]])]).row(0)
        (3.0, 1.0, 2.0, None, 0.8807970779778825)
    """
    stack = np.stack(scores)
    raw = stack[:, :, 0] - stack[:, :, 1]
    if len(stack) > 1:
        stack = np.stack([_standardized(one) for one in stack])
    margins = stack[:, :, 0] - stack[:, :, 1]
    rewards = stack.mean(axis=0)
    strength = np.where(raw >= 0, 1 / (1 + np.exp(-np.abs(raw))), 1 - 1 / (1 + np.exp(-np.abs(raw))))
    return _frame(
        {
            "chosen_reward": rewards[:, 0],
            "rejected_reward": rewards[:, 1],
            "reward_margin": margins.mean(axis=0),
            "reward_std": margins.std(axis=0) if len(stack) > 1 else np.full(len(margins[0]), np.nan),
            "reward_strength": strength.mean(axis=0),
        }
    )


def _standardized(scores: np.ndarray) -> np.ndarray:
    """Return scores minus their mean, over their standard deviation; zeros where all are equal."""
    known = scores[np.isfinite(scores)]
    if not len(known):
        return scores
    spread = known.std()
    standard: np.ndarray = (scores - known.mean()) / (spread or 1.0)
    return standard


def likelihood_columns(
    logps: np.ndarray, tokens: np.ndarray, reference: np.ndarray | None = None, beta: float = 0.1
) -> pl.DataFrame:
    """
    Return the columns of the likelihood; see ABOUT.

    in : [pairs, 2] log-probs of chosen and rejected under the policy and perhaps a reference (nats, NaN for none), and
         their numbers of tokens
    out: …_logp, …_logp_per_token, …_perplexity, and with a reference implicit_gap

        >>> likelihood_columns(np.array([[-2.0, -6.0]]), np.array([[2, 3]]))["chosen_logp_per_token"].to_list()
        [-1.0]
    """
    mean = np.divide(logps, tokens, out=np.full(logps.shape, np.nan), where=tokens > 0)
    with np.errstate(over="ignore"):
        each = {"logp": logps, "logp_per_token": mean, "perplexity": np.exp(-mean)}
    columns = {f"{side}_{name}": value[:, n] for name, value in each.items() for n, side in enumerate(RESPONSES)}
    if reference is not None:
        ratios = logps - reference
        columns["implicit_gap"] = beta * (ratios[:, 0] - ratios[:, 1])
    return _frame(columns)


def relevance_columns(prompt: np.ndarray, chosen: np.ndarray, rejected: np.ndarray) -> pl.DataFrame:
    """
    Return chosen_relevance and rejected_relevance, the cosine of each answer to its prompt.

    in : unit vectors, [pairs, dim] each; zeros for texts without a word, which have no relevance

        >>> relevance_columns(np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]]), np.array([[0.0, 0.0]])).row(0)
        (0.6, None)
    """
    has = prompt.any(axis=1)
    sides = {"chosen_relevance": chosen, "rejected_relevance": rejected}
    return _frame(
        {
            name: np.where(has & side.any(axis=1), np.einsum("ij,ij->i", prompt, side, dtype=np.float64), np.nan)
            for name, side in sides.items()
        }
    )


def _frame(columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """Return float64 columns, null for what is not finite."""
    frame = pl.DataFrame({name: np.asarray(values, np.float64) for name, values in columns.items()})
    return frame.select(pl.when(pl.all().is_finite()).then(pl.all()).name.keep())
