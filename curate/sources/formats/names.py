"""Names of columns by which public sets of chosen and rejected are read; the first one that is there counts."""

import re

PROMPT = (
    "prompt",
    "instruction",
    "question",
    "query",
    "problem",
    "user_prompt",
    "user_input",
    "post",
    "input",
    "context",
)
# Conversations up to the answers: the prompt, where there is no other; else the turns before it.
CONVERSATION = (
    "messages",
    "conversations",
    "conversation",
    "trajectory",
    "dialogue",
    "dialog",
    "chat",
    "history",
    "chat_history",
)
SYSTEM = ("system", "system_prompt", "system_message")
# Texts that the question is about, after it.
REFERENCE = ("input", "context", "schema", "initial_reason_steps")
# Columns beside the two sides by which they may be equally good, and the values that say so.
VERDICT = {
    **dict.fromkeys(("status", "winner", "verdict"), ("tie", "tied", "draw", "both_bad", "bothbad", "tie (bothbad)")),
    **dict.fromkeys(("tie", "is_tie"), ("true", "1", "yes")),
}
LOST = ("image", "images", "video", "videos", "audio", "audios", "pixel_values", "tool_calls")
TOOLS = ("tools", "functions")  # the tools that the conversation offers
SIDES = ("chosen", "rejected")
NAMES = (
    SIDES, ("chosen_response", "rejected_response"), ("chosen_messages", "rejected_messages"), ("accepted", "rejected"),
    ("preferred", "dispreferred"), ("preferred_output", "non_preferred_output"),
    ("preferred_response", "dispreferred_response"),
    *((f"chosen_{what}", f"rejected_{what}") for what in ("answer", "text", "output", "completion", "conversations")),
    ("better_response", "worse_response"), ("better", "worse"), ("best", "worst"), ("positive", "negative"),
    ("winning", "losing"), ("winner_response", "loser_response"), ("accepted_response", "rejected_response"),
    *((f"{what}_chosen", f"{what}_rejected") for what in ("response", "answer", "output", "text")),
    ("pos", "neg"), ("y_w", "y_l"), ("response_j", "response_k"), ("messages", "rejected_response"),
    ("messages", "rejected_messages"),
)  # fmt: skip
ANSWER_NAME = re.compile("response|answer|^ans|output|completion|generation|candidate|reply", re.IGNORECASE)
# Values of sides that name one of two other columns; they are no answers.
LABELS_OF_SIDES = {"a", "b", "0", "1", "2", "model_a", "model_b", "response_a", "response_b", "left", "right"}
# Numbers and labels found in many datasets, with their usual names.
NUMBERS: dict[str, tuple[str, ...]] = {
    f"{side}_score": (f"{side}_score", f"score_{side}", f"{side}-rating", f"{side}_rating", f"{side}_avg_rating")
    for side in SIDES
}
LABELS: dict[str, tuple[str, ...]] = {
    f"{side}_model": (f"{side}_model", f"{side}-model", f"model_{side}", f"{side}_policy") for side in SIDES
}
