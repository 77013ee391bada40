"""Signals of models through whole runs: real libraries, with models of a few thousand random weights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import curate
from curate.embeddings.number_cache import HEADER, KEY
from curate.errors import InputError, RecipeError
from curate.recipe.scoring import ModelSignals
from curate.rundir.result import Run
from curate.stages.models import COLUMNS, score_frame, scored
from tests.data import contents, write_jsonl
from tests.train.test_tokens import ROWS
from tests.train.tiny import tiny_model, tiny_tokenizer, toy_rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of torch, transformers and TRL
TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}{% if m['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def reward_model(folder: Path, seed: int, *, context: int = 512, labels: int = 1, template: str = TOOLS) -> str:
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer(template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=context, num_labels=labels, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        initializer_range=0.5,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {
        **{name: reward_model(folder / name, seed) for seed, name in enumerate(("reward1", "reward2"))},
        **{name: tiny_model(folder / name, tiny_tokenizer(TOOLS), seed=seed) for seed, name in enumerate("pr")},
    }


def section(models: dict[str, str]) -> dict[str, Any]:
    return {"reward": [models["reward1"], models["reward2"]], "policy": models["p"], "reference": models["r"]}


def run(rows: Sequence[Any], out: Path, settings: dict[str, Any], **sections: Any) -> Run:
    source = write_jsonl(out.parent / "pairs.jsonl", rows)
    recipe = {"source": {"paths": [str(source)]}, "models": settings, **sections}
    return curate.run(recipe, out)


def signals(done: Run) -> pl.DataFrame:
    return done.stage("signals").scan().select(list(COLUMNS)).collect()


def entries(done: Run) -> list[int]:
    return entries_in(done.folder)


def entries_in(folder: Path) -> list[int]:
    """Return how many numbers each cache of a run holds, in ascending order, by its frames."""
    found = []
    for file in (folder / "stages" / "scores").glob("*.bin"):
        raw, count, place = file.read_bytes(), 0, 0
        while place < len(raw):
            _, numbers, _ = HEADER.unpack_from(raw, place)
            count, place = count + numbers, place + HEADER.size + numbers * (KEY + 8)
        found.append(count)
    return sorted(found)


def by_trl(pairs: pl.DataFrame, model: str, out: Path) -> list[tuple[float, float]]:
    """Return the log-probs that TRL's trainer computes before training, of chosen and rejected."""
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from train.training.fit import as_dataset

    args = DPOConfig(
        output_dir=str(out), precompute_ref_log_probs=True, report_to="none", use_cpu=True, bf16=False,
        max_length=None, per_device_train_batch_size=1,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = DPOTrainer(model, args=args, train_dataset=as_dataset(pairs), processing_class=tokenizer)
    data = trainer.train_dataset
    return list(zip(data["ref_chosen_logps"], data["ref_rejected_logps"], strict=True))


CALL = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]
OFFERED = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
WITH_TOOLS = {
    "prompt": [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": "", "tool_calls": CALL},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ],
    "chosen": [{"role": "assistant", "content": "Sunny."}],
    "rejected": [{"role": "assistant", "content": "", "tool_calls": CALL}],
    "tools": OFFERED,
}
TURNS = {
    "prompt": [{"role": "user", "content": "Hi"}],
    "chosen": [
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Tea?"},
        {"role": "assistant", "content": "Green."},
    ],
    "rejected": [{"role": "assistant", "content": "What?"}],
}


@pytest.mark.parametrize("rows", [ROWS, [WITH_TOOLS, TURNS]])
def test_log_likelihoods_are_trls(models: dict[str, str], tmp_path: Path, rows: list[Any]) -> None:
    pairs = curate.read(rows)
    found = score_frame(pairs, ModelSignals(policy=models["p"], reference=models["r"], beta=0.3, batch_tokens=200))
    policy, reference = (np.array(by_trl(pairs, models[name], tmp_path)) for name in ("p", "r"))
    assert found.select("chosen_logp", "rejected_logp").to_numpy() == pytest.approx(policy, abs=1e-3)
    ratios = policy - reference
    gap = found.get_column("implicit_gap").to_numpy()
    assert gap == pytest.approx(0.3 * (ratios[:, 0] - ratios[:, 1]), abs=1e-3)
    assert len(set(gap)) > 1


def test_rewards_are_those_of_transformers(models: dict[str, str]) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = models["reward1"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    pairs = curate.read([*toy_rows(7), WITH_TOOLS, TURNS])
    found = score_frame(pairs, ModelSignals(reward=[folder], batch_tokens=120))
    for side in ("chosen", "rejected"):
        for row, score in zip(pairs.to_dicts(), found.get_column(f"{side}_reward"), strict=True):
            turns = [{k: v for k, v in turn.items() if v is not None} for turn in [*row["prompt"], *row[side]]]
            turns = [turn | {"tool_calls": json.loads(turn.get("tool_calls", "null"))} for turn in turns]
            tools = {"tools": json.loads(row["tools"])} if row["tools"] else {}
            text = tokenizer.apply_chat_template(turns, tokenize=False, **tools)
            with torch.inference_mode():
                expected = model(torch.tensor([tokenizer(text)["input_ids"]])).logits.item()
            assert score == pytest.approx(expected, abs=1e-4)


def test_a_run_with_all_of_them(models: dict[str, str], tmp_path: Path) -> None:
    rows = [*toy_rows(30), "no json", {"prompt": "Hi", "chosen": "Ho"}]
    settings = {**section(models), "relevance": True}
    done = run(
        rows, tmp_path / "RUN", settings, source={"paths": [str(tmp_path / "pairs.jsonl")], "max_bad_rows": 1},
        rules={"min_reward_margin": 0, "where": "chosen_relevance > -1"}, dedup={"keep": "reward_margin"},
        select={"implicit_gap": {"floor": -9, "n": 9}},
    )  # fmt: skip
    found = signals(done)
    assert found.schema == COLUMNS
    assert found.null_count().row(0) == (2,) * len(COLUMNS)  # the two rows that are no pairs
    ledger = done.ledger.collect()
    lower = found.get_column("reward_margin") < 0
    assert ledger.filter(rule="min_reward_margin").height == lower.sum() > 0
    assert ledger.filter("kept").height == 9
    assert {"models", "signals"} <= done.manifest.stages.keys()
    assert "reward_margin" in done.why(0)[0]
    assert "reward_margin" in done.report.read_text("utf-8")
    assert entries(done) == [60, 60, 60, 60]


def test_a_second_run_scores_nothing_and_repeats_are_scored_once(models: dict[str, str], tmp_path: Path) -> None:
    rows = toy_rows(6)
    rows += [{**rows[0], "rejected": "Something else."}, rows[1]]  # one new answer only
    first = run(rows, tmp_path / "RUN", {"reward": models["reward1"]})
    assert entries(first) == [13]
    (cache,) = (first.folder / "stages" / "scores").iterdir()
    written = cache.stat().st_mtime_ns
    before = contents(first.folder)
    run(rows, tmp_path / "RUN", {"reward": models["reward1"]}, split={"test": 0.3})
    assert contents(run(rows, tmp_path / "RUN", {"reward": models["reward1"]}).folder) == before
    more = run(rows, tmp_path / "RUN", {"reward": [models["reward1"], models["reward2"]]})
    assert entries(more) == [13, 13]  # those of the second model
    assert cache.stat().st_mtime_ns == written
    assert signals(more).get_column("reward_std").null_count() == 0


def test_another_content_of_the_folder_is_another_model(models: dict[str, str], tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "mine", 5)
    one = signals(run(toy_rows(4), tmp_path / "RUN", {"reward": folder})).get_column("chosen_reward").to_list()
    reward_model(tmp_path / "mine", 6)
    again = signals(curate.run(tmp_path / "RUN" / "recipe.yaml", tmp_path / "RUN"))
    two = again.get_column("chosen_reward").to_list()
    assert one != two


KILLED = """
import os, signal, sys
import curate
from curate.stages.scorers import LikelihoodScorer
whole, calls = LikelihoodScorer.numbers, []
def numbers(self, answers):
    calls.append(len(answers))
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, answers)
LikelihoodScorer.numbers = numbers
curate.run(sys.argv[1], sys.argv[2])
"""


def test_after_a_kill_no_more_than_one_batch_is_repeated(models: dict[str, str], tmp_path: Path) -> None:
    whole = run(toy_rows(20), tmp_path / "WHOLE", {"policy": models["p"], "batch_tokens": 150})
    recipe = tmp_path / "WHOLE" / "recipe.yaml"
    done = subprocess.run([sys.executable, "-c", KILLED, recipe, tmp_path / "RUN"], capture_output=True, check=False)
    assert done.returncode == -9
    (before,) = entries_in(tmp_path / "RUN")
    assert 0 < before < 40  # the three batches before the kill
    resumed = curate.run(recipe, tmp_path / "RUN")
    assert entries(resumed) == entries(whole) == [40]  # with more, something would have been scored again
    assert contents(resumed.folder) == contents(whole.folder)


def test_long_texts_are_not_measured_and_counted(models: dict[str, str], tmp_path: Path, capfd: Any) -> None:
    rows = toy_rows(5)
    rows[2]["chosen"] = "red door " * 200
    done = run(rows, tmp_path / "RUN", {"reward": models["reward1"], "policy": models["p"], "max_tokens": 100})
    found = signals(done)
    assert found.select("chosen_reward", "rejected_reward", "reward_margin", "chosen_logp").null_count().row(0) == (
        1, 0, 1, 1,
    )  # fmt: skip
    assert found.get_column("chosen_logp").is_null().to_list() == [False, False, True, False, False]
    (info,) = [done.stage("models").info]
    assert info is not None
    assert list(info["not_measured"].values()) == [{"too_long": 1}, {"too_long": 1}]
    assert "of 10 answers 1 are longer than 100 tokens; they are not measured" in capfd.readouterr().err


def test_empty_answers(models: dict[str, str]) -> None:
    pairs = curate.read([{"prompt": "Tea?", "chosen": "Green.", "rejected": ""}, *toy_rows(2)])
    found = score_frame(pairs, ModelSignals(policy=models["p"], reward=[models["reward1"]], relevance=True))
    first = found.row(0, named=True)
    assert first["rejected_logp_per_token"] == first["rejected_logp"] < 0  # its end token alone
    assert first["rejected_reward"] is not None
    assert first["rejected_relevance"] is None
    assert -1 <= first["chosen_relevance"] <= 1


def test_models_of_another_kind(models: dict[str, str], tmp_path: Path) -> None:
    two = reward_model(tmp_path / "two", 0, labels=2)
    no_template = tiny_model(tmp_path / "base", tiny_tokenizer(None))
    other = tiny_model(tmp_path / "other", tiny_tokenizer(TOOLS, texts=["an entirely different text"] * 9, size=300))
    pairs = curate.read(toy_rows(2))
    for settings, message in (
        ({"reward": [two]}, "is not a reward model: it has 2 labels, expected 1"),
        ({"reward": [models["p"]]}, "is not a reward model: it is a LlamaForCausalLM"),
        ({"policy": models["reward1"]}, "is not a causal language model: it is a LlamaForSequenceClassification"),
        ({"policy": no_template}, "has no chat template"),
        ({"policy": models["p"], "reference": other}, "has another tokenizer than models.policy"),
        ({"policy": str(tmp_path / "none")}, "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            score_frame(pairs, ModelSignals.model_validate(settings))


def test_a_template_that_refuses_some_or_all(tmp_path: Path, models: dict[str, str]) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TOOLS
    folder = reward_model(tmp_path / "refusing", 0, template=refusing)
    system = {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    row = {**system, "chosen": [{"role": "assistant", "content": "Ho"}]}
    row["rejected"] = [{"role": "assistant", "content": "No"}]
    some, every = curate.read([row, TURNS]), curate.read([row])
    frame = some.select("prompt", "chosen", "rejected", "tools", usable=pl.lit(value=True))
    found, missing = scored(
        ModelSignals(reward=[folder]), lambda: [frame], lambda *_: None, lambda *_: np.empty((0, 0))
    )
    assert found.get_column("chosen_reward").is_null().to_list() == [True, False]
    assert list(missing.values()) == [{"refused": 2}]
    with pytest.raises(InputError, match="refuses all conversations: no system here"):
        score_frame(every, ModelSignals(reward=[folder]))


def test_measure_with_models(models: dict[str, str]) -> None:
    found = curate.measure(toy_rows(3), signals=["reward_margin"], models={"reward": models["reward1"]})
    assert found.get_column("reward_margin").null_count() == 0
    assert "reward_std" not in found.columns
    with pytest.raises(RecipeError, match="Extra inputs are not permitted"):
        curate.measure(toy_rows(3), models={"rewards": "x"})


def test_retune_needs_no_model(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "mine", 0)
    done = run(toy_rows(12), tmp_path / "RUN", {"reward": folder})
    margins = signals(done).get_column("reward_margin")
    stage = done.stage("models")
    written = stage.part(0).stat().st_mtime_ns
    shutil.rmtree(folder)
    retuned = curate.retune(done, rules={"min_reward_margin": 0}).run
    assert retuned.counts["dropped_rules"] == (margins < 0).sum() > 0
    assert retuned.stage("models").key == stage.key
    assert stage.part(0).stat().st_mtime_ns == written
    with pytest.raises(InputError, match="there is no folder"):
        curate.retune(done, settings=["models.max_tokens=100"])
