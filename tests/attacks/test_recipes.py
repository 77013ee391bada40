"""Hostile recipes: YAML, values of every type in every field, and keys and files that a recipe must not use."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.recipe.load import Recipe
from tests.attacks.harness import Victim, contents
from tests.chat_server import ChatServer, chat_server
from tests.data import rows, write_jsonl

SECRET = "-----BEGIN SECRET-----"
SOURCE = "source: {paths: p.jsonl}\n"
VALUES: tuple[Any, ...] = (
    None,
    [],
    {},
    [[]],
    {"a": {}},
    "",
    "x" * 10_000,
    "\x1b]0;x\x07",
    "../..",
    -1,
    10**30,
    float("nan"),
    True,
    0.5,
)
FEW, MANY = 100, 260


@pytest.fixture(scope="module", autouse=True)
def folder(victim: Victim) -> Path:
    write_jsonl(victim.folder / "p.jsonl", rows(12))
    (victim.folder / "secret.txt").write_text(f"{SECRET}\n{{prompt}} {{answer}}\n")
    return victim.folder


@pytest.fixture(scope="module")
def models() -> Iterator[ChatServer]:
    with chat_server(lambda *_: "Yes, on Mondays.") as server:
        yield server


def fields(schema: dict[str, Any], whole: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every section and field of a recipe; a list of sections counts as one section."""
    if "$ref" in schema:
        yield from fields(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, path)
    for each in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from fields(each, whole, path)
    for name, inner in schema.get("properties", {}).items():
        yield (*path, name)
        yield from fields(inner, whole, (*path, name))


FIELDS = list(dict.fromkeys(fields(Recipe.model_json_schema(), Recipe.model_json_schema())))


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    needed = {"model": {"model": "openai:x"}, "models": ["openai:x"], "against": ["p.jsonl"]}
    tree: dict[str, Any] = {"source": {"paths": "p.jsonl"}} | value
    section = tree[path[0]]
    if isinstance(section, dict) and path[0] in ("prompts", "generate", "judge", "decontaminate"):
        name = {"prompts": "model", "decontaminate": "against"}.get(path[0], "models")
        tree[path[0]] = {name: needed[name]} | section
    return tree


def test_the_fields_are_found() -> None:
    assert len(FIELDS) > 120
    assert ("dedup", "near", "threshold") in FIELDS


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.slow] * (s >= FEW)) for s in range(MANY)])
def test_any_value_in_any_field(victim: Victim, seed: int) -> None:
    path, value = FIELDS[seed * 7 % len(FIELDS)], random.Random(seed).choice(VALUES)
    (victim.folder / "r.yaml").write_text(json.dumps(with_value(path, value)))
    before = contents(victim.folder)
    line = ("recipe", "r.yaml") if seed % 2 else ("run", "r.yaml", "-o", "DRY", "--dry-run")
    done = victim(*line).check()
    assert done.code in (0, 2), (path, value)
    assert len(done.err) < 4_000
    assert "\x1b" not in done.out + done.err
    assert contents(victim.folder, "DRY") == {key: data for key, data in before.items() if not key.startswith("DRY")}


HOSTILE = {
    "a tag": "source: !!python/object/apply:os.system ['touch owned']",
    "a tag of a module": "source: !!python/name:os.system x",
    "another tag": "source: !x {paths: p.jsonl}",
    "binary": "source: {paths: !!binary aGVsbG8=}",
    "a set": "source: {paths: !!set {p.jsonl}}",
    "pairs": "source: !!pairs [paths: p.jsonl]",
    "a cycle": "source: &a {paths: p.jsonl, columns: *a}",
    "a cycle of lists": "source: {paths: &a [*a]}",
    "an alias of nothing": "source: *a",
    "anchors": "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]",
    "depth": "source: " + "[" * 50_000,
    "depth by indent": "".join(" " * n + "a:\n" for n in range(300)),
    "dates as keys": "2026-01-01: x",
    "dates as values": "source: {paths: 2026-01-01}",
    "null as a key": "~: x",
    "a key twice": SOURCE + "source: {paths: other.jsonl}",
    "a complex key": "? {a: b}\n: c",
    "two documents": SOURCE + "---\n" + SOURCE,
    "no document": "",
    "a comment": "# nothing",
    "a list": "- a",
    "a number": "17",
    "a NUL": "source: {paths: \0}",
    "an escape": 'source: {paths: "\\x1b]0;x\\a"}',
    "an escape as a key": SOURCE + '"\\x1b[2J": x',
    "an escape in a key of a section": 'source: {paths: p.jsonl, "\\x9b31m\\u202e": x}',
    "a surrogate": 'source: {paths: "\\ud800"}',
    "an emptied rule": SOURCE + "rules: {'': 1, 'no_': 2, max_: 3}",
    "a rule of escapes": SOURCE + 'rules: {"max_\\x1b[2J": 3}',
    "origin": SOURCE + "origin: 3",
    "origin of lines": SOURCE + 'origin: {repo: "a\\nb\\x1b[2J", revision: "", config: []}',
    "origin and an endpoint": SOURCE + "origin: {repo: a/b, revision: x}\ngenerate: {models: ['openai:a@http://127.0.0.1:9/v1']}",
    "origin and a key": SOURCE
    + "origin: {repo: a/b, revision: x}\njudge: {models: [{model: 'openai:a', api_key_env: AWS_SECRET_ACCESS_KEY}]}",
    "code for a trainer": SOURCE + "train: {model: x, trl: {trust_remote_code: true}}",
    "code for its model": SOURCE + "train: {model: x, trl: {model_init_kwargs: {trust_remote_code: true}}}",
    "code in a list": SOURCE + "train: {model: x, trl: {a: [{b: [{trust_remote_code: false}]}]}}",
    "code in a request": SOURCE + "generate: {models: [{model: 'openai:x', extra: {trust_remote_code: true}}]}",
    "code at the top": SOURCE + "trust_remote_code: true",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (i % 3 > 0)) for i, n in enumerate(HOSTILE)]
)
def test_hostile_yaml(victim: Victim, name: str) -> None:
    (victim.folder / "h.yaml").write_text(HOSTILE[name])
    for line in (("recipe", "h.yaml"), ("run", "h.yaml", "-o", "OUT")):
        done = victim(*line, seconds=20).check()
        assert "\x1b" not in done.out + done.err
        assert "\x9b" not in done.out + done.err
        assert done.code == 2 or name in ("a key twice", "origin and a key") or line[0] == "recipe"
        if "trust_remote_code" in HOSTILE[name]:
            assert done.code == 2
            assert "trust_remote_code" in done.err
    assert not (victim.folder / "owned").exists()


