"""Models of a few thousand random weights, and toy preferences that they can learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

import curate
from curate.rundir.result import Run
from tests.data import write_jsonl

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ["<unk>", "</s>", "<user>", "<assistant>", "<system>", "<pad>"]
COLORS = ("red", "green", "blue", "grey", "pink", "gold", "black", "white", "brown", "ivory")
THINGS = ("door", "lamp", "boat", "chair", "stone", "bird", "roof", "cup", "hat", "shoe", "tree", "car")


def toy_rows(count: int, *, flipped: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return rows in which the answer that repeats the colour is chosen; in `flipped` rows it is rejected."""
    rows = []
    for number in range(count):
        color, thing = COLORS[number % len(COLORS)], THINGS[number // len(COLORS) % len(THINGS)]
        good, bad = (
            f"Yes, the {thing} number {number} is {color}, surely.",
            f"No idea about {thing} number {number}, sorry.",
        )
        if number in flipped:
            good, bad = bad, good
        rows.append({"prompt": f"Is the {thing} number {number} {color}?", "chosen": good, "rejected": bad})
    return rows


def toy_run(folder: Path, count: int = 60, *, test: float = 0.25, **changes: Any) -> Run:
    """Return a finished run of toy preferences."""
    source = write_jsonl(folder / "toy.jsonl", changes.pop("rows", toy_rows(count)))
    return curate.clean(source, folder / "RUN", settings=[f"split.test={test}", *changes.pop("settings", ())])


def tiny_tokenizer(
    template: str | None = TEMPLATE,
    *,
    metaspace: bool = False,
    pad: str | None = "<pad>",
    texts: Sequence[str] = (),
    size: int = 500,
) -> Any:
    """Train a byte-level tokenizer (or one with metaspaces, like Llama 2's) on the texts, else the toy preferences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    parts = pre_tokenizers.Metaspace() if metaspace else pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = parts
    tokenizer.decoder = decoders.Metaspace() if metaspace else decoders.ByteLevel()
    alphabet = [] if metaspace else pre_tokenizers.ByteLevel.alphabet()
    texts = texts or [text for row in toy_rows(120) for text in row.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token=pad)
    fast.chat_template = template
    return fast


def tiny_model(folder: Path, tokenizer: Any = None, *, hidden: int = 32, layers: int = 2, seed: int = 0) -> str:
    """Save a Llama of two small layers with random weights and its tokenizer; return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer or tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=2, max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def pair(prompt: Sequence[tuple[str, str]], chosen: str, rejected: str) -> dict[str, Any]:
    """Return a row of prompt, chosen and rejected as messages."""
    answers = {
        side: [{"role": "assistant", "content": text}] for side, text in (("chosen", chosen), ("rejected", rejected))
    }
    return {"prompt": [{"role": role, "content": content} for role, content in prompt], **answers}


def pairs(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return a frame of such rows, with the columns used for tokenizing."""
    from curate.schema import PAIR

    return pl.DataFrame(rows, schema={name: PAIR[name] for name in ("prompt", "chosen", "rejected")})
