"""Nothing private to the publisher's machine is published: canaries in every field, all uploaded bytes searched."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel

from curate.files import FILES
from curate.publish.facts import published_answers, published_facts, published_ledger
from curate.recipe.data import EvalSet
from curate.recipe.load import Recipe, load_recipe, make_recipe, resolved, section_in, to_yaml
from curate.recipe.models import Model, public_name
from curate.recipe.published import published, undecided
from curate.rundir.manifest import Manifest
from curate.rundir.result import Run, open_run
from curate.schema import CANDIDATES, LEDGER
from curate.schema.section import Holds
from pipelines import flow
from tests.chat_server import chat_server, rating
from tests.hub_server import HubServer, read
from tests.publish.user import LICENSED, SMALL, User

CANARY = "canary"  # in the name of every folder, host, user and variable
SECRET = "ghp_" + "a1B2" * 9


def fields(kind: type[BaseModel] = Recipe, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Holds]]:
    """Yield every field that has a mark, of a section and of those below it."""
    for name, field in kind.model_fields.items():
        mark = next((mark for mark in field.metadata if isinstance(mark, Holds)), None)
        if mark:
            yield (*path, name), mark
        elif inner := section_in(field.annotation):
            yield from fields(inner, (*path, name))


LOCAL = [(path, mark.what) for path, mark in fields() if mark.what not in ("as_is",)]
CANARIES: dict[str, Any] = {
    "name": [f"/home/{CANARY}/a.jsonl", f"../{CANARY}/b.jsonl", f"~{CANARY}/c", f"{CANARY}/d.jsonl",
             f"C:\\{CANARY}\\e"],
    "file": [f"/home/{CANARY}/rubric.txt", f"{CANARY}/sub/rubric.txt"],
    "model": [f"openai:m@https://{CANARY}:8000/v1", f"transformers:/home/{CANARY}/m", f"gguf:{CANARY}/m.gguf",
              f"openai:/srv/{CANARY}/m", f"reward:~/{CANARY}/m", f"transformers:{CANARY}/a/b"],
    "address": [f"http://{CANARY}:8000/v1", f"https://{CANARY}@api.openai.com/v1", f"https://api.openai.com.{CANARY}/v1",
                f"https://api.openai.com/{CANARY}/v1"],
    "request": [{"user": CANARY, "metadata": {CANARY: 1}, "top_k": 5, "stop": [f"/{CANARY}/"]}],
    "trainer": [{"output_dir": f"/{CANARY}", "run_name": CANARY, "hub_token": CANARY, "beta": 0.1}],
    "never": [f"{CANARY}_API_KEY"],
}  # fmt: skip


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a recipe with this value at the path, and with what its sections need."""
    model = {"model": "openai:m"}
    tree: dict[str, Any] = {
        "source": {"paths": ["p.jsonl"]},
        "prompts": {"model": dict(model), "description": "x"},
        "generate": {"models": [dict(model)], "on_policy": dict(model)},
        "judge": {"models": [dict(model)]},
        "pair": {}, "budget": {}, "train": {}, "models": {"policy": "me/policy", "relevance": True},
        "select": {"steps": [{path[2] if path[:2] == ("select", "steps") else "rip": {}}]},
        "dedup": {"near": {}, "semantic": {}},
        "label_noise": {},
        "decontaminate": {"against": [{"path": "gsm8k"}]},
        "publish": {},
        "engine": {},
    }  # fmt: skip
    here = tree
    for name in path[:-1]:
        here = here[name][0] if isinstance(here[name], list) else here[name]
    last = path[-1]
    here[last] = {f"/{CANARY}/a.jsonl": "mit"} if last == "source_license" else value
    if last == "base_url":  # as one line, too
        here["model"] = f"openai:m@{value}"
    return tree


