"""What tests share: small inputs, written where the test says."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A pair that passes every default rule; `changes` spoil it."""
    good = {
        "prompt": f"How do I restore file number {number} from last week's backup?",
        "chosen": f"Open Backups, pick the day, and choose Restore for file {number}.",
        "rejected": f"You may look for file {number} somewhere in the menus.",
    }
    return good | changes


def rows(count: int) -> list[dict[str, Any]]:
    """Pairs that pass every default rule."""
    return [row(number) for number in range(count)]


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any] | str]) -> Path:
    """A JSONL file; a text is written as the line it is."""
    texts = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """The product of a run, byte for byte: everything but the manifest's seconds and the stages."""
    files = [
        *sorted((folder / "data").iterdir()),
        *(folder / n for n in ("ledger.parquet", "README.md", "report.html")),
    ]
    return {file.name: file.read_bytes() for file in [*files, folder / "recipe.yaml"]}
