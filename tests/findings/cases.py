"""One literal case of each code: what has it, and what beside it has not. A new code needs an entry in one of them."""

from collections.abc import Sequence
from typing import Any

from tests.data import row, rows
from tests.train.tiny import TEMPLATE

Row = dict[str, Any]
Source = Sequence[Row | str] | dict[str, list[Row]]  # rows, lines of a file, or files

ANSWER = "Open the lid slowly, then lift the jar and set it down on the table."
ENGLISH = "You should always read the whole manual before you try to repair the machine on your own."
GERMAN = (
    "Öffnen Sie zuerst langsam den Deckel, nehmen Sie danach das Glas und stellen Sie es anschließend vorsichtig auf "
    "den Tisch, bevor Sie weitermachen."
)
PHRASE = "Turn the red lid slowly to the left until it stops and then lift it up from the jar. "
PROMPT = "How do I open the jar of honey that my neighbour gave me for my birthday last week?"
BACKUP = "How do I restore the files of the whole server from the backup that was made in the last week"
OVEN = {"type": "object", "properties": {"dish": {"type": "string"}}, "required": ["dish"]}
TOOLS = [{"type": "function", "function": {"name": "oven", "parameters": OVEN}}]


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def assistant(text: str | None, **changes: Any) -> Row:
    return {"role": "assistant", "content": text} | changes


def call(name: str = "oven", **arguments: Any) -> Row:
    return assistant(
        "", tool_calls=[{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}]
    )


def turns(number: int, **changes: Any) -> Row:
    """Return `row` as messages, with `changes`."""
    good = row(number)
    sides = {side: [assistant(good[side])] for side in ("chosen", "rejected")}
    return {"prompt": [user(good["prompt"])], "tools": TOOLS, **sides} | changes


def many(chosen: str, rejected: str, count: int = 60, **more: Any) -> list[Row]:
    """Return pairs with {n} replaced by their number."""
    return [
        {"prompt": f"Question {n}?", "chosen": chosen.format(n=n), "rejected": rejected.format(n=n)} | more
        for n in range(count)
    ]


def prefers(*order: str) -> list[Row]:
    """Return pairs of one prompt: `AB` prefers A to B."""
    return [
        {"prompt": "Which jar?", "chosen": f"Jar {o[0]} of them.", "rejected": f"Jar {o[1]} of them."} for o in order
    ]


def flipped(pairs: Sequence[Row]) -> list[Row]:
    return [one | {"chosen": one["rejected"], "rejected": one["chosen"]} for one in pairs]


def votes(*annotators: str) -> list[Row]:
    """Return the labels of annotators of the same pairs; eve's are swapped."""
    labels = [(who, many("Jar {n}.", "Lid {n}.", 20, annotator=who)) for who in annotators]
    return [one for who, pairs in labels for one in (flipped(pairs) if who == "eve" else pairs)]


def written_by(chosen: str, rejected: str) -> list[Row]:
    return many("Jar {n}.", "Lid {n}.", chosen_model=chosen, rejected_model=rejected)


def dialogues(*answers: tuple[str, str]) -> list[Row]:
    """Return transcripts in the style of hh-rlhf."""
    return [
        {
            side: f"\n\nHuman: Tea {n}?\n\nAssistant: {text}"
            for side, text in zip(("chosen", "rejected"), two, strict=True)
        }
        for n, two in enumerate(answers)
    ]


def tree(*parents: str) -> list[Row]:
    """Return a question `q` and an answer to each of the messages."""
    return [message("q", None, "Tea?", None), *(message(f"a{n}", p, f"No. {n}", n) for n, p in enumerate(parents))]


def message(name: str, parent: str | None, text: str, rank: int | None) -> Row:
    """Return a message of a tree in the style of OpenAssistant."""
    role = "assistant" if parent else "prompter"
    return {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, "message_tree_id": "T"}


def rated(*answers: tuple[tuple[str, ...], tuple[float, ...]]) -> list[Row]:
    return [
        {"instruction": f"Tea {n}?", "generations": [*texts], "ratings": [*ratings], "generation_models": ["x", "y"]}
        for n, (texts, ratings) in enumerate(answers)
    ]


def judged(*preferences: float | None) -> list[Row]:
    """Return rows in the style of AlpacaEval."""
    return [
        {"instruction": f"Tea {n}?", "output_1": "Green.", "output_2": "No.", "preference": preference}
        for n, preference in enumerate(preferences)
    ]


