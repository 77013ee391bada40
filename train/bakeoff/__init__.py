"""Bake-offs: short trainings on several sets of pairs, compared on the same held-out pairs."""
