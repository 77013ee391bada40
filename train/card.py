"""The model card: what was trained on what, with which options, and what the held-out pairs say."""

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from curate.files import write_text
from curate.recipe.load import to_plain_yaml
from curate.report.card_header import hub_sources
from curate.report.summary import cell
from curate.rundir.result import Run
from train.models import is_local


def write_card(folder: Path, run: Run, result: dict[str, Any]) -> None:
    """Write README.md into the model's folder, over the one that TRL leaves there."""
    base = str(result["model"])
    on_hub = not is_local(base)  # a path of this machine says nothing to anyone else
    inputs = run.manifest.get("inputs", {})  # pairs that were put together for a bake-off have none
    datasets = hub_sources({"inputs": inputs}, run.recipe) if inputs else []
    header = {
        "library_name": "peft" if (folder / "adapter_config.json").is_file() else "transformers",
        "tags": ["preference", result["method"], "trl", "prefcurate"],
        **({"base_model": base} if on_hub else {}),
        **({"datasets": datasets} if datasets else {}),
        **({"license": license_} if (license_ := run.recipe.get("publish", {}).get("license")) else {}),
    }
    environment = Environment(
        loader=PackageLoader("train"),
        autoescape=False,  # noqa: S701 - markdown of numbers and of our own words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    options = {**result["options"], "model": base if on_hub else Path(base).name}
    if options["chat_template"]:
        options["chat_template"] = Path(options["chat_template"]).name
    text = environment.get_template("card.md.j2").render(
        header=yaml.safe_dump(header, sort_keys=False),
        base=options["model"],
        result=result,
        inputs={_plain(name): entry for name, entry in inputs.items()},
        revision=run.recipe["source"]["revision"] if inputs else None,
        cell=cell,
        options=to_plain_yaml(options),
    )
    write_text(folder / "README.md", text)


def _plain(name: str) -> str:
    """A name that closes no code."""
    return " ".join(name.replace("`", "").split())
