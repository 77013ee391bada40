"""
Warnings, stop reasons and charts from a training's log.

A log is TRL's `log_history`: dicts with `step` and metrics, those of held-out pairs prefixed with `eval_`. Log-probs
are sums over an answer's tokens, in nats; rewards are beta times the log-ratio to the reference.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

History = Sequence[Mapping[str, Any]]

ACCURACY_DROP = 0.05  # of held-out accuracy from its best: more than noise on a few hundred pairs …
PATIENCE = 2  # … at this many evaluations in a row
COLLAPSE = 0.5  # share of the reference's chosen log-prob that is lost
MIN_NATS = 20  # a smaller drop is normal for DPO (arXiv:2404.12358)
OVERFIT_GAP = 0.25  # between the accuracy on training pairs and on held-out pairs
LENGTH_GROWTH, MIN_GROWTH_TOKENS = 1.5, 20  # factor and tokens by which answers grow before there is a warning
CHANCE_ACCURACY = 0.55  # held-out accuracy below it is no better than chance


def stop_reason(history: History, beta: float) -> str | None:
    """Return why training should stop now, or None."""
    accuracies = _values(history, "eval_rewards/accuracies")
    if len(accuracies) > PATIENCE and all(a < max(accuracies) - ACCURACY_DROP for a in accuracies[-PATIENCE:]):
        return f"held-out accuracy fell from {max(accuracies):.2f} to {accuracies[-1]:.2f}"
    drop, share = chosen_logp_drop(history, beta)
    if drop > MIN_NATS and share > COLLAPSE:
        return f"chosen log-probs fell by {drop:.0f} nats, {share:.0%} of the reference's"
    return None


def chosen_logp_drop(history: History, beta: float) -> tuple[float, float]:
    """Return by how many nats held-out chosen log-probs fell below the reference's, and as a share of the latter."""
    rewards, logps = (_values(history, f"eval_{name}/chosen") for name in ("rewards", "logps"))
    if not rewards or not logps or not beta:
        return 0.0, 0.0
    drop = -rewards[-1] / beta
    reference = logps[-1] + drop
    return drop, drop / abs(reference) if reference else 0.0


def warnings(history: History, beta: float) -> list[str]:
    """Return a sentence for each problem in the log, with a remedy; empty if there is none."""
    found = []
    drop, share = chosen_logp_drop(history, beta)
    if drop > MIN_NATS:
        found.append(
            f"chosen log-probs fell by {drop:.0f} nats ({share:.0%} of the reference's): lower the learning rate, "
            "raise beta, or add the loss type sft"
        )
    trained, held_out = _values(history, "rewards/accuracies"), _values(history, "eval_rewards/accuracies")
    if trained and held_out:
        late = sum(trained[-5:]) / len(trained[-5:])
        if late - held_out[-1] > OVERFIT_GAP:
            found.append(
                f"accuracy is {late:.2f} on training pairs and {held_out[-1]:.2f} on held-out pairs: overfitting; use "
                "fewer epochs, more pairs, or a smaller lora_rank"
            )
        if held_out[-1] < CHANCE_ACCURACY:
            found.append(
                f"held-out accuracy is {held_out[-1]:.2f}, no better than chance: train longer or with a higher "
                "learning rate; otherwise the labels may be noise to this model"
            )
    losses = _values(history, "eval_loss")
    if losses and losses[-1] > min(losses) * 1.1:
        best = losses.index(min(losses)) + 1
        found.append(
            f"held-out loss was lowest at evaluation {best} of {len(losses)} and rose afterwards: the checkpoint of "
            f"evaluation {best} is kept"
        )
    lengths = _values(history, "eval_generation_tokens")
    if lengths and lengths[-1] > max(lengths[0] * LENGTH_GROWTH, lengths[0] + MIN_GROWTH_TOKENS):
        found.append(
            f"answers grew from {lengths[0]:.0f} to {lengths[-1]:.0f} tokens: chosen answers may be the longer ones; "
            "set pair.length_matched, rules.max_chars_ratio, or trl.ld_alpha below 1"
        )
    norms = [value for value in _values(history, "grad_norm") if math.isfinite(value)]
    if norms and max(norms) > 20 * sorted(norms)[len(norms) // 2]:
        found.append(
            f"a gradient norm of {max(norms):.3g} is more than 20 times the median: lower the learning rate or use a "
            "longer warmup"
        )
    return found


def curves(history: History, beta: float) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return {chart title: {line: [(step, value), …]}}, without lines and charts that have no values."""
    charts = {
        "loss": {"train": "loss", "held out": "eval_loss"},
        "reward accuracy": {"train": "rewards/accuracies", "held out": "eval_rewards/accuracies"},
        "reward margin": {"train": "rewards/margins", "held out": "eval_rewards/margins"},
        "log-probs of held-out answers, nats": {"chosen": "eval_logps/chosen", "rejected": "eval_logps/rejected"},
        "length of answers to held-out prompts, tokens": {"held out": "eval_generation_tokens"},
        "learning rate": {"train": "learning_rate"},
        "entropy per token, nats": {"train": "entropy", "held out": "eval_entropy"},
    }
    found = {title: {name: _points(history, key) for name, key in lines.items()} for title, lines in charts.items()}
    if beta:
        # The mean log-ratio to the reference on its own data: an indicator of the KL divergence without sampling.
        found["log-ratio to the reference on held-out answers, nats"] = {
            side: [(step, reward / beta) for step, reward in _points(history, f"eval_rewards/{side}")]
            for side in ("chosen", "rejected")
        }
    return {
        title: {name: points for name, points in lines.items() if points}
        for title, lines in found.items()
        if any(lines.values())
    }


def _values(history: History, name: str) -> list[float]:
    return [value for _, value in _points(history, name)]


def _points(history: History, name: str) -> list[tuple[int, float]]:
    return [(int(line["step"]), float(line[name])) for line in history if line.get(name) is not None]
