"""A dataset with every kind of planted defect: each is dropped for the right reason, and good pairs are kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from curate.flow import run as run_recipe
from curate.recipe.load import load_recipe
from curate.rundir.result import Run

CAUGHT_BY = {
    "chosen_ai_boilerplate": "no_chosen_ai_boilerplate",
    "chosen_email_phone": "no_chosen_emails",
    "chosen_empty": "no_chosen_empty",
    "chosen_ends_midsentence": "no_chosen_ends_midsentence",
    "chosen_key": "no_chosen_keys",
    "chosen_open_fence": "no_chosen_open_fence",
    "chosen_refusal": "no_chosen_refusal",
    "chosen_repeated_lines": "max_chosen_dup_line_share",
    "chosen_repeats_prompt": "no_chosen_repeats_prompt",
    "chosen_repetition": "max_chosen_dup_10gram_share",
    "chosen_role_label": "no_chosen_role_label",
    "chosen_template_leak": "no_chosen_template_leak",
    "contradiction": "contradiction",
    "control_chars": "no_chosen_control_chars",
    "duplicate_pair": "duplicate_pair",
    "identical": "no_identical_normalized",
    "identical_normalized": "no_identical_normalized",
    "language_differs": "no_languages_differ",
    "length_ratio": "max_chars_ratio",
    "mojibake": "no_chosen_mojibake",
    "prompt_empty": "no_prompt_empty",
    "rejected_empty": "no_rejected_empty",
    "rejected_null": "missing_rejected",
    "rejected_template_leak": "no_rejected_template_leak",
    "scores_contradict": "no_scores_contradict",
    "symbols": "max_chosen_symbol_share",
    "think_differs": "no_think_differs",
    "tie": "no_tie",
    "truncated": "no_truncated",
    "upper": "max_chosen_upper_share",
    "zero_width": "no_chosen_zero_width",
}


PLANTED = Path(__file__).parent / "planted"


def run_planted(out: Path) -> Run:
    recipe = load_recipe(PLANTED / "recipe.yaml")
    source = recipe.source.model_copy(update={"paths": tuple(str(PLANTED / path) for path in recipe.source.paths)})
    return run_recipe(recipe.model_copy(update={"source": source}), out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_planted(tmp_path_factory.mktemp("planted") / "RUN")


def fates(run: Run) -> Iterator[tuple[str, str | None, bool, str]]:
    """Yield for every readable row: its id, what was planted, whether it was kept, and its reasons."""
    extra = run.stage("pairs").scan().select("extra")
    rows = pl.concat([run.ledger.select("kept", "reasons"), extra], how="horizontal").collect()
    for kept, reasons, text in rows.iter_rows():
        if text is not None:
            other = json.loads(text)
            yield other["id"], other["planted"], kept, "; ".join(reasons)


@pytest.mark.slow
def test_every_planted_defect_is_dropped_for_the_right_reason(run: Run) -> None:
    planted = [fate for fate in fates(run) if fate[1] is not None]
    assert {defect for _, defect, _, _ in planted} == set(CAUGHT_BY)
    assert [fate for fate in planted if fate[2] or CAUGHT_BY[fate[1] or ""] not in fate[3]] == []


@pytest.mark.slow
def test_good_pairs_are_kept(run: Run) -> None:
    lost = [(reasons, row) for row, planted, kept, reasons in fates(run) if planted is None and not kept]
    # Two are the counterparts of planted contradictions, three are correct refusals: the cost of that rule.
    assert sorted(reasons for reasons, _ in lost) == ["contradiction"] * 2 + ["no_chosen_refusal"] * 3


def test_broken_lines_are_reported(run: Run) -> None:
    broken = run.ledger.filter(pl.col("rule") == "broken_row").collect()
    assert [reasons[0].split(":")[1].strip() for reasons in broken.get_column("reasons")] == ["line 45", "line 71"]


def test_the_manifest_names_no_folder_of_this_machine(run: Run) -> None:
    assert list(run.manifest.inputs) == ["answers.jsonl", "chat.jsonl"]
    for path in (run.folder / "manifest.json", run.report, run.card):
        assert str(Path.home()) not in path.read_text("utf-8")
