"""Findings of the preflight, on rows and templates that have them."""

from pathlib import Path

import polars as pl
import pytest

from curate.errors import InputError
from curate.recipe.training import Train
from curate.rundir.result import open_run
from tests.train.tiny import TEMPLATE, tiny_model, tiny_tokenizer, toy_run
from train.models import ModelShape, load_tokenizer
from train.preflight import Preflight, finding_flags, pairs_of, preflight, rounded
from train.tokens import TOKENS
from train.training import memory

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers


def row(**changes: object) -> dict[str, object]:
    good = {
        "prompt_tokens": 10, "lost_tokens": 0, "chosen_tokens": 20, "rejected_tokens": 10, "shared_tokens": 15,
        "chosen_ends": True, "rejected_ends": True, "system_lost": False,
        "content_lost": False, "refused": None,
    }  # fmt: skip
    return good | changes


@pytest.mark.parametrize(
    ("changes", "max_length", "names"),
    [
        ({}, 30, []),
        ({}, None, []),
        ({}, 29, ["cut"]),
        ({}, 16, ["cut"]),
        ({}, 15, ["equal_after_cut", "cut"]),
        ({}, 10, ["dropped"]),
        ({"prompt_tokens": 40}, 30, ["dropped"]),
        ({"rejected_tokens": 0}, 30, ["empty"]),
        ({"lost_tokens": 1}, 30, ["prompt_not_prefix"]),
        ({"lost_tokens": 3}, 30, ["prompt_not_prefix"]),
        ({"rejected_ends": False}, 30, ["no_end"]),
        ({"system_lost": True}, 30, ["system_lost"]),
        ({"content_lost": True}, 30, ["content_lost"]),
        ({"chosen_tokens": 20, "rejected_tokens": 20, "shared_tokens": 30}, 30, ["equal_after_cut"]),
        (dict.fromkeys(TOKENS) | {"refused": "no system turn"}, 30, ["refused"]),
    ],
)
def test_findings(changes: dict[str, object], max_length: int | None, names: list[str]) -> None:
    holds = pl.DataFrame([row(**changes)], schema=TOKENS).select(**finding_flags(max_length)).row(0, named=True)
    assert [name for name, has in holds.items() if has] == names


def test_lengths_and_their_memory() -> None:
    rows = pl.DataFrame([row(prompt_tokens=n) for n in range(80, 181)], schema=TOKENS)  # and 20 of the longer answer
    smol = ModelShape(parameters=134_515_008, linear_sizes=500_000, hidden=576, layers=30, context=192)
    names = ("rows that fit", "tokens", "max_length", "GB at batch size 1", "GB at batch size 8")
    found = Preflight("m", None, rows, smol, memory.Plan(16, half_precision=True)).lengths()
    assert [tuple(line[name] for name in names) for line in found] == [
        ("95%", 195, 192, 0.63, 2.23), ("99%", 199, 192, 0.63, 2.27), ("100%", 200, 192, 0.63, 2.28),
    ]  # fmt: skip
    blank = pl.DataFrame([row(prompt_tokens=0, chosen_tokens=0, rejected_tokens=0)], schema=TOKENS)
    found = Preflight("m", None, blank, smol, memory.Plan(16, half_precision=True)).lengths()
    assert [(line["tokens"], line["max_length"]) for line in found] == [(0, 0)] * 3
    refused = pl.DataFrame([dict.fromkeys(TOKENS) | {"refused": "no"}], schema=TOKENS)
    assert Preflight("m", None, refused, smol, memory.Plan(16, half_precision=True)).lengths() == []


@pytest.mark.slow
def test_a_run_without_findings(tmp_path: Path) -> None:
    run = toy_run(tmp_path, 20)
    result = preflight(run, Train(model=tiny_model(tmp_path / "model")))
    assert result.findings() == []
    assert result.rows.group_by("split").len().sort("split").rows() == [
        ("test", run.counts["test"]),
        ("train", run.counts["train"]),
    ]
    assert result.usable("train").all()
    assert result.max_length == 64
    assert [line["rows that fit"] for line in result.lengths()] == ["95%", "99%", "100%"]
    assert [line["max_length"] for line in result.lengths()] == [64] * 3


@pytest.mark.slow
def test_findings_name_their_rows(tmp_path: Path) -> None:
    silent = TEMPLATE.replace("</s>", "")
    model = tiny_model(tmp_path / "model", tiny_tokenizer(silent))
    run = toy_run(tmp_path, 20, test=0)
    (finding,) = preflight(run, Train(model=model)).findings()
    assert (finding["finding"], finding["rows"], finding["share"]) == ("no_end", 20, 1.0)
    assert finding["first"] == "train 0, train 1, train 2, train 3, train 4"


