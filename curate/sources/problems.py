"""Why a row is not a pair, or a prompt: what each problem means, and the stage that the ledger names for it."""

from curate import pairing
from curate.schema import DUPLICATE_PROMPT, SEED

PROBLEMS = pairing.ABOUT | {
    "tie": "the source or the judges' scores prefer neither response",
    "broken_row": "the row cannot be read (invalid JSON, invalid UTF-8, a wrong number of cells)",
    "not_text": "a value is not text but a number, a list or an object",
    "not_messages": "a value is not a list of messages",
    "no_messages": "the list of messages is empty",
    "no_content": "a message has no content",
    "unknown_role": "a message has a role that chat templates do not know",
    "not_supported": "a message contains an image or another part that is not text",
    "no_assistant_turn": "a side has no turn of the assistant",
    "missing_prompt": "there is no prompt, neither in a column nor shared by both sides",
    "no_shared_prompt": "the two dialogues share no user turn",
    "no_transcript": "the text contains no turns",
    "missing_chosen": "chosen is null",
    "missing_rejected": "rejected is null",
    "missing_response_a": "the first response is null",
    "missing_response_b": "the second response is null",
    "no_preference": "the source does not say which response is better",
    "rejected_side": "the row's answer is the rejected side of a pair, which has the row of its chosen side",
    "not_picked": "other answers to the same prompt form the pair",
    "too_many_answers": "the prompt has more than a thousand answers; the first thousand are compared",
    "prompt_row": "the row is a prompt, whose answers are other rows",
    "no_parent": "a message above it is missing",
    "deleted": "the source marks it as deleted",
    "uneven_lists": "the lists of answers and of their scores differ in length",
    "duplicate_prompt": "the prompt occurs earlier; it is answered once",
    "seed": "the prompt was only used to generate others",
}
# Rows whose answers were compared with those of other rows; nothing is wrong with them.
PART_OF_PAIRS = ("rejected_side", "not_picked")
# Problems of rows that were read successfully; all others are of the stage `read`.
STAGES = {
    "tie": "pair",
    "no_preference": "pair",
    DUPLICATE_PROMPT: "prompts",
    SEED: "prompts",
    **pairing.STAGES,
    **dict.fromkeys((*PART_OF_PAIRS, "too_many_answers"), "pair"),
}
