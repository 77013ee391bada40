"""Bake-offs: short trainings on several sets of pairs, judged by the same held-out pairs."""
