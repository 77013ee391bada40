"""Trainings of a tiny Llama on preferences that it can learn."""

import csv
import json
import math
import os
import socket
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import InputError, RecipeError
from curate.recipe.training import Train
from curate.rundir.result import Run
from tests import forked
from tests.train.tiny import tiny_model, tiny_tokenizer, toy_rows, toy_run
from train.models import load_tokenizer
from train.preflight import preflight
from train.training.defaults import Facts
from train.training.fit import ROWS_FOLDER, Job, fit
from train.training.generations import MAX_TOKENS
from train.training.train import Training, open_training, rows_of, train, with_label_smoothing
from train.training.watch import TrainingStopped

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of torch, transformers and TRL

# In float32, so that figures are comparable even on a CPU with native bfloat16.
FAST = {
    "learning_rate": 5e-3, "num_train_epochs": 3, "logging_steps": 1, "per_device_eval_batch_size": 4, "bf16": False,
}  # fmt: skip
SMALL = {"batch": 8, "evaluations": 3, "samples": 2}
SETTINGS = [f"--set=trl.{name}={value}" for name, value in FAST.items()]
SETTINGS += [f"--set=train.{name}={value}" for name, value in SMALL.items()]


def small(model: str, **changes: Any) -> Train:
    trl = FAST | changes.pop("trl", {})
    return Train(model=model, trl=trl, **SMALL | changes)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("toy"), 80)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def done(toy: Run, model: str, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return train(toy, small(model), tmp_path_factory.mktemp("done"))


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(line["loss"]) for line in csv.DictReader(file) if line["loss"]]


def test_a_training_learns(done: Training, toy: Run) -> None:
    seen = losses(done.folder)
    assert seen[0] == pytest.approx(math.log(2), abs=1e-4)
    assert seen[-1] < 0.6 * seen[0]
    assert done.result["held_out"]["rewards/accuracies"] > 0.9
    assert done.result["rows"] == toy.counts["train"]
    assert open_training(done.folder).result == json.loads(json.dumps(done.result))


def test_held_out_prompts_are_answered_at_the_start_and_every_evaluation(done: Training) -> None:
    with (done.folder / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    answered = [int(line["step"]) for line in lines if line["eval_generation_tokens"]]
    assert answered == [0, *(int(line["step"]) for line in lines if line["eval_loss"])]
    assert all(
        0 < float(line["eval_generation_tokens"]) <= MAX_TOKENS for line in lines if line["eval_generation_tokens"]
    )
    assert "length of answers to held-out prompts" in (done.folder / "training.html").read_text("utf-8")


def test_files_of_a_training(done: Training) -> None:
    card = (done.model / "README.md").read_text("utf-8")
    assert f"data revision `{done.result['data']}`" in card
    assert "rewards/accuracies" in card
    assert str(done.folder.parent) not in card
    page = (done.folder / "training.html").read_text("utf-8")
    assert page.count("<svg") >= 6
    assert "Every row was used in full." in page
    assert done.result["findings"] == []


def test_the_same_losses_as_plain_trl(toy: Run, model: str, tmp_path: Path) -> None:
    """
    Ours precomputes the reference and keeps activations; TRL's defaults do neither. In random order, because grouping
    by length depends on every random number drawn before, also by evaluations.
    """
    import datasets
    import peft
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    rows = rows_of(toy, preflight(toy, small(model)), "train", "dpo")
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(tmp_path / "plain"), per_device_train_batch_size=8, warmup_steps=0.1, seed=0,
            use_cpu=True, report_to="none", **FAST,
        ),
        train_dataset=datasets.Dataset(rows.to_arrow()),
        processing_class=AutoTokenizer.from_pretrained(model),
        peft_config=peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    plain = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    train(toy, small(model, trl={"train_sampling_strategy": "random"}), tmp_path / "ours")
    assert losses(tmp_path / "ours") == pytest.approx(plain, abs=1e-4)


