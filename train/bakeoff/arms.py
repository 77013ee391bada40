"""The arms of a bake-off: sets of pairs curated in different ways, and training options to sweep."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, ValidationError, model_validator

from curate.errors import InputError, RecipeError, nearest
from curate.files import read_yaml
from curate.recipe.load import Recipe, load_recipe, make_recipe, to_yaml
from curate.recipe.training import Train
from curate.rundir.manifest import Manifest
from curate.rundir.result import Run, open_run
from curate.schema import digest
from curate.schema.section import COUNT, TOKENS, Section, Seed, Texts, refuse_remote_code


class Arm(Section):
    """Pairs to train on: from a finished run, from a recipe that is run first, or a random sample of another arm."""

    run: str | None = Field(None, description="A run directory")
    recipe: str | None = Field(None, description="A recipe, which is run into OUT/runs/NAME")
    set: Texts = Field((), description="Overrides of the recipe: section.key=value")
    random_of: str | None = Field(None, description="Another arm to draw random pairs from …")
    as_many_as: str | None = Field(None, description="… as many as this arm has")

    @model_validator(mode="after")
    def _one_source(self) -> "Arm":
        if sum(name is not None for name in (self.run, self.recipe, self.random_of)) != 1:
            raise ValueError("set exactly one of run, recipe, random_of")
        if (self.random_of is None) != (self.as_many_as is None):
            raise ValueError("random_of and as_many_as must be set together")
        return self


class Bakeoff(Section):
    """Arms × swept options × seeds, all with the same number of steps, compared on the same held-out pairs."""

    arms: dict[str, Arm] = Field(min_length=1, description="By name; the first one is the baseline")
    test: str | None = Field(None, description="Run whose test split all arms are scored on; null = the first arm's")
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1, description="Each draws its own pairs and initial weights")
    steps: int = Field(100, ge=1, le=COUNT, description="Optimizer steps of every training")
    prompts: int = Field(0, ge=0, le=COUNT, description="Held-out prompts to answer, to measure length drift; 0 = none")
    max_tokens: int = Field(64, ge=1, le=TOKENS, description="Maximum tokens per answer")
    train: Train = Field(Train(), description="As in a recipe; `model` is required")
    sweep: dict[str, list[Any]] = Field({}, description="TRL options and the values to try: {beta: [0.05, 0.1]}")

    @model_validator(mode="after")
    def _arms_exist(self) -> "Bakeoff":
        for name, arm in self.arms.items():
            for other in (arm.random_of, arm.as_many_as):
                if other is not None and (other not in self.arms or self.arms[other].random_of):
                    raise ValueError(f"arms.{name}: no arm {other!r} to sample from.{nearest(other, self.arms)}")
        if self.train.model is None:
            raise ValueError("train.model: specify the model to train")
        return self

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of the swept options; one empty dict without a sweep."""
        for values in product(*self.sweep.values()):
            yield dict(zip(self.sweep, values, strict=True))


def load_bakeoff(path: Path) -> Bakeoff:
    """
    Read and check the YAML file of a bake-off.

    Raises RecipeError if it does not exist, is not YAML, or has unknown keys or invalid values.

        load_bakeoff(Path("bakeoff.yaml")).seeds
    """
    tree, _ = read_yaml(path, "arms")
    refuse_remote_code(tree)
    try:
        return Bakeoff.model_validate(tree)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise RecipeError(f"{path}: {'; '.join(problems)}") from error


def open_arms(bakeoff: Bakeoff, out: Path, root: Path) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """
    Return the train pairs of every arm (PAIR) and the test pairs; relative paths start at `root`.

    Pairs whose prompts occur in the test pairs are removed from every arm. Raises InputError if the test split or an
    arm is empty.
    """
    runs = {name: _open_run(arm, out / "runs" / name, root) for name, arm in bakeoff.arms.items() if not arm.random_of}
    scored_on = open_run(root / bakeoff.test) if bakeoff.test else next(iter(runs.values()))
    test = scored_on.test.collect()
    if test.is_empty():
        raise InputError(f"{scored_on.folder} has no test split to score on (split.test is 0)")
    held_out = test.get_column("prompt_id").implode()
    pairs = {name: run.train.filter(~pl.col("prompt_id").is_in(held_out)).collect() for name, run in runs.items()}
    for name, arm in bakeoff.arms.items():
        if arm.random_of is not None and arm.as_many_as is not None:
            pairs[name] = sample_pairs(pairs[arm.random_of], len(pairs[arm.as_many_as]), f"arm {name}")
    if empty := [name for name, rows in pairs.items() if rows.is_empty()]:
        raise InputError(f"arms.{empty[0]}: no pairs remain to train on")
    return {name: pairs[name] for name in bakeoff.arms}, test


def sample_pairs(pairs: pl.DataFrame, count: int, salt: str) -> pl.DataFrame:
    """Return the `count` pairs with the lowest hash of salt and pair_id, reproducibly; all if there are fewer."""
    return pairs.sort(digest(pl.concat_str(pl.lit(salt), "pair_id", separator=" "))).head(count)


def recipes_of(bakeoff: Bakeoff, root: Path) -> list[Recipe]:
    """Return the recipes of the arms, with their overrides; relative paths start at `root`."""
    arms = [arm for arm in bakeoff.arms.values() if arm.recipe is not None]
    return [load_recipe(root / str(arm.recipe), arm.set) for arm in arms]


def _open_run(arm: Arm, folder: Path, root: Path) -> Run:
    if arm.run is not None:
        return open_run(root / arm.run)
    from curate import flow

    recipe = load_recipe(root / str(arm.recipe), arm.set)
    if recipe.asks_models:
        from pipelines.flow import run as run_pipelines

        return run_pipelines(recipe, folder)
    return flow.run(recipe, folder)


def write_run(folder: Path, pairs: pl.DataFrame) -> Run:
    """Write pairs as the train split of a minimal run directory, with nothing held out, and return it as a Run."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pairs.write_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "recipe.yaml").write_text(to_yaml(make_recipe({"source": {"paths": ["data"]}})), "utf-8")
    return Run(folder, Manifest(counts={"train": len(pairs), "test": 0}))
