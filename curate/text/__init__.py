"""
Text as columns: messages as polars expressions, and texts as flat arrays of word hashes. Nothing here knows pairs.

Text is cut into words in four ways, because their users need different things:

================  =====================  ========================  =====================  ====================
module            `tokens`               `normalized_words`        `stable_words`         `selection.TERM`
================  =====================  ========================  =====================  ====================
used for          signals                near-duplicates           contamination, saved   names of prompt
                                                                   eval indexes           clusters
a word is         text between white     a run of letters, marks,  a run of letters,      two or more letters,
                  space and punctuation  digits; a sign between    marks, digits          marks, digits
                                         two digits
case and form     lower case; ’ as '     lower case; NFKC where    lower case; NFKC       lower case
                                         characters have several   beyond Latin-1
                                         forms; no invisible ones
scripts without   one character          one character             one character          two characters
spaces
hashes stable     yes                    yes                       yes, with a version    no hashes
across processes
speed             as `normalized_words`  25 % slower than          5 times splitting      –
                                         `stable_words`            into strings first
================  =====================  ========================  =====================  ====================

A text without words has none, except in `normalized_words`: there, a text with visible characters (emoji, punctuation)
is one word, because texts that it calls equal are dropped. `scripts.UNSPACED` lists the scripts without spaces.
`pipelines.prompts.novelty` compares a few thousand short strings and works on Python strings instead.
"""

__all__ = [
    "arrays",
    "blocks",
    "messages",
    "normalized_words",
    "scripts",
    "sequences",
    "shingles",
    "stable_words",
    "tokens",
    "utf8",
]


def __dir__() -> list[str]:
    return sorted(__all__)
