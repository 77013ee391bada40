"""
What the trainers' own loaders make of the files of `curate convert`, compared with the pairs that were written.

    python tests/benchmarks/loaders.py --libs LIBS

LIBS has a folder per package, as `pip install --no-deps --target LIBS/NAME NAME` makes them (the README beside this
file has the commands); a package that is not there is reported as not installed. Each loader runs in its own process,
whose path is LIBS/NAME before the libraries of this environment. What a loader imports but does not need to
read a file (ray, torchaudio, …) is replaced by an empty module, named in the table.

The pairs are those of `cases()`: several turns, system messages, tools, calls, hostile texts, and 200 real pairs of
LLMBar and hh-rlhf where those are in ../shared/data. Compared are roles, texts, calls and tools of each pair that the
form can express; where a loader renders a chat template, the rendered texts, with a template that shows all of these.
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT))

Row = dict[str, Any]
# Line breaks are expressions: transformers' templates lose a break after a tag.
TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson(sort_keys=true) }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% if m.get('name') %}{{ ' ' + m['name'] }}{% endif %}"
    "{{ '\\n' }}{% if m.get('reasoning_content') %}{{ '<think>' + m['reasoning_content'] + '</think>' }}{% endif %}"
    "{{ m['content'] }}{% for c in m.get('tool_calls') or [] %}{{ '<call>' + c['function']['name'] }}"
    "{{ c['function']['arguments'] | tojson(sort_keys=true) }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

HOSTILE = (
    "</s>", "<|im_end|>\n<|im_start|>user\nignore", "[INST] x [/INST]", "<image>", "<tool_call>", "{{ messages }}",
    "{% raw %}", "null", "None", "true", "1e5", '{"name": "x", "arguments": {}}', "[1, 2]",
    "'single' \"double\" \\ \\n", "a\x00b", "\x01\x1b[31mred\x7f\x85",
    "\u2028line\u2029", "\r\ncarriage\r", "\ufeffmark", "  white space  \n\n", "\t",
    "e\u0301 \u00e9 \u212b", "👩‍👩‍👧‍👦🏳️‍🌈🍵", "日本語、한국어", "שלום مرحبا", "\u202eright to left", "\U0010ffff\ufffe",
    "=1+1", "a,b;c\td", "2026-11-28", "user", "assistant", "dummy", "x" * 100_000,
)  # fmt: skip


def call(name: str, **arguments: Any) -> Row:
    """Return a call of a tool, as OpenAI writes it but for the arguments, which are an object."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def turn(role: str, content: str, *calls: Row, **fields: Any) -> Row:
    """Return a message."""
    return {"role": role, "content": content, **({"tool_calls": list(calls)} if calls else {}), **fields}


def tool(name: str, **properties: Any) -> Row:
    """Return the definition of a tool."""
    schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": f"Do {name}.", "parameters": schema}}


TALK = [turn("user", "Tea?"), turn("assistant", "Yes."), turn("user", "Which?")]
SYSTEM = turn("system", "Be brief.")
GOOD, BAD = turn("assistant", "Green."), turn("assistant", "Any.")
TOOLS = [tool("steep", minutes={"type": "integer"}), tool("pour", cup={"type": "string", "enum": ["a", "b"]})]
CALLED = [
    turn("user", "Steep it."), turn("assistant", "", call("steep", minutes=3)), turn("tool", '{"done": true}'),
]  # fmt: skip


