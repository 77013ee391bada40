"""Build one checked `Train` section from a run's recipe, a TRL config file and --set options."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from curate.errors import RecipeError, nearest, require
from curate.files import read_yaml
from curate.recipe.consent import check_consent
from curate.recipe.load import changed, make_recipe, resolved
from curate.recipe.training import Train
from curate.rundir.result import Run
from train.models import EXTRA

TRAINERS = {  # method: module, trainer class, config class
    "dpo": ("trl", "DPOTrainer", "DPOConfig"),
    "orpo": ("trl.experimental.orpo", "ORPOTrainer", "ORPOConfig"),
    "reward": ("trl", "RewardTrainer", "RewardConfig"),
    "sft": ("trl", "SFTTrainer", "SFTConfig"),
}
# Options of the script `trl dpo` that have another name in our train section.
SCRIPT_OPTIONS = {"model_name_or_path": "model", "use_peft": "lora", "lora_r": "lora_rank"}
# TRL options that cannot be set in `trl`, and what sets them.
RESERVED = {"output_dir": "--out", "resume_from_checkpoint": "--resume", "seed": "train.seed"}
RESERVED |= {"push_to_hub": "--push", "hub_model_id": "--push", "hub_private_repo": "--private"}
RESERVED |= {"hub_token": "the Hub login, or HF_TOKEN"}  # a token in an option would end up in the card


def section_of(
    run: Run | None,
    model: str | None = None,
    settings: Sequence[str] = (),
    config: Path | None = None,
    *,
    trust_remote_code: bool = False,
    **options: Any,
) -> Train:
    """
    Return the train section of a run's recipe with overrides applied.

    Parameters
    ----------
    run
        The run whose recipe has the section; None starts from the defaults.
    model
        Folder or Hub id of the model to train; overrides the recipe and the config file. None keeps theirs.
    settings
        `train.key=value` and `trl.key=value`, as for --set; they override everything else.
    config
        A YAML file as for `trl dpo --config`; it overrides the recipe.
    trust_remote_code
        Whether code in the model's repository may run. No recipe and no config file can say so.
    options
        Keys of the section, which override the recipe and the config file; those of `trl` are added to theirs.

    Raises ConsentNeeded for a pulled run whose recipe names what the user has not agreed to (a model, a template, TRL
    options); RecipeError for an unknown key (with the nearest known one), a value of the wrong type, a TRL option that
    a command-line option sets (such as `output_dir`), and a config file that cannot be read.

        section_of(open_run("RUN"), "./base", ["train.lora_rank=32", "trl.beta=0.05"])
        section_of(open_run("RUN"), "./base", lora_rank=32, trl={"beta": 0.05})
    """
    recipe = make_recipe({"source": {"paths": ["-"]}}) if run is None else run.recipe
    own = _from_file(config) if config is not None else {"trl": {}}
    own |= options | ({"model": model} if model is not None else {}) | {"trl": own["trl"] | options.get("trl", {})}
    tree = resolved(recipe)
    train = tree.get("train") or {}
    tree["train"] = train | own | {"trl": {**train.get("trl", {}), **own["trl"]}}
    keys = [*(f"train.{key}" for key in own if key != "trl"), *(f"train.trl.{key}" for key in own["trl"])]
    sets = [f"train.{text}" if text.startswith("trl.") else text for text in settings]
    if unknown := [text for text in sets if not text.startswith("train.")]:
        raise RecipeError(f"--set {unknown[0]!r}: expected train.key=value, or trl.key=value for a TRL option")
    recipe = changed(recipe, tree, sets, keys=keys)
    check_consent(recipe, training=True)
    section = recipe.train or Train()
    if trust_remote_code:
        section = section.with_remote_code()
    check_trl(section.method, section.trl)
    return section


def config_class(method: str) -> Any:
    """Return the class of a TRL trainer's options, such as DPOConfig."""
    return _from_trl(method, 2)


def trainer_class(method: str) -> Any:
    """Return the class of a TRL trainer, such as DPOTrainer."""
    return _from_trl(method, 1)


def _from_trl(method: str, place: int) -> Any:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # ORPO is experimental in TRL, which warns about it
    require("trl", EXTRA)
    return getattr(import_module(TRAINERS[method][0]), TRAINERS[method][place])


def check_trl(method: str, names: Iterable[str]) -> None:
    """Raise RecipeError for a name that is not an option of the method's trainer, with the nearest one that is."""
    config = config_class(method)
    known = _option_names(method)
    for name in names:
        if name in RESERVED:
            raise RecipeError(f"trl.{name} is set by {RESERVED[name]}")
        if name not in known:
            others = [other for other in TRAINERS if name in _option_names(other)]
            where = f"It is an option of {', '.join(others)}." if others else ""
            raise RecipeError(
                f"unknown TRL option trl.{name}.{nearest(name, known)} {where}".rstrip()
                + f" TRL's {config.__name__} has {len(known)} options"
            )


def _option_names(method: str) -> set[str]:
    return {field.name for field in fields(config_class(method)) if field.init}


def with_floats(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with text converted to float where TRL expects one: YAML reads 1e-5 (no point) as text."""
    numbers = {field.name for field in fields(config_class(method)) if "float" in str(field.type)}
    return {name: _as_float(value) if name in numbers else value for name, value in given.items()}


def _as_float(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _from_file(path: Path) -> dict[str, Any]:
    """Read a file for `trl dpo --config`: options of its trainer, and those of the script that have an equivalent."""
    tree, _ = read_yaml(path, "TRL options, one per line")
    named = {SCRIPT_OPTIONS[name]: value for name, value in tree.items() if name in SCRIPT_OPTIONS}
    trl = {name: value for name, value in tree.items() if name not in SCRIPT_OPTIONS}
    return named | {"trl": trl}
