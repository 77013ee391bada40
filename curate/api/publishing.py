"""Publish a run, fetch one back, export it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.rundir.result import Run, RunLike, opened

if TYPE_CHECKING:
    from curate.publish.push import Pushed


def push(run: RunLike, repo: str, *, dry_run: bool = False, **options: Any) -> "Pushed":
    """
    Publish a run on the Hub in one commit, after checks (extra: hub); the same push again changes nothing.

    Parameters
    ----------
    run
        A `Run` or its folder.
    repo
        OWNER/NAME.
    dry_run
        Check and plan only.
    **options
        private, branch, pr, tag, message, config, candidates, append, allow_schema_change, waive (names of gates),
        settings (`publish.key=value` texts): see `curate push --help`.

    Returns
    -------
    What was published: gates, files, commit, changed, url of a pull request.

    Raises
    ------
    GateFailed for a failed check that is not waived, InputError for an edited run or a name or token that will not do,
    ServiceError when the Hub fails.

        curate.push(run, "OWNER/NAME", settings=["publish.license=mit"])
    """
    from curate.publish.push import push as publish

    return publish(opened(run).folder, repo, dry_run=dry_run, **options)


def pull(repo: str, out: str | Path, *, revision: str = "main", config: str = "default") -> Run:
    """
    Fetch a published run into a new folder: recipe, ledger and data, so that `why` works on it (extra: hub).

    `revision` is a branch, tag or commit, `config` the config to fetch, `out` a new or empty folder. Returns the `Run`,
    in which dropped rows have no texts. Raises InputError for a repository, revision or config that is not there,
    ServiceError when the Hub does not answer.

        curate.pull("OWNER/NAME", out="AGAIN").why(17)
    """
    from curate.publish.pull import pull as fetch

    return fetch(repo, out, revision=revision, config=config)


def export(run: RunLike, target: str | Path, form: str = "parquet", *, force: bool = False) -> list[str]:
    """
    Write a run beside the Hub: "parquet" (a folder like the Hub's), "jsonl", or "datasets" (save_to_disk).

    `form` is one of these, `target` a folder or an address that fsspec knows (s3://…, gs://…; extra: hub). Raises
    InputError for a target that is not empty (unless `force`) and for an edited run. Returns the paths of the files,
    below the target.

        curate.export(run, "copy", "jsonl")
    """
    from curate.publish.export import export as write

    return write(opened(run).folder, str(target), form, force=force)
