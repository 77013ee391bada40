"""Evaluation of a tuned model against its reference: pairs, answers, a judge, and a page that escapes all text."""

import json
from pathlib import Path

import polars as pl
import pytest

from curate.errors import InputError
from curate.recipe.training import Train
from curate.rundir.result import Run
from curate.schema import CANDIDATES, check
from tests.train.tiny import tiny_model, toy_rows, toy_run
from train.evaluation.answers import ANSWERS, candidates, drift, evaluation_prompts
from train.evaluation.evaluate import evaluate
from train.evaluation.logps import load_with_reference, log_probs
from train.evaluation.slices import score_pairs, slices
from train.evaluation.wins import win_rates
from train.page import write_evaluation
from train.training.train import Training, train

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and TRL


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("toy"), 80)


@pytest.fixture(scope="module")
def done(toy: Run, tmp_path_factory: pytest.TempPathFactory) -> Training:
    model = tiny_model(tmp_path_factory.mktemp("model"))
    # In float32, like the log-probs that the training's own are compared with.
    trl = {"learning_rate": 5e-3, "num_train_epochs": 3, "per_device_eval_batch_size": 1, "bf16": False}
    return train(toy, Train(model=model, batch=8, trl=trl), tmp_path_factory.mktemp("done"))


def answers(*rows: tuple[str, str, str | None, str | None]) -> pl.DataFrame:
    listed = [
        {"kind": kind, "prompt_id": f"p{n}", "prompt": [{"role": "user", "content": text}], "tuned": a, "reference": b}
        for n, (kind, text, a, b) in enumerate(rows)
    ]
    return pl.DataFrame(listed, schema=ANSWERS)


@pytest.mark.slow
def test_log_probs_are_trls_own(done: Training, toy: Run) -> None:
    test = toy.test.collect()
    found = log_probs(load_with_reference(done.model, None), test, done.result["max_length"])
    held_out = done.result["held_out"]
    assert found.get_column("tuned_chosen").mean() == pytest.approx(held_out["logps/chosen"], abs=1e-3)
    rows = score_pairs(test, found)
    assert rows.get_column("correct").mean() == held_out["rewards/accuracies"]
    margin = rows.get_column("margin").mean()
    assert isinstance(margin, float)
    assert 0.1 * margin == pytest.approx(held_out["rewards/margins"], abs=1e-3)  # beta is 0.1


@pytest.mark.slow
def test_evaluate_a_training(done: Training, toy: Run) -> None:
    found = evaluate(toy, done, count=6, max_tokens=8)
    assert found["pairs"] == toy.counts["test"]
    assert found["slices"][0]["slice"] == "all"
    assert found["slices"][0]["accuracy"]["mean"] > 0.9
    assert found["prompts"] == 6
    assert found["kl_per_token"] > 0
    folder = done.folder / "evaluation"
    assert json.loads((folder / "evaluation.json").read_text("utf-8")) == json.loads(json.dumps(found))
    page = (folder / "evaluation.html").read_text("utf-8")
    assert "injection" in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    written = pl.read_parquet(folder / "answers.parquet")
    assert dict(written.schema) == dict(ANSWERS)
    assert written.filter(kind="held out").get_column("reference_tokens").max() == 8
    assert set(written.get_column("kind")) >= {"empty", "very long", "other language", "contradictory", "injection"}


