"""Texts that a chat template rendered, and transcripts before a prompt: split into turns, wherever they stand."""

import pytest

from tests.staged import staged, texts

LLAMA3 = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"
# system, question and the start of an answer, as templates write them
PROMPTS = {
    "ChatML": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nTea?<|im_end|>\n<|im_start|>assistant\n",
    "ChatML, answer not begun": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nTea?<|im_end|>\n",
    "Llama 3": "<|begin_of_text|>" + LLAMA3.format("system", "Be kind.") + LLAMA3.format("user", "Tea?")
    + "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "Llama 2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nTea? [/INST]",
    "Zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nTea?</s>\n<|assistant|>\n",
    "Phi": "<|system|>\nBe kind.<|end|>\n<|user|>\nTea?<|end|>\n<|assistant|>",
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_of_templates(name: str) -> None:
    row = staged({"prompt": PROMPTS[name], "chosen": "Green.", "rejected": "No."})[0]
    assert texts(row) == ("system: Be kind. | user: Tea?", "assistant: Green.", "assistant: No.")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<bos><start_of_turn>user\nTea?<end_of_turn>\n<start_of_turn>model\n", "user: Tea?"),
        ("<|system|>\n</s>\n<|user|>\nTea?</s>\n<|assistant|>\n", "user: Tea?"),
        ("[INST] Tea? [/INST]", "user: Tea?"),
        ("<s>[INST] Hi [/INST] Yes?</s><s>[INST] Tea? [/INST]", "user: Hi | assistant: Yes? | user: Tea?"),
        ("What does <|im_start|>user mean?", "user: What does <|im_start|>user mean?"),
        ("<|im_start|> is a token. Why?", "user: <|im_start|> is a token. Why?"),
        ("[INSTALL] fails", "user: [INSTALL] fails"),
    ],
)
def test_prompts_without_a_system_message(prompt: str, expected: str) -> None:
    row = staged({"prompt": prompt, "chosen": "Green.", "rejected": "No."})[0]
    assert texts(row) == (expected, "assistant: Green.", "assistant: No.")


@pytest.mark.parametrize("prompt", [{}, {"prompt": "Tea?"}, {"prompt": "<|im_start|>user\nTea?<|im_end|>"}])
def test_whole_conversations_of_a_template(prompt: dict[str, str]) -> None:
    turns = "<|im_start|>user\nTea?<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n"
    row = staged(prompt | {"chosen": turns.format("Green."), "rejected": turns.format("No.")})[0]
    assert texts(row) == ("user: Tea?", "assistant: Green.", "assistant: No.")


def test_answers_with_the_header_of_their_turn() -> None:
    answers = {side: LLAMA3.format("assistant", text) for side, text in (("chosen", "Green."), ("rejected", "No."))}
    row = staged({"prompt": "Tea?"} | answers)[0]
    assert texts(row) == ("user: Tea?", "assistant: Green.", "assistant: No.")


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_header_on_one_side_only_is_a_leak_and_stays(side: str) -> None:
    header = "<|im_start|>assistant\nGreen."
    row = staged({"prompt": "Tea?", "chosen": "Black.", "rejected": "White.", side: header})[0]
    assert row[side] == f"assistant: {header}"


@pytest.mark.parametrize(
    "history",
    [
        "Human: Hi\nAssistant: Hello",
        "\n\nHuman: Hi\n\nAssistant: Hello",
        "User: Hi\nAssistant: Hello",
        "USER: Hi ASSISTANT:\nASSISTANT: Hello",
        "### Human: Hi\n### Assistant: Hello",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>",
    ],
)
def test_earlier_turns_in_one_text(history: str) -> None:
    row = staged({"history": history, "prompt": "Tea?", "chosen": "Green.", "rejected": "No."})[0]
    hi = "Hi ASSISTANT:" if "Hi A" in history else "Hi"
    assert row["prompt"] == f"user: {hi} | assistant: Hello | user: Tea?"
