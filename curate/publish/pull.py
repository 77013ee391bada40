"""`curate pull`: download a published run into a run directory: recipe, ledger, data. `why` works on it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from curate.errors import InputError
from curate.files import FILES, atomic, claim, digest, read_yaml, write_json, write_text
from curate.publish.bundle import META
from curate.publish.hub import MAIN, Hub, Remote, patiently, quiet
from curate.publish.names import check_names
from curate.recipe.load import KEPT_FILE, make_recipe, to_yaml
from curate.report.card_data import read_facts
from curate.report.card_header import DEFAULT, data_folder
from curate.rundir.checksums import sealed
from curate.rundir.file_form import Present, fields_in, file_schema
from curate.rundir.manifest import Manifest, Pulled
from curate.rundir.result import Run, open_run
from curate.rundir.store import CARD, DATA, LEDGER, LOCK, MANIFEST, PRODUCT, RECIPE, SUMMARY
from curate.rundir.writers import TableWriter
from curate.schema import LEDGER as LEDGER_SCHEMA
from curate.sources.raw_block import Bounds, Unpacked
from curate.sources.tables import read_parquet
from curate.terminal import busy


def pull(repo: str, out: str | Path, *, revision: str = MAIN, config: str = DEFAULT) -> Run:
    """
    Fetch a published run into `out`, a new or empty folder, and open it.

    Raise InputError for a repository, revision or config that does not exist or was not published by prefcurate, and
    for data that does not match its manifest; ServiceError if the Hub does not respond.
    """
    check_names(repo, config, MAIN, None)
    folder, hub = Path(out), Hub(repo)
    if folder.exists() and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())):
        raise InputError(f"{folder} already exists; choose another --out")
    with quiet():
        remote = patiently(repo, lambda: _found(hub, revision))
    base = f"{META}/{config}"
    if f"{base}/{MANIFEST}" not in remote.files:
        configs = sorted({path.split("/")[1] for path in remote.files if path.startswith(f"{META}/")})
        known = f"its configs are {', '.join(configs)}" if configs else "nothing in it was published by prefcurate"
        raise InputError(f"{repo} has no run {config!r} at {revision}: {known}")
    # Under another name until all of it is there and checked, so that a pull that failed can be repeated.
    with busy("pull"), quiet(), atomic(folder) as temporary:
        claim(temporary, "run")
        _fetch(hub, remote, temporary, base, config)
    return open_run(folder)


def _found(hub: Hub, revision: str) -> Remote:
    remote = hub.snapshot(revision)
    if remote.sha is None or (remote.branch_missing and revision != MAIN):
        what = hub.repo if remote.sha is None else f"{hub.repo} at {revision}"
        raise InputError(f"{what} is not on the Hub, or not accessible with this token")
    return remote


def _fetch(hub: Hub, remote: Remote, folder: Path, base: str, config: str) -> None:
    def get(path: str, to: Path) -> None:
        patiently(hub.repo, lambda: _copy(hub, path, remote.sha or "", to))

    parts = sorted({str(Path(path).parent) for path in remote.files if path.startswith(f"{base}/parts/")})
    names = [f"{meta}/{MANIFEST}" for meta in (base, *parts)]
    needed = [CARD, f"{base}/{SUMMARY}", f"{base}/{RECIPE}", *names, *(f"{meta}/{LEDGER}" for meta in (base, *parts))]
    if missing := [path for path in needed if path not in remote.files]:
        raise InputError(f"{hub.repo} has no {missing[0]}: it was removed on the Hub")
    read = [patiently(hub.repo, partial(hub.read, name, remote.sha or "")) for name in names]
    manifests = [Manifest.parse(text, f"{hub.repo}/{name}") for name, text in zip(names, read, strict=True)]
    get(f"{base}/{SUMMARY}", folder / SUMMARY)
    get(f"{base}/{RECIPE}", folder / RECIPE)
    origin = {"repo": hub.repo, "revision": remote.sha or "", "config": config}
    tree, _ = read_yaml(folder / RECIPE, "a recipe")
    write_text(folder / RECIPE, to_yaml(make_recipe(tree | {"origin": origin}, where=f"{hub.repo}/{base}/{RECIPE}")))
    get(CARD, folder / CARD)
    for path in sorted(path.removeprefix(f"{base}/") for path in remote.files if path.startswith(f"{base}/{FILES}/")):
        if not KEPT_FILE.fullmatch(path) or path not in manifests[0].files:
            raise InputError(f"{hub.repo} has a file that no run writes: {base}/{path}")
        get(f"{base}/{path}", folder / path)
        if digest(folder / path) != manifests[0].files[path]:
            raise InputError(f"{path} differs from what the run published: it was changed on the Hub")
    joined = _joined(manifests)
    sums = Counter(sha for manifest in manifests for path, sha in manifest.files.items() if path.startswith(f"{DATA}/"))
    shards = sorted(path for path in remote.files if path.startswith(f"{data_folder(config)}/"))
    with atomic(folder / DATA) as data:
        data.mkdir()
        rows = 0
        for path in shards:
            get(path, data / Path(path).name)
            rows += _checked(data / Path(path).name, sums)
        _check_rows(f"{hub.repo}/{data_folder(config)}", rows, joined.counts.get("kept"))
    ledgers = [folder / f".ledger-{number}" for number in range(1 + len(parts))]
    for meta, ledger, manifest in zip((base, *parts), ledgers, manifests, strict=True):
        get(f"{meta}/{LEDGER}", ledger)
        if manifest.files.get(LEDGER) != digest(ledger):
            raise InputError(f"{meta}/{LEDGER} differs from what the run published: it was changed on the Hub")
    _check_rows(f"{base}/{LEDGER}", _join_ledgers(ledgers, folder / LEDGER), joined.counts.get("ledger"))
    read_facts(folder / SUMMARY)
    pulled = Pulled(hub.repo, remote.sha or "", config)
    write_json(folder / MANIFEST, sealed(folder, joined.replace(pulled=pulled)).to_dict())


def _copy(hub: Hub, path: str, revision: str, to: Path) -> None:
    """Download a file of the repository in chunks."""
    with atomic(to) as temporary, hub.open(path, revision) as source, temporary.open("wb") as target:
        while chunk := source.read(1 << 22):
            target.write(chunk)


def _checked(shard: Path, sums: Counter[str]) -> int:
    """
    Return the rows of a shard, and count it in `sums`, which has how often the manifests list each content.

    Raise InputError for one that they do not list (that often), or that does not hold pairs.
    """
    sha = digest(shard)
    if not PRODUCT.fullmatch(shard.name) or not sums[sha]:
        raise InputError(f"{shard.name} differs from what the run published: it was changed on the Hub")
    sums[sha] -= 1
    return sum(len(block) for block in _blocks(shard, file_schema(_optional(shard))))


def _optional(shard: Path) -> Present:
    """Return which optional fields a shard has; none for a file that is damaged."""
    try:
        return fields_in(pl.scan_parquet(shard, glob=False).collect_schema())
    except pl.exceptions.PolarsError:
        return frozenset()


def _check_rows(name: str, rows: int, expected: int | None) -> None:
    if rows != expected:
        raise InputError(f"{name} has {rows:,} rows, its manifest counts {expected or 0:,}: it was changed on the Hub")


def _join_ledgers(ledgers: Iterable[Path], target: Path) -> int:
    """Write the ledgers as one and return its rows."""
    rows = 0
    with atomic(target) as temporary:
        writer = TableWriter(temporary, LEDGER_SCHEMA)
        for path in ledgers:
            for block in _blocks(path, LEDGER_SCHEMA):
                writer.write(block)
                rows += len(block)
            path.unlink()
        writer.close()
    return rows


def _blocks(path: Path, schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """Yield a downloaded parquet file by blocks. Raise InputError if it is damaged, or is another table."""
    bounds = Bounds()
    try:
        with path.open("rb") as file:
            for block in read_parquet(file, bounds, Unpacked(path.stat().st_size, bounds)):
                yield pl.DataFrame(block.columns).match_to_schema(schema)
    except (InputError, pa.ArrowException, pl.exceptions.PolarsError, ValueError, TypeError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"{path.name} is not what a run publishes: {line}") from error


def _joined(manifests: list[Manifest]) -> Manifest:
    """Return the first manifest with the counts and inputs of all."""
    names = dict.fromkeys(name for manifest in manifests for name in manifest.counts)
    counts = {name: sum(manifest.counts.get(name, 0) for manifest in manifests) for name in names}
    inputs = {name: found for manifest in manifests for name, found in manifest.inputs.items()}
    return manifests[0].replace(counts=counts, inputs=inputs)
