"""`curate pull`: download a published run into a run directory: recipe, ledger, data. `why` works on it."""

from collections.abc import Collection, Iterable, Iterator
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
from curate.rundir.manifest import Manifest, Pulled
from curate.rundir.result import Run, open_run
from curate.rundir.store import CARD, DATA, LEDGER, LOCK, MANIFEST, PRODUCT, RECIPE, SUMMARY
from curate.rundir.writers import TableWriter
from curate.schema import LEDGER as LEDGER_SCHEMA
from curate.schema import PAIR
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
    sums = {sha for manifest in manifests for path, sha in manifest.files.items() if path.startswith(DATA)}
    shards = sorted(path for path in remote.files if path.startswith(f"{data_folder(config)}/"))
    with atomic(folder / DATA) as data:
        data.mkdir()
        for path in shards:
            get(path, data / Path(path).name)
            _check(data / Path(path).name, sums)
    ledgers = [folder / f".ledger-{number}" for number in range(1 + len(parts))]
    for meta, ledger, manifest in zip((base, *parts), ledgers, manifests, strict=True):
        get(f"{meta}/{LEDGER}", ledger)
        if manifest.files.get(LEDGER) != digest(ledger):
            raise InputError(f"{meta}/{LEDGER} differs from what the run published: it was changed on the Hub")
    _join_ledgers(ledgers, folder / LEDGER)
    pulled = Pulled(hub.repo, remote.sha or "", config)
    read_facts(folder / SUMMARY)
    joined = sealed(folder, _joined(manifests).replace(pulled=pulled))
    write_json(folder / MANIFEST, joined.to_dict())


def _copy(hub: Hub, path: str, revision: str, to: Path) -> None:
    """Download a file of the repository in chunks."""
    with atomic(to) as temporary, hub.open(path, revision) as source, temporary.open("wb") as target:
        while chunk := source.read(1 << 22):
            target.write(chunk)


def _check(shard: Path, sums: Collection[str]) -> None:
    """Raise InputError for a shard that no manifest lists, by its content, or that does not hold pairs."""
    if not PRODUCT.fullmatch(shard.name) or digest(shard) not in sums:
        raise InputError(f"{shard.name} differs from what the run published: it was changed on the Hub")
    for _ in _blocks(shard, PAIR):
        pass


def _join_ledgers(ledgers: Iterable[Path], target: Path) -> None:
    with atomic(target) as temporary:
        writer = TableWriter(temporary, LEDGER_SCHEMA)
        for path in ledgers:
            for block in _blocks(path, LEDGER_SCHEMA):
                writer.write(block)
            path.unlink()
        writer.close()


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
