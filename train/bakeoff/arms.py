"""What a bake-off compares: sets of pairs made from the same source in different ways, and options to sweep."""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import Field, ValidationError, model_validator

from curate.errors import InputError, RecipeError, nearest
from curate.recipe import Section, Texts, Train
from curate.recipe.load import load_recipe
from curate.rundir.result import Run, open_run
from curate.schema import digest


class Arm(Section):
    """Pairs to train on: those of a finished run, of a recipe that is run first, or a random part of another arm."""

    run: str | None = Field(None, description="A run directory")
    recipe: str | None = Field(None, description="A recipe; it is run into OUT/runs/NAME")
    set: Texts = Field((), description="section.key=value over the recipe")
    random_of: str | None = Field(None, description="Another arm, of which random pairs are taken …")
    as_many_as: str | None = Field(None, description="… as many as this arm has")

    @model_validator(mode="after")
    def _one_source(self) -> "Arm":
        if sum(name is not None for name in (self.run, self.recipe, self.random_of)) != 1:
            raise ValueError("name one of run, recipe, random_of")
        if (self.random_of is None) != (self.as_many_as is None):
            raise ValueError("random_of and as_many_as go together")
        return self


class Bakeoff(Section):
    """Several sets of pairs × options × seeds, the same budget of steps for all, judged by the same held-out pairs."""

    arms: dict[str, Arm] = Field(min_length=1, description="By name; the first is what the others are compared with")
    test: str | None = Field(None, description="Run whose test split judges all arms; null = the first arm's")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="Each draws its own pairs and weights")
    steps: int = Field(100, ge=1, description="Optimizer steps of every training")
    prompts: int = Field(0, ge=0, description="Held-out prompts that are answered, for the drift in length; 0 = none")
    max_tokens: int = Field(64, ge=1, description="Tokens of such an answer, at most")
    train: Train = Field(Train(), description="As in a recipe, with the model")
    sweep: dict[str, list[Any]] = Field({}, description="TRL options with the values to try: {beta: [0.05, 0.1]}")

    @model_validator(mode="after")
    def _arms_are_there(self) -> "Bakeoff":
        for name, arm in self.arms.items():
            for other in (arm.random_of, arm.as_many_as):
                if other is not None and (other not in self.arms or self.arms[other].random_of):
                    raise ValueError(f"arms.{name}: there is no such arm: {other!r}.{nearest(other, self.arms)}")
        if self.train.model is None:
            raise ValueError("train.model: name the model that is trained")
        return self

    def points(self) -> Iterator[dict[str, Any]]:
        """Every combination of the swept options; one empty one without a sweep."""
        for values in product(*self.sweep.values()):
            yield dict(zip(self.sweep, values, strict=True))


def load_bakeoff(path: Path) -> Bakeoff:
    """Read and check a bake-off's file. Raises RecipeError."""
    try:
        return Bakeoff.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        said = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise RecipeError(f"{path}: {'; '.join(said)}") from error


def open_arms(bakeoff: Bakeoff, out: Path, where: Path) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """
    Every arm's train pairs, and the pairs that judge them; paths count from `where`. No arm keeps a prompt that it is
    judged by. Raises InputError where a part of it is empty.
    """
    runs = {name: _run(arm, out / "runs" / name, where) for name, arm in bakeoff.arms.items() if not arm.random_of}
    judge = open_run(where / bakeoff.test) if bakeoff.test else next(iter(runs.values()))
    test = judge.test.collect()
    if test.is_empty():
        raise InputError(f"{judge.folder} has no test split to judge by (split.test is 0)")
    seen = test.get_column("prompt_id").implode()
    pairs = {name: run.train.filter(~pl.col("prompt_id").is_in(seen)).collect() for name, run in runs.items()}
    for name, arm in bakeoff.arms.items():
        if arm.random_of is not None and arm.as_many_as is not None:
            pairs[name] = sample_pairs(pairs[arm.random_of], len(pairs[arm.as_many_as]), f"arm {name}")
    if empty := [name for name, rows in pairs.items() if rows.is_empty()]:
        raise InputError(f"arms.{empty[0]}: no pair is left to train on")
    return {name: pairs[name] for name in bakeoff.arms}, test


def sample_pairs(pairs: pl.DataFrame, count: int, salt: str) -> pl.DataFrame:
    """`count` pairs by a hash of their id and the salt, the same ones every time; all where there are fewer."""
    return pairs.sort(digest(pl.concat_str(pl.lit(salt), "pair_id", separator=" "))).head(count)


def _run(arm: Arm, folder: Path, where: Path) -> Run:
    if arm.run is not None:
        return open_run(where / arm.run)
    from curate import flow

    recipe = load_recipe(where / str(arm.recipe), arm.set)
    if recipe.asks_models:
        from pipelines.flow import run as run_pipelines

        return run_pipelines(recipe, folder)
    return flow.run(recipe, folder)


def write_run(folder: Path, pairs: pl.DataFrame, recipe: Mapping[str, Any]) -> Run:
    """Pairs as a run directory of their own, with nothing held out: what a training takes."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pairs.write_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe)), "utf-8")
    return Run(folder, {"counts": {"train": len(pairs), "test": 0}})
