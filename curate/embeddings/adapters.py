"""LoRA adapters (folders that PEFT writes): their configuration, and their base model with the adapter merged."""

from pathlib import Path
from typing import Any

import msgspec

from curate.errors import InputError, require
from curate.files import read_json

ADAPTER = "adapter_config.json"
EXTRA = "train"  # peft comes with it


class Adapter(msgspec.Struct):
    """What is read of an adapter's configuration."""

    base_model_name_or_path: str
    task_type: str | None = None
    modules_to_save: list[str] | None = None  # whose weights are in the adapter as a whole


def adapter_in(folder: str | Path) -> Adapter | None:
    """Return the configuration of the adapter in a folder; None for a whole model."""
    file = Path(folder) / ADAPTER
    is_adapter = file.is_file() and not (Path(folder) / "config.json").is_file()
    return read_json(file, Adapter) if is_adapter else None


def merged(model: Any, folder: str, name: str) -> Any:
    """Return the base model with the adapter in `folder` merged into it. Raise InputError if they do not fit."""
    peft = require("peft", EXTRA)
    try:
        return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{name} is an adapter that does not fit its base model: {text}") from error
