"""Hostile recipes: huge numbers, deep nesting and aliases give one RecipeError, at once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.files import parse_yaml, read_yaml
from curate.recipe.load import Recipe, load_recipe, make_recipe
from train.bakeoff.arms import Bakeoff

SOURCE = {"source": {"paths": ["data.jsonl"]}}
MODEL = {"model": "openai:x"}
# What a section needs besides the tested field.
NEEDED: dict[str, dict[str, Any]] = {
    "prompts": {"prompts": {"model": MODEL}, "generate": {"models": [MODEL]}},
    "generate": {"generate": {"models": [MODEL]}},
    "judge": {"judge": {"models": [MODEL]}},
    "decontaminate": {"decontaminate": {"against": [{"path": "a.jsonl"}]}},
}


def numbers(schema: dict[str, Any], whole: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all numbers of a JSON schema; `*` is the element of a list."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in path:  # none of the sections contains itself
            yield from numbers(whole["$defs"][name], whole, path)
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from numbers(each, whole, path)
    if schema.get("type") in ("integer", "number"):
        assert "const" in schema or "enum" in schema or schema.keys() & {"maximum", "exclusiveMaximum"}, path
        assert "const" in schema or "enum" in schema or schema.keys() & {"minimum", "exclusiveMinimum"}, path
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from numbers(inner, whole, (*path, name))
    for inner in [*([schema["items"]] if "items" in schema else []), *schema.get("prefixItems", ())]:
        yield from numbers(inner, whole, (*path, "*"))


SCHEMA = Recipe.model_json_schema()
PATHS = sorted(set(numbers(SCHEMA, SCHEMA)))


def test_every_number_of_a_recipe_has_bounds() -> None:
    assert len(PATHS) > 60
    assert ("dedup", "near", "shingle_size") in PATHS
    assert ("generate", "temperatures", "*") in PATHS
    schema = Bakeoff.model_json_schema()
    assert ("seeds", "*") in set(numbers(schema, schema))


def with_value(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a recipe with a value at a path."""
    tree: dict[str, Any] = json.loads(json.dumps(SOURCE | NEEDED.get(path[0], {})))
    place: Any = tree
    for part, following in zip(path, (*path[1:], None), strict=True):
        inside: Any = value if following is None else [] if following == "*" else {}
        if part == "*":
            place[:] = [value] * 2 if following is None else [{} if path[0] == "select" else MODEL | {}]
            place = place[0]
        else:
            place[part] = place.get(part) or inside if following is not None else value
            place = place[part]
    return tree


EXTREMES = (float("inf"), float("nan"), 10**400, 10**30, -(10**30))
EXTREME_NAMES = ("inf", "nan", "10^400", "10^30", "-10^30")
HUGE = st.sampled_from([10**9, 10**12, 2**63, 10**30, 10**400, -1, -(10**30), 0, 1e300, float("inf"), float("nan")])
ANY = HUGE | st.integers() | st.floats() | st.text(max_size=3) | st.none() | st.lists(st.integers(), max_size=3)


@given(st.sampled_from(PATHS), ANY)
def test_any_number_gives_a_recipe_or_one_error(path: tuple[str, ...], value: Any) -> None:
    message = ""
    try:
        make_recipe(with_value(path, value))
    except RecipeError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 2_000


@pytest.mark.parametrize("path", PATHS, ids=".".join)
@pytest.mark.parametrize("value", EXTREMES, ids=EXTREME_NAMES)
def test_no_number_may_be_huge(path: tuple[str, ...], value: float) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe(with_value(path, value))
    assert path[-2 if path[-1] == "*" else -1] in str(caught.value)


@pytest.mark.parametrize("value", EXTREMES, ids=EXTREME_NAMES)
@pytest.mark.parametrize("rule", ["max_chars_ratio", "min_chosen_chars"])
def test_no_rule_may_be_huge(rule: str, value: float) -> None:
    with pytest.raises(RecipeError, match=rf"rules\.{rule}: expected a number within ±1e\+15, found"):
        make_recipe(SOURCE | {"rules": {rule: value}})


