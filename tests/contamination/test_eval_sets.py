"""Eval sets from files, from the Hub, and by name."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.contamination.eval_set import EvalSet
from curate.contamination.eval_sets import known_evals, load_eval, text_of
from curate.errors import InputError, RecipeError
from tests.data import write_jsonl
from tests.hub_server import HubServer

ROWS: list[dict[str, Any]] = [
    {"uid": "a1", "question": "Who?", "options": ["He", "She"], "turns": [{"content": "One"}, {"content": "Two"}]},
    {"uid": "a2", "question": "", "options": [], "turns": []},
    {"uid": "a3", "question": "When?", "options": None, "turns": [{"content": "Three"}]},
]


def items_of(found: EvalSet) -> list[tuple[str, str]]:
    return list(zip(found.ids, found.items, strict=True))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_text_is_in_the_named_columns(tmp_path: Path, ending: str) -> None:
    path = write_jsonl(tmp_path / "quiz.jsonl", ROWS)
    if ending == "parquet":
        pl.read_ndjson(path).write_parquet(path.with_suffix(".parquet"))
    spec = str(path.with_suffix(f".{ending}"))
    found = load_eval(spec, columns=["question"])
    assert (found.name, items_of(found)) == ("quiz", [("0", "Who?"), ("2", "When?")])
    found = load_eval(spec, columns=["question", "options"], id_column="uid", name="mine")
    assert (found.name, items_of(found)) == ("mine", [("a1", "Who?\n\nHe\n\nShe"), ("a3", "When?")])
    assert items_of(load_eval(spec, columns=["turns"])) == [("0", "One\n\nTwo"), ("2", "Three")]


def test_a_dot_selects_a_field(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "q.jsonl", [{"info": {"post": "Why?", "n": 3}}, {"info": None}])
    assert items_of(load_eval(str(path), columns=["info.post", "info.n"])) == [("0", "Why?\n\n3")]


def test_without_columns_the_text_is_the_user_turns_of_the_prompt(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", [{"prompt": "Who?", "chosen": "He.", "rejected": "She."}])
    assert items_of(load_eval(str(path))) == [("0", "Who?")]
    talk = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "Who?"), ("assistant", "Me.")]
    messages = [{"role": role, "content": text} for role, text in talk]
    path = write_jsonl(tmp_path / "m.jsonl", [{"messages": messages}, {"messages": None}])
    assert items_of(load_eval(str(path))) == [("0", "Hi\n\nWho?")]
    (tmp_path / "t.txt").write_text("Who is it?\n\nWhen?\n", "utf-8")
    assert items_of(load_eval(str(tmp_path / "t.txt"))) == [("0", "Who is it?"), ("1", "When?")]


def test_ids_of_a_folder_include_the_file_name(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"q": f"{name}?"}])
    assert items_of(load_eval(str(tmp_path), columns=["q"])) == [("x.jsonl/0", "x?"), ("y.jsonl/0", "y?")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (3, "3"),
        (["a", None, ["b"]], "a\n\nb"),
        ([{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}], "u"),
        ([{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}], "h"),
        ({"other": "x"}, ""),
    ],
)
def test_text_of_values(value: object, text: str) -> None:
    assert text_of(value) == text


def test_nesting_is_limited() -> None:
    deep: Any = "a"
    for _ in range(100_000):
        deep = [deep]
    assert text_of(deep) == ""


def test_an_unknown_column_suggests_the_closest(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "quiz.jsonl", ROWS))
    with pytest.raises(
        RecipeError, match=r"unknown column of the eval set 'quiz' 'qestion'\. Did you mean 'question'\?"
    ):
        load_eval(path, columns=["qestion"])
    with pytest.raises(RecipeError, match=r"unknown column of the eval set 'quiz' 'id'.* Known: options, question"):
        load_eval(path, columns=["question"], id_column="id")
    path = str(write_jsonl(tmp_path / "odd.jsonl", [{"foo": "a", "bar": "b"}]))
    with pytest.raises(
        InputError, match=r"'odd': .*none of the columns foo, bar .* Name the columns that contain its text$"
    ):
        load_eval(path)


def test_an_unknown_name_or_path(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown eval set 'gsm-8'\. Did you mean 'gsm8k'\? Known: alpaca_eval, "):
        load_eval("gsm-8")
    with pytest.raises(InputError, match=r"nothing\.jsonl does not exist"):
        load_eval(str(tmp_path / "nothing.jsonl"))


def test_a_set_without_text_or_with_broken_rows(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "blank.jsonl", [{"q": " ", "prompt": None}, {"q": None, "prompt": " "}]))
    for columns in (["q"], []):
        with pytest.raises(InputError, match=r"the eval set 'blank' is empty: none of its . items contains text"):
            load_eval(path, columns=columns)
    path = str(write_jsonl(tmp_path / "broken.jsonl", [{"prompt": "a"}, "{", {"prompt": "b"}]))
    for columns in (["prompt"], []):
        with pytest.raises(InputError, match=r"eval set 'broken': .*row.* cannot be read: line 2: invalid JSON"):
            load_eval(path, columns=columns)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match=r"empty\.jsonl: the file is empty"):
        load_eval(str(tmp_path / "empty.jsonl"), columns=["prompt"])


def test_the_named_sets_are_complete() -> None:
    wanted = {
        "alpaca_eval",
        "mt_bench",
        "arena_hard",
        "rewardbench",
        "rewardbench_2",
        "ifeval",
        "gsm8k",
        "math",
        "mmlu",
    }
    assert wanted | {"humaneval", "truthful_qa", "bbh"} <= set(known_evals())
    for name, entry in known_evals().items():
        assert set(entry) <= {"hub", "configs", "split", "columns", "id"}, name
        assert entry["columns"], name
        assert name == name.lower().replace("-", "_")


# The clients read their settings at import, so the URL of the Hub is given to a separate process.
PROGRAM = """
import json, sys
from curate.contamination.eval_sets import load_eval
from curate.errors import CurateError
for spec in sys.argv[1:]:
    try:
        found = load_eval(spec)
        print(json.dumps([found.name, found.ids.to_list(), found.items.to_list()]))
    except CurateError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