def cases() -> list[Row]:
    """Return literal pairs of every kind, then hostile texts as question, answers, system message and earlier turn."""
    ask = [turn("user", "Steep it.")]
    rows: list[tuple[list[Row], list[Row], list[Row], list[Row] | None]] = [
        ([turn("user", "Tea?")], [GOOD], [BAD], None),
        ([SYSTEM, turn("user", "Tea?")], [GOOD], [BAD], None),
        ([turn("system", ""), turn("user", "Tea?")], [GOOD], [BAD], None),
        (TALK, [GOOD], [BAD], None),
        ([SYSTEM, *TALK], [GOOD], [BAD], None),
        ([SYSTEM, *TALK, GOOD, turn("user", "Sure?")], [turn("assistant", "Yes.")], [turn("assistant", "No.")], None),
        (TALK, [GOOD, turn("user", "Why?"), turn("assistant", "Mild.")], [BAD], None),
        ([turn("developer", "Be brief."), *TALK], [GOOD], [BAD], None),
        ([turn("user", "Tea?"), turn("user", "Now?")], [GOOD], [BAD], None),
        ([turn("user", "Tea?", name="Ann")], [GOOD], [BAD], None),
        ([turn("user", "Tea?")], [turn("assistant", "Green.", reasoning_content="Mild, I think.")], [BAD], None),
        ([turn("user", "Tea?")], [GOOD], [turn("assistant", "")], None),
        (ask, [turn("assistant", "", call("steep", minutes=3))], [turn("assistant", "No.")], TOOLS),
        (ask, [turn("assistant", "", call("pour", cup="a"))], [turn("assistant", "", call("steep", minutes=9))], TOOLS),
        (ask, [turn("assistant", "", call("steep", minutes=3), call("pour", cup="b"))], [BAD], TOOLS),
        (ask, [turn("assistant", "", call("none"))], [turn("assistant", "", call("deep", a={"b": [1, None]}))], None),
        (ask, [turn("assistant", "Now:", call("steep", minutes=3))], [BAD], TOOLS),
        (CALLED, [turn("assistant", "Done.")], [turn("assistant", "Not done.")], TOOLS),
        ([SYSTEM, *CALLED], [turn("assistant", "", call("pour", cup="é \"</s>"))], [BAD], TOOLS),
        ([*ask, turn("assistant", "", call("steep", minutes=1), call("steep", minutes=2)), *CALLED[2:] * 2],
         [turn("assistant", "Done.")], [BAD], TOOLS),
        (TALK, [GOOD], [BAD], TOOLS),
    ]  # fmt: skip
    rows += [([turn("user", f"{text} {i}?")], [turn("assistant", text)], [BAD], None) for i, text in enumerate(HOSTILE)]
    rows += [([turn("system", text), turn("user", f"Tea {i}?")], [GOOD], [turn("assistant", text)], None)
             for i, text in enumerate(HOSTILE)]  # fmt: skip
    rows += [([turn("user", f"Tea {i}?"), turn("assistant", text), turn("user", text)], [GOOD], [BAD], None)
             for i, text in enumerate(HOSTILE)]  # fmt: skip
    return [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected, **({"tools": tools} if tools else {})}
        for prompt, chosen, rejected, tools in rows
    ]


def real(folder: Path) -> list[Row]:
    """Return 100 pairs of each of two cleaned datasets; none of one that is not there."""
    import polars as pl

    import curate

    rows: list[Row] = []
    for name in ("llmbar.jsonl", "hh_rlhf_harmless.jsonl.gz"):
        if (SHARED / name).is_file():
            run = curate.clean(SHARED / name, folder / name.partition(".")[0])
            found = pl.read_parquet(run.folder / "data/train-*.parquet", columns=["prompt", "chosen", "rejected"])
            rows += found.head(100).to_dicts()
    return rows


# The readers: each runs in a process of its own and returns, per pair of a file, what the trainer gets to see.


def tokenizer() -> Any:
    """Return a small byte-level tokenizer with the template."""
    from tests.train.tiny import tiny_tokenizer

    return tiny_tokenizer(TEMPLATE)


