"""Datasets on the Hugging Face Hub, streamed through `datasets` (extra: hub)."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.errors import CurateError, InputError, ServiceError, require
from curate.sources.block import RawBlock
from curate.sources.tables import blocks_of

HUB_ID = re.compile(r"(?:hf://)?(?:datasets/)?(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^/]+))?(?P<path>/.+)?")
ROWS = 2_000  # asked of `datasets` at once; blocks are cut by bytes afterwards


def is_hub(path: str) -> bool:
    """An hf:// address, or OWNER/NAME where nothing of that name lies on the disk."""
    return path.startswith("hf://") or (bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path)) and not Path(path).exists())


def hub_blocks(text: str, split: str | None, config: str | None, revision: str | None) -> Iterator[RawBlock]:
    """Blocks of one split. Raises InputError for what is not there, ServiceError when the Hub does not answer."""
    datasets = require("datasets", "hub")
    repo, path, own_revision = _parse(text)
    options = {"data_files": path.lstrip("/")} if path else {}
    with _explained(text):
        name = split or ("train" if path else _only_split(repo, config, revision or own_revision))
        data = datasets.load_dataset(
            repo,
            config,
            split=name,
            revision=revision or own_revision,
            streaming=True,
            trust_remote_code=None,
            **options,
        )
        tables = data.with_format("arrow").iter(ROWS)
        yield from blocks_of(batch for table in tables for batch in table.to_batches())


def hub_fingerprint(text: str, split: str | None, config: str | None, revision: str | None) -> str:
    """Changes when the data does: it names the commit that the revision stands for now."""
    hub = require("huggingface_hub", "hub")
    repo, path, own_revision = _parse(text)
    with _explained(text):
        commit = hub.HfApi().dataset_info(repo, revision=revision or own_revision).sha
    return hashlib.sha256(f"{repo}|{path}|{config}|{split}|{commit}".encode()).hexdigest()[:32]


def _parse(text: str) -> tuple[str, str | None, str | None]:
    """The id, the path below it and the revision of `OWNER/NAME` or `hf://datasets/OWNER/NAME@REVISION/some/file.jsonl`."""
    match = HUB_ID.fullmatch(text)
    if match is None:
        raise InputError(
            f"{text} is not the address of a Hub dataset; expected OWNER/NAME or hf://datasets/OWNER/NAME/FILE"
        )
    return match["repo"], match["path"], match["revision"]


def _only_split(repo: str, config: str | None, revision: str | None) -> str:
    """`train`, or the only split there is. Raises InputError that lists them otherwise."""
    names: list[str] = require("datasets", "hub").get_dataset_split_names(repo, config, revision=revision)
    if "train" in names:
        return "train"
    if len(names) == 1:
        return names[0]
    raise InputError(f"{repo} has several splits ({', '.join(names)}); name one with --split")


@contextmanager
def _explained(text: str) -> Iterator[None]:
    """The clients' exceptions as ours, in one line."""
    hub = require("huggingface_hub", "hub")
    try:
        yield
    except CurateError:
        raise
    except (ConnectionError, TimeoutError, hub.errors.OfflineModeIsEnabled) as error:
        raise ServiceError(f"the Hub does not answer for {text}: {_line(error)}") from error
    except (
        FileNotFoundError,
        ValueError,
        hub.errors.RepositoryNotFoundError,
        hub.errors.RevisionNotFoundError,
    ) as error:
        raise InputError(f"{text}: {_line(error)}") from error
    except hub.errors.HfHubHTTPError as error:
        raise ServiceError(f"the Hub failed for {text}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
