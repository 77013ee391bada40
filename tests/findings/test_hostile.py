"""Whatever lines a file has: every row is counted, nothing raises, and no text reaches the output unescaped."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import curate
from curate.findings.outputs import github, sarif
from curate.terminal import visible, visible_json
from tests.data import row, rows

TEXT = st.text(st.sampled_from("ab \n\r\t\x1b\x00\u202e%:,\"'{}[]<|>é🙂`*-#="), max_size=12)
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXT, st.none(), st.integers(), st.floats(), st.booleans(), st.lists(TEXT, max_size=2),
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": TEXT}), max_size=3),
)  # fmt: skip
ROWS = st.fixed_dictionaries({"prompt": VALUES, "chosen": VALUES, "rejected": VALUES}, optional={"extra": VALUES})
LINES = st.lists(st.one_of(ROWS.map(json.dumps), st.sampled_from(["{", "[1]", "null", '{"a": 1}', '"x"'])), max_size=8)
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LOST = ("PC1", "PC401", "PC402")  # codes of rows that are no pairs


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(LINES)
def test_every_row_is_counted_and_escaped(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile.jsonl"
        good = [json.dumps(one) for one in rows(2)]
        path.write_text("\n".join([*good, *lines]), "utf-8")
        found = curate.check(path, examples=20)
    assert found.rows == len(lines) + 2
    lost = sum(one.count for one in found if one.kind.code.startswith(LOST) and one.kind.name != "unused_column")
    assert found.pairs + lost >= found.rows
    assert all(0 <= one.count <= one.of and one.of >= 1 for one in found)
    for line in github(found):
        assert "\n" not in line
        assert "\r" not in line
        assert not RAW.search(visible(line))
    for value in (found.to_dict(), sarif(found, "1")):
        text = visible_json(json.dumps(value, ensure_ascii=False))
        assert not RAW.search(text)
        assert json.loads(text) == value


def test_a_name_of_a_model_is_shown_as_text() -> None:
    evil = "gpt\x1b[2J\n::error::4"
    pairs = [row(n, chosen_model=evil, rejected_model="b") for n in range(60)]
    found = [one for one in curate.check(pairs) if one.kind.code == "PC407"]
    assert len(found) == 2
    assert all("\x1b" not in visible(line) and "\n" not in line for line in github(found))
