"""Findings under a model: what its tokenizer and chat template do to the rows."""

from pathlib import Path
from typing import Any

import pytest

import curate
from tests.findings.cases import UNDER_MODEL
from tests.train.tiny import TEMPLATE, tiny_model, tiny_tokenizer, toy_rows

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers


@pytest.mark.parametrize(("code", "template", "bad"), UNDER_MODEL)
def test_one_row_under_a_model(tmp_path: Path, code: str, template: str, bad: dict[str, Any]) -> None:
    model = tiny_model(tmp_path / "model", tiny_tokenizer(template))
    good = toy_rows(3)
    found = {one.kind.code: one for one in curate.check([good[0], good[1] | bad, good[2]], model=model)}
    assert (found[code].count, [example.row for example in found[code].examples]) == (1, [1])
    assert code not in {one.kind.code for one in curate.check(good, model=model)}


@pytest.mark.slow
def test_what_a_template_leaves_out(tmp_path: Path) -> None:
    strips = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}").replace("</s>", "")
    model = tiny_model(tmp_path / "model", tiny_tokenizer(strips))
    thinking = {"prompt": "Red?", "chosen": "<think>Look.</think>Yes, red.", "rejected": "<think>?</think>No idea."}
    broken = {"prompt": "Blue?", "chosen": None, "rejected": "No."}
    found = {one.kind.code: one for one in curate.check([broken, *toy_rows(3), thinking], model=str(model), examples=9)}
    under = {code: [example.row for example in one.examples] for code, one in found.items() if code[2] == "6"}
    assert under == {"PC607": [1, 2, 3, 4], "PC609": [4]}  # rows are those of the source, unreadable ones included


def test_answers_that_begin_with_the_same_token(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    alike = {"prompt": "Red?", "chosen": "Yes, the door is red.", "rejected": "Yes, whatever you say."}
    found = curate.check([*toy_rows(1), alike], model=str(model))
    assert [(one.kind.code, one.count, one.examples[0].row) for one in found if one.kind.code[2] == "6"] == [
        ("PC610", 1, 1)
    ]
