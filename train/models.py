"""The model that is trained: its tokenizer with a chat template, and its size before any weight is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.embeddings.encoder import loading
from curate.errors import InputError, require

EXTRA = "train"
TEMPLATES = Path(__file__).parent / "templates"
OFFERED = "zephyr"  # needs no token that a tokenizer lacks: turns end with its own end-of-text token


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on, from the model's configuration."""

    parameters: int
    linear_sizes: int  # sum of inputs + outputs of all linear layers but the head: a LoRA of rank r adds r times that
    hidden: int
    layers: int
    context: int | None  # tokens that the model was made for; None = it does not say


def is_local(name: str) -> bool:
    """Whether a model is a folder of this machine, and none of the Hub."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).is_dir()


def load_tokenizer(name: str, template: str | None = None) -> Any:
    """
    The tokenizer of a folder or Hub id, with a padding token and a chat template.

    `template` replaces the model's own: a .jinja file, or `zephyr`, which ships with prefcurate. A tokenizer without
    padding token pads with its end-of-text token, as TRL does (padding is masked, so no end is lost).
    Raises InputError where there is neither template nor end-of-text token.
    """
    transformers = require("transformers", EXTRA)
    with loading(name) as folder:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if template is not None:
        tokenizer.chat_template = _template(template)
    if not tokenizer.chat_template:
        raise InputError(
            f"{name} has no chat template, so nothing says how a conversation becomes text; --set "
            f"train.chat_template={OFFERED} gives it one (or name a .jinja file)"
        )
    if tokenizer.eos_token is None:
        raise InputError(f"the tokenizer of {name} has no end-of-text token (eos_token): answers could never end")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _template(name: str) -> str:
    path = TEMPLATES / f"{name}.jinja" if name == OFFERED else Path(name).expanduser()
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"there is no chat template {name!r}; expected {OFFERED} or a .jinja file") from error


def ends(name: str, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's and those the model's generation settings name."""
    transformers = require("transformers", EXTRA)
    found = [tokenizer.eos_token_id]
    with loading(name) as folder:
        if (Path(folder) / "generation_config.json").is_file():
            said = transformers.GenerationConfig.from_pretrained(folder).eos_token_id
            found += said if isinstance(said, list) else [said]
    return frozenset(token for token in found if token is not None)


def shape(name: str) -> Shape:
    """Sizes of the model of a folder or Hub id; no weight is read, none is drawn."""
    torch, transformers = require("torch", EXTRA), require("transformers", EXTRA)
    with loading(name) as folder:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    text = config.get_text_config()
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        linear_sizes=sum(m.in_features + m.out_features for m in linear),
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        context=getattr(text, "max_position_embeddings", None),
    )