def test_the_saved_adapter_reproduces_its_log_probs(done: Training, toy: Run) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    from curate.text.sequences import sequences

    model = AutoPeftModelForCausalLM.from_pretrained(str(done.model)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(done.model))
    total = 0.0
    pairs = toy.test.collect().to_dicts()
    for pair in pairs:
        prompt, chosen, _ = sequences(pair, tokenizer)
        ids = torch.tensor([prompt + chosen])
        with torch.no_grad():
            logps = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        total += logps[len(prompt) - 1 :].sum().item()
    assert total / len(pairs) == pytest.approx(done.result["held_out"]["logps/chosen"], abs=1e-3)


def test_a_killed_and_resumed_training_ends_with_the_same_loss(
    done: Training, toy: Run, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = ("train", toy.folder, "--model", model, "-o", out, *SETTINGS)
    started = forked.started(*line, env=os.environ, preload=forked.TRAINING)
    for _ in range(2400):
        if list(out.glob("checkpoints/checkpoint-*/trainer_state.json")) or started.poll() is not None:
            break
        time.sleep(0.05)
    started.kill()
    started.communicate()
    assert not (out / "result.json").exists()
    with pytest.raises(RecipeError, match="continue it with --resume, replace it with --force"):
        train(toy, small(model), out)
    resumed = train(toy, small(model), out, resume=True)
    assert losses(out) == pytest.approx(losses(done.folder), abs=1e-6)
    assert resumed.result["held_out"]["loss"] == pytest.approx(done.result["held_out"]["loss"], abs=1e-6)


def test_out_of_memory_halves_the_batch_and_reports_it(
    toy: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: Training
) -> None:
    import torch
    from transformers import LlamaModel

    forward = LlamaModel.forward

    def with_little_memory(self: Any, input_ids: Any, *args: Any, **options: Any) -> Any:
        if len(input_ids) > 2 * 2 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, input_ids, *args, **options)

    monkeypatch.setattr(LlamaModel, "forward", with_little_memory)
    messages: list[str] = []
    result = train(toy, small(model), tmp_path / "out", log_line=messages.append).result
    assert messages == [
        "out of memory with a micro-batch of 8 pairs: retrying with 4",
        "out of memory with a micro-batch of 4 pairs: retrying with 2",
    ]
    assert result["batch"] == {"micro_batch": 2, "messages": messages}
    assert result["steps"] == done.result["steps"]
    assert result["held_out"]["rewards/accuracies"] > 0.9


def test_default_precision_for_the_device(toy: Run, model: str, tmp_path: Path) -> None:
    trl = {name: value for name, value in FAST.items() if name != "bf16"}
    done = train(toy, Train(model=model, trl=trl, **SMALL), tmp_path / "out")
    assert losses(done.folder)[-1] < 0.6 * losses(done.folder)[0]
    assert done.result["held_out"]["rewards/accuracies"] > 0.9


def test_two_processes_train_one_model(toy: Run, model: str, tmp_path: Path, done: Training) -> None:
    """As with `accelerate launch` on GPUs: the same number of steps, with half of each batch per process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # set by every launcher
    line = ("train", toy.folder, "--model", model, "-o", tmp_path, *SETTINGS)
    both = [
        forked.started(*line, env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank}, preload=forked.TRAINING)
        for rank in "01"
    ]
    (first, errors), (second, other_errors) = (process.communicate() for process in both)
    assert [process.returncode for process in both] == [0, 0], errors + other_errors
    assert (first.count("held out"), second.count("held out")) == (1, 0)  # printed by the main process only
    result = open_training(tmp_path).result
    assert (result["steps"], result["batch"]["micro_batch"]) == (done.result["steps"], 4)
    assert result["held_out"]["rewards/accuracies"] > 0.9
    assert losses(tmp_path)[0] == pytest.approx(math.log(2), abs=1e-4)


def test_two_processes_without_memory(toy: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single process cannot retry: the others are in the middle of a step."""
    import torch
    from transformers import LlamaModel

    def raise_out_of_memory(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaModel, "forward", raise_out_of_memory)
    section = small(model)
    rows = rows_of(toy, preflight(toy, section), "train", "dpo")
    job = Job(section, model, load_tokenizer(model), rows, None, tmp_path / "log.csv")
    facts = Facts(
        tmp_path / "checkpoints", len(rows), 0, 64, micro_batch=4, cuda=False, half_precision=False, processes=2
    )
    with pytest.raises(
        TrainingStopped, match=r"micro-batch of 4 pairs .* 2 devices.*per_device_train_batch_size=2 --resume"
    ):
        fit(job, facts, print)
    assert not (tmp_path / ROWS_FOLDER).exists()


