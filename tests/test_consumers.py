"""The output of a run as its consumers use it: `datasets` loads the folder, TRL trains on it unchanged."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import curate
from curate.rundir.result import Run
from tests.data import SHARED, plain
from tests.test_planted import run_planted

SETS = ("planted", "hh_rlhf_harmless.jsonl.gz", "alpaca_eval_annotations.parquet", "llmbar.jsonl")
# input rows, and how many are not pairs because the source prefers neither side
EXPECTED = {
    "hh_rlhf_harmless.jsonl.gz": (1600, 0),
    "alpaca_eval_annotations.parquet": (12877, 48),
    "llmbar.jsonl": (419, 0),
}


@pytest.fixture(scope="module", params=SETS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("real") / "RUN"
    if request.param == "planted":
        return run_planted(out)
    if not (SHARED / request.param).is_file():
        pytest.skip(f"{request.param} is not in ../shared/data")
    return curate.clean(SHARED / request.param, out)


@pytest.mark.slow
def test_counts_of_real_data_add_up(run: Run) -> None:
    counts = run.counts
    assert counts["rows"] == counts["ledger"] == counts["kept"] + counts["dropped"]
    (name,) = list(run.manifest.inputs)[:1]
    if name in EXPECTED:
        rows, ties = EXPECTED[name]
        assert (counts["rows"], counts.get("dropped_pair", 0)) == (rows, ties)
        assert counts["kept"] > 0.9 * rows


@pytest.mark.slow
def test_loads_with_datasets_by_its_folder(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import datasets

    loaded = datasets.load_dataset(str(run.folder), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in loaded.items()} == {n: run.counts[n] for n in ("train", "test")}
    assert "Ignoring" not in caplog.text  # every field of the card's header was understood
    first = run.train.drop("tools").head(1).collect().row(0, named=True)  # no row offers any
    assert {name: loaded["train"][0][name] for name in first} == {name: plain(value) for name, value in first.items()}
    by_files = datasets.load_dataset(
        "parquet", data_files=str(run.folder / "data" / "train-*.parquet"), split="train", cache_dir=str(tmp_path)
    )
    assert by_files.column_names == loaded["train"].column_names
    assert run.to_datasets()["test"].num_rows == run.counts["test"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch and transformers
def test_trl_tokenizes_and_trains_on_it_unchanged(run: Run, tmp_path: Path) -> None:
    import datasets
    from trl import DPOConfig, DPOTrainer

    loaded = datasets.load_dataset(str(run.folder), cache_dir=str(tmp_path), split="train")
    data = loaded.select(range(min(len(loaded), 64)))
    model, tokenizer = tiny_model(run, tmp_path)
    settings = DPOConfig(
        output_dir=str(tmp_path / "out"), per_device_train_batch_size=2, max_steps=1, max_length=None,
        report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    trainer = DPOTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer)
    ready = trainer.train_dataset
    assert len(ready) == len(data)
    row = ready[0]
    turns = (f"<{m['role']}>{m['content']}{'</s>' * (m['role'] == 'assistant')}" for m in data[0]["prompt"])
    prompt = "".join(turns) + "<assistant>"
    assert row["prompt_ids"] == tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for side in ("chosen", "rejected"):
        answer = f"{data[0][side][0]['content']}</s>"
        assert row[f"{side}_ids"][-1] == tokenizer.eos_token_id
        assert len(row[f"{side}_ids"]) <= len(tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1
    assert trainer.train().training_loss > 0


def tiny_model(run: Run, folder: Path) -> tuple[Any, Any]:
    """Return a model with a few thousand weights and a tokenizer with a chat template, built from the run's words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = run.train.select(pl.col("chosen").list.first().struct.field("content")).head(200).collect().to_series()
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<unk>", "</s>", "<user>", "<assistant>", "<system>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="</s>")
    fast.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16_384, pad_token_id=fast.pad_token_id, eos_token_id=fast.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "model")
    fast.save_pretrained(folder / "model")
    return str(folder / "model"), fast
