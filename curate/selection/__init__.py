"""Which pairs are selected, and which split each goes to.

module       what it does
-----------  -------------------------------------------------------------------------------------------------
`sections`   the recipe's select section; `step_sections`: the settings of its steps
`choices`    what each step does with a frame of pairs
`steps`      steps taken in order: which pairs each drops, and how rows, lengths and margins moved
`ranked`     selections by what was measured, each with its paper
`relevance`  similarity to examples of what is wanted, calibrated on a background
`diversity`  prompt clusters with names, a map, diverse subsets
`mixing`     how many pairs of each source
`splits`     train, validation, test by clusters of similar prompts
"""

__all__ = ["choices", "diversity", "mixing", "ranked", "relevance", "sections", "splits", "step_sections", "steps"]


def __dir__() -> list[str]:
    return sorted(__all__)
