"""The model to train: its tokenizer with a chat template, its end tokens, and its size without loading weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.embeddings.adapters import adapter_in
from curate.embeddings.encoder import loading
from curate.errors import InputError, require
from curate.files import read_named

EXTRA = "train"
TEMPLATES = Path(__file__).parent / "templates"
BUILTIN_TEMPLATE = "zephyr"  # works with any tokenizer: turns end with its own end-of-text token


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes that determine memory use, from the model's configuration."""

    parameters: int
    linear_sizes: (
        int  # sum of in_features + out_features over the linear layers without the head: LoRA adds rank x that
    )
    hidden: int
    layers: int
    context: int | None  # maximum number of tokens; None = not stated in the configuration


def is_local(name: str) -> bool:
    """Return whether a model name is a folder on this machine rather than a Hub id."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or Path(name).is_dir()


def load_tokenizer(name: str, template: str | None = None, *, remote_code: bool = False) -> Any:
    """
    Load the tokenizer of a folder or Hub id, with a padding token and a chat template.

    `template` replaces the model's own template: a .jinja file, or `zephyr`, which is included in prefcurate. A
    tokenizer without a padding token pads with its end-of-text token, as in TRL (padding is masked, so the model still
    learns to end its answers). `remote_code` lets code of the model's repository run.
    Raises InputError if the template cannot be read, or if there is no chat template or no end-of-text token.
    """
    transformers = require("transformers", EXTRA)
    with loading(name, code=remote_code) as folder:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=remote_code)
    if template is not None:
        tokenizer.chat_template = _read_template(template)
    if not tokenizer.chat_template:
        raise InputError(
            f"{name} has no chat template, so conversations cannot be rendered as text; add one with --set "
            f"train.chat_template={BUILTIN_TEMPLATE} (or the path of a .jinja file)"
        )
    if tokenizer.eos_token is None:
        raise InputError(f"the tokenizer of {name} has no end-of-text token (eos_token), so answers could never end")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _read_template(name: str) -> str:
    path = TEMPLATES / f"{name}.jinja" if name == BUILTIN_TEMPLATE else Path(name).expanduser()
    try:
        return read_named(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read chat template {name!r}; expected {BUILTIN_TEMPLATE} or a .jinja file") from error


def end_tokens(name: str, tokenizer: Any) -> frozenset[int]:
    """Return the ids of tokens that end an answer: the tokenizer's, and those in the model's generation config."""
    transformers = require("transformers", EXTRA)
    found = [tokenizer.eos_token_id]
    with loading(name) as folder:
        if (Path(folder) / "generation_config.json").is_file():
            configured = transformers.GenerationConfig.from_pretrained(folder).eos_token_id
            found += configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in found if token is not None)


def model_shape(name: str, *, remote_code: bool = False) -> ModelShape:
    """
    Return the sizes of a model, given as a folder or Hub id, without loading or initializing its weights.

    Raises InputError for a LoRA adapter: training starts from a whole model.
    """
    torch, transformers = require("torch", EXTRA), require("transformers", EXTRA)
    with loading(name, code=remote_code) as folder:
        if (adapter := adapter_in(folder)) is not None:
            raise InputError(
                f"{name} is an adapter of {adapter.base_model_name_or_path}, and training starts from a whole model: "
                f"merge it first (peft.AutoPeftModelForCausalLM.from_pretrained({name!r}).merge_and_unload(), saved "
                "with its tokenizer to a new folder)"
            )
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=remote_code)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=remote_code)
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    text = config.get_text_config()
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        linear_sizes=sum(m.in_features + m.out_features for m in linear),
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        context=getattr(text, "max_position_embeddings", None),
    )
