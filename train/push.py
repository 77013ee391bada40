"""A finished training to the Hub: its model or adapter with its card, as anyone else can load them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.embeddings.encoder import loading
from curate.errors import InputError, ServiceError
from curate.files import atomic
from curate.progress import busy
from curate.publish.model import PushedModel, push_model
from curate.publish.repo_file import File, plain_file
from curate.recipe import Train
from curate.rundir.checksums import digest
from curate.rundir.result import Run
from train.card import write_card
from train.preflight import pairs_of
from train.training.sft import ADAPTER, merge_adapter
from train.training.train import RESULT, WHOLE, Training, data_revision, open_training, with_label_smoothing

OF_THIS_MACHINE = "training_args.bin"  # a pickle, with folders of this machine


def finished(run: Run, section: Train | None, folder: Path) -> Training | None:
    """
    The training in `folder`, if it is complete and what `section` would give on the run's data; else None.

    With no section, whatever training is there.
    """
    if not (folder / RESULT).is_file():
        return None
    done = open_training(folder)
    if section is None:
        return done
    asked = with_label_smoothing(section, pairs_of(run, "train")).model_dump(mode="json")
    same = done.result["options"] == json.loads(json.dumps(asked)) and done.result["data"] == data_revision(run)
    return done if same else None


def push(done: Training, run: Run, repo: str, *, private: bool = False) -> PushedModel:
    """Push a training as OWNER/NAME in one commit; nothing changed, no commit. Raises as `curate.publish.push` does."""
    with busy("model"):
        files = list(published(done, run))
    result = done.result
    message = f"{result['method'].upper()}: {result['rows']:,} pairs of data revision {result['data']}"
    try:
        return push_model(repo, files, message, private=private)
    except (InputError, ServiceError) as error:
        kept = f"the model is whole in {done.model}, and the same command does not train again"
        raise type(error)(f"{error}; {kept}") from None


def published(done: Training, run: Run) -> Iterator[File]:
    """
    The files. An adapter over a model of the Hub names it and its commit, not the folder of this machine's cache; over
    a model of this machine, which nobody else has (SFT's too), it is worked into the whole model.
    """
    folder, replaced = done.model, {}
    if (folder / ADAPTER).is_file():
        adapter = json.loads((folder / ADAPTER).read_text("utf-8"))
        if (base := _on_hub(adapter, str(done.result["model"]))) is None:
            folder = _whole(done, run)
        else:
            replaced[ADAPTER] = (json.dumps({**adapter, **base}, indent=2) + "\n").encode()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != OF_THIS_MACHINE):
        named = replaced.get(path.name)
        yield plain_file(path.name, named) if named else File(path.name, path, digest(path))


def _on_hub(adapter: dict[str, Any], model: str) -> dict[str, str] | None:
    """The Hub's name and commit of what the adapter lies over: it was read from the cache, as snapshots/COMMIT."""
    base = Path(adapter["base_model_name_or_path"])
    if base.parent.name != "snapshots":
        return None
    return {"base_model_name_or_path": model, "revision": base.name}


def _whole(done: Training, run: Run) -> Path:
    folder = done.folder / WHOLE
    if not folder.is_dir():
        with atomic(folder) as temporary, loading(str(done.model)):
            merge_adapter(done.model, temporary)
            write_card(temporary, run, done.result)
    return folder
