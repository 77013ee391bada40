"""Hostile repositories: `pull` gives the published data, or a one-line error and no folder."""

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.attacks.harness import Done, Victim, contents
from tests.data import rows, write_jsonl
from tests.hub_server import WRITE, HubServer, read
from tests.publish.user import LICENSED, SMALL

REPO, META = "me/set", "prefcurate/default"
SHARD, LEDGER, MANIFEST = "data/train-00000-of-00001.parquet", f"{META}/ledger.parquet", f"{META}/manifest.json"
SUMMARY, RECIPE, CARD = f"{META}/summary.json", f"{META}/recipe.yaml", "README.md"
EVIL = b"\x1b]0;x\x07<script>\xe2\x80\xae\n---\nlicense: evil\n"


@pytest.fixture(scope="module")
def hub(victim: Victim) -> Iterator[HubServer]:
    """Yield a Hub with a run that the victim published."""
    write_jsonl(victim.folder / "p.jsonl", rows(20))
    own = (f"--set={text}" for text in (*SMALL, *LICENSED))
    assert victim("clean", "p.jsonl", "-o", "RUN", *own).check().code == 0
    with HubServer() as hub:
        done = victim("push", "RUN", REPO, env=settings(hub, victim)).check(connects=[place(hub)])
        assert done.code == 0, done.err
        yield hub


@pytest.fixture(scope="module")
def published(hub: HubServer) -> dict[str, bytes]:
    return {path: read(data) for path, data in hub.repos[REPO].history()[0].files.items()}


def settings(hub: HubServer, victim: Victim) -> dict[str, str]:
    home = {"HF_HOME": str(victim.folder / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return home | {"HF_ENDPOINT": hub.url, "HF_TOKEN": WRITE, "PREFCURATE_HUB_WAIT": "0.005"}


def place(hub: HubServer) -> str:
    return f"'127.0.0.1', {hub.url.rpartition(':')[2]}"


def pull(victim: Victim, hub: HubServer, files: dict[str, bytes]) -> Done:
    """Pull a repository with these files. Only the new folder changes: it is complete or absent."""
    hub.commit(REPO, files)
    out, before = victim.folder / "OUT", contents(victim.folder, "OUT", "home")
    shutil.rmtree(out, ignore_errors=True)
    done = victim("pull", REPO, "-o", "OUT", env=settings(hub, victim)).check(connects=[place(hub)])
    assert done.code in (0, 2), done.err
    assert contents(victim.folder, "OUT", "home") == before
    assert not any(sign in done.out + done.err for sign in ("\x1b", "\u202e", WRITE))
    assert out.exists() == (done.code == 0)
    return done


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[random.Random(3).randrange(len(data))] ^= 4
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flipped,
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "evil": lambda _: EVIL,
    "deep": lambda _: b"[" * 100_000,
    "longer": lambda data: data + EVIL,
    "bytes": lambda data: random.Random(5).randbytes(len(data)),
}
NAMES = (SHARD, LEDGER, MANIFEST, SUMMARY, RECIPE, CARD)
SOME = {(LEDGER, "cut"), (MANIFEST, "evil"), (CARD, "evil")}
CASES = [
    pytest.param(name, damage, marks=[] if (name, damage) in SOME else pytest.mark.slow)
    for name in NAMES
    for damage in DAMAGES
]


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_changed_files(victim: Victim, hub: HubServer, published: dict[str, bytes], name: str, damage: str) -> None:
    done = pull(victim, hub, published | {name: DAMAGES[damage](published[name])})
    if done.code == 0:
        assert name not in (SHARD, LEDGER)
        assert contents(victim.folder / "OUT/data") == contents(victim.folder / "RUN/data")


@pytest.mark.parametrize("name", NAMES)
def test_missing_files(victim: Victim, hub: HubServer, published: dict[str, bytes], name: str) -> None:
    done = pull(victim, hub, {path: data for path, data in published.items() if path != name})
    assert done.code == 2


PAIR = {"prompt": [[{"role": "user", "content": "q"}]], "chosen": [[]], "rejected": [None]}
TABLES: dict[str, dict[str, Any]] = {
    "no column": {},
    "no row": {"prompt": [], "chosen": []},
    "other columns": {"a": ["x"]},
    "other types": {name: [1] for name in PAIR},
    "some columns": PAIR,
    "many columns": {f"c{n}": [n] for n in range(999)},
    "controls": {EVIL.decode(): ["x"]},
    "nested": {"prompt": [[[[{"a": [[1]]}]]]]},
}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", [SHARD, LEDGER])
def test_other_tables_that_the_manifest_lists(
    victim: Victim, hub: HubServer, published: dict[str, bytes], name: str, table: str
) -> None:
    """The publisher is malicious: every checksum matches."""
    file = io.BytesIO()
    pl.DataFrame(TABLES[table]).write_parquet(file)
    tree = json.loads(published[MANIFEST])
    tree["files"][name.removeprefix(f"{META}/")] = hashlib.sha256(file.getvalue()).hexdigest()
    done = pull(victim, hub, published | {name: file.getvalue(), MANIFEST: json.dumps(tree).encode()})
    assert done.code == 2
    assert "is not what a run publishes" in done.err or "its manifest counts" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["data/other.parquet", "data/train-00001-of-00001.parquet", "data/.hidden.parquet", "data/a\x1b[2J.parquet",
     f"{META}/files/a/../../../../evil", f"{META}/files/judge/evil.txt", f"{META}/parts/../{MANIFEST}",
     f"{META}/parts/x/manifest.json"],
    ids=repr,
)  # fmt: skip
def test_files_that_no_run_writes(victim: Victim, hub: HubServer, published: dict[str, bytes], name: str) -> None:
    done = pull(victim, hub, published | {name: published[SHARD]})
    assert done.code == 2
    assert not (victim.folder / "evil").exists()


