"""Encoders: what they return, where they are loaded from, and errors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate.embeddings.encoder import DEFAULT, PACKAGES, Encoder, load_encoder, model_folder
from curate.errors import InputError
from tests.hub_server import HubServer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "car", "tree", "sky"]
# The clients read their settings at import, so the names are given to a separate process.
PROGRAM = """
import sys
from curate.embeddings.encoder import load_encoder
from curate.errors import CurateError
for line in sys.stdin:
    try:
        print(load_encoder(line.strip()).encode(["red car"]).shape[1], flush=True)
    except CurateError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with a few thousand weights and a vocabulary of ten words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("tiny")
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special).save_pretrained(path)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(str(folder))


@pytest.mark.slow
def test_vectors_have_unit_length_and_the_order_of_the_texts(encoder: Encoder) -> None:
    texts = ["red car", "green tree green tree green tree", "red car", "", "sky " * 100]
    vectors = encoder.encode(texts)
    assert vectors.shape == (5, 8)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0, 1])  # "" has no content
    assert (vectors[0] == vectors[2]).all()
    assert not np.allclose(vectors[0], vectors[1])
    assert np.allclose(encoder.encode(texts[1:2]), vectors[1:2], atol=1e-6)
    assert encoder.encode([]).shape == (0, 8)


@pytest.mark.slow
def test_loading_and_encoding_print_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_encoder(str(folder)).encode(["red car"] * 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_default_model_comes_from_its_package() -> None:
    pytest.importorskip(PACKAGES[DEFAULT])
    near, far = (
        load_encoder().encode(["A cat sleeps.", "A kitten naps.", "Interest rates rose."])[1:]
        @ (load_encoder(DEFAULT).encode(["A cat sleeps."])[0])
    )
    assert near > 0.5 > far


@pytest.mark.parametrize("name", ["/no/such/folder", "./here", "~/models/none", "a/b/c"])
def test_a_missing_folder(name: str) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        model_folder(name)


@pytest.mark.slow
def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load the model") as caught:
        load_encoder(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_models_of_the_hub(folder: Path, tmp_path: Path) -> None:
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    other = {"original/model.safetensors": b"", "consolidated.safetensors": b"", "code.py": b"", "model.onnx": b""}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    with HubServer({"me/tiny": {**files, **other}}, kind="models") as server:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment | {"HF_ENDPOINT": server.url}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

        def ask(name: str) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            return process.stdout.readline()

        assert ask("me/tiny") == "8\n"
        assert ask("me/none").startswith("InputError: the Hub has no model 'me/none'")
        fetched = {path.rpartition("/")[2] for method, path in server.requests if "/resolve/" in path}
        assert fetched == set(files)
    # The server has stopped.
    assert ask("me/tiny") == "8\n"  # from the cache
    assert ask("me/none").startswith("ServiceError: the Hub does not answer for the model 'me/none'")
    assert process.communicate() == ("", "")
