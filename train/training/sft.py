"""SFT on the chosen answers, for a base model that has to learn the form of an answer before preferences."""

import json
from pathlib import Path

import polars as pl

from curate.errors import require
from train.models import EXTRA

ADAPTER = "adapter_config.json"


def chosen_only(rows: pl.DataFrame) -> pl.DataFrame:
    """
    in : prompt, chosen, rejected, row, length
    out: prompt, completion (the chosen answer), row, length: TRL's "conversational prompt-completion"; the loss is of
         the completion alone. A prompt whose chosen answer stands in several pairs is there once.
    """
    return rows.rename({"chosen": "completion"}).drop("rejected").unique(["prompt", "completion"], maintain_order=True)


def merge_adapter(adapter: Path, out: Path) -> str:
    """The model with its adapter worked in, saved as a whole model; a whole model stays as it is."""
    if not (adapter / ADAPTER).is_file():
        return str(adapter)
    peft, transformers = require("peft", EXTRA), require("transformers", EXTRA)
    if json.loads((adapter / ADAPTER).read_text("utf-8"))["task_type"] == "SEQ_CLS":  # a reward model: one score
        kind, more = peft.AutoPeftModelForSequenceClassification, {"num_labels": 1}
    else:
        kind, more = peft.AutoPeftModelForCausalLM, {}
    model = kind.from_pretrained(str(adapter), dtype="auto", **more).merge_and_unload()
    model.save_pretrained(out)
    transformers.AutoTokenizer.from_pretrained(str(adapter)).save_pretrained(out)
    return str(out)
