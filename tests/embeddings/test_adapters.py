"""LoRA adapters that PEFT wrote, in place of a model: merged into their base, or refused with what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.embeddings.local_models import fingerprint_of, load_causal, load_reward
from curate.errors import InputError
from tests.data import write_jsonl
from tests.train.tiny import tiny_model, tiny_tokenizer, toy_rows, toy_run

pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of torch, transformers and peft


def adapter(base: str, folder: Path, task: str = "CAUSAL_LM", *, seed: int = 3) -> str:
    """Save an adapter with random weights on a model; return its folder."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    torch.manual_seed(seed)
    reward = task == "SEQ_CLS"
    kind, options = (AutoModelForSequenceClassification, {"num_labels": 1}) if reward else (AutoModelForCausalLM, {})
    config = peft.LoraConfig(task_type=task, r=2, target_modules="all-linear", init_lora_weights=False)
    peft.get_peft_model(kind.from_pretrained(base, **options), config).save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model(folder / "base")
    found = {"base": base, "policy": adapter(base, folder / "policy"), "reward": adapter(base, folder / "r", "SEQ_CLS")}
    import peft

    whole = peft.AutoPeftModelForCausalLM.from_pretrained(found["policy"]).merge_and_unload()
    whole.save_pretrained(folder / "merged")
    tiny_tokenizer().save_pretrained(folder / "merged")
    return found | {"merged": str(folder / "merged")}


def measured(folder: Path, **section: Any) -> list[dict[str, float]]:
    source = write_jsonl(folder / "pairs.jsonl", toy_rows(4))
    run = curate.run({"source": {"paths": [str(source)]}, "models": section}, folder / "RUN", force=True)
    names = ("chosen_logp", "implicit_gap", "chosen_reward", "rejected_reward")
    return run.stage("signals").scan().select(names).collect().to_dicts()


def test_an_adapter_as_the_policy_is_its_model_with_the_adapter_merged(models: dict[str, str], tmp_path: Path) -> None:
    ours = measured(tmp_path, policy=models["policy"], reference=models["base"])
    whole = measured(tmp_path, policy=models["merged"], reference=models["base"])
    plain = measured(tmp_path, policy=models["base"], reference=models["base"])
    for one, same, base in zip(ours, whole, plain, strict=True):
        assert one["chosen_logp"] == pytest.approx(same["chosen_logp"], abs=1e-3)
        assert one["implicit_gap"] == pytest.approx(same["implicit_gap"], abs=1e-3)
        assert abs(one["chosen_logp"] - base["chosen_logp"]) > 0.1
        assert base["implicit_gap"] == 0


def test_an_adapter_as_a_reward_model_brings_its_own_score(models: dict[str, str], tmp_path: Path) -> None:
    import peft
    import torch

    rows = measured(tmp_path, reward=models["reward"])
    tuned = peft.AutoPeftModelForSequenceClassification.from_pretrained(models["reward"], num_labels=1).eval()
    row = toy_rows(4)[1]
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}]
    ids = tiny_tokenizer().apply_chat_template(turns, return_dict=False)
    with torch.inference_mode():
        expected = tuned(input_ids=torch.tensor([ids])).logits[0, 0].item()
    assert rows[1]["chosen_reward"] == pytest.approx(expected, abs=1e-4)


def test_an_adapter_of_another_task_is_refused(models: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"is not a reward model: it is a LoraForCausalLM, expected a sequence class"):
        load_reward(models["policy"])
    with pytest.raises(InputError, match=r"is not a causal language model: it is a LoraForSequenceClassification"):
        load_causal(models["reward"])


def changed(folder: str, to: Path, **values: Any) -> str:
    """Copy an adapter with other values in its configuration."""
    shutil.copytree(folder, to)
    file = to / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return str(to)


def test_an_adapter_that_does_not_fit_or_whose_base_is_not_there(models: dict[str, str], tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "wide", hidden=64)
    with pytest.raises(InputError, match=r"is an adapter that does not fit its base model: .*size mismatch"):
        load_causal(changed(models["policy"], tmp_path / "a", base_model_name_or_path=other))
    with pytest.raises(InputError, match="there is no folder /no/such/base"):
        load_causal(changed(models["policy"], tmp_path / "b", base_model_name_or_path="/no/such/base"))
    broken = changed(models["policy"], tmp_path / "c", base_model_name_or_path=7)
    with pytest.raises(InputError, match=r"adapter_config.json"):
        load_causal(broken)


def test_the_fingerprint_of_an_adapter_changes_with_its_base(models: dict[str, str], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(models["base"], base)
    folder = changed(models["policy"], tmp_path / "a", base_model_name_or_path=str(base))
    before = fingerprint_of(folder)
    assert fingerprint_of(folder) == before
    tiny_model(base, seed=5)
    assert fingerprint_of(folder) != before


def test_training_starts_from_a_whole_model(models: dict[str, str], tmp_path: Path) -> None:
    run = toy_run(tmp_path, 8)
    tiny_tokenizer().save_pretrained(models["policy"])
    with pytest.raises(InputError, match=r"is an adapter of .*base, and training starts from a whole model: merge it"):
        curate.preflight(run, model=models["policy"])