MATH = known_evals()["math"]["configs"]
CARD = "---\nconfigs:\n" + "".join(
    f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}.jsonl\n" for config in MATH
)


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.slow
def test_named_sets_come_from_the_hub(tmp_path: Path) -> None:
    repos: dict[str, dict[str, Any]] = {
        # A loading script beside the file, as on the Hub.
        "tatsu-lab/alpaca_eval": {"alpaca_eval.json": b'[{"instruction": "Who?"}]', "alpaca_eval.py": b"import os"},
        "HuggingFaceH4/mt_bench_prompts": {"train.jsonl": lines({"prompt": ["Who?", "Why?"], "prompt_id": 7})},
        "EleutherAI/hendrycks_math": {
            "README.md": f"{CARD}---\n".encode(),
            **{f"{config}.jsonl": lines({"problem": f"{config}?"}) for config in MATH},
        },
        "google/IFEval": {"train.jsonl": lines({"instruction": "Who?", "key": 1})},
        "me/script": {"script.py": b"import os"},
    }
    with HubServer(repos) as server:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
        }
        names = ["AlpacaEval".replace("E", "_e"), "MT-Bench", "math", "ifeval", "me/script"]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *names],
            env=environment, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    alpaca, mt_bench, math, ifeval, script = map(json.loads, done.stdout.splitlines())
    assert alpaca == ["alpaca_eval", ["0"], ["Who?"]]
    assert mt_bench == ["mt_bench", ["7"], ["Who?\n\nWhy?"]]
    assert math == ["math", [f"{config}/0" for config in MATH], [f"{config}?" for config in MATH]]
    assert ifeval[0] == "RecipeError"
    assert "unknown column of the eval set 'ifeval' 'prompt'" in ifeval[1]
    assert script[0] == "InputError"
    assert "needs its own loading script, which is not run" in script[1]
