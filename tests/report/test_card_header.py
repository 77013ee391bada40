"""Joining the headers of several configs and parts, and updating existing cards."""

from copy import deepcopy
from typing import Any

import pytest

from curate.report.card import OVERVIEW, overview, with_overview
from curate.report.card_header import data_folder, join, read_header, to_text


def header(config: str, train: int, **more: Any) -> dict[str, Any]:
    path = f"{data_folder(config)}/train-*.parquet"
    splits = [{"name": "train", "num_bytes": 10 * train, "num_examples": train}]
    info = {"config_name": config, "features": [], "splits": splits, "download_size": train, "dataset_size": 10 * train}
    files = [{"split": "train", "path": path}]
    return {"language": ["en"], "configs": [{"config_name": config, "data_files": files}], "dataset_info": info, **more}


def test_joining_the_same_header_again_changes_nothing() -> None:
    once = join(header("default", 5, license="mit"), {})
    assert join(header("default", 5, license="mit"), once) == once
    twice = join(header("raw", 9), once)
    assert join(header("raw", 9), twice) == join(header("default", 5, license="mit"), twice) == twice


def test_configs_are_listed_with_default_first() -> None:
    both = join(header("default", 5, language=["de"]), join(header("raw", 2_000), {}))
    assert [config["config_name"] for config in both["configs"]] == ["default", "raw"]
    assert [info["config_name"] for info in both["dataset_info"]] == ["default", "raw"]
    assert both["configs"][1]["data_files"][0]["path"] == "raw/data/train-*.parquet"
    assert (both["size_categories"], both["language"]) == (["1K<n<10K"], ["en", "de"])


def test_appended_parts_add_up() -> None:
    more = header("default", 7)
    more["dataset_info"]["splits"].append({"name": "test", "num_bytes": 1, "num_examples": 1})
    more["configs"][0]["data_files"].append({"split": "test", "path": "data/test-*.parquet"})
    unchanged = deepcopy(more)
    joined = join(more, join(header("default", 5, extra=1), {}), append=True)
    assert more == unchanged
    counts = {split["name"]: split["num_examples"] for split in joined["dataset_info"]["splits"]}
    assert counts == {"train": 12, "test": 1}
    assert joined["dataset_info"]["dataset_size"] == 120
    assert [file["split"] for file in joined["configs"][0]["data_files"]] == ["train", "test"]


def test_unknown_keys_are_kept() -> None:
    assert join(header("default", 5), {"arxiv": "1234.5678", "license": "mit"})["arxiv"] == "1234.5678"


@pytest.mark.parametrize("card", ["", "# A title\n", "---\n: [\n---\nx", "---\n- a\n---\nx", "a\n---\nb\n---\n"])
def test_a_card_without_a_header(card: str) -> None:
    assert read_header(card) == ({}, card)


def test_the_overview_is_replaced_and_the_rest_is_kept() -> None:
    old = f"---\na: 1\n---\n\n# Title\n\n{OVERVIEW[0]}old\n{OVERVIEW[1]}\nThe rest.\n"
    new = join(header("default", 1_234), {})
    text = with_overview(old, new, [("raw", "prefcurate/raw/README.md")])
    assert text == (
        f"---\n{to_text(new)}---\n\n# Title\n\n{OVERVIEW[0]}| split | pairs |\n|---|---:|\n| train | 1,234 |\n\n"
        f"Cards of the other configs: [raw](prefcurate/raw/README.md).\n{OVERVIEW[1]}\nThe rest.\n"
    )
    assert with_overview("Someone's own words.\n", new).endswith(f"{OVERVIEW[1]}Someone's own words.\n")


def test_configs_are_named_if_there_are_several() -> None:
    both = join(header("raw", 2), join(header("default", 1), {}))
    rows = "| `default` | train | 1 |\n| `raw` | train | 2 |\n"
    assert overview(both) == f"| config | split | rows |\n|---|---|---:|\n{rows}"