IDS: dict[str, Callable[[], pa.Array]] = {
    "one long id, repeated": lambda: pa.DictionaryArray.from_arrays(pa.array([0] * 500), ["x" * (8 << 20)]),  # 4 GB
    "many long ids": lambda: pa.array([f"{n:03}{'x' * (1 << 20)}" for n in range(400)]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("one long id, repeated", 0), ("many long ids", 2)])
def test_an_append_to_ids_that_decode_to_much(
    victim: Victim, hub: HubServer, published: dict[str, bytes], tmp_path: Path, name: str, code: int
) -> None:
    write_jsonl(tmp_path / "p.jsonl", rows(30)[20:])
    own = (f"--set={text}" for text in (*SMALL, *LICENSED, "publish.min_train=0"))
    assert victim("clean", tmp_path / "p.jsonl", "-o", tmp_path / "RUN", *own).check().code == 0
    ids, file = IDS[name](), io.BytesIO()
    how = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "use_dictionary": code == 0}
    pq.write_table(pa.table({"pair_id": ids, "prompt_id": ids}), file, **how)
    hub.commit(REPO, published | {"data/train-00001-of-00002.parquet": file.getvalue()})
    line = ("push", tmp_path / "RUN", REPO, "--append")
    done = victim(*line, env=settings(hub, victim)).check(connects=[place(hub)])
    assert done.code == code, done.err
    assert code == 0 or "data/train-00001-of-00002.parquet has ids of 800 MB in 400 rows" in done.err


CANARY = "canary-of-the-owner"
PRIVATE = {
    "a folder": "source: {paths: DIR/p.jsonl}",
    "a file of evals": "source: {paths: DIR/p.jsonl}\ndecontaminate: {against: [{path: DIR/evals.jsonl}]}",
    "a model": "source: {paths: DIR/p.jsonl}\ntrain: {model: DIR/model}",
    "options of a trainer": "source: {paths: DIR/p.jsonl}\ntrain: {model: a/b, trl: {run_name: canary-of-the-owner}}",
    "a licence by source": "source: {paths: DIR/p.jsonl}\npublish: {source_license: {DIR/p.jsonl: mit}}",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "push"])
@pytest.mark.parametrize("what", PRIVATE)
def test_private_paths_and_names_are_not_published(
    victim: Victim, hub: HubServer, tmp_path: Path, what: str, form: str
) -> None:
    folder = tmp_path / CANARY
    folder.mkdir()
    write_jsonl(folder / "p.jsonl", rows(20))
    write_jsonl(folder / "evals.jsonl", [{"question": "What is the capital of the largest country?"}])
    (tmp_path / "r.yaml").write_text(PRIVATE[what].replace("DIR", str(folder)))
    own = (f"--set={text}" for text in (*SMALL, *LICENSED))
    assert victim("run", tmp_path / "r.yaml", "-o", tmp_path / "RUN", *own).check().code == 0
    if form == "push":
        repo = f"me/{what.replace(' ', '-')}"
        done = victim("push", tmp_path / "RUN", repo, env=settings(hub, victim)).check(connects=[place(hub)])
        out = {path: read(data) for path, data in hub.repos[repo].history()[0].files.items()} if done.code == 0 else {}
    else:
        done = victim("export", tmp_path / "RUN", tmp_path / "out").check()
        out = contents(tmp_path / "out")
    assert done.code == 0, done.err
    assert [name for name, data in out.items() if CANARY.encode() in data or str(tmp_path).encode() in data] == []
