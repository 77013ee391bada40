"""`why` finds rows of every split, also of a pulled run, and accepts any text as a row."""

from pathlib import Path

import pytest

import curate
from curate.errors import InputError
from curate.rundir.manifest import Pulled
from curate.rundir.result import Run
from tests.data import rows


@pytest.mark.slow
def test_a_pulled_run_shows_the_texts_of_every_split(tmp_path: Path) -> None:
    cleaned = curate.clean(rows(40), out=tmp_path / "RUN", settings=["split.validation=0.2", "split.test=0.1"])
    run = Run(cleaned.folder, cleaned.manifest.replace(pulled=Pulled("me/set", "0" * 40, "default")))
    kept = run.ledger.filter("kept").select("source_row", "split").collect()
    assert set(kept.get_column("split")) == {"train", "validation", "test"}
    for row, split in kept.iter_rows():
        (found,) = run.why(row)
        assert (found["split"], found["chosen"][0]["role"]) == (split, "assistant")


@pytest.mark.parametrize(
    "row", ["²", "٣", "-1", "1.5", "", "9" * 30, "18446744073709551616", "9" * 5000, "0" * 30 + "1", "\x1b[2J"]
)
def test_an_invalid_row_is_an_input_error(tmp_path: Path, row: str) -> None:
    run = curate.clean(rows(4), out=tmp_path / "RUN", settings=["split.test=0"])
    with pytest.raises(InputError, match="no row"):
        run.why(row)


def test_messages_have_the_fields_that_they_have(tmp_path: Path) -> None:
    thought = [{"role": "assistant", "content": "Green.", "reasoning_content": "Hm."}]
    pair = {"prompt": "Tea?", "chosen": thought, "rejected": [{"role": "assistant", "content": "No."}]}
    (found,) = curate.clean([pair], out=tmp_path / "RUN", settings=["split.test=0"]).why(0)
    assert found["prompt"] == [{"role": "user", "content": "Tea?"}]
    assert found["chosen"] == [{"role": "assistant", "content": "Green.", "reasoning": "Hm."}]
    assert found["rejected"] == [{"role": "assistant", "content": "No."}]
