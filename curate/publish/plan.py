"""The changes of a push to the current repository: files to add, files to delete, and changes visible to readers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from curate.errors import InputError
from curate.files import FILES
from curate.publish.bundle import META, Bundle
from curate.publish.croissant import croissant_of
from curate.publish.hub import Hub, Remote
from curate.publish.repo_file import File
from curate.report.card_header import DEFAULT, data_folder, infos_of, read_header
from curate.rundir.store import CARD, DATA, LEDGER

State = Literal["new", "changed", "same", "gone"]


@dataclass(frozen=True, slots=True)
class Step:
    """The change of one file."""

    path: str
    state: State
    size: int
    rows: int | None = None  # of a parquet file


@dataclass(frozen=True)
class Plan:
    """The difference between the bundle and the repository."""

    remote: Remote
    steps: list[Step]
    adds: list[File]
    deletes: list[str]
    breaks: list[str]  # changes that would break readers of the current revision
    schema: list[str]  # all changes of columns

    @property
    def empty(self) -> bool:
        """Whether nothing would change."""
        return not self.adds and not self.deletes

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        steps = [{"file": s.path, "state": s.state, "bytes": s.size, "rows": s.rows} for s in self.steps]
        return {"parent": self.remote.sha, "files": steps, "schema": self.schema, "breaks": self.breaks}


def make_plan(bundle: Bundle, remote: Remote, hub: Hub) -> Plan:
    """Compare file by file. Of the published data, only the footer of one shard is read."""
    files = bundle.files(remote)
    files += [croissant_of(bundle.repo, file) for file in files if file.path == CARD]
    known = {file.path for file in files if file.is_known_as(remote.files.get(file.path, set()))}
    adds = [file for file in files if file.path not in known]
    deletes = _stale(bundle, remote, files)
    steps = [
        Step(
            file.path,
            "same" if file.path in known else "changed" if file.path in remote.files else "new",
            file.size,
            pq.read_metadata(file.content).num_rows if file.path.endswith(".parquet") else None,
        )
        for file in files
    ]
    steps += [Step(path, "gone", 0) for path in deletes]
    schema, breaks = _readers(bundle, remote, hub) if files else ([], [])
    return Plan(remote, steps, adds, deletes, breaks, schema)


def check_readers(plan: Plan, *, allowed: bool) -> None:
    """Raise InputError if readers of the current revision would break."""
    if plan.breaks and not allowed:
        found = "; ".join(plan.breaks)
        raise InputError(
            f"this would break readers of the published data: {found}; allow it with --allow-schema-change"
        )


def _stale(bundle: Bundle, remote: Remote, files: list[File]) -> list[str]:
    """Return shards and parts of this config from an earlier push that are not in this one."""
    if bundle.append or not files:
        return []
    ours = {file.path for file in files}
    configs = [bundle.config, *([bundle.candidates.config] if bundle.candidates else [])]
    data = tuple(f"{data_folder(config)}/" for config in configs)
    meta = tuple(f"{META}/{bundle.config}/{folder}/" for folder in ("parts", FILES))
    return sorted(
        path
        for path in remote.files
        if path not in ours and ((path.startswith(data) and path.endswith(".parquet")) or path.startswith(meta))
    )


def _readers(bundle: Bundle, remote: Remote, hub: Hub) -> tuple[list[str], list[str]]:
    """Return the changes of columns, and the changes (also of splits) that break readers."""
    files = bundle.run.manifest.files
    pairs = {shard: files[f"{DATA}/{shard.name}"] for shard in bundle.shards}
    differences = _columns(bundle.config, pairs, remote, hub, append=bundle.append)
    if answers := bundle.candidates:
        found = _columns(answers.config, answers.shards, remote, hub, append=bundle.append)
        differences |= {f"{answers.config}: {text}": breaking for text, breaking in found.items()}
    breaks = [text for text, breaking in differences.items() if breaking]
    if not bundle.append and _published(bundle.config, remote):
        ours = {shard.name.partition("-")[0] for shard in bundle.shards}
        breaks += [f"split {split} is gone" for split in _splits(remote, bundle.config) if split not in ours]
        parts = f"{META}/{bundle.config}/parts/"
        ledgers = sorted(path for path in remote.files if path.startswith(parts) and path.endswith(f"/{LEDGER}"))
        breaks += [f"the appended part {path.split('/')[3]} is gone" for path in ledgers]
    return list(differences), breaks


def _columns(config: str, shards: Mapping[Path, str], remote: Remote, hub: Hub, *, append: bool) -> dict[str, bool]:
    """Compare the columns of a config's published shards with ours (→ SHA-256); nothing if they share a shard."""
    published = _published(config, remote)
    if not published or remote.sha is None or any(remote.files[path] & {*shards.values()} for path in published):
        return {}
    with hub.open(published[0], remote.sha) as file:
        return _compare(pq.read_schema(file), pq.read_schema(next(iter(shards))), append=append)


def _published(config: str, remote: Remote) -> list[str]:
    """Return the published shards of a config."""
    folder = f"{data_folder(config)}/"
    return sorted(path for path in remote.files if path.startswith(folder) and path.endswith(".parquet"))


def _splits(remote: Remote, config: str) -> list[str]:
    """Return the splits of a config in the card."""
    infos = {info.get("config_name", DEFAULT): info for info in infos_of(read_header(remote.card)[0])}
    return [split["name"] for split in infos.get(config, {}).get("splits", [])]


def _compare(old: Any, new: Any, *, append: bool) -> dict[str, bool]:
    """Return change → whether it breaks readers. A new column only breaks an append: shards need equal columns."""
    was: Mapping[str, str] = {field.name: _type(field.type) for field in old}
    now: Mapping[str, str] = {field.name: _type(field.type) for field in new}
    found = {f"column {name} is gone (was {was[name]})": True for name in was if name not in now}
    found |= {f"column {n} was {was[n]}, would be {now[n]}": True for n in was if n in now and was[n] != now[n]}
    return found | {f"column {name} is new ({now[name]})": append for name in now if name not in was}


def _type(kind: Any) -> str:
    """Return a type as seen by readers, to whom large text and lists and names of list elements do not matter."""
    return str(kind).replace("large_", "").replace("item:", "element:").replace("string_view", "string")
