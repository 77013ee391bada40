"""A bake-off of toy preferences: half-flipped labels lose to clean ones."""

from pathlib import Path

import polars as pl
import pytest
import yaml

import curate
from curate.errors import InputError, RecipeError
from curate.recipe.load import make_recipe
from tests.benchmarks.bakeoff import AS_IS
from tests.data import write_jsonl
from tests.train.tiny import tiny_model, toy_rows
from train.bakeoff.arms import Bakeoff, load_bakeoff, open_arms, sample_pairs
from train.bakeoff.bakeoff import bakeoff, over_seeds

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and TRL


def sources(folder: Path, count: int = 80) -> None:
    """Write the runs clean/ and flipped/ (every second label swapped), and a recipe."""
    for name, flipped in (("clean", ()), ("flipped", range(0, count, 2))):
        source = write_jsonl(folder / f"{name}.jsonl", toy_rows(count, flipped=flipped))
        curate.clean(source, folder / name, settings=["split.test=0.3"])
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"source": {"paths": str(folder / "clean.jsonl")}}))


ARMS = {
    "flipped": {"run": "flipped"},
    "curated": {"recipe": "recipe.yaml", "set": "split.test=0.3"},
    "few": {"random_of": "flipped", "as_many_as": "curated"},
}


def test_the_settings_of_the_benchmark_are_valid() -> None:
    """The benchmark itself takes too long to run here."""
    recipe = make_recipe({"source": {"paths": "pairs.jsonl"}}, AS_IS)
    assert (recipe.dedup.exact, recipe.dedup.contradictions) == (False, "keep")


@pytest.mark.slow
def test_clean_labels_win(tmp_path: Path) -> None:
    sources(tmp_path)
    train = {"model": tiny_model(tmp_path / "model"), "batch": 8, "trl": {"learning_rate": 5e-3}}
    plan = {
        "arms": {name: ARMS[name] for name in ("flipped", "curated")}, "test": "clean", "seeds": [0], "steps": 10,
        "prompts": 2, "max_tokens": 4, "train": train, "sweep": {"beta": [0.1]},
    }  # fmt: skip
    (tmp_path / "bakeoff.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    loaded = load_bakeoff(tmp_path / "bakeoff.yaml")
    messages: list[str] = []
    table = bakeoff(loaded, tmp_path / "OUT", root=tmp_path, log_line=messages.append)
    flipped, curated = table
    assert [row["arm"] for row in table] == ["flipped", "curated"]
    assert curated["options"] == "beta=0.1"
    assert curated["accuracy"].mean > 0.9
    assert curated["difference to first row"].mean > 0
    assert curated["accuracy"].mean > flipped["accuracy"].mean
    assert flipped["difference to first row"] is None
    assert isinstance(curated["extra words"], float)
    assert len(messages) == 2
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "OUT" / "trainings").rglob("*.parquet")}
    again = bakeoff(loaded, tmp_path / "OUT", root=tmp_path)
    assert again == table
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "OUT" / "trainings").rglob("*.parquet")}


@pytest.mark.slow
def test_arms_share_no_prompt_with_the_test_pairs(tmp_path: Path) -> None:
    sources(tmp_path, 40)
    plan = Bakeoff.model_validate({"arms": ARMS, "test": "clean", "train": {"model": "m"}})
    arms, test = open_arms(plan, tmp_path / "OUT", tmp_path)
    assert list(arms) == ["flipped", "curated", "few"]
    assert len(arms["few"]) == len(arms["curated"])
    for pairs in arms.values():
        assert not set(pairs["prompt_id"]) & set(test["prompt_id"])
    curate.clean(tmp_path / "clean.jsonl", tmp_path / "untested", settings=["split.test=0"])
    with pytest.raises(InputError, match="has no test split to score on"):
        open_arms(plan.model_copy(update={"test": "untested"}), tmp_path / "OUT", tmp_path)


def test_points() -> None:
    plan = Bakeoff.model_validate(
        {"arms": {"a": {"run": "A"}}, "train": {"model": "m"}, "sweep": {"beta": [0.1, 0.2], "learning_rate": [1e-5]}}
    )
    assert list(plan.points()) == [{"beta": 0.1, "learning_rate": 1e-5}, {"beta": 0.2, "learning_rate": 1e-5}]
    assert list(plan.model_copy(update={"sweep": {}}).points()) == [{}]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"arms": {"a": {}}}, "arms.a: set exactly one of run, recipe, random_of"),
        ({"arms": {"a": {"run": "A", "recipe": "B"}}}, "arms.a: set exactly one of"),
        ({"arms": {"a": {"random_of": "b"}}}, "arms.a: random_of and as_many_as must be set together"),
        ({"arms": {"raw": {"run": "A"}, "b": {"random_of": "rw", "as_many_as": "raw"}}}, "Did you mean 'raw'?"),
        ({"arms": {"a": {"run": "A"}}}, "train.model: specify the model"),
        ({"arm": {}}, "arm: Extra inputs are not permitted"),
    ],
)
def test_mistakes(tmp_path: Path, plan: dict[str, object], message: str) -> None:
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")):
        load_bakeoff(tmp_path / "b.yaml")
    with pytest.raises(RecipeError, match="does not exist"):
        load_bakeoff(tmp_path / "none.yaml")


def test_over_seeds() -> None:
    frames = [
        pl.DataFrame({"prompt_id": list("abcd"), "correct": values})
        for values in ([1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0])
    ]
    two, one = over_seeds(frames, "correct"), over_seeds(frames[:1], "correct")
    assert (two.mean, two.n, two.clusters) == (0.5, 4, 4)
    assert two.mean - two.low == pytest.approx(two.high - two.mean)
    assert one.mean == 0.75
    assert two.high - two.mean > 1.96 * (0.5**2 / 2 / 2) ** 0.5  # at least the variance between seeds


def test_samples_depend_on_the_ids_only() -> None:
    pairs = pl.DataFrame({"pair_id": [f"id{n}" for n in range(50)]})
    some = sample_pairs(pairs, 10, "seed 0")
    assert some.equals(sample_pairs(pairs.reverse(), 10, "seed 0"))
    assert not some.equals(sample_pairs(pairs, 10, "seed 1"))
    assert len(sample_pairs(pairs, 100, "x")) == 50
