"""Croissant metadata: with it, mlcroissant reads exactly the published data."""

import json
from pathlib import Path
from typing import Any

import mlcroissant
import polars as pl
import pytest

from curate.publish.croissant import croissant
from tests.hub_server import HubServer, read
from tests.publish.user import User, make_run

pytestmark = pytest.mark.slow


def records(folder: Path, config: str) -> list[dict[str, Any]]:
    """Return the records that a Croissant reader gets from a copy of the repository, sorted by pair_id."""
    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"), mapping={"repo": str(folder)})
    assert not dataset.metadata.ctx.issues.errors
    return sorted((_plain(record, f"{config}/") for record in dataset.records(config)), key=lambda row: row["pair_id"])


def _plain(value: Any, prefix: str) -> Any:
    """Return names without those of their sets, and bytes as text."""
    if isinstance(value, dict):
        return {
            name.removeprefix(prefix): _plain(x, f"{prefix}{name.removeprefix(prefix)}/") for name, x in value.items()
        }
    if isinstance(value, list):
        return [_plain(x, prefix) for x in value]
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant calls in rdflib and pandas
def test_a_reader_gets_the_data_of_the_run(hub: HubServer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", range(40))
    other = make_run(tmp_path / "other", range(40, 70))
    with User(hub.url, tmp_path) as user:
        user.push(run, "me/data")
        user.push(other, "me/data", config="other")
    commit = hub.repos["me/data"].at("main")
    assert commit is not None
    for path, data in commit.files.items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(read(data))
    for config, published in (("default", run), ("other", other)):
        shards = sorted((published.folder / "data").glob("*.parquet"))
        parts = [pl.read_parquet(file).with_columns(split=pl.lit(file.name.split("-")[0])) for file in shards]
        expected = pl.concat(parts).sort("pair_id").to_dicts()
        found = records(tmp_path / "copy", config)
        assert {row["split"] for row in found} == {"train", "test"}
        assert [{name: row[name] for name in expected[0]} for row in found] == expected


def test_unknown_entries_of_a_header_are_left_out() -> None:
    header = {
        "license": ["mit", "x y"],
        "pretty_name": '<b>"x"\n',
        "configs": [
            {"config_name": "ours", "data_files": [{"split": "tr(ain", "path": "data/*.parquet"}]},
            {"config_name": "one file", "data_files": "x.parquet"},
            {"data_files": [{"split": "train", "path": ["a", "b"]}]},
        ],
        "dataset_info": [
            {
                "config_name": "ours",
                "features": [
                    {"name": "picture", "dtype": "image"},
                    {"name": "labels", "list": "string"},
                    {"name": "label", "dtype": {"class_label": {"names": {"0": "bad", "1": "good"}}}},
                    {"name": "nested", "list": [{"name": "picture", "dtype": "image"}]},
                    {"dtype": "string"},
                    {"name": "text", "dtype": "string"},
                ],
            },
            {"config_name": "one file", "features": []},
            {"features": []},
        ],
    }
    found = json.loads(croissant("me/data", header))
    assert [record["name"] for record in found["recordSet"]] == ["ours"]
    assert [field["name"] for field in found["recordSet"][0]["field"]] == ["split", "text"]
    assert croissant("me/data", header) == croissant("me/data", header)
    assert "recordSet" not in json.loads(croissant("me/data", {}))


def test_an_invalid_header_is_not_an_error() -> None:
    strange = {
        "license": {"a": 1},
        "tags": 5,
        "language": None,
        "configs": "x",
        "dataset_info": ["x", {"features": "y"}],
    }
    assert "recordSet" not in json.loads(croissant("me/data", strange))
