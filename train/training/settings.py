"""From a run's recipe, a TRL file and options to one checked section: every TRL option passes through by its name."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from curate.errors import RecipeError, nearest, require
from curate.recipe import Train
from curate.recipe.load import make_recipe, resolved
from curate.rundir.result import Run
from train.models import EXTRA

TRAINERS = {  # method: module, trainer, its options
    "dpo": ("trl", "DPOTrainer", "DPOConfig"),
    "orpo": ("trl.experimental.orpo", "ORPOTrainer", "ORPOConfig"),
    "reward": ("trl", "RewardTrainer", "RewardConfig"),
    "sft": ("trl", "SFTTrainer", "SFTConfig"),
}
# Options of TRL's own script that are ours under another name.
SCRIPT = {"model_name_or_path": "model", "use_peft": "lora", "lora_r": "lora_rank"}
OURS = {"output_dir": "--out", "resume_from_checkpoint": "--resume", "seed": "train.seed"}
OURS |= {"push_to_hub": "--push", "hub_model_id": "--push", "hub_private_repo": "--private"}
OURS |= {"hub_token": "the login of the Hub, or HF_TOKEN"}  # a token in an option would reach the card


def section_of(
    run: Run | None, model: str | None = None, settings: Sequence[str] = (), config: Path | None = None
) -> Train:
    """
    The recipe's train section, with a TRL file over it, then `train.key=value` and `trl.key=value`, then the model.

    Raises RecipeError for a key that nobody knows, with the nearest one.
    """
    tree: dict[str, Any] = {"source": {"paths": ["-"]}} if run is None else resolved(run.recipe)
    tree["train"] = {**(tree.get("train") or {}), **({} if model is None else {"model": model})}
    if config is not None:
        tree["train"] |= _from_file(config, tree["train"])
    sets = [f"train.{text}" if text.startswith("trl.") else text for text in settings]
    if strange := [text for text in sets if not text.startswith("train.")]:
        raise RecipeError(f"--set {strange[0]!r}: expected train.key=value, or trl.key=value for an option of TRL")
    section = make_recipe(tree, sets).train or Train()
    check_trl(section.method, section.trl)
    return section


def options(method: str) -> Any:
    """The class that holds the options of a TRL trainer."""
    return _from_trl(method, 2)


def trainer(method: str) -> Any:
    """A trainer of TRL."""
    return _from_trl(method, 1)


def _from_trl(method: str, place: int) -> Any:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # we know what is experimental there
    require("trl", EXTRA)
    return getattr(import_module(TRAINERS[method][0]), TRAINERS[method][place])


def check_trl(method: str, names: Iterable[str]) -> None:
    """Raise RecipeError for a name that is no option of the method's trainer, with the nearest one that is."""
    kind = options(method)
    known = {field.name for field in fields(kind) if field.init}
    for name in names:
        if name in OURS:
            raise RecipeError(f"trl.{name} is set by {OURS[name]}")
        if name not in known:
            where = f"It is an option of {', '.join(others)}." if (others := _elsewhere(name)) else ""
            raise RecipeError(
                f"unknown TRL option trl.{name}.{nearest(name, known)} {where}".rstrip()
                + f" {kind.__name__} of TRL has {len(known)} options"
            )


def typed(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with numbers where numbers belong: YAML reads 1e-5 (without a point) as text."""
    numbers = {field.name for field in fields(options(method)) if "float" in str(field.type)}
    return {name: _number(value) if name in numbers else value for name, value in given.items()}


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _elsewhere(name: str) -> list[str]:
    return [m for m in TRAINERS if name in {field.name for field in fields(options(m))}]


def _from_file(path: Path, section: Mapping[str, Any]) -> dict[str, Any]:
    """A file for `trl dpo --config`: the options of its trainer, and of its script what has a meaning here."""
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} holds {type(tree).__name__}; expected options of TRL, one a line")
    named = {SCRIPT[name]: value for name, value in tree.items() if name in SCRIPT}
    known = {name: value for name, value in tree.items() if name not in SCRIPT}
    return named | {"trl": {**section.get("trl", {}), **known}}
