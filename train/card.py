"""Model card: the base model, the training data, the options, and the metrics on held-out pairs."""

from pathlib import Path
from typing import Any

from curate.files import write_text, yaml_text
from curate.recipe.published import published_section
from curate.report.card_header import hub_sources
from curate.report.environment import environment
from curate.report.reasons import cell
from curate.rundir.result import Run
from train.models import is_local


def write_card(folder: Path, run: Run, result: dict[str, Any]) -> None:
    """Write README.md into the model's folder, replacing the one that TRL writes there."""
    base = str(result["model"])
    on_hub = not is_local(base)  # a path on this machine is of no use to a reader of the card
    inputs = run.manifest.inputs  # empty for the runs that a bake-off assembles
    datasets = hub_sources({"inputs": inputs}, run.recipe) if inputs else []
    header = {
        "library_name": "peft" if (folder / "adapter_config.json").is_file() else "transformers",
        "tags": ["preference", result["method"], "trl", "prefcurate"],
        **({"base_model": base} if on_hub else {}),
        **({"datasets": datasets} if datasets else {}),
        **({"license": license_} if (license_ := run.recipe.publish.license) else {}),
    }
    options = published_section("train", result["options"]) | {"model": base if on_hub else Path(base).name}
    text = (
        environment("train", html=False)
        .get_template("card.md.j2")
        .render(
            header=yaml_text(header),
            base=options["model"],
            result=result,
            # A backtick in a name would end the code span it is shown in.
            inputs={" ".join(name.replace("`", "").split()): entry for name, entry in inputs.items()},
            revision=run.recipe.source.revision if inputs else None,
            cell=cell,
            options=yaml_text(options),
        )
    )
    write_text(folder / "README.md", text)