# What is wrong with the second of three rows; the others have nothing of it.
ONE_ROW: list[tuple[str, Row]] = [
    ("PC102", {"chosen": 3}),
    ("PC108", {"prompt": None}),
    ("PC109", {"chosen": None}),
    ("PC201", {"prompt": " "}),
    ("PC202", {"chosen": ""}),
    ("PC203", {"rejected": ""}),
    ("PC204", {"chosen": ANSWER, "rejected": f"**{ANSWER}**"}),
    ("PC205", {"chosen": ANSWER, "rejected": ANSWER[:48]}),
    ("PC212", {"chosen": "word " * 10_001}),
    ("PC213", {"rejected": "word " * 10_001}),
    ("PC214", {"prompt": "word " * 20_001}),
    ("PC215", {"chosen": f"<|im_start|>assistant {ANSWER}"}),
    ("PC216", {"rejected": f"<|im_start|>assistant {ANSWER}"}),
    ("PC217", {"chosen": f"{ANSWER}\nUser: and then?"}),
    ("PC218", {"chosen": f"<think>Hm.</think> {ANSWER}"}),
    ("PC219", {"chosen": f"{ANSWER}\x07"}),
    ("PC220", {"rejected": f"{ANSWER}\x07"}),
    ("PC221", {"chosen": f"{ANSWER} donâ€™t drop it."}),
    ("PC222", {"chosen": f"{ANSWER} AKIAIOSFODNN7EXAMPLQ"}),
    ("PC223", {"rejected": f"{ANSWER} AKIAIOSFODNN7EXAMPLQ"}),
    ("PC224", {"chosen": f"{ANSWER}\n```\nlift(jar)"}),
    ("PC225", {"chosen": f"{ANSWER} Before you do that, make sure that nobody is standing near the"}),
    ("PC226", {"prompt": "How do I open a jar of honey?", "chosen": f"How do I open a jar of honey? {ANSWER}"}),
    ("PC227", {"chosen": "lift the jar and then " * 30}),
    ("PC228", {"chosen": PHRASE * 6}),
    ("PC229", {"chosen": "Lift it up.\n" * 30}),
    ("PC230", {"chosen": ANSWER, "rejected": "Lift."}),
    ("PC231", {"chosen": ENGLISH, "rejected": GERMAN}),
    ("PC232", {"chosen": ANSWER, "rejected": "I'm sorry, but I cannot help with opening jars of any kind, ever."}),
    ("PC401", {"chosen_score": 3, "rejected_score": 3}),
    ("PC403", {"chosen_score": 2, "rejected_score": 3}),
]
# The same of a row of messages.
ONE_CONVERSATION: list[tuple[str, Row]] = [
    ("PC103", {"chosen": [3]}),
    ("PC104", {"chosen": [assistant(None)]}),
    ("PC105", {"chosen": [{"role": "wizard", "content": "Green."}]}),
    ("PC106", {"chosen": [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]}),
    ("PC107", {"chosen": [user("Hm?")]}),
    ("PC206", {"prompt": [user("Hello."), user("Which tea?")]}),
    ("PC207", {"prompt": [user("Hello."), assistant("Yes?")]}),
    ("PC208", {"chosen": [call("fridge", dish="pie")]}),
    ("PC209", {"chosen": [call(at=3)]}),
    ("PC210", {"chosen": [{"role": "tool", "content": "220", "tool_call_id": "c1"}, assistant("It is hot.")]}),
]
# Whole sets: what has the code, in how many rows, the example rows, and a set that has none of it.
SETS: list[tuple[str, Source, int, list[int], Source]] = [
    ("PC101", ['{"prompt": "a", "chosen": "b', *rows(2)], 1, [0], rows(2)),
    (
        "PC110",
        tree("q", "q", "lost"),
        1,
        [3],
        tree("q", "q", "q"),
    ),
    ("PC111", rated((("bad", "good"), (1, 5)), (("bad", "good"), (1,))), 1, [1], rated((("bad", "good"), (1, 5)))),
    ("PC112", rated((("bad", "good"), (1, 5)), (("so", "so"), (1, 5))), 1, [1], rated((("bad", "good"), (1, 5)))),
    (
        "PC113",
        [{"prompt": "Tea?", "response": text, "score": n} for n, text in enumerate(("bad", "fair", "good"))],
        2,
        [0, 1],
        many("Jar {n}.", "Lid {n}.", 3),
    ),
    (
        "PC114",
        [row(n, database=f"CREATE TABLE t{n} (a int, b text, c date)") for n in range(5)],
        5,
        [0],
        [row(n, id=n) for n in range(5)],
    ),
    (
        "PC211",
        dialogues(("Green.", "No."), ("Yes.\n\nHuman: Why?\n\nAssistant: So.", "No.\n\nHuman: Oh?\n\nAssistant: Ah.")),
        1,
        [1],
        dialogues(("Green.", "No."), ("Yes, so.", "No, ah.")),
    ),
    ("PC301", [row(1), row(2), row(1, chosen=f" {row(1)['chosen']}  ")], 1, [2], rows(3)),
    ("PC302", [row(5, prompt=PROMPT), row(6, prompt=f"{PROMPT}?")], 1, [1], [row(5, prompt=PROMPT), row(6)]),
    ("PC303", [row(0), row(1), *flipped([row(0)])], 2, [0, 2], rows(3)),
    ("PC304", [row(0), row(1), row(2, prompt=row(0)["prompt"])], 2, [0, 2], rows(3)),
    ("PC305", prefers("AB", "BC", "CA"), 3, [0, 1, 2], prefers("AB", "BC", "AC")),
    (
        "PC306",
        [*rows(1), *many("Buy it.", "Lid {n}.", 12)],
        12,
        [*range(1, 13)],
        [*rows(1), *many("Buy it.", "Lid {n}.", 9)],
    ),
    ("PC402", judged(1, None, 2), 1, [1], judged(1, 2, 1)),
    ("PC404", many("Jar {n}, and its lid.", "Jar {n}."), 60, [], many("Jar {n}.", "Lid {n}.")),
    ("PC405", many("Jar {n}\n- lid\n- top", "Jar {n}, lid and top"), 60, [], many("Jar {n}, lid.", "Lid {n}, jar.")),
    ("PC406", many("Sure thing: {n}.", "Maybe later: {n}."), 60, [], many("Sure thing: {n}.", "Sure thing: {n}!!")),
    ("PC407", written_by("gpt-4", "cat-7b"), 60, [], written_by("gpt-4", "gpt-4")),
    ("PC408", many("Jar {n}. Lid. Top.", "Jar {n} and lid and top"), 60, [], rows(20)),
    ("PC409", votes("ann", "bob", "eve"), 20, [*range(40, 60)], votes("ann", "bob", "cat")),
    (
        "PC410",
        {"a.jsonl": votes("ann"), "b.jsonl": votes("bob"), "c.jsonl": votes("eve")},
        20,
        [*range(20)],
        {"a.jsonl": votes("ann"), "b.jsonl": votes("bob"), "c.jsonl": votes("cat")},
    ),
    (
        "PC501",
        {"test.jsonl": [row(9), row(1, chosen="No.")], "train.jsonl": rows(3)},
        1,
        [1],
        {"test.jsonl": [row(9)], "train.jsonl": rows(3)},
    ),
    (
        "PC502",
        {"test.jsonl": [row(9), row(1)], "train.jsonl": rows(3)},
        1,
        [1],
        {"test.jsonl": [row(9), row(1, chosen="No.")], "train.jsonl": rows(3)},
    ),
    (
        "PC503",
        {"test.jsonl": [row(9), row(1, prompt=f"{BACKUP}!")], "train.jsonl": [row(2, prompt=f"{BACKUP}?")]},
        1,
        [1],
        {"test.jsonl": [row(9), row(1)], "train.jsonl": [row(2, prompt=f"{BACKUP}?")]},
    ),
    (
        "PC504",
        [row(n, chosen_model="a", rejected_model="b", subset="math", id=n) for n in range(3)],
        3,
        [0],
        [row(n, id=n) for n in range(3)],
    ),
]
CONTENT, SYSTEM = "{{ m['content'] }}", "{% if m['role'] == 'system' %}"
STARTS = "<assistant>{% endif %}"  # the end of the template: the turn that is to be generated
REFUSES = f"%}}{SYSTEM}{{{{ raise_exception('no') }}}}{{% endif %}}<"
TAKEN_BACK = "<assistant>{% if '!' in messages[-1]['content'] %}<user>{% endif %}{% endif %}"
# Under a model with 2,048 tokens of context: a template, and what the second of three rows has; the others have none.
UNDER_MODEL: list[tuple[str, str, Row]] = [
    ("PC601", TEMPLATE.replace("%}<", REFUSES, 1), {"system": "Hm."}),
    ("PC602", TEMPLATE, {"prompt": "Is it red? " * 1000}),
    ("PC603", TEMPLATE, {"chosen": "It is red. " * 1000 + "Yes.", "rejected": "It is red. " * 1000 + "No."}),
    ("PC604", TEMPLATE.replace("</s>", ""), {"chosen": ""}),
    ("PC605", TEMPLATE, {"chosen": "It is red. " * 1000}),
    ("PC606", TEMPLATE.replace(STARTS, TAKEN_BACK), {"prompt": "Red!"}),
    ("PC607", TEMPLATE.replace("'assistant' %}", "'assistant' and '...' not in m['content'] %}"), {"chosen": "Yes..."}),
    ("PC608", TEMPLATE.replace("%}<", "%}{% if m['role'] != 'system' %}<", 1).replace(CONTENT, CONTENT + "{% endif %}"),
     {"system": "Be kind."}),
    ("PC609", TEMPLATE.replace(CONTENT, "{{ m['content'].split('</think>')[-1] }}"),
     {"chosen": "<think>Look.</think>Yes.", "rejected": "<think>?</think>No."}),
    ("PC610", TEMPLATE, {"chosen": "Yes, the door is red.", "rejected": "Yes, whatever you say."}),
]  # fmt: skip
# A problem that only a format of someone else can have: see test_a_problem_without_a_kind.
OTHER = "PC199"


def all_codes() -> list[str]:
    """Return the codes of all cases."""
    tables: tuple[Sequence[tuple[Any, ...]], ...] = (ONE_ROW, ONE_CONVERSATION, SETS, UNDER_MODEL)
    return [OTHER, *(case[0] for table in tables for case in table)]
