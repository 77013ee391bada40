"""Code in a model's folder runs only if the user asks for it, on the command line or in Python."""

import json
from pathlib import Path

import pytest

import curate
from curate.errors import InputError, RecipeError
from tests.train.tiny import tiny_model, toy_run

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
open({canary!r}, "w").close()
class TheirConfig(LlamaConfig):
    model_type = "theirs"
class TheirModel(LlamaForCausalLM):
    config_class = TheirConfig
"""


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[str, Path]:
    """A model that needs its own code, and the file that the code writes."""
    folder = Path(tiny_model(tmp_path / "model"))
    canary = tmp_path / "executed"
    (folder / "modeling_theirs.py").write_text(CODE.format(canary=str(canary)))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "theirs", "architectures": ["TheirModel"]}
    config["auto_map"] = {
        "AutoConfig": "modeling_theirs.TheirConfig",
        "AutoModelForCausalLM": "modeling_theirs.TheirModel",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder), canary


@pytest.mark.slow
def test_model_code_runs_only_if_the_user_asks_for_it(tmp_path: Path, theirs: tuple[str, Path]) -> None:
    model, canary = theirs
    run = toy_run(tmp_path, 20)
    for call in (curate.preflight, curate.train):
        with pytest.raises(InputError, match=r"runs only with --trust-remote-code$"):
            call(run, model)
    with pytest.raises(RecipeError, match="use --trust-remote-code"):
        curate.train(run, model, trl={"model_init_kwargs": {"trust_remote_code": True}})
    (tmp_path / "dpo.yaml").write_text("trust_remote_code: true\n")
    with pytest.raises(RecipeError, match="use --trust-remote-code"):
        curate.train(run, model, config=tmp_path / "dpo.yaml")
    assert not canary.exists()
    done = curate.train(run, model, trust_remote_code=True, trl={"max_steps": 1}, samples=0)
    assert canary.exists()
    assert "trust_remote_code" not in json.dumps(done.result)
    canary.unlink()
    with pytest.raises(InputError, match=r"runs only with --trust-remote-code$"):
        curate.evaluate(run, done, count=1, max_tokens=2)
    assert not canary.exists()
    assert curate.evaluate(run, done, count=1, max_tokens=2, trust_remote_code=True)["pairs"] > 0
