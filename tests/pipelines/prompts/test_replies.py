"""Parsing of typical and malformed replies into prompts."""

import json
import time
from collections.abc import Callable

import pytest

from pipelines.clients.requests import Reply
from pipelines.prompts.replies import (
    MAX_CHARS,
    looks_like_answer,
    read_list,
    read_message,
    read_user_turn,
    usable,
    usable_topic,
)

AB = ["What is a?", "What is b?"]
JSON = json.dumps(AB)


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"```json\n{JSON}\n```",
        f"```\n{JSON}\n```",
        f"Here are two messages:\n\n```json\n{json.dumps(AB, indent=2)}\n```\nShall I write more?",
        f'{{"messages": {JSON}}}',
        f'<think>1. Hm\n2. Hm, ["x"]</think>\n{JSON}',
        f"For [this topic]: {JSON}",
        '["What is a?", " \\"What is b?\\" ", ""]',
        "1. What is a?\n2. What is b?",
        "Sure! Here they are:\n\n1) What is a?\n\n2) **What is b?**\n\nI hope that they help.",
        '- "What is a?"\n- “What is b?”',
        "```\n* What is a?\n* What is b?\n```",
    ],
)
def test_lists(text: str) -> None:
    assert read_list(Reply(text), most=5) == AB


def test_ambiguous_lists() -> None:
    assert read_list(Reply('["1. a\\n2. b", "line\nbreak", "\\u00e9"]'), most=5) == ["1. a\n2. b", "line\nbreak", "é"]
    assert read_list(Reply('1. What does `["a"]` mean?\nIt stands here:\n   - in code\n2. b'), most=5) == [
        'What does `["a"]` mean?\nIt stands here:\n- in code',
        "b",
    ]
    assert read_list(Reply(json.dumps([f"q{i}" for i in range(100)])), most=3) == ["q0", "q1", "q2"]
    assert read_list(Reply("- only one"), most=1) == ["only one"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "What is a? And what is b?",
        "I cannot write messages [about this].",
        "- only one",
        "[]",
        '[""]',
        '["a", 3]',
        '[{"message": "a"}, {"message": "b"}]',
        '["a", ["b"]]',
        '["a" "b"]',
        '["a", "b"',
        "<think>It never ends. 1. a\n2. b",
        "[" * 100_000,
        '["a", ' + "[" * 100_000,
        '["' + "9" * 150_000,
        json.dumps(["x" * 1_000_000]),
        "a\n" * 500_000,
    ],
)
def test_replies_without_a_list(text: str) -> None:
    assert read_list(Reply(text), most=5) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b\\"]", "c', ["a", 'b"]']),
        ('```json\n[\n "a",\n "b",\n "c and', ["a", "b"]),
        (JSON, AB),
        ("1. a\n2. b\n3. c and", ["a", "b"]),
        ('["a', None),
        ('["a\\x", "b', None),
    ],
)
def test_complete_items_of_a_list_that_was_cut_off(text: str, expected: list[str] | None) -> None:
    assert read_list(Reply(text, "length"), most=5) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(" How do I, with two accounts, restore it? \n"), ["How do I, with two accounts, restore it?"]),
        (Reply('"How do I restore it?"'), ["How do I restore it?"]),
        (Reply('"Yes" or "no"?'), ['"Yes" or "no"?']),
        (Reply("<think>harder …</think>\n**How do I restore it?**"), ["How do I restore it?"]),
        (Reply("Two lines\n\nof one message"), ["Two lines\n\nof one message"]),
        (Reply("How do I restore it when", "length"), None),
        (Reply("  "), None),
        (Reply("Sure! How do I restore it?"), None),
        (Reply("I'm sorry, but I can't help with that."), None),
        (Reply("x" * 1_000_000), None),
    ],
)
def test_a_reply_that_is_one_message(reply: Reply, expected: list[str] | None) -> None:
    assert read_message(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("How do I restore it?\n\nYou open the menu."), ["How do I restore it?"]),
        (Reply("\n\nUser: How do I\nrestore it?<|im_end|>\n<|im_start|>assistant\nYou"), ["How do I\nrestore it?"]),
        (Reply("How do I restore it?\n \nYou", "length"), ["How do I restore it?"]),
        (Reply("How do I restore it?<end_of_turn>You", "length"), ["How do I restore it?"]),
        (Reply("How do I restore it if I", "length"), None),
        (Reply("Of course! Here are five ways:\n\n1. …"), None),
        (Reply("Hello! How can I help you today?"), None),
        (Reply(" <|im_end|>"), None),
    ],
)
def test_a_turn_written_in_the_users_place(reply: Reply, expected: list[str] | None) -> None:
    assert read_user_turn(reply) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Sure, I can do that.",
        "Certainly! Let us begin",
        "Here's a more complex version: …",
        "Here are some tips for you",
        "As an AI language model, I",
        "I’m sorry, but I cannot",
        "I can't assist with that",
        "Assistant: You open",
        "Hi there! How may I assist you?",
        "**Answer:** yes",
    ],
)
def test_openings_of_an_assistant(text: str) -> None:
    assert looks_like_answer(text)


@pytest.mark.parametrize(
    "text",
    [
        "Here is my code. It fails with KeyError; why?",
        "I'm sorry to bother you again: where is the menu?",
        "Are you sure that it restores all files?",
        "Surely there is a faster way?",
        "As an admin I want to see all files. How?",
        "Hi! My files are gone.",
        "Answer in one word: is it safe?",
        "AI in medicine: where is it used?",
        "I can't open the file. What now?",
    ],
)
def test_openings_of_a_user(text: str) -> None:
    assert not looks_like_answer(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I restore it?", True),
        ("怎样恢复", True),
        ("Why does {{ x }} fail for row[index] of #3?", True),
        ("How do I restore [Your File Name] now?", False),
        ("Help me", False),
        ("x" * MAX_CHARS, True),
        ("x" * (MAX_CHARS + 1), False),
        ("#Rewritten Prompt#: How do I restore it?", False),
        ("# The Given Prompt # How do I restore it?", False),
        ("The rewritten message: How do I restore it?", False),
        ("How do I restore it?\n<<<END MESSAGE ea8fca9623f079f3>>>", False),
        ("How do I restore it?<|im_end|>", False),
        ("How do I restore \ud800 it?", False),
        ("How do I restore \0 it?", False),
    ],
)
def test_usable(text: str, expected: bool) -> None:
    assert usable(text) is expected


@pytest.mark.parametrize(
    ("topic", "expected"),
    [("billing", True), ("税", True), ("", False), ("a\nb", False), ("x" * 121, False), ("\udfff", False)],
)
def test_usable_topic(topic: str, expected: bool) -> None:
    assert usable_topic(topic) is expected


@pytest.mark.parametrize("read", [lambda reply: read_list(reply, most=5), read_message, read_user_turn])
@pytest.mark.parametrize(
    "text",
    [
        "```" + "\n" * 199_000,
        '["' + "\\" * 199_000,
        '["a",' * 39_000,
        '"' * 199_000,
        "1. a\n" * 39_000,
        "#" * 99_000 + " " * 99_000,
        "\n \t" * 66_000 + "x",
        "<think>" * 28_000,
        "here is " * 24_000,
        "**" * 99_000,
    ],
)
def test_no_reply_takes_long(read: Callable[[Reply], list[str] | None], text: str) -> None:
    started = time.process_time()
    for end in ("stop", "length"):
        for prompt in read(Reply(text, end)) or ():
            usable(prompt)
    assert time.process_time() - started < 2
