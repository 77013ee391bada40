"""Push a finished training to the Hub: its model or adapter with its card, in a form that others can load."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from curate.embeddings.adapters import ADAPTER, Adapter
from curate.embeddings.encoder import loading
from curate.errors import InputError, ServiceError
from curate.files import atomic, digest, read_json
from curate.publish.model import PushedModel, check_model_repo, push_model
from curate.publish.repo_file import File, plain_file
from curate.recipe.training import Train
from curate.rundir.result import Run
from curate.terminal import busy
from train.card import write_card
from train.preflight import pairs_of
from train.training.sft import merge_adapter
from train.training.train import MERGED, RESULT, Training, data_revision, open_training, with_label_smoothing

# What loads a model, and its card; nothing else in the folder, such as training_args.bin, a pickle with local paths.
PUSHED = (
    "*.safetensors", "*.safetensors.index.json", ADAPTER, "config.json", "generation_config.json",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja", "README.md",
)  # fmt: skip
PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "cache_dir")  # of JSON files


def check_repo(repo: str, *, private: bool) -> None:
    """See `check_model_repo`: called before a training, because a mistake must not cost hours."""
    check_model_repo(repo, private=private)


def finished_training(run: Run, section: Train | None, folder: Path) -> Training | None:
    """
    Return the training in `folder` if it is complete and has the options of `section` and the run's current data.

    None otherwise. If `section` is None, any complete training is returned.
    """
    if not (folder / RESULT).is_file():
        return None
    training = open_training(folder)
    if section is None:
        return training
    wanted = with_label_smoothing(section, pairs_of(run, "train")).model_dump(mode="json")
    same = training.result["options"] == json.loads(json.dumps(wanted)) and training.result["data"] == data_revision(
        run
    )
    return training if same else None


def push(training: Training, run: Run, repo: str, *, private: bool = False) -> PushedModel:
    """
    Push the model or adapter of a training to the Hub, with its card, in one commit.

    Parameters
    ----------
    training
        A complete training.
    run
        The run it was trained on; the card names its sources.
    repo
        OWNER/NAME; created if it does not exist.
    private
        Make a new repository private. An existing repository keeps its visibility.

    Returns
    -------
    PushedModel
        `changed` is False if the repository already has these files; then no commit is made.

    Raises InputError for a repository name or token that cannot be used, and ServiceError if the Hub fails. The trained
    model remains on disk in either case.

        push(open_training("RUN/training"), open_run("RUN"), "OWNER/NAME", private=True)
    """
    with busy("model"):
        files = list(files_to_push(training, run))
    result = training.result
    message = f"{result['method'].upper()}: {result['rows']:,} pairs of data revision {result['data']}"
    try:
        return push_model(repo, files, message, private=private)
    except (InputError, ServiceError) as error:
        kept = f"the trained model is in {training.model}; run the same command again to push it without training again"
        raise type(error)(f"{error}; {kept}") from None


def files_to_push(training: Training, run: Run) -> Iterator[File]:
    """
    Yield the files to push.

    An adapter for a model from the Hub names that model and its commit instead of the folder in the local cache. An
    adapter for a local model, which nobody else has (also the result of `sft_first`), is merged into a whole model.
    """
    folder, replaced = training.model, {}
    if (folder / ADAPTER).is_file():
        base = _hub_base(read_json(folder / ADAPTER, Adapter), str(training.result["model"]))
        if base is None:
            folder = _merged_model(training, run)
        else:
            adapter = read_json(folder / ADAPTER, dict[str, Any])
            replaced[ADAPTER] = (json.dumps({**adapter, **base}, indent=2) + "\n").encode()
    for path in sorted(path for path in folder.iterdir() if any(fnmatch(path.name, name) for name in PUSHED)):
        content = replaced.get(path.name) or _without_places(path)
        yield plain_file(path.name, content) if content else File(path.name, path, digest(path))


def _without_places(path: Path) -> bytes | None:
    """Return a configuration without the folders that libraries note in it; None if it has none."""
    if path.suffix != ".json" or path.name in ("tokenizer.json", "vocab.json"):
        return None
    tree = read_json(path, dict[str, Any])
    found = [name for name in PLACES if name in tree]
    for name in found:
        del tree[name]
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode() if found else None


def _hub_base(adapter: Adapter, model: str) -> dict[str, str] | None:
    """Return the adapter's base as Hub id and commit; None for a local model (the cache has snapshots/COMMIT)."""
    base = Path(adapter.base_model_name_or_path)
    if base.parent.name != "snapshots":
        return None
    return {"base_model_name_or_path": model, "revision": base.name}


def _merged_model(training: Training, run: Run) -> Path:
    folder = training.folder / MERGED
    if not folder.is_dir():
        with atomic(folder) as temporary, loading(str(training.model)):
            merge_adapter(training.model, temporary)
            write_card(temporary, run, training.result)
    return folder
