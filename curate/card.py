"""The dataset card: README.md with the header that the Hub reads, and what was done, from the run's own numbers."""

from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from curate.sources import title
from curate.store import DATA, SPLITS, write_text
from curate.summary import Summary, cell

# The Hub's size classes: rows below the limit, the class's name.
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
LANGUAGE_SHARE = 0.01  # a language is named from this share of the answers on


def _messages(name: str) -> dict[str, Any]:
    return {"name": name, "list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]}


FEATURES: list[dict[str, Any]] = [
    {"name": "pair_id", "dtype": "string"},
    {"name": "prompt_id", "dtype": "string"},
    {"name": "source", "dtype": "string"},
    {"name": "source_row", "dtype": "uint64"},
    _messages("prompt"),
    _messages("chosen"),
    _messages("rejected"),
    {"name": "chosen_score", "dtype": "float64"},
    {"name": "rejected_score", "dtype": "float64"},
    {"name": "strength", "dtype": "float64"},
    {"name": "chosen_model", "dtype": "string"},
    {"name": "rejected_model", "dtype": "string"},
    {"name": "extra", "dtype": "string"},
]


def write_card(summary: Summary) -> None:
    """Write README.md into the run directory."""
    environment = Environment(
        loader=PackageLoader("curate"),
        autoescape=False,  # noqa: S701 - markdown, not HTML: texts are indented in the template
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    publish = summary.run.recipe["publish"]
    paths = summary.run.recipe["source"]["paths"]  # none where all prompts were made
    name = publish["name"] or (f"{title(paths)}, curated" if paths else "Preference pairs")
    header = yaml.safe_dump(_header(summary, name), sort_keys=False, allow_unicode=True, width=120)
    text = environment.get_template("card.md.j2").render(
        header=header,
        name=_plain(name),
        summary=summary,
        recipe=summary.run.recipe,
        cell=cell,
        plain=_plain,
        counts=summary.counts,
        license=publish["license"],
        version=summary.run.manifest["prefcurate"],
        inputs={_plain(name): found for name, found in summary.run.manifest["inputs"].items()},
        sample=next(iter(summary.kept_examples), None),
    )
    write_text(summary.run.card, text)


def _header(summary: Summary, name: str) -> dict[str, Any]:
    publish, counts, sizes = summary.run.recipe["publish"], summary.counts, summary.run.manifest["bytes"]
    splits = [split for split in SPLITS if list((summary.run.folder / DATA).glob(f"{split}-*.parquet"))]
    languages = publish["language"] or [code for code, share in summary.languages if share >= LANGUAGE_SHARE]
    header: dict[str, Any] = {"pretty_name": name}
    if publish["license"]:
        header["license"] = publish["license"]
    header |= {"language": languages} if languages else {}
    return header | {
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "trl", "prefcurate"],
        "size_categories": [next((size for limit, size in SIZES if counts["kept"] < limit), "n>10M")],
        "configs": [
            {"config_name": "default", "data_files": [{"split": s, "path": f"{DATA}/{s}-*.parquet"} for s in splits]}
        ],
        "dataset_info": {
            "features": FEATURES,
            "splits": [{"name": name, "num_bytes": sizes[name], "num_examples": counts[name]} for name in splits],
            "download_size": sum(file.stat().st_size for file in (summary.run.folder / DATA).iterdir()),
            "dataset_size": sum(sizes[name] for name in splits),
        },
    }


def _plain(text: str, most: int = 200) -> str:
    """A text as one line that ends no table cell and opens no code, tag or link."""
    return "".join(c for c in " ".join(text.split()) if c not in "`<>|\\[]")[:most]
