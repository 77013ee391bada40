"""
Findings: what in a preference dataset harms training, each with a stable code, from the stages of a run.

`kinds` is the table of codes. `rows` turns what rules, readers and deduplication know of single rows into findings,
`refusals` reads the few pairs in which one side declines, `prompts` compares the pairs of a prompt and of splits,
`bias` looks at the whole set. All work on lazy frames or on narrow tables of hashes and counts, never on all texts.
`outputs` writes findings for other programs.

The audit asks what a model could learn without reading: `features` are differences of the sides' surface, `linear` has
antisymmetric models of them, `shortcuts` its tables, and `remedies` what can be done at which cost. `label_noise`
estimates how probable each label is, from models that are cross-fitted as `crossfit` does it.
"""

__all__ = [
    "bias", "crossfit", "features", "kinds", "label_noise", "linear", "outputs", "prompts", "refusals", "remedies",
    "result", "rows", "shortcuts",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
