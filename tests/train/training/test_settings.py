"""Precedence of the recipe, a TRL config file, --model and --set."""

from pathlib import Path

import pytest

from train.training.settings import section_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and TRL


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    config = tmp_path / "dpo.yaml"
    config.write_text("model_name_or_path: from-file\nlora_r: 4\nbeta: 0.2\n")
    assert section_of(None, config=config).model == "from-file"
    section = section_of(None, "given", ["trl.beta=0.3"], config)
    assert (section.model, section.lora_rank, section.trl) == ("given", 4, {"beta": 0.3})
    assert section_of(None, "given", ["train.model=set"], config).model == "set"