@pytest.mark.slow
def test_a_template_that_leaves_a_part_of_the_answers_out(tmp_path: Path) -> None:
    """As public templates do with reasoning in earlier turns; white space that a template trims is no part."""
    strips = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1].lstrip('\n') }}")
    model = tiny_model(tmp_path / "model", tiny_tokenizer(strips))
    thinking = {"prompt": "Red?", "chosen": "<think>\nLook.\n</think>\n\nYes.", "rejected": "<think>?</think>No idea."}
    plain = {"prompt": "Blue?", "chosen": "\nYes, it is.", "rejected": "No idea of that."}
    run = toy_run(tmp_path, rows=[thinking, plain], test=0)
    (finding,) = preflight(run, Train(model=model)).findings()
    assert (finding["finding"], finding["rows"], finding["first"]) == ("content_lost", 1, "train 0")


@pytest.mark.slow
def test_all_rows_too_long(tmp_path: Path) -> None:
    run = toy_run(tmp_path, 10)
    silent = tiny_model(tmp_path / "model", tiny_tokenizer(TEMPLATE.replace("</s>", "")))  # a finding of less weight
    with pytest.raises(InputError, match=r"no row is usable for training: 10 of 10 dropped .* max_length is 3"):
        preflight(run, Train(model=silent, trl={"max_length": 3}))


def test_a_template_that_writes_nothing(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_tokenizer("{# nothing #}"))
    with pytest.raises(InputError, match=r"10 of 10 dropped .* max_length is 0"):
        preflight(toy_run(tmp_path, 10), Train(model=model))


@pytest.mark.parametrize(("trl", "half"), [({"bf16": True}, True), ({"bf16": False}, False), ({"fp16": True}, True)])
def test_memory_is_that_of_the_precision_in_trl(tmp_path: Path, trl: dict[str, bool], half: bool) -> None:
    checked = preflight(toy_run(tmp_path, 4, test=0), Train(model=tiny_model(tmp_path / "model"), trl=trl))
    assert checked.plan.half_precision is half


def test_one_usable_row_is_enough(tmp_path: Path) -> None:
    good = {"prompt": "Why?", "chosen": "yes", "rejected": "no"}
    long = good | {"prompt": "word " * 300}
    run = toy_run(tmp_path, rows=[long, good], test=0, settings=["rules.defaults=false"])
    result = preflight(run, Train(model=tiny_model(tmp_path / "model"), max_length=64))
    assert sorted(result.usable("train")) == [False, True]


def test_no_chat_template_and_the_builtin_one(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", tiny_tokenizer(template=None))
    with pytest.raises(InputError, match=r"has no chat template.*--set train.chat_template=zephyr"):
        load_tokenizer(model)
    with pytest.raises(InputError, match="cannot read chat template 'chatml'"):
        load_tokenizer(model, "chatml")
    tokenizer = load_tokenizer(model, "zephyr")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    text = "<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == text
    assert (
        tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        == text.partition("Hello")[0]
    )
    assert preflight(toy_run(tmp_path, 10), Train(model=model, chat_template="zephyr")).findings() == []


def test_a_tokenizer_without_padding_token_pads_with_its_end_token(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(pad=None)
    tokenizer.save_pretrained(tmp_path / "model")
    assert load_tokenizer(str(tmp_path / "model")).pad_token == "</s>"


def test_a_run_without_pairs(tmp_path: Path) -> None:
    run = toy_run(tmp_path, rows=[{"prompt": "Why?", "chosen": "So.", "rejected": "So."}])
    with pytest.raises(InputError, match="RUN has no pairs to train on"):
        preflight(run, Train(model=tiny_model(tmp_path / "model")))


def test_pairs_of_a_run_whose_folder_looks_like_a_pattern(tmp_path: Path) -> None:
    run = toy_run(tmp_path, 10, test=0)
    folder = run.folder.rename(tmp_path / "RUN[1]")
    assert len(pairs_of(open_run(folder), "train")) == 10


def test_no_model_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model given: --model"):
        preflight(toy_run(tmp_path, 4), Train())


def test_rounded() -> None:
    assert [rounded(n, None) for n in (1, 64, 65)] == [64, 64, 128]
    assert rounded(65, 100) == 100


def test_memory_estimates() -> None:
    smol = ModelShape(parameters=134_515_008, linear_sizes=500_000, hidden=576, layers=30, context=8192)
    lora = memory.Plan(16, half_precision=True)
    assert memory.required_bytes(smol, lora, 1, 1024) == 2 * 134_515_008 + 16 * 16 * 500_000 + 2 * 1024 * 576 * 34 * 30
    full = memory.required_bytes(smol, memory.Plan(None, half_precision=True), 1, 1024)
    assert full - memory.required_bytes(smol, lora, 1, 1024) == 14 * 134_515_008 - 16 * 16 * 500_000
    assert memory.required_bytes(
        smol, memory.Plan(16, half_precision=True, checkpointing=True), 8, 1024
    ) < memory.required_bytes(smol, lora, 8, 1024)
    assert memory.largest_batch(smol, lora, 1024, 16, 10**12) == 16
    assert memory.largest_batch(smol, lora, 1024, 16, 10**9) == 1
    assert memory.largest_batch(smol, lora, 1024, 16, 7 * 10**9) == 4
