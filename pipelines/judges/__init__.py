"""Scores for answers: judges by rubric or comparison, reward models, the heuristic; and how far judges agree."""
