"""
What two responses of the same words may differ in without saying anything else: the signal `identical_normalized`.

In prose these are white space, emphasis, the shape of quotation marks and dots, and marks between clauses. Everything
else counts: operators, list marks, question marks, colons, marks inside a number or a name. Where a response has code
or mathematics, or the prompt asks about form, only the shape of characters and white space inside and after lines does
not count: there, a comma or an indentation may be the whole difference.
"""

import polars as pl

from curate.signals.patterns import pattern

SHAPES = {
    **dict.fromkeys("“”„‟«»", '"'),
    **dict.fromkeys("‘’", "'"),
    **{"…": "...", "。": ".", "，": ",", "、": ",", "！": "!", "？": "?", "：": ":", "；": ";"},
}
# An indented block, backticks, brackets, operators, a call, a tag, a formula, a statement's end. A lone > (menus) or $
# (prices) is none.
CODE = r":\n[ \t]+\S|[`=+{}\[\]|\\^~]|\w\(|<[\w/!]|\$[^$\n]+\$|;[^\S\n]*(?:\n|\z)"
STARS = r"(?:\*\*\*|\*\*|\*)"
EMPHASIS = rf"(\A|[^\p{{L}}\p{{N}}*\\]){STARS}([^\s*](?:[^*\n]*[^\s*])?){STARS}([^\p{{L}}\p{{N}}*]|\z)"
CLAUSE_MARKS = r"([\p{L}\p{M}]'?[\p{L}\p{M}][)']?)[.,;!]+([\s)']|\z)"  # after a word: not in 3.5, n! or a, b
LAST_DOT = r"(\p{N})\.+\s*\z"  # after a number, only at the end


def differ_in_form_only(prompt: str, one: str, other: str) -> pl.Expr:
    """Return whether two responses of the same words differ in their form only; columns of texts -> bool."""
    a, b = pl.col(one), pl.col(other)
    asked = pl.col(prompt).str.to_lowercase().str.contains(pattern("about_form")).fill_null(value=False)
    exact = asked | a.str.contains(CODE) | b.str.contains(CODE)
    return pl.when(exact).then(_lines(a) == _lines(b)).otherwise(_prose(a) == _prose(b))


def _lines(text: pl.Expr) -> pl.Expr:
    """Return texts with their marks and indentations; of runs of white space within lines one space is left."""
    shaped = text.str.replace_many(SHAPES).str.replace_all(r"(\S)[^\S\n]+", "$1 ")
    return shaped.str.replace_all(r"[^\S\n]*\n\s*\n|[^\S\n]+\n", "\n").str.strip_chars("\n").str.strip_chars_end()


def _prose(text: pl.Expr) -> pl.Expr:
    """Return texts without emphasis, quotation marks and marks between clauses, as one line."""
    plain = text.str.replace_many(SHAPES).str.replace_all('"', "", literal=True)
    for _ in range(2):  # two emphases may share the space between them
        plain = plain.str.replace_all(EMPHASIS, "${1}${2}${3}")
    plain = plain.str.replace_all(CLAUSE_MARKS, "${1}${2}").str.replace_all(LAST_DOT, "$1")
    return plain.str.replace_all(r"\s+", " ").str.strip_chars()
