"""SFT on the chosen answers, for a base model that has to learn the form of an answer before preferences."""

from pathlib import Path

import polars as pl

from curate.embeddings.adapters import ADAPTER, Adapter
from curate.errors import require
from curate.files import read_json
from train.models import EXTRA


def chosen_only(rows: pl.DataFrame) -> pl.DataFrame:
    """
    Turn pairs into SFT examples in TRL's conversational prompt-completion format (loss on the completion only).

    in : prompt, chosen, rejected, tools, row, length
    out: prompt, completion (the chosen answer), tools, row, length; one row per distinct answer
    """
    distinct = ["prompt", "completion", *({"tools"} & set(rows.columns))]
    return rows.rename({"chosen": "completion"}).drop("rejected").unique(distinct, maintain_order=True)


def merge_adapter(adapter: Path, out: Path, *, remote_code: bool = False) -> str:
    """
    Merge an adapter into its base model, save the whole model with its tokenizer to `out`, and return its folder.

    The folder of a whole model is returned as it is.
    """
    if not (adapter / ADAPTER).is_file():
        return str(adapter)
    peft, transformers = require("peft", EXTRA), require("transformers", EXTRA)
    if read_json(adapter / ADAPTER, Adapter).task_type == "SEQ_CLS":  # a reward model: one score
        auto, options = peft.AutoPeftModelForSequenceClassification, {"num_labels": 1}
    else:
        auto, options = peft.AutoPeftModelForCausalLM, {}
    model = auto.from_pretrained(
        str(adapter), dtype="auto", trust_remote_code=remote_code, **options
    ).merge_and_unload()
    model.save_pretrained(out)
    transformers.AutoTokenizer.from_pretrained(str(adapter), trust_remote_code=remote_code).save_pretrained(out)
    return str(out)
