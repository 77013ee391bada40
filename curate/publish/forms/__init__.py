"""
Pairs in the forms that trainers read. To add one: an entry here and a test.

Each form says which columns it has, what reads it, where that is documented, what is lost of a pair, and which pairs
it cannot express at all.
"""

from curate.publish.forms.base import Form
from curate.publish.forms.conversations import CONVERSATIONS
from curate.publish.forms.single_answers import SINGLE_ANSWERS
from curate.publish.forms.texts import TEXTS

__all__ = ["FORMS", "Form"]

FORMS: dict[str, Form] = {**CONVERSATIONS, **TEXTS, **SINGLE_ANSWERS}


def __dir__() -> list[str]:
    return sorted(__all__)
