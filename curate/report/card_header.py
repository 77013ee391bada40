"""The YAML header of a dataset card, read by the Hub: the header of one config, and joining it with existing ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from curate.files import parse_yaml, yaml_text
from curate.rundir.file_form import CALLS, fields_in, file_schema
from curate.rundir.store import DATA, SPLITS
from curate.sources.hub import HUB_ID
from curate.terminal import visible

if TYPE_CHECKING:
    from curate.recipe.load import Recipe

DEFAULT = "default"
# The Hub's size classes: rows below the limit, the class's name.
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
LANGUAGE_SHARE = 0.01  # minimum share of the answers for a language to be listed
Header = dict[str, Any]
_PLAIN: dict[pl.DataType, str] = {
    pl.String(): "string",
    pl.UInt32(): "uint32",
    pl.UInt64(): "uint64",
    pl.Float64(): "float64",
    pl.Boolean(): "bool",
}


def data_folder(config: str) -> str:
    """Return the folder of a config's shards in the repository."""
    return DATA if config == DEFAULT else f"{config}/{DATA}"


def header_of(found: Mapping[str, Any], recipe: "Recipe", files: Sequence[Path], config: str) -> Header:
    """Return the header of one run under the config's name; `files` are its shards."""
    publish, counts, sizes = recipe.publish, found["counts"], found["bytes"]
    splits = [name for name in SPLITS if any(file.name.startswith(f"{name}-") for file in files)]
    languages = publish.language or [code for code, share in found["languages"] if share >= LANGUAGE_SHARE]
    size = sum(file.stat().st_size for file in files)
    return {
        **({"license": publish.license} if publish.license else {}),
        **({"language": languages} if languages else {}),
        "task_categories": ["text-generation", "reinforcement-learning"],
        "tags": ["preference", "dpo", "rlhf", "trl", "prefcurate"],
        **_origin(found, recipe),
        "size_categories": [_size(counts["kept"])],
        **config_header(config, _schema(files), {name: (sizes[name], counts[name]) for name in splits}, size),
    }


def _schema(files: Sequence[Path]) -> pl.Schema:
    """Return the schema of a run's shards, without Arrow's JSON type; all have the same."""
    return file_schema(fields_in(pl.scan_parquet(files[0], glob=False).collect_schema()) if files else frozenset())


def config_header(config: str, schema: pl.Schema, splits: Mapping[str, tuple[int, int]], size: int) -> Header:
    """Return the header of one config: paths, features, sizes. `splits`: name → (bytes in memory, rows)."""
    paths = [{"split": name, "path": f"{data_folder(config)}/{name}-*.parquet"} for name in splits]
    info = {
        "config_name": config,
        "features": [_feature(name, dtype) for name, dtype in schema.items()],
        "splits": [{"name": name, "num_bytes": memory, "num_examples": n} for name, (memory, n) in splits.items()],
        "download_size": size,
        "dataset_size": sum(memory for memory, _ in splits.values()),
    }
    return {"configs": [{"config_name": config, "data_files": paths}], "dataset_info": info}


def _feature(name: str, dtype: Any) -> dict[str, Any]:
    """Return a column with the Hub's name of its type; lists contain structs."""
    if dtype == CALLS:
        return {"name": name, "list": "json"}
    if isinstance(dtype, pl.List):
        fields: Any = dtype.inner
        return {"name": name, "list": [_feature(field.name, field.dtype) for field in fields.fields]}
    return {"name": name, "dtype": _PLAIN[dtype]}


def _origin(found: Mapping[str, Any], recipe: "Recipe") -> Header:
    """Return the creators of texts and annotations, if machine-generated, and the Hub datasets it comes from."""
    generation = found["generation"] or {}
    return {
        **({"annotations_creators": ["machine-generated"]} if generation.get("judges") else {}),
        **({"language_creators": ["machine-generated"]} if generation.get("answers") else {}),
        "source_datasets": hub_sources(found, recipe) or ["original"],
    }


def hub_sources(found: Mapping[str, Any], recipe: "Recipe") -> list[str]:
    """Return the Hub datasets that were read: repositories in the recipe's paths that occur among the inputs."""
    matches = [match for path in recipe.source.paths if (match := HUB_ID.fullmatch(path))]
    repos = [match["repo"] for match in matches]
    return [repo for repo in dict.fromkeys(repos) if any(name.startswith(repo) for name in found["inputs"])]


def join(ours: Header, old: Header, *, append: bool = False) -> Header:
    """
    Join our config's header with the repository's: other configs and unknown keys are kept, languages and sources are
    merged. With `append` our rows are added to those of the config.
    """
    config = ours["dataset_info"]["config_name"]
    infos = {info.get("config_name", DEFAULT): info for info in _listed(old.get("dataset_info"))}
    info = _sum(infos.get(config), ours["dataset_info"]) if append else ours["dataset_info"]
    infos |= {config: info}
    files = {entry["config_name"]: entry for entry in _listed(old.get("configs")) if "config_name" in entry}
    entry = ours["configs"][0]
    if append and config in files:
        ours_split = {file["split"]: file for file in entry["data_files"]}
        theirs = {file["split"]: file for file in files[config].get("data_files", [])}
        entry = entry | {"data_files": list((theirs | ours_split).values())}
    files |= {config: entry}
    joined = old | ours
    for key in ("language", "source_datasets", "tags"):
        if others := [value for value in _listed(old.get(key)) if len(infos) > 1 or append]:
            joined[key] = list(dict.fromkeys([*others, *_listed(ours.get(key))]))
    order = sorted(infos, key=lambda name: (name != DEFAULT, list(infos).index(name)))
    rows = (sum(split["num_examples"] for split in info.get("splits", [])) for info in infos.values())
    joined["size_categories"] = [_size(max(rows))]
    joined["configs"] = [files[name] for name in sorted(files, key=lambda n: order.index(n) if n in order else 99)]
    joined["dataset_info"] = infos[order[0]] if len(infos) == 1 else [infos[name] for name in order]
    return joined


def read_header(card: str) -> tuple[Header, str]:
    """Return a card's header and the text after it; an empty header if there is none or it cannot be read."""
    parts = card.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}, card
    try:
        header = parse_yaml(parts[1])
    except yaml.YAMLError:
        header = None
    return (header, parts[2]) if isinstance(header, dict) else ({}, card)


def to_text(header: Header) -> str:
    """Return the header as YAML, without the `---` fences."""
    return visible(yaml_text(header))


def infos_of(header: Header) -> list[dict[str, Any]]:
    """Return the header's entries per config: config_name, splits with num_examples, …"""
    return _listed(header.get("dataset_info"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _size(rows: int) -> str:
    return next((size for limit, size in SIZES if rows < limit), "n>10M")


def _sum(old: Mapping[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Merge two parts of one config: sizes and examples of each split are added up."""
    if old is None:
        return new
    splits = {split["name"]: dict(split) for split in old.get("splits", [])}
    for split in new["splits"]:
        total_of_split = splits.setdefault(split["name"], {"name": split["name"], "num_bytes": 0, "num_examples": 0})
        for key in ("num_bytes", "num_examples"):
            total_of_split[key] += split[key]
    total = {key: old.get(key, 0) + new[key] for key in ("download_size", "dataset_size")}
    ordered = sorted(splits.values(), key=lambda split: SPLITS.index(split["name"]) if split["name"] in SPLITS else 9)
    return new | {"splits": ordered} | total
