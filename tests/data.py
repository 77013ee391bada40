"""Shared by tests: small inputs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curate.schema import OPTIONAL

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Return a pair that passes every default rule, with `changes`."""
    good = {
        "prompt": f"How do I restore file number {number} from last week's backup?",
        "chosen": f"Open Backups, pick the day, and choose Restore for file {number}.",
        "rejected": f"You may look for file {number} somewhere in the menus.",
    }
    return good | changes


def rows(count: int) -> list[dict[str, Any]]:
    """Return pairs that pass every default rule."""
    return [row(number) for number in range(count)]


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write a JSONL file; a str is written as a line unchanged."""
    texts = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the output of a run, byte for byte: everything except the manifest's seconds and the stages."""
    files = [
        *sorted((folder / "data").iterdir()),
        *(folder / n for n in ("ledger.parquet", "README.md", "report.html")),
    ]
    return {file.name: file.read_bytes() for file in [*files, folder / "recipe.yaml"]}


def plain(value: Any) -> Any:
    """Return messages out of a frame, or rows with some, without the optional fields that they do not have."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    absent = OPTIONAL if "role" in value else ()
    return {name: plain(item) for name, item in value.items() if name not in absent or item is not None}
