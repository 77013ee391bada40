"""The README is true: its tables are what the code says, its commands and its code run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from curate.cli import app
from curate.rules import DEFAULTS
from curate.signals import SIGNALS
from curate.sources.formats import FORMATS
from tests.data import rows, write_jsonl

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text("utf-8")


def table(header: str, lines: list[tuple[str, ...]]) -> str:
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    rule = "|".join("---" for _ in header.split(" | "))
    return "\n".join([f"| {header} |", f"|{rule}|", *(f"| {line} |" for line in cells)])


def about(text: str | None) -> str:
    """The first paragraph, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def tables() -> dict[str, str]:
    """Every generated part of the README by its name."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        "commands": table("command | what it does", [(f"`curate {n}`", about(c.help)) for n, c in commands.items()]),
        "formats": table("format | what it is", [(f"`{n}`", about(m.__doc__)) for n, m in FORMATS.items()]),
        "rules": table(
            "rule | default | why", [(f"`{name}`", str(v).lower(), why) for name, (v, why) in DEFAULTS.items()]
        ),
        "signals": table(
            "signal | of | definition",
            [(f"`{s.name}`", ", ".join(s.sides) or "pair", about(s.about)) for s in SIGNALS.values()],
        ),
    }


def part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", ["commands", "formats", "rules", "signals"])
def test_tables_are_what_the_code_says(name: str) -> None:
    found = part(name).search(TEXT)
    assert found is not None
    assert found[2].strip() == tables()[name], "run: python tests/test_readme.py"


def test_commands_run(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", rows(20))
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"What is {n} times {n}?"} for n in range(3)])
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "An item of an exam of your own."}])
    (tmp_path / "recipe.yaml").write_text("source: {paths: pairs.jsonl.gz}\n")
    subprocess.run(["gzip", "-k", "pairs.jsonl"], cwd=tmp_path, check=True)
    said = re.findall(r"^(curate [^#\n]+)", TEXT, re.MULTILINE)
    local = [shlex.split(line)[1:] for line in said if "OWNER/NAME" not in line]
    assert len(local) >= 2
    for arguments in local:
        done = subprocess.run(
            [sys.executable, "-m", "curate", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_code_runs(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", rows(20))
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'kept': 20" in done.stdout


def test_make_targets_exist() -> None:
    makefile = README.with_name("Makefile").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


if __name__ == "__main__":
    for name, generated in tables().items():
        TEXT = part(name).sub(lambda found, new=generated: f"{found[1]}{new}\n{found[3]}", TEXT)  # type: ignore[misc]
    README.write_text(TEXT, "utf-8")
