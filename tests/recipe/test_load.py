"""Recipes: defaults written out, mistakes reported with their line."""

from pathlib import Path

import pytest
import yaml

from curate.errors import RecipeError
from curate.recipe.load import Recipe, load_recipe, make_recipe, resolved, to_yaml
from curate.rules import Rule
from curate.rundir.store import fingerprint

SOURCE = {"source": {"paths": ["data.jsonl"]}}
SHIPPED = Path(__file__).parents[2] / "pipelines" / "recipes"


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = make_recipe(SOURCE | {"rules": {"max_chars_ratio": {"value": 4, "on_null": "drop"}, "no_tie": False}})
    again = load_recipe(write(tmp_path / "r.yaml", to_yaml(recipe)))
    assert resolved(again) == resolved(recipe)
    assert resolved(recipe)["rules"]["max_chars_ratio"] == {"value": 4.0, "on_null": "drop"}
    assert "no_tie" not in resolved(recipe)["rules"]
    assert "no_chosen_empty" in resolved(recipe)["rules"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source:\n  path: x\n", r"line 2: unknown key source.path. Did you mean 'paths'\?"),
        ("source:\n  paths: x\nsplits:\n  test: 0.1\n", r"line 3: unknown key splits. Did you mean 'split'\?"),
        (
            "source:\n  paths: x\nrules:\n  max_char_ratio: 4\n",
            r"line 4: unknown rule .* Did you mean 'max_chars_ratio'\?",
        ),
        ("source:\n  paths: x\nrules:\n  no_tie: 3\n", r"line 4: rules.no_tie: expected true or false, found 3"),
        ("source:\n  paths: x\nsplit:\n  test: many\n", r"line 4: split.test: .*number.*'many'"),
        (
            "source:\n  paths: x\ndedup:\n  keep: chosen_language\n",
            r"'chosen_language' is not a numeric signal",
        ),
        (
            "source:\n  paths: x\nselect:\n  budget: 5\n  like:\n    texts: tea\n    example: x\n",
            r"line 7: unknown key select.like.example. Did you mean 'examples'\?",
        ),
        (
            "source:\n  paths: x\nselect:\n  steps:\n  - like:\n      texts: tea\n      top: 0\n",
            r"line 7: select.steps.0.like.top: .*greater than or equal to 1, found 0",
        ),
        ("source:\n  paths: []\n", r"source.paths: name at least one source"),
        ("rules: {}\n", r"source.paths: name at least one source"),
        ("- a\n", r"contains list; expected sections: preset, source"),
        ("a: [\n", r"not a YAML file"),
        ("a: !!python/object/apply:os.system [ls]\n", r"not a YAML file"),
    ],
)
def test_mistakes_name_the_line_and_the_nearest_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe(write(tmp_path / "r.yaml", text))
    assert "\n" not in str(caught.value)


def test_missing_file_and_wrong_encoding(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "nope.yaml")
    (tmp_path / "r.yaml").write_bytes(b"a: \xff")
    with pytest.raises(RecipeError, match="not a YAML file"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("select", [{"like": {"texts": "tea"}}, {"steps": [{"like": {"texts": "tea"}}]},
                                    [{"like": {"texts": "tea"}}]])  # fmt: skip
def test_a_step_is_set_by_its_name_however_it_was_written(select: object) -> None:
    recipe = make_recipe(SOURCE | {"select": select}, ["select.like.top=7"])
    assert resolved(recipe)["select"]["steps"] == [
        {"like": {"examples": [], "texts": ["tea"], "compare": "prompt", "threshold": None, "top": 7, "share": None}}
    ]


def test_overrides_are_yaml_values() -> None:
    recipe = make_recipe(SOURCE, ["split.test=0.25", "rules.only_chosen_language=[en, pt]", "dedup.exact=false"])
    assert recipe.split.test == 0.25
    assert recipe.dedup.exact is False
    assert [rule.allowed for rule in recipe.built_rules if isinstance(rule, Rule) and rule.allowed] == [("en", "pt")]


def test_a_value_may_contain_an_equals_sign() -> None:
    assert make_recipe(SOURCE, ["split.salt=a=b"]).split.salt == "a=b"


def test_make_recipe_does_not_change_its_argument() -> None:
    tree = {"source": {"paths": ["a"]}}
    make_recipe(tree, ["source.limit=3"])
    assert tree == {"source": {"paths": ["a"]}}


def test_fingerprint_is_the_same_everywhere() -> None:
    assert fingerprint({"b": 1, "a": "é"}, [1.5]) == fingerprint({"a": "é", "b": 1}, [1.5])
    # sha256 of [{"a": 1}]
    assert fingerprint({"a": 1}) == "2696610e78752a9e7bd0c4b0404b2fb0"


def test_schema_describes_every_section() -> None:
    properties = Recipe.model_json_schema()["properties"]
    assert list(properties) == list(Recipe.model_fields)


@pytest.mark.parametrize("recipe", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(recipe: Path) -> None:
    assert load_recipe(recipe).asks_models
    assert all(section in Recipe.model_fields for section in yaml.safe_load(recipe.read_text("utf-8")))


@pytest.mark.parametrize("before", [{}, {"near": None}, {"near": True}, {"near": {"shingle_size": 2}}])
def test_a_section_that_is_off_or_at_its_defaults_can_be_set_in_parts(before: dict[str, object]) -> None:
    near = make_recipe({**SOURCE, "dedup": before}, ["dedup.near.threshold=0.7"]).dedup.near
    assert near is not None
    assert (near.threshold, near.shingle_size) == (0.7, 2 if isinstance(before.get("near"), dict) else 3)


def test_near_can_be_switched_on_and_off() -> None:
    assert make_recipe(SOURCE, ["dedup.near=true"]).dedup.near is not None
    assert make_recipe({**SOURCE, "dedup": {"near": True}}, ["dedup.near=false"]).dedup.near is None
