"""
What a training's log says in plain words. A log is TRL's `log_history`: dicts with `step` and metrics, `eval_` before
those of held-out pairs. Log-probs are sums over an answer's tokens, in nats; rewards are beta times their distance
from the reference.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

History = Sequence[Mapping[str, Any]]

FALL = 0.05  # of held-out accuracy under its best: more than chance moves it on some hundred pairs …
PATIENCE = 2  # … in this many looks one after another
COLLAPSE = 0.5  # share of the reference's chosen log-prob that is lost: answers become e^… times less likely
MIN_NATS = 20  # below it a fall is what DPO does to any answer (arXiv:2404.12358)
GAP = 0.25  # of accuracy between what was trained on and what was held out
GROWTH, MIN_TOKENS = 1.5, 20  # times, and tokens, by which answers become longer before it is said
FLAT = 0.55  # accuracy on held-out pairs that is no better than a coin


def stop_reason(history: History, beta: float) -> str | None:
    """Why training should stop now, or None."""
    accuracies = _values(history, "eval_rewards/accuracies")
    if len(accuracies) > PATIENCE and all(a < max(accuracies) - FALL for a in accuracies[-PATIENCE:]):
        return f"held-out accuracy fell from {max(accuracies):.2f} to {accuracies[-1]:.2f}"
    lost, share = chosen_logp_drop(history, beta)
    if lost > MIN_NATS and share > COLLAPSE:
        return f"chosen log-probs fell by {lost:.0f} nats, {share:.0%} of what they were"
    return None


def chosen_logp_drop(history: History, beta: float) -> tuple[float, float]:
    """Nats that the held-out chosen answers have lost against the reference, and their share of its log-prob."""
    rewards, logps = (_values(history, f"eval_{name}/chosen") for name in ("rewards", "logps"))
    if not rewards or not logps or not beta:
        return 0.0, 0.0
    lost = -rewards[-1] / beta
    reference = logps[-1] + lost
    return lost, lost / abs(reference) if reference else 0.0


def warnings(history: History, beta: float) -> list[str]:
    """Plain sentences about what went wrong, each with what to do; none where nothing did."""
    said = []
    lost, share = chosen_logp_drop(history, beta)
    if lost > MIN_NATS:
        said.append(
            f"chosen log-probs fell by {lost:.0f} nats ({share:.0%} of what they were): lower the learning rate or "
            "raise beta, or add the loss type sft"
        )
    trained, held_out = _values(history, "rewards/accuracies"), _values(history, "eval_rewards/accuracies")
    if trained and held_out:
        late = sum(trained[-5:]) / len(trained[-5:])
        if late - held_out[-1] > GAP:
            said.append(
                f"train accuracy {late:.2f} against {held_out[-1]:.2f} held out: overfitting; fewer epochs, more "
                "pairs, or a smaller lora_rank"
            )
        if held_out[-1] < FLAT:
            said.append(
                f"held-out accuracy is {held_out[-1]:.2f}, no better than a coin: train longer or with a higher "
                "learning rate, or the labels are noise to this model"
            )
    losses = _values(history, "eval_loss")
    if losses and losses[-1] > min(losses) * 1.1:
        best = losses.index(min(losses)) + 1
        said.append(f"held-out loss was lowest at look {best} of {len(losses)} and rose since: that checkpoint is kept")
    lengths = _values(history, "eval_generation_tokens")
    if lengths and lengths[-1] > max(lengths[0] * GROWTH, lengths[0] + MIN_TOKENS):
        said.append(
            f"answers grew from {lengths[0]:.0f} to {lengths[-1]:.0f} tokens: are chosen answers the longer ones? "
            "pairing.length_matched or rules.max_chars_ratio, or trl.ld_alpha below 1"
        )
    norms = [value for value in _values(history, "grad_norm") if math.isfinite(value)]
    if norms and max(norms) > 20 * sorted(norms)[len(norms) // 2]:
        said.append(f"one gradient was {max(norms):.3g}, 20 times the usual: a lower learning rate or longer warmup")
    return said


def curves(history: History, beta: float) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """For each chart its lines, each a list of (step, value): what was trained on and what was held out."""
    charts = {
        "loss": {"train": "loss", "held out": "eval_loss"},
        "reward accuracy": {"train": "rewards/accuracies", "held out": "eval_rewards/accuracies"},
        "reward margin": {"train": "rewards/margins", "held out": "eval_rewards/margins"},
        "log-probs of held-out answers, nats": {"chosen": "eval_logps/chosen", "rejected": "eval_logps/rejected"},
        "length of answers to held-out prompts, tokens": {"held out": "eval_generation_tokens"},
        "learning rate": {"train": "learning_rate"},
        "entropy a token, nats": {"train": "entropy", "held out": "eval_entropy"},
    }
    found = {title: {name: _points(history, key) for name, key in lines.items()} for title, lines in charts.items()}
    if beta:
        # The mean log-ratio to the reference over its own data: what there is of the KL divergence without sampling.
        away = {
            side: [(step, reward / beta) for step, reward in _points(history, f"eval_rewards/{side}")]
            for side in ("chosen", "rejected")
        }
        found["distance from the reference on held-out answers, nats"] = away
    return {
        t: {name: points for name, points in lines.items() if points}
        for t, lines in found.items()
        if any(lines.values())
    }


def _values(history: History, name: str) -> list[float]:
    return [value for _, value in _points(history, name)]


def _points(history: History, name: str) -> list[tuple[int, float]]:
    return [(int(line["step"]), float(line[name])) for line in history if line.get(name) is not None]