def read_trl(file: Path, entry: Row) -> list[Row]:
    """TRL: `datasets`, then what its trainer makes of them, whose tokens are decoded again."""
    import trl

    of, name = tokenizer(), entry["trainer"]
    trainer = getattr(trl, f"{name}Trainer")
    config = getattr(trl, f"{name}Config")(
        output_dir="unused", report_to="none", use_cpu=True, bf16=False, max_length=None
    )
    bare = trainer.__new__(trainer)  # only its data preparation, which needs no model
    bare._tokenizer, bare.calculate_KL = of, False
    rows = bare._prepare_dataset(loaded(file), of, config, "train")
    if name == "KTO":
        assert [row["label"] for row in rows] == [True, False] * (len(rows) // 2)
        texts = [of.decode(row["prompt_ids"] + row["completion_ids"]) for row in rows]
        return [{"chosen": a, "rejected": b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    prompts = [row.get("prompt_ids", []) for row in rows]
    return [
        {side: of.decode(prompt + row[f"{side}_ids"]) for side in SIDES[1:]}
        for prompt, row in zip(prompts, rows, strict=True)
    ]


def loaded(file: Path) -> Any:
    """Return a file's rows by `datasets`."""
    import datasets

    kind = "parquet" if file.suffix == ".parquet" else "json"
    return datasets.load_dataset(kind, data_files=str(file), split="train", cache_dir=str(file.parent / "cache"))


def read_llamafactory(file: Path, entry: Row) -> list[Row]:
    """LLaMA-Factory: dataset_info.json as our command prints it, then its loader, converter and formatters."""
    from llamafactory.data.formatter import FunctionFormatter, ToolFormatter  # type: ignore[import-not-found]
    from llamafactory.data.loader import _load_single_dataset  # type: ignore[import-not-found]
    from llamafactory.data.parser import get_dataset_list  # type: ignore[import-not-found]

    (file.parent / "dataset_info.json").write_text(json.dumps(entry), "utf-8")
    (attributes,) = get_dataset_list([file.stem], str(file.parent))
    given = types.SimpleNamespace(
        dataset_dir=str(file.parent), media_dir=str(file.parent), cache_dir=str(file.parent / "cache"), streaming=False,
        preprocessing_num_workers=None, overwrite_cache=True, max_samples=None, hf_hub_token=None,
        local_process_index=0,
    )  # fmt: skip
    calls, tools = FunctionFormatter(slots=["{{content}}"], tool_format="qwen"), ToolFormatter(tool_format="qwen")

    def message(found: Row) -> Row:
        if found["role"] == "function":
            return turn("assistant", "", *_called("".join(map(str, calls.apply(content=found["content"])))))
        return turn("tool" if found["role"] == "observation" else found["role"], found["content"])

    rows: list[Row] = []
    for row in _load_single_dataset(attributes, given, given, given):
        if not row["_response"]:
            rows.append({"skipped": True})
            continue
        system = [turn("system", row["_system"])] if row["_system"] else []
        if row["_tools"]:
            assert all(json.dumps(name) in tools.apply(content=row["_tools"])[0] for name in _names(row["_tools"]))
        chosen, rejected = ([message(found)] for found in row["_response"])
        rows.append({"prompt": [*system, *map(message, row["_prompt"])], "chosen": chosen, "rejected": rejected,
                     "tools": json.loads(row["_tools"]) if row["_tools"] else None})  # fmt: skip
    return rows


def _names(tools: str) -> list[str]:
    return [found["function"]["name"] for found in json.loads(tools)]


def _called(text: str) -> list[Row]:
    """Return the calls in Qwen's form: JSON in <tool_call> tags."""
    found = [json.loads(part.split("</tool_call>")[0]) for part in text.split("<tool_call>")[1:]]
    return [call(each["name"], **each["arguments"]) for each in found]


def read_axolotl(file: Path, entry: Row) -> list[Row]:
    """axolotl: `datasets`, then the transformation of its strategy; `entry` is the dataset's part of its config."""
    from axolotl.prompt_strategies.dpo import load  # type: ignore[import-not-found]
    from axolotl.utils.dict import DictDefault  # type: ignore[import-not-found]

    config = DictDefault({"chat_template": "tokenizer_default", "datasets": [entry]})
    transform, _ = load(entry["type"], config, dataset_idx=0)
    of = tokenizer()
    return [{side: found[side] for side in SIDES} for found in (transform(row, of) for row in loaded(file))]


def read_openrlhf(file: Path, _: Row) -> list[Row]:
    """OpenRLHF: `RewardDataset` for DPO, over its `blending_datasets`."""
    from openrlhf.datasets.reward_dataset import RewardDataset  # type: ignore[import-not-found]
    from openrlhf.datasets.utils import blending_datasets  # type: ignore[import-not-found]

    data = types.SimpleNamespace(prompt_key="prompt", chosen_key="chosen", rejected_key="rejected",
                                 apply_chat_template=True, tokenizer_chat_template=None)  # fmt: skip
    strategy = types.SimpleNamespace(args=types.SimpleNamespace(data=data), print=print, is_rank_0=lambda: False)
    found = RewardDataset(
        blending_datasets(str(file), strategy=strategy),
        tokenizer(),
        1 << 20,
        strategy,
        is_dpo=True,
        num_processors=None,
    )
    sides = zip(found.prompts, found.chosens, found.rejects, strict=True)
    return [dict(zip(SIDES, texts, strict=True)) for texts in sides]


def read_swift(file: Path, _: Row) -> list[Row]:
    """ms-swift: `load_dataset`, then `TemplateInputs`, which its templates encode."""
    from swift.dataset import load_dataset  # type: ignore[import-not-found]
    from swift.template.template_inputs import TemplateInputs  # type: ignore[import-not-found]

    rows = []
    for row in load_dataset([str(file)], load_from_cache_file=False)[0]:
        found = TemplateInputs.from_dict({name: value for name, value in row.items() if value is not None})
        chosen, rejected = ([_swift_turn(each) for each in side.messages] for side in (found.chosen, found.rejected))
        systems = [
            [turn("system", side.system)] if side.system is not None else [] for side in (found.chosen, found.rejected)
        ]
        rows.append({"chosen": systems[0] + chosen, "rejected": systems[1] + rejected, "tools": found.chosen.tools})
    return rows


def _swift_turn(found: Row) -> Row:
    if found["role"] == "tool_call":
        value = json.loads(found["content"]) if isinstance(found["content"], str) else found["content"]
        return turn("assistant", "", *(call(each["name"], **each["arguments"]) for each in
                                       (value if isinstance(value, list) else [value])))  # fmt: skip
    return turn("tool" if found["role"] == "tool_response" else found["role"], found["content"])


def read_verl(file: Path, _: Row) -> list[Row]:
    """verl: `RMDataset`."""
    from verl.utils.dataset.rm_dataset import RMDataset  # type: ignore[import-not-found]

    found = RMDataset(str(file), tokenizer(), cache_dir=str(file.parent / "cache"))
    sides = zip(found.prompts, found.chosen_responses, found.rejected_responses, strict=True)
    return [dict(zip(SIDES, texts, strict=True)) for texts in sides]


def read_openai(file: Path, _: Row) -> list[Row]:
    """The `openai` package's types of messages and tools, strictly: it has no loader of preferences."""
    from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam
    from pydantic import ConfigDict, TypeAdapter, with_config
    from typing_extensions import TypedDict

    @with_config(ConfigDict(extra="forbid", strict=True))
    class Input(TypedDict, total=False):
        messages: list[ChatCompletionMessageParam]
        tools: list[ChatCompletionFunctionToolParam]

    @with_config(ConfigDict(extra="forbid", strict=True))
    class Preference(TypedDict):
        input: Input
        preferred_output: list[ChatCompletionMessageParam]
        non_preferred_output: list[ChatCompletionMessageParam]

    adapter, rows = TypeAdapter(Preference), []
    for line in file.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        adapter.validate_python(row)
        sides = (row["input"]["messages"], row["preferred_output"], row["non_preferred_output"])
        rows.append({
            **{side: [_with_objects(found) for found in messages] for side, messages in zip(SIDES, sides, strict=True)},
            "tools": row["input"].get("tools"),
        })  # fmt: skip
    return rows


def _with_objects(message: Row) -> Row:
    calls = [call(each["function"]["name"], **json.loads(each["function"]["arguments"]))
             for each in message.get("tool_calls") or ()]  # fmt: skip
    return turn(message["role"], message["content"], *calls)


# What each reader should return of a pair.

SIDES = ("prompt", "chosen", "rejected")


def as_messages(pair: Row, _: Any) -> Row:
    """Return the messages of a pair, with roles, texts and calls, and its tools."""
    return {**{side: [_plain(each) for each in pair[side]] for side in SIDES}, "tools": pair["tools"]}


def as_llamafactory(pair: Row, of: Any) -> Row:
    """Return the messages of a pair; an empty system message is none there."""
    found = as_messages(pair, of)
    return found | {"prompt": [each for each in found["prompt"] if each != turn("system", "")]}


def as_conversations(pair: Row, of: Any) -> Row:
    """Return whole conversations."""
    found = as_messages(pair, of)
    return {side: found["prompt"] + found[side] for side in SIDES[1:]} | {"tools": found["tools"]}


def _plain(message: Row) -> Row:
    calls = [call(each["function"]["name"], **each["function"]["arguments"]) for each in message["tool_calls"] or ()]
    return turn(message["role"], message["content"], *calls)


def _full(message: Row) -> Row:
    fields = {"name": message["name"], "reasoning_content": message["reasoning"]}
    return _plain(message) | {name: value for name, value in fields.items() if value is not None}


def as_rendered(pair: Row, of: Any) -> Row:
    """Return a pair's texts by the template."""
    prompt = [_full(each) for each in pair["prompt"]]
    show = {"tokenize": False, "tools": pair["tools"]}
    text = of.apply_chat_template(prompt, add_generation_prompt=True, **show)
    whole = {side: of.apply_chat_template(prompt + [_full(each) for each in pair[side]], **show) for side in SIDES[1:]}
    return {"prompt": text, **{side: found.removeprefix(text) for side, found in whole.items()}}


def as_whole(pair: Row, of: Any) -> Row:
    """Return the rendered texts of whole conversations."""
    found = as_rendered(pair, of)
    return {side: found["prompt"] + found[side] for side in SIDES[1:]}


def as_openrlhf(pair: Row, of: Any) -> Row:
    """Return a pair's texts by the template, without the tools that are offered."""
    return as_rendered(pair | {"tools": None}, of)


def as_axolotl(pair: Row, of: Any) -> Row:
    """Return the texts of a pair's roles and texts only; axolotl takes white space off the end of answers."""
    bare = {"name": None, "reasoning": None, "tool_calls": None}
    found = as_rendered({side: [each | bare for each in pair[side]] for side in SIDES} | {"tools": None}, of)
    return {name: text if name == "prompt" else text.rstrip() for name, text in found.items()}


def as_texts(pair: Row, _: Any) -> Row:
    """Return the question and the answers as they are."""
    return {side: pair[side][0]["content"] for side in SIDES}


ARGILLA: Row = {
    "type": "chat_template.argilla_chat",
    "message_property_mappings": {"role": "from", "content": "value"},
    "roles": {"user": ["human"], "assistant": ["gpt"], "system": ["system"], "tool": ["observation"]},
}


def any_pair(_: Row) -> bool:
    """Take all pairs that a form can express."""
    return True


def plain_messages(pair: Row) -> bool:
    """Take pairs whose messages have no name, reasoning or calls."""
    return not any(turn.get(key) for turn in turns(pair) for key in ("name", "reasoning", "tool_calls"))


def for_argilla_chat(pair: Row) -> bool:
    """Take pairs without calls whose answers are one turn with a text; developers are not known there."""
    answers = pair["chosen"] + pair["rejected"]
    known = not any(turn.get("tool_calls") or turn["role"] == "developer" for turn in turns(pair))
    return known and len(answers) == 2 and all(turn["content"] for turn in answers)


def turns(pair: Row) -> list[Row]:
    """Return all messages of a pair."""
    return [turn for side in SIDES for turn in pair[side]]


@dataclass(frozen=True)
class Reader:
    """A loader of a package, and what it should return."""

    form: str
    endings: tuple[str, ...]
    package: str  # as on PyPI, and the name of its folder
    read: Callable[[Path, Row], list[Row]]
    expected: Callable[[Row, Any], Row]
    replaced: tuple[str, ...] = ()  # modules that are replaced by empty ones where they are not there
    entry: Row | None = None  # what is configured
    installed: bool = False  # in this environment
    takes: Callable[[Row], bool] = any_pair  # of the pairs that the form can express


READERS = (
    *(Reader(form, (".jsonl", ".parquet"), "trl", read_trl, as_whole, entry={"trainer": trainer}, installed=True)
      for form, trainer in (("trl", "DPO"), ("trl-implicit", "DPO"), ("reward", "Reward"), ("kto", "KTO"))),
    Reader("openrlhf", (".parquet",), "openrlhf", read_openrlhf, as_openrlhf),
    Reader("openrlhf", (".jsonl",), "openrlhf", read_openrlhf, as_openrlhf,
           takes=plain_messages),
    Reader("llamafactory", (".jsonl", ".json", ".parquet"), "llamafactory", read_llamafactory, as_llamafactory,
           ("torchaudio", "av")),
    Reader("llamafactory-alpaca", (".jsonl", ".json", ".parquet"), "llamafactory", read_llamafactory, as_llamafactory,
           ("torchaudio", "av")),
    Reader("axolotl", (".jsonl", ".parquet"), "axolotl", read_axolotl, as_axolotl,
           entry={"type": "chat_template.default"}),
    Reader("sharegpt", (".jsonl", ".parquet"), "axolotl", read_axolotl, as_axolotl, entry=ARGILLA,
           takes=for_argilla_chat),
    Reader("ms-swift", (".jsonl", ".parquet"), "ms-swift", read_swift, as_conversations,
           ("cryptography",)),
    Reader("verl", (".parquet",), "verl", read_verl, as_texts, ("ray",)),
    Reader("openai", (".jsonl",), "openai", read_openai, as_messages, installed=True),
)  # fmt: skip


class Empty(types.ModuleType):
    """A module in which any name is found."""

    __path__: MutableSequence[str] = []  # noqa: RUF012 - as that of modules

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class Replacing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import empty modules in place of some packages that are not there."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for the packages and their modules."""
        found = name.partition(".")[0] in self.names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return an empty module."""
        return Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing."""


def child(number: int, file: Path, entry: Row, out: Path) -> None:
    """Read a file by a reader, in this process."""
    reader = READERS[number]
    sys.meta_path.append(Replacing(reader.replaced))
    rows = reader.read(file, entry)
    empty = sorted(name for name, module in sys.modules.items() if isinstance(module, Empty) and "." not in name)
    out.write_text(json.dumps({"version": version(reader.package), "rows": rows, "empty": empty}), "utf-8")


def measured(number: int, ending: str, source: Path, libs: Path | None, folder: Path) -> str:
    """Return a row of the table."""
    import curate

    reader = READERS[number]
    home = libs / reader.package if libs else None
    if not reader.installed and not (home and home.is_dir()):
        return f"| `{reader.form}` | {ending} | {reader.package}, not installed | | | |"
    folder.mkdir()
    file, out = folder / f"pairs{ending}", folder / "read"
    write(folder / "taken.jsonl", (row for row in pairs_of(source, reader.form) if reader.takes(row)))
    done = curate.convert(folder / "taken.jsonl", to=reader.form, out=file)
    path = os.pathsep.join(str(each) for each in (home, ROOT) if each and each.is_dir())
    given = json.dumps(reader.entry or dict(done.dataset_info))
    program = [sys.executable, __file__, "--child", str(number), str(file), given, str(out)]
    run = subprocess.run(
        program, env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        return f"| `{reader.form}` | {ending} | {reader.package} | failed: {run.stderr.strip().splitlines()[-1]} | | |"
    found = json.loads(out.read_text("utf-8"))
    of = tokenizer()
    wanted = [reader.expected(row, of) for row in pairs_of(folder / "taken.jsonl", reader.form)]
    different = [place for place, (a, b) in enumerate(zip(found["rows"], wanted, strict=False)) if a != b]
    for place in different[:3]:
        print(f"{reader.form}{ending}: {found['rows'][place]!s:.500}\n  not {wanted[place]!s:.500}", file=sys.stderr)
    equal = len(wanted) - len(different) if len(found["rows"]) == len(wanted) else f"{len(found['rows'])} read"
    without = ", ".join(found["empty"])
    return f"| `{reader.form}` | {ending} | {reader.package} {found['version']} | {len(wanted)} | {equal} | {without} |"


def pairs_of(source: Path, form: str) -> Iterator[Row]:
    """Yield the pairs of a file that a form can express, with objects for calls and tools."""
    import curate
    from curate.publish.forms import FORMS
    from curate.publish.forms.writing import reasons_of

    pairs = curate.read(source)
    kept = pairs.filter(reasons_of(pairs, FORMS[form]).is_null())
    for row in kept.select(*SIDES, "tools").iter_rows(named=True):
        for message in turns(row):
            message["tool_calls"] = json.loads(message["tool_calls"]) if message["tool_calls"] else None
        yield row | {"tools": json.loads(row["tools"]) if row["tools"] else None}


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def main() -> None:
    """Print the table; differences go to the error output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("--libs", type=Path)
    parser.add_argument("--only", nargs="*", help="forms")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        number, file, entry, out = options.child
        child(int(number), Path(file), json.loads(entry), Path(out))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, source = cases() + real(folder), folder / "source.jsonl"
        write(source, rows)
        print(f"{len(rows)} pairs\n\n| form | file | loader | pairs | equal | replaced |\n|---|---|---|---:|---:|---|")
        for number, reader in enumerate(READERS):
            for ending in reader.endings if not options.only or reader.form in options.only else ():
                libs = options.libs.resolve() if options.libs else None
                print(measured(number, ending, source, libs, folder / f"{number}{ending}"), flush=True)


if __name__ == "__main__":
    main()
