"""Presets: every rule has a reason, and what a recipe says itself wins."""

from pathlib import Path

import pytest
import yaml

import curate
from curate.errors import RecipeError
from curate.recipe.load import make_recipe, resolved
from curate.recipe.presets import NAMES, preset_text
from curate.rules import DEFAULTS, Rule

SOURCE = {"source": {"paths": ["a.jsonl"]}}


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_a_preset_has_a_reason(name: str) -> None:
    recipe = make_recipe({**SOURCE, "preset": name})
    own = [rule for rule in recipe.built_rules if rule.name not in DEFAULTS or rule.about]
    assert len(own) == sum(
        len(each) if key == "where" else 1 for key, each in yaml.safe_load(preset_text(name))["rules"].items()
    )
    assert all(rule.about for rule in own)
    assert preset_text(name).startswith("# ")
    # The resolved recipe holds the rules and no longer the preset.
    plain = resolved(recipe)
    assert "preset" not in plain
    assert make_recipe(plain).built_rules == recipe.built_rules


def test_what_the_recipe_says_itself_wins() -> None:
    rules = {"max_chars_ratio": 7, "no_chosen_refusal": False, "where": "chosen_words > 3"}
    recipe = make_recipe({**SOURCE, "preset": "strict", "rules": rules, "dedup": {"exact": False}}, ["dedup.near=null"])
    found = {rule.name: rule for rule in recipe.built_rules}
    bound = found["max_chars_ratio"]
    assert isinstance(bound, Rule)
    assert (bound.max, bound.about) == (7, "")
    assert "no_chosen_refusal" not in found
    assert [name for name in found if name in ("asks_something", "where_1", "where_2")] == ["asks_something", "where_2"]
    assert recipe.dedup.near is None
    assert not recipe.dedup.exact
    assert make_recipe({**SOURCE, "preset": "strict"}).dedup.near is not None


def test_an_unknown_preset() -> None:
    with pytest.raises(RecipeError, match=r"unknown preset 'strickt'. Did you mean 'strict'\?"):
        make_recipe({**SOURCE, "preset": "strickt"})


def test_the_reason_is_in_the_report(tmp_path: Path) -> None:
    lines = [
        {
            "prompt": "How is tea made?",
            "chosen": "I'm sorry, but I cannot help with that.",
            "rejected": "With hot water.",
        },
        {
            "prompt": "How is tea made?",
            "chosen": "With hot water, in a pot.",
            "rejected": "I don't know anything about it.",
        },
    ]
    run = curate.clean(lines, tmp_path / "RUN", preset="helpful", settings=["split.test=0"])
    assert run.counts["kept"] == 1
    assert run.why(0)[0]["rule"] == "no_chosen_refusal"
    assert "teaches to decline" in run.report.read_text("utf-8")
    assert "teaches to decline" in (run.folder / "README.md").read_text("utf-8")
