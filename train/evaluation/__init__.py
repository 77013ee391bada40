"""Comparison of a trained model with its reference: held-out pairs by slice, answers, win rates, with intervals."""