SETS = [
    "", "=", "a", "a=b", "source=3", "source.paths", ".=.", "source..paths=1", "source.paths=[",
    "source.paths=" + "[" * 9_999,
    "rules.max_chars_ratio=" + "9" * 5_000, "rules.\x1b[2J=1", "origin.repo=x", "split.test=.nan",
    "split.test=!!python/none",
    "a." * 9_999 + "b=1", "source.paths.x=1", "train.trl.trust_remote_code=true", "split.test=" + "x" * 100_000,
    "\udcff.a=1",
]  # fmt: skip


@pytest.mark.parametrize("text", SETS, ids=lambda text: repr(text[:20]))
def test_overrides(victim: Victim, text: str) -> None:
    (victim.folder / "s.yaml").write_text(SOURCE)
    done = victim("recipe", "s.yaml", "--set", text).check()
    assert done.code == 2
    assert len(done.err) < 2_000
    assert "\x1b" not in done.err


PLACES = (
    "../secret.txt", "/etc/passwd", "~root/.profile", "~nobody-here/x", "file:///etc/passwd", "http://127.0.0.1:9/x",
    "/dev/zero", "/dev/stdin", "/dev/tty", "/proc/self/environ", "/proc/self/mem", ".", "/", "fifo", "secret.txt", "",
)  # fmt: skip
FIELD = {
    "source": "source: {paths: PLACE}\n",
    "rubric": SOURCE + "generate: {models: ['openai:a@URL']}\njudge: {models: ['openai:j@URL'], rubric: PLACE}\n",
    "prices": SOURCE + "generate: {models: ['openai:a@URL']}\nbudget: {usd: 1, prices: PLACE}\n",
    "chat_template": SOURCE + "train: {model: x, chat_template: PLACE}\n",
    "against": SOURCE + "decontaminate: {against: PLACE}\n",
    "documents": "prompts: {method: documents, model: 'openai:a@URL', documents: PLACE}\n"
    "generate: {models: ['openai:a@URL']}\n",
}
SLOW = [pytest.param(name, marks=[pytest.mark.slow] * (name != "rubric")) for name in FIELD]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("field", SLOW)
def test_files_that_a_recipe_must_not_read(
    victim: Victim, models: ChatServer, folder: Path, field: str, place: str
) -> None:
    """A recipe from elsewhere sends or writes no such file; the user's own neither hangs nor fills the memory."""
    if not (folder / "fifo").exists():
        os.mkfifo(folder / "fifo")
    models.forget()
    text = FIELD[field].replace("PLACE", json.dumps(place)).replace("URL", models.url)
    out = folder / "FROM"
    shutil.rmtree(out, ignore_errors=True)
    (folder / "f.yaml").write_text(text + "origin: {repo: a/b, revision: x}\n")
    for more in ((), ("--dry-run",)):
        done = victim("run", "f.yaml", "-o", out, *more, env={"HIDDEN": SECRET}, seconds=20).check()
        written = b"".join(contents(out).values()) if out.exists() else b""
        for data in (written, done.out.encode(), done.err.encode()):
            assert SECRET.encode() not in data
            assert b"root:x:0" not in data
    assert models.asked == []
    (folder / "f.yaml").write_text(text)
    port = models.url.rpartition(":")[2].removesuffix("/v1")
    done = victim("run", "f.yaml", "-o", out, "--dry-run", seconds=20).check(connects=[f"'127.0.0.1', {port}"])
    assert SECRET not in done.out + done.err
