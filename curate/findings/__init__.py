"""
Findings: what in a preference dataset harms training, each with a stable code, from the stages of a run.

`kinds` is the table of codes. `rows` turns what rules, readers and deduplication know of single rows into findings,
`refusals` reads the few pairs in which one side declines, `prompts` compares the pairs of a prompt and of splits,
`bias` looks at the whole set. All work on lazy frames or on narrow tables of hashes and counts, never on all texts.
`outputs` writes findings for other programs.
"""

__all__ = ["bias", "kinds", "outputs", "prompts", "refusals", "result", "rows"]


def __dir__() -> list[str]:
    return sorted(__all__)
