"""The command `curate convert`."""

import json
from pathlib import Path

from typer.testing import CliRunner

from curate.cli import app
from curate.publish.forms import FORMS
from tests.data import row, write_jsonl

RUNNER = CliRunner()


def test_it_says_what_was_written_and_what_is_not_in_it(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [row(0, chosen_score=2), row(1), row(2, chosen=None)])
    out = tmp_path / "a.jsonl"
    done = RUNNER.invoke(app, ["convert", str(source), "--to", "openai", "-o", str(out)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{out}: 2 pairs as openai",
        "  pairs that have what is not in this form: scores 1",
        "  rows that are no pairs: missing_chosen 1",
    ]


def test_the_entry_of_dataset_info_is_printed(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [row(0)])
    arguments = ["convert", str(source), "--to", "llamafactory", "-o", str(tmp_path / "tea.json")]
    done = RUNNER.invoke(app, arguments)
    assert json.loads(done.stdout.partition("LLaMA-Factory:\n")[2]) == {
        "tea": {
            "file_name": "tea.json",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        }
    }
    again = RUNNER.invoke(app, [*arguments, "--force", "--json"])
    assert json.loads(again.stdout)["files"] == {str(tmp_path / "tea.json"): 1}


def test_its_help_names_every_form() -> None:
    text = RUNNER.invoke(app, ["convert", "--help"], env={"COLUMNS": "500", "TERMINAL_WIDTH": "500"}).stdout
    assert [name for name in FORMS if name not in text] == []
