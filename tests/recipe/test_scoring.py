"""The section `models`: what it needs, what rules need of it, consent, and what is published."""

from typing import Any

import pytest

from curate.errors import RecipeError
from curate.recipe.consent import uses
from curate.recipe.load import make_recipe
from curate.recipe.published import published
from curate.recipe.scoring import ModelSignals
from curate.stages.measure import check_signals
from curate.stages.models import COLUMNS

SOURCE = {"paths": ["pairs.jsonl"]}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "name reward, policy, or relevance: true"),
        ({"reference": "a/b"}, "name reward, policy"),
        ({"reference": "a/b", "relevance": True}, "name the policy that is compared with it"),
        ({"encoder": "a/b", "policy": "a/b"}, "set relevance: true, which uses it"),
        ({"rewards": "a/b"}, r"unknown key models.rewards. Did you mean 'reward'"),
        ({"policy": "a/b", "batch_tokens": 0}, "batch_tokens"),
        ({"policy": "a/b", "trust_remote_code": True}, "trust_remote_code cannot be set"),
    ],
)
def test_sections_that_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_recipe({"source": SOURCE, "models": section})


def test_the_columns_that_a_section_measures() -> None:
    whole = ModelSignals(reward=["a", "b"], policy="p", reference="r", relevance=True)
    assert sorted(whole.columns) == sorted(COLUMNS)
    assert ModelSignals(reward=["a"]).columns == (
        "chosen_reward", "rejected_reward", "reward_margin", "reward_strength",
    )  # fmt: skip
    assert "implicit_gap" not in ModelSignals(policy="p").columns


@pytest.mark.parametrize(
    ("models", "rules", "message"),
    [
        (None, {"min_reward_margin": 0}, "only models measure reward_margin; name some in models.reward"),
        (
            {"policy": "p"},
            {"where": "implicit_gap > 0"},
            "only models measure implicit_gap; name them in models.policy",
        ),
        ({"reward": "a"}, {"max_reward_std": 1}, "only models measure reward_std; name two or more"),
        ({"reward": "a"}, {"max_chosen_perplexity": 9}, "only models measure chosen_perplexity; name one in"),
    ],
)
def test_rules_on_what_no_model_measures(models: Any, rules: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_signals(make_recipe({"source": SOURCE, "rules": rules, **({"models": models} if models else {})}))


def test_rules_on_what_models_measure() -> None:
    rules = {"min_reward_margin": 0, "where": "reward_strength > 0.6", "max_chars_ratio": 4}
    check_signals(make_recipe({"source": SOURCE, "rules": rules, "models": {"reward": "a"}}))


def test_consent_and_what_is_published() -> None:
    section = {"reward": ["them/reward", "/home/me/mine", "/srv/old/mine"], "policy": "them/policy", "relevance": True}
    origin = {"repo": "them/set", "revision": "0123abcd"}
    recipe = make_recipe({"source": {"paths": ["shipped:quickstart.jsonl"]}, "models": section, "origin": origin})
    assert [tuple(use) for use in uses(recipe)] == [
        ("models.reward", "load the model them/reward"),
        ("models.reward", "load the model /home/me/mine"),
        ("models.reward", "load the model /srv/old/mine"),
        ("models.policy", "load the model them/policy"),
    ]
    shown = published(recipe).models
    assert shown is not None
    assert (shown.reward, shown.policy) == (("them/reward", "mine", "mine"), "them/policy")