def test_every_field_has_a_decision() -> None:
    assert undecided() == []

    class New(Recipe):
        somewhere: str = "x"

    assert undecided(New) == ["somewhere"]
    assert {how for _, how in LOCAL} == set(CANARIES)
    assert {Model, EvalSet} <= {kind for kind in (Model, EvalSet) if any(fields(kind))}


@pytest.mark.parametrize(("path", "how"), LOCAL, ids=[".".join(path) for path, _ in LOCAL])
def test_a_canary_in_any_field_is_not_published(path: tuple[str, ...], how: str) -> None:
    for value in CANARIES[how]:
        tree = with_value(path, value)
        recipe = make_recipe(tree)
        assert CANARY in json.dumps(resolved(recipe))
        out = to_yaml(published(recipe))
        assert CANARY not in out, out
        assert make_recipe(json.loads(json.dumps(resolved(published(recipe))))) == published(recipe)


@pytest.mark.parametrize(
    ("path", "value", "out"),
    [
        (("source", "paths"), ["a/b.jsonl", "shards/*.parquet", "me/set"], ["b.jsonl", "*.parquet", "me/set"]),
        (("dedup", "against"), ["me/other", "hf://datasets/a/b"], ["me/other", "hf://datasets/a/b"]),
        (("dedup", "semantic", "model"), "sentence-transformers/all", "sentence-transformers/all"),
        (("judge", "rubric"), "helpfulness", "helpfulness"),
        (("judge", "aspects"), ["honesty", "x/mine.txt"], ["honesty", "mine.txt"]),
        (("train", "chat_template"), "zephyr", "zephyr"),
        (("train", "trl"), {"beta": 0.1, "loss_type": "ipo"}, {"beta": 0.1, "loss_type": "ipo"}),
        (("train", "model"), "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        (("prompts", "model", "base_url"), "https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1"),
        (("prompts", "model", "extra"), {"reasoning_effort": "low", "user": "me"}, {"reasoning_effort": "low"}),
        (("pair", "order"), ["openai:org/m@http://h/v1", "gguf:/x/m.gguf"], ["openai:org/m", "gguf:m.gguf"]),
        (("publish", "source_license"), None, {"a.jsonl": "mit"}),
    ],
)  # fmt: skip
def test_what_others_can_use_is_published(path: tuple[str, ...], value: Any, out: Any) -> None:
    tree = with_value(path, value)
    if path[-1] == "base_url":
        tree["prompts"]["model"]["model"] = "openai:m"
    found: Any = resolved(published(make_recipe(tree), inputs=["me/set:train"]))
    for name in path:
        found = found[name]
    assert found == out


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("openai:gpt-4o", "openai:gpt-4o"),
        ("openai:accounts/fireworks/models/x", "openai:accounts/fireworks/models/x"),
        ("openai:@cf/meta/llama", "openai:@cf/meta/llama"),
        ("openai:m@http://10.0.0.1:8000/v1", "openai:m"),
        ("gguf:models/a.gguf", "gguf:a.gguf"),
        ("reward:Skywork/R", "reward:Skywork/R"),
        ("reward:a/b/c", "reward:c"),
        ("embedded", "embedded"),
    ],
)
def test_names_of_models(line: str, name: str) -> None:
    assert public_name(line) == name


