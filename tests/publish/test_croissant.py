"""Croissant metadata: what mlcroissant reads by it is what was published."""

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
    """What a reader of Croissant gets, from a copy of the repository; in the order of pair_id."""
    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"), mapping={"repo": str(folder)})
    assert not dataset.metadata.ctx.issues.errors
    return sorted((_plain(record, f"{config}/") for record in dataset.records(config)), key=lambda row: row["pair_id"])


def _plain(value: Any, prefix: str) -> Any:
    """Names without those of the sets they are in, bytes as text."""
    if isinstance(value, dict):
        return {
            name.removeprefix(prefix): _plain(x, f"{prefix}{name.removeprefix(prefix)}/") for name, x in value.items()
        }
    if isinstance(value, list):
        return [_plain(x, prefix) for x in value]
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what mlcroissant calls in rdflib and pandas
def test_what_is_read_by_it_is_the_run(hub: HubServer, tmp_path: Path) -> None:
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


def test_what_others_wrote_into_the_header_is_left_out_where_it_is_not_understood() -> None:
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


def test_a_header_of_anything_is_no_end() -> None:
    strange = {
        "license": {"a": 1},
        "tags": 5,
        "language": None,
        "configs": "x",
        "dataset_info": ["x", {"features": "y"}],
    }
    assert "recordSet" not in json.loads(croissant("me/data", strange))