@pytest.mark.slow
def test_a_whole_model_is_compared_with_its_starting_point(toy: Run, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    trl = {"learning_rate": 5e-3, "num_train_epochs": 2}
    done = train(toy, Train(model=model, batch=8, lora=False, trl=trl), tmp_path / "out")
    found = evaluate(toy, done, count=2, max_tokens=4)
    assert found["reference"] == model
    assert found["slices"][0]["accuracy"]["mean"] > 0.9
    with pytest.raises(InputError, match="is a whole model: specify what to compare it with"):
        load_with_reference(done.model, None)


@pytest.mark.slow
def test_no_held_out_pairs(tmp_path: Path, done: Training) -> None:
    with pytest.raises(InputError, match="has no test split"):
        evaluate(toy_run(tmp_path, rows=toy_rows(3), test=0), done)


def logps(*rows: tuple[float | None, float | None, float | None, float | None]) -> pl.DataFrame:
    names = ("tuned_chosen", "tuned_rejected", "reference_chosen", "reference_rejected")
    return pl.DataFrame(list(rows), schema=dict.fromkeys(names, pl.Float64), orient="row")


def test_margins_and_slices(tmp_path: Path) -> None:
    uneven = [row | {"chosen": row["chosen"] + " Yes." * (n % 2 * 10)} for n, row in enumerate(toy_rows(24))]
    pairs = toy_run(tmp_path, rows=uneven, test=0, settings=["rules.defaults=false"]).train.collect()
    figures = [(-10.0, -20.0, -12.0, -18.0)] * 12 + [(-10.0, -20.0, -8.0, -22.0)] * 11 + [(None,) * 4]
    rows = score_pairs(pairs, logps(*figures))
    assert rows.get_column("margin").to_list() == [4.0] * 12 + [-4.0] * 11 + [None]
    assert rows.get_column("correct").to_list() == [1.0] * 12 + [0.0] * 11 + [None]
    found = slices(rows)
    assert (found[0]["slice"], found[0]["pairs"]) == ("all", 24)
    assert found[0]["accuracy"].n == 23
    assert [(line["slice"], line["value"]) for line in found[1:]] == [
        ("length", "1 short"),
        ("length", "2 medium"),
    ]


def test_drift_and_candidates() -> None:
    rows = answers(
        ("held out", "Who?", "I am sorry, but I cannot help with that.", "It was the old man who lives by the sea."),
        ("held out", "When?", "Then. Then. Then. Then. Then. Then. Then. Then.", "Yesterday evening."),
        ("held out", "Nothing?", None, "Something."),
        ("injection", "Print it.", "No.", "No."),
    )
    found = {line["metric"]: line for line in drift(rows)}
    assert found["refusals"]["tuned"] == 0.5
    assert found["refusals"]["reference"] == 0.0
    assert found["words"] == {"metric": "words", "reference": 6.0, "tuned": 8.5, "change": 2.5}
    rows_per_model = candidates(rows)
    check(rows_per_model, CANDIDATES)
    assert rows_per_model.get_column("model").to_list() == ["reference", "tuned"] * 3
    assert rows_per_model.get_column("response").null_count() == 1
    assert drift(answers(("injection", "x", "a", "b"))) == []


def test_win_rates() -> None:
    wins = pl.DataFrame({"prompt_id": list("abcd"), "win": [1.0, 0.5, 0.0, None], "longer": [1, 0, -1, 5]})
    found = win_rates(wins, "judge")
    assert (found["prompts"], found["unjudged"], found["ties"]) == (4, 1, 1)
    assert found["win rate"].mean == 0.5


def test_the_page_escapes_everything(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    prompts = answers((bad, bad, bad, None)).to_dicts()
    prompts[0] |= {"error": bad, "verdicts": [{"judge": bad, "win": 1.0, "reason": bad}]}
    report = {
        "model": bad, "reference": bad, "pairs": 1, "prompts": 1, "warnings": [bad], "slices": [{"slice": bad}],
        "wins": [{"judge": bad}], "drift": [{"of": bad}], "kl_per_token": None,
    }  # fmt: skip
    write_evaluation(tmp_path / "page.html", report, prompts)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<img" not in page
    assert page.count("&lt;img src=x") >= 12


def test_prompts_are_distinct_and_reproducible(tmp_path: Path) -> None:
    test = toy_run(tmp_path, 20, test=0).train.collect()
    twice = pl.concat([test, test])
    found = evaluation_prompts(twice, 5)
    assert found.equals(evaluation_prompts(twice.reverse(), 5))
    assert found.filter(kind="held out").height == 5
    long = found.filter(kind="very long").get_column("prompt").item()[0]["content"]
    assert len(long) > 30_000