def make_canary_run(folder: Path, url: str) -> Run:
    """Return a run that asked models, with canaries in all its settings; some requests failed."""
    home = folder / CANARY
    home.mkdir(parents=True)
    prompts = [{"prompt": f"How do I boil {number} eggs in one pot?"} for number in range(12)]
    (home / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in prompts))
    (home / "strict.txt").write_text("Grade from 1 to {scale} how useful the answer is to a cook.")
    (home / "prices.yaml").write_text("m: {input: 1.0, output: 2.0}\nj: {input: 1.0, output: 2.0}\n")
    (home / "other.jsonl").write_text(json.dumps(prompts[0] | {"chosen": "a b c", "rejected": "d e f"}) + "\n")
    (home / "template.jinja").write_text("{{ messages }}")
    address = {"base_url": url.replace("127.0.0.1", "localhost"), "api_key_env": f"{CANARY.upper()}_KEY"}
    tree = {
        "source": {"paths": [str(home / "p.jsonl")]},
        "generate": {"models": [{"model": "openai:m", **address, "extra": {"user": CANARY}}], "n": 3, "max_failed": 1},
        "judge": {"models": [{"model": "openai:j", **address}], "rubric": str(home / "strict.txt"), "max_failed": 1},
        "budget": {"prices": str(home / "prices.yaml"), "usd": 10.0},
        "dedup": {"near": True, "against": [str(home / "other.jsonl")]},
        "decontaminate": {"against": [str(home / "other.jsonl")]},
        "train": {
            "model": str(home / "base"),
            "chat_template": str(home / "template.jinja"),
            "trl": {"run_name": CANARY},
        },
        "rules": {"defaults": False},
    }
    return flow.run(make_recipe(tree, [*SMALL, *LICENSED, "publish.min_kept=0"]), folder / "RUN")


def answer(messages: Any, params: Any) -> Any:
    text = messages[-1]["content"]
    if params["model"] == "j":
        return rating(int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 + 1, "strict")
    seed = params["seed"]
    return 400 if "boil 3 eggs" in text or (seed == 1 and "boil 4" in text) else f"Boil them for {seed + 6} minutes."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with chat_server(answer) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{CANARY.upper()}_KEY", f"sk-{CANARY}")
        found = make_canary_run(tmp_path_factory.mktemp("published"), server.url)
    # The run's own tables contain the messages of the endpoint; the published ones must not.
    for name in ("candidates.parquet", "ledger.parquet"):
        assert "status 400" in str(pl.read_parquet(found.folder / name, glob=False).rows())
    return found


def uploaded(hub: HubServer, repo: str) -> dict[str, str]:
    """Return every file of the repository as text, with tables decoded."""
    files = {path: read(data) for path, data in hub.repos[repo].at("main").files.items()}  # type: ignore[union-attr]
    return {
        path: str(pl.read_parquet(io.BytesIO(data)).rows()) if path.endswith(".parquet") else data.decode()
        for path, data in files.items()
    }


