"""Contamination: eval items in training rows, found by shared n-grams, by equal words, or by embedding."""
