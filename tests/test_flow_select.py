"""Every step of a selection that needs no vectors, in a run: from `--set` to the ledger, the card and the report."""

import json
from pathlib import Path
from typing import Any

import pytest

import curate


def rows(count: int = 40) -> list[dict[str, Any]]:
    """Return pairs with scores of growing chosen and rejected answers by three models."""
    return [
        {
            "prompt": f"How is tea {n} made?",
            "chosen": "With hot water. " * (1 + n % 5),
            "rejected": "Ask. " * (1 + n % 7),
            "chosen_score": 5 + n % 4,
            "rejected_score": 1 + n % 3,
            "chosen_model": "abc"[n % 3],
            "rejected_model": "bca"[n % 3],
        }
        for n in range(count)
    ]


STEPS = {
    "rip": ({}, {"rip_score", "rip_length", "rip_gap"}),
    "bees": ({"share": 0.25}, {"bees"}),
    "chosen_first": ({}, {"chosen_first_score", "chosen_first_gap"}),
    "top": ({"n": 10}, {"top"}),
    "random": ({"share": 0.5}, {"random"}),
    "length_balanced": ({}, {"length_balanced"}),
    "cap": ({"per": "chosen_model", "n": 4}, {"cap"}),
}
KEPT = {"bees": 10, "top": 10, "random": 20, "cap": 12}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_a_step_in_a_run(tmp_path: Path, name: str) -> None:
    settings, rules = STEPS[name]
    run = curate.clean(rows(), tmp_path / "RUN", settings=[f"select.{name}={json.dumps(settings)}", "split.test=0"])
    kept = run.counts["kept"]
    assert 0 < kept < 40
    assert kept == KEPT.get(name, kept)
    dropped = run.ledger.filter(stage="select").select("rule").unique().collect().to_series()
    assert set(dropped) <= rules
    assert len(dropped) > 0
    assert run.manifest.select is not None
    assert [(step.step, step.rows) for step in run.manifest.select.steps] == [(name, (40, kept))]
    assert "The selection, step by step" in (run.folder / "README.md").read_text("utf-8")
    report = run.report.read_text("utf-8")
    assert 'id="selection"' in report
    # The same on a frame.
    found = curate.select(curate.read(rows()), {name: settings})
    assert found.kept["source_row"].to_list() == sorted(run.train.collect()["source_row"].to_list())


@pytest.mark.slow
def test_sources_are_mixed_in_a_run(tmp_path: Path) -> None:
    for name, count in (("a", 30), ("b", 20)):
        lines = [{**row, "prompt": f"{name}: {row['prompt']}"} for row in rows(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    mix = {"a.jsonl": 0.25, "b.jsonl": 0.75}
    settings = [f"select.mix={json.dumps(mix)}", "select.budget=20", "select.fill=top", "split.test=0"]
    run = curate.clean(sources, tmp_path / "RUN", settings=settings)
    counts = dict(run.train.group_by("source").len().collect().iter_rows())
    assert counts == {"a.jsonl": 5, "b.jsonl": 15}
    assert run.manifest.select is not None
    assert run.manifest.select.steps[-1].sources == {"a.jsonl": (30, 5), "b.jsonl": (20, 15)}
    assert "| b.jsonl | 20 | 15 |" in (run.folder / "README.md").read_text("utf-8")