@pytest.mark.slow
def test_no_canary_in_what_is_uploaded(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    pushed = user.push(run, "me/out", candidates=True)
    assert pushed.get("changed"), pushed
    files = uploaded(hub, "me/out")
    hidden = [CANARY, str(run.folder.parent), "127.0.0.1", "localhost", "refused with", "/tmp"]
    found = {(path, word) for path, text in files.items() for word in hidden if word in text.lower()}
    assert found == set()
    assert {path for path in files if f"/{FILES}/" in path} == {
        "prefcurate/default/files/judge/strict.txt",
        "prefcurate/default/files/budget/prices.yaml",
        "prefcurate/default/files/train/template.jinja",
    }
    assert "'status 400'" in files["candidates/data/train-00000-of-00001.parquet"]
    assert "'no_answer'" in files["prefcurate/default/ledger.parquet"]

    # A pulled run has the files where its recipe finds them.
    user.pull("me/out", tmp_path / "AGAIN")
    again = open_run(tmp_path / "AGAIN")
    assert again.recipe.judge is not None
    assert Path(again.recipe.judge.rubric).read_text().startswith("Grade from 1 to {scale}")
    assert again.recipe.judge.rubric == str(tmp_path / "AGAIN/files/judge/strict.txt")
    assert again.recipe.judge.models[0].base_url is None
    assert load_recipe(tmp_path / "AGAIN/recipe.yaml") == again.recipe
    # It can be published again.
    assert user.push(again, "me/out", candidates=False)["changed"] is True


@pytest.mark.slow
def test_a_file_that_no_run_wrote_is_not_pulled(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    user.push(run, "me/odd")
    for path, said in (
        ("prefcurate/default/files/judge/../../../../evil.txt", "no run writes"),
        ("prefcurate/default/files/judge/.hidden", "no run writes"),
        ("prefcurate/default/files/judge/other.txt", "no run writes"),
        ("prefcurate/default/files/judge/strict.txt", "was changed on the Hub"),
    ):
        before = dict(hub.repos["me/odd"].at("main").files)  # type: ignore[union-attr]
        hub.commit("me/odd", {**before, path: b"evil"})
        assert said in user.pull("me/odd", tmp_path / "OUT").get("text", ""), path
        assert not (tmp_path / "OUT").exists()
        hub.commit("me/odd", before)


@pytest.mark.slow
def test_the_gate_for_secrets_reads_the_files(tmp_path: Path, user: User) -> None:
    with chat_server(answer) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{CANARY.upper()}_KEY", f"sk-{CANARY}")
        run = make_canary_run(tmp_path, server.url)
        rubric = tmp_path / CANARY / "strict.txt"
        rubric.write_text(f"Grade from 1 to {{scale}}. The key is {SECRET}.")
        run = flow.run(run.recipe, tmp_path / "RUN")
    found = user.push(run, "me/secret")
    assert (found["code"], "in files/judge/strict.txt" in found["text"]) == (1, True), found


def test_the_ledger_of_a_run_that_asked_models_has_no_messages(tmp_path: Path) -> None:
    dropped = [("judge", ["not_judged (host 10.0.0.1)"]), ("rules", ["max_chars_ratio (9.0)"])]
    rows = [dict.fromkeys(LEDGER) | {"stage": stage, "reasons": reasons} for stage, reasons in dropped]
    pl.DataFrame(rows, schema=LEDGER).write_parquet(tmp_path / "ledger.parquet")
    out, files = tmp_path / "out", {"ledger.parquet": "0" * 64}
    out.mkdir()
    path, digest = published_ledger(Run(tmp_path, Manifest(files=files, generation={"answers": []})), out)
    assert (path, digest) == (out / "ledger.parquet", hashlib.sha256(path.read_bytes()).hexdigest())
    assert pl.read_parquet(path).get_column("reasons").to_list() == [["not_judged"], ["max_chars_ratio (9.0)"]]
    # The ledger of any other run is published unchanged.
    path.unlink()
    assert published_ledger(Run(tmp_path, Manifest(files=files)), out) == (tmp_path / "ledger.parquet", "0" * 64)
    assert not path.exists()


def test_fields_that_are_not_listed_are_not_published() -> None:
    asked = {"answers": [{"model": "m", "seconds": 1.5}], "panel": {"kappa": 0.5, "host": "h"}, "cache": {"gb": 1}}
    facts = {"counts": {"rows": 3}, "seconds": 9.5, "generation": asked}
    kept = {"answers": [{"model": "m"}], "panel": {"kappa": 0.5}}
    assert published_facts(facts) == {"counts": {"rows": 3}, "generation": kept}
    assert published_facts({"counts": {"rows": 3}}) == {"counts": {"rows": 3}, "generation": None}


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (None, None),
        ("status 400: no model at /home/me on 10.0.0.1", "status 400"),
        ("Cannot connect to host 10.0.0.1:8000 ssl:default, after repeated attempts", "failed"),
        ("no answer within 180 s, after repeated attempts", "no answer within 180 s"),
        ("the reply is not a chat completion (user me)", "the reply is not a chat completion"),
        ("cut off at max_tokens before any text", "cut off at max_tokens before any text"),
    ],
)
def test_only_the_kind_of_an_error_is_published(error: str | None, out: str | None) -> None:
    empty = {name: pl.Series(name, [None], dtype) for name, dtype in CANDIDATES.items()}
    frame = pl.DataFrame(empty | {"error": pl.Series("error", [error], pl.String)})
    assert published_answers(frame).get_column("error").to_list() == [out]