def test_no_memory_for_a_single_pair(toy: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import LlamaModel

    def raise_out_of_memory(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaModel, "forward", raise_out_of_memory)
    with pytest.raises(TrainingStopped, match=r"one pair and gradient checkpointing; lower train.max_length \(64\)"):
        train(toy, small(model, batch=2), tmp_path / "out")


def test_a_loss_that_is_not_finite_stops_and_names_rows(toy: Run, model: str, tmp_path: Path) -> None:
    section = small(model, lora=False, trl={"learning_rate": 1e30, "max_grad_norm": 0, "warmup_steps": 0})
    with pytest.raises(TrainingStopped, match=r"not finite in rows train \d+, train \d+"):
        train(toy, section, tmp_path / "out")


@pytest.mark.parametrize("method", ["orpo", "reward", "sft"])
def test_other_methods(method: str, toy: Run, model: str, tmp_path: Path) -> None:
    done = train(toy, small(model, method=method), tmp_path / "out")
    seen = losses(done.folder)
    assert seen[-1] < seen[0]
    assert (done.model / "adapter_config.json").is_file()
    if method == "reward":
        assert done.result["held_out"]["accuracy"] > 0.9


def test_sft_first(toy: Run, model: str, tmp_path: Path) -> None:
    done = train(toy, small(model, sft_first=True), tmp_path / "out")
    assert (tmp_path / "out" / "sft" / "merged" / "model.safetensors").is_file()
    base = json.loads((done.model / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(tmp_path / "out" / "sft" / "merged")


def test_full_training_needs_no_second_model(toy: Run, model: str, tmp_path: Path) -> None:
    done = train(toy, small(model, lora=False), tmp_path / "out")
    assert (done.model / "model.safetensors").is_file()
    kept = [json.loads((Path(folder) / "generation_config.json").read_text()) for folder in (model, done.model)]
    assert kept[0] == kept[1]  # sampling during training did not change it
    assert done.result["held_out"]["rewards/accuracies"] > 0.9


def test_one_row_and_no_held_out_pairs(model: str, tmp_path: Path) -> None:
    run = toy_run(tmp_path, rows=toy_rows(1), test=0)
    done = train(run, small(model))
    assert (done.result["rows"], done.result["steps"], done.result["held_out"]) == (1, 3, {})
    assert done.folder == run.folder / "training"
    assert "No pairs were held out" in (done.folder / "training.html").read_text("utf-8")


def test_unusable_rows_are_left_out(model: str, tmp_path: Path) -> None:
    strict = tiny_tokenizer().chat_template.replace(
        "{% for", "{% if '3' in messages[0].content %}{{ raise_exception('no threes') }}{% endif %}{% for", 1
    )
    other = tiny_model(tmp_path / "strict", tiny_tokenizer(strict))
    run = toy_run(tmp_path, 12, test=0)
    done = train(run, small(other, trl={"num_train_epochs": 1}))
    assert (done.result["rows"], done.result["left_out"]) == (11, 1)
    assert [line["finding"] for line in done.result["findings"]] == ["refused"]


def test_label_confidence_smooths(model: str) -> None:
    pairs = pl.DataFrame({"label_confidence": [1.0, 0.8, 0.9]})
    assert with_label_smoothing(Train(model=model), pairs).trl == {"loss_type": ["robust"], "label_smoothing": 0.1}
    explicit = Train(model=model, trl={"loss_type": ["ipo"]})
    assert with_label_smoothing(explicit, pairs) == explicit
    assert with_label_smoothing(Train(model=model), pl.DataFrame({"other": [1.0]})).trl == {}
    assert with_label_smoothing(Train(model=model), pl.DataFrame({"label_confidence": [1.0]})).trl == {}


def test_a_folder_without_a_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no training"):
        open_training(tmp_path)