def test_bands_of_many_minima() -> None:
    with pytest.raises(RecipeError, match="bands: 1,000,000 minima per text; expected at most 4,096"):
        make_recipe(SOURCE | {"dedup": {"near": {"bands": [1000, 1000]}}})


LEVELS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
HOSTILE = {
    "aliases of aliases": (LEVELS, "more than 4,000,000 characters, aliases written out"),
    "a repeated text": ("a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 100 + "]", "more than 4,000,000 characters"),
    "lists in lists": ("a: " + "[" * 100_000, "nested more than 50 levels deep"),
    "mappings in mappings": ("".join(" " * i + "a:\n" for i in range(500)), "nested more than 50 levels deep"),
    "a list in itself": ("a: &a [*a]", "an alias inside of what it refers to"),
    "a mapping in itself": ("a: &a\n  b: *a", "an alias inside of what it refers to"),
    "a mapping merged into itself": ("a: &a\n  <<: *a", "an alias inside of what it refers to"),
    "a large file": ("# " + "x" * 4_000_000, "it has 4,000,002 characters; expected at most 4,000,000"),
    "many values": ("[" + "[]," * 100_000 + "]", "more than 4,000,000 characters"),
    "a date as key": ("2026-01-01: x", "'2026-01-01' is timestamp; put quotes around a key"),
    "a number as key": ("source: {1: x}", "'1' is int; put quotes around a key"),
    "on as key": ("on: x", "'on' is bool; put quotes around a key"),
    "a list as key": ("? [a]\n: b", "a key is seq; put quotes around a key"),
    "an invalid date": ("a: 2026-99-99", "a value cannot be read: month must be in 1..12"),
    "an invalid number": ("a: !!int x", "a value cannot be read"),
    "an invalid time": ("a: !!timestamp x", "a value cannot be read"),
    "an invalid boolean": ("a: !!bool x", "a value cannot be read"),
    "a number of many digits": ("a: " + "9" * 5_000, "a value cannot be read"),
    "a NUL": ("a\0: b", "not allowed"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "many values")) for n in HOSTILE])
def test_hostile_yaml(tmp_path: Path, name: str) -> None:
    text, said = HOSTILE[name]
    (tmp_path / "r.yaml").write_text(text, "utf-8")
    start = time.monotonic()
    with pytest.raises(RecipeError) as caught:
        read_yaml(tmp_path / "r.yaml", "sections")
    assert time.monotonic() - start < 60  # it took a minute and 1.7 GB
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_honest_aliases(tmp_path: Path) -> None:
    models = "[&m {model: openai:x, retries: 2}, {<<: *m, model: openai:y}]"
    text = f"source: {{paths: a}}\ngenerate: {{models: {models}}}\n"
    (tmp_path / "r.yaml").write_text(f"{text}judge: {{models: [*m]}}\n", "utf-8")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.generate is not None
    assert [(model.model, model.retries) for model in recipe.generate.models] == [("openai:x", 2), ("openai:y", 2)]


def test_keys_of_a_card_may_be_numbers() -> None:
    assert parse_yaml("names: {0: good, 1: bad}") == {"names": {0: "good", 1: "bad"}}


@pytest.mark.parametrize("text", ["source.limit=" + "[" * 1_000, "source.limit={1: 2}", "source.limit=!!int x"])
def test_hostile_overrides(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a YAML value"):
        make_recipe(SOURCE, [text])


def test_data_that_is_not_a_recipe() -> None:
    deep: list[Any] = []
    circle: dict[str, Any] = {}
    for _ in range(100_000):
        deep = [deep]
    circle["source"] = circle
    for tree in ({"source": deep}, circle, {"source": {"limit": 10**5000}}, {(1, 2): 3}):
        with pytest.raises(RecipeError, match="recipe: expected plain data"):
            make_recipe(tree)  # type: ignore[arg-type]
