"""Pipelines: make prompts, generate candidates, judge them. Nothing here yet but the name: see the issues."""
