"""
Flipped bits and truncated files: each ends in the same data or in a one-line error, never in other data.

Every file of a finished run is damaged: of a run that read pairs, and of one that asked models.
"""

import json
import random
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.harness import Victim, contents
from tests.chat_server import ChatServer, chat_server
from tests.data import rows, write_jsonl
from tests.forked import ASKING

PRELOAD = ASKING
FEW, MANY = 6, 100
ROWS = ("0", "3", "7")
WITHOUT_EFFECT = (".lock", ".prefcurate")  # our markers: a damaged one is an error, never other data


@pytest.fixture(scope="module")
def models() -> Iterator[ChatServer]:
    def answer(messages: object, params: Mapping[str, Any]) -> str:
        text = str(messages)
        verdict = {"ratings": {"overall": 1 + zlib.crc32(text.encode()) % 5}, "reason": "r"}
        return json.dumps(verdict) if "grade" in text else "word " * (3 + params.get("seed", 0)) + text[-40:]

    with chat_server(answer) as server:
        yield server


@pytest.fixture(scope="module")
def cleaned(victim: Victim) -> tuple[Path, list[str]]:
    """Return a finished run and its command."""
    write_jsonl(victim.folder / "p.jsonl", rows(30))
    line = ["clean", "p.jsonl", "-o", "RUN", "--near", "--set", "split.validation=0.1"]
    assert victim(*line).check().code == 0
    return victim.folder / "RUN", line


@pytest.fixture(scope="module")
def generated(victim: Victim, models: ChatServer) -> tuple[Path, list[str]]:
    write_jsonl(victim.folder / "prompts.jsonl", [{"prompt": f"Is {n} odd, or even?"} for n in range(12)])
    (victim.folder / "r.yaml").write_text(
        f"source: {{paths: prompts.jsonl}}\ngenerate: {{models: ['openai:a@{models.url}'], n: 3}}\n"
        f"judge: {{models: ['openai:j@{models.url}', 'openai:k@{models.url}']}}\n"
        "rules: {defaults: false}\nsplit: {test: 0.3}\n"
    )
    line = ["run", "r.yaml", "-o", "MADE"]
    assert victim(*line).check(connects=["127.0.0.1"]).code == 0
    return victim.folder / "MADE", line


@pytest.mark.slow
def test_damage_to_a_cleaned_run(victim: Victim, cleaned: tuple[Path, list[str]]) -> None:
    attack(victim, *cleaned, seeds=range(FEW))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damage_to_a_cleaned_run_100_times(victim: Victim, cleaned: tuple[Path, list[str]]) -> None:
    attack(victim, *cleaned, seeds=range(FEW, FEW + MANY))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damage_to_a_generated_run_100_times(victim: Victim, generated: tuple[Path, list[str]]) -> None:
    attack(victim, *generated, seeds=range(MANY))


def attack(victim: Victim, run: Path, again: list[str], *, seeds: range) -> None:
    """Damage one file at a time; then look up a row, export, or repeat the run."""
    whole = victim.folder / f"{run.name}-whole"
    if not whole.exists():
        shutil.copytree(run, whole)
    restore(whole, run)  # an earlier test leaves its last damage in place
    right = contents(whole)
    product = {name: data for name, data in right.items() if name.startswith("data/") or name == "ledger.parquet"}
    asked = {row: victim("why", run, row, "--json").check().out for row in ROWS}
    exported = export(victim, run)
    files = sorted(name for name in right if name not in WITHOUT_EFFECT)
    for seed in seeds:
        chance = random.Random(seed)
        name = files[seed % len(files)]
        restore(whole, run)
        damage(run / name, chance)
        what = f"seed {seed}: {name}"
        look, row = chance.randrange(3), chance.choice(ROWS)
        if look == 0:
            done = victim("why", run, row, "--json").check()
            assert done.code == 2 or done.out == asked[row], what
            continue
        if look == 1:
            assert export(victim, run) in (exported, None), what
            continue
        done = victim(*again).check(connects=["127.0.0.1"])
        assert done.code in {0, 2}, f"{what}: {done.err}"
        after = contents(run)
        if done.code == 0:
            assert {key: after.get(key) for key in product} == product, what
            assert sorted(after) == sorted(right), what


def export(victim: Victim, run: Path) -> dict[str, bytes] | None:
    """Return the exported files; None if the export was refused."""
    target = victim.folder / "exported"
    shutil.rmtree(target, ignore_errors=True)
    done = victim("export", run, target, "--as", "jsonl").check()
    return contents(target) if done.code == 0 else None


def damage(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if not data or chance.random() < 0.3:
        path.write_bytes(bytes(data[: chance.randrange(len(data) or 1)]))
        return
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(data))


def restore(whole: Path, run: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(whole, run)
