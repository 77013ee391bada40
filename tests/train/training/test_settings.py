"""Precedence of the recipe, a TRL config file, --model and --set."""

from pathlib import Path

import pytest

from curate.errors import RecipeError
from train.training.settings import section_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and TRL


@pytest.mark.slow
def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    config = tmp_path / "dpo.yaml"
    config.write_text("model_name_or_path: from-file\nlora_r: 4\nbeta: 0.2\n")
    assert section_of(None, config=config).model == "from-file"
    section = section_of(None, "given", ["trl.beta=0.3"], config)
    assert (section.model, section.lora_rank, section.trl) == ("given", 4, {"beta": 0.3})
    assert section_of(None, "given", ["train.model=set"], config).model == "set"


def test_options_are_keys_of_the_section() -> None:
    section = section_of(None, "given", ["trl.beta=0.3"], lora_rank=4, trl={"beta": 0.1, "max_steps": 2})
    assert (section.model, section.lora_rank, section.trl) == ("given", 4, {"beta": 0.3, "max_steps": 2})
    with pytest.raises(RecipeError, match=r"unknown key train\.lora_rnk\. Did you mean 'lora_rank'"):
        section_of(None, lora_rnk=4)
