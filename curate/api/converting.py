"""Write pairs in the form that a trainer reads."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from curate.errors import InputError, RecipeError, check_not_hidden, unknown
from curate.publish.forms import FORMS, Form
from curate.publish.forms.files import ending
from curate.publish.forms.texts import by_template
from curate.publish.forms.writing import Blocks, survey, write
from curate.rundir.file_form import from_file
from curate.rundir.result import Run, open_run
from curate.rundir.store import MANIFEST, SPLITS
from curate.rundir.writers import row_groups
from curate.schema import OPTIONAL, PAIR
from curate.sources import read as read_feed
from curate.sources.input import open_feeds
from curate.sources.memory import readable_paths

if TYPE_CHECKING:
    from curate.publish.forms.writing import Survey

OPENING = ("split", "config", "revision")  # options of a source that say what is opened, not how it is read


@dataclass(frozen=True)
class Converted:
    """What was written, and what of the source is not in it."""

    form: str
    files: Mapping[str, int]  # path → pairs
    lost: Mapping[str, int] = field(default_factory=dict)  # what → pairs that have it, and lack it in the files
    left_out: Mapping[str, int] = field(default_factory=dict)  # why the form cannot express them → pairs
    problems: Mapping[str, int] = field(default_factory=dict)  # why they are no pairs → rows of the source
    dataset_info: Mapping[str, Any] = field(default_factory=dict)  # entries for LLaMA-Factory's file of this name

    def __repr__(self) -> str:
        return f"Converted({self.form}: {', '.join(f'{path!r} {pairs:,}' for path, pairs in self.files.items())})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def convert(
    source: Any,
    to: str,
    out: str | Path,
    *,
    model: str | None = None,
    skip: bool = False,
    force: bool = False,
    **source_options: Any,
) -> Converted:
    """
    Write pairs in the form that a trainer reads.

    Parameters
    ----------
    source
        Anything that `curate.read` takes, or a run: a file for each of its splits is written, `pairs-train.jsonl` and
        so on.
    to
        A name of `curate.publish.forms.FORMS`: trl, trl-implicit, reward, kto, openrlhf, sharegpt, openai, text, verl,
        llamafactory, llamafactory-alpaca, axolotl, ms-swift.
    out
        A file, by whose ending its kind is chosen: .jsonl, .json, .parquet or .csv, those of text also with .gz or .zst
        after it. A name without an ending is a folder, of files by the names of splits.
    model
        For text and verl: render conversations by the chat template of this model (extra: train).
    skip
        Leave out pairs that the form cannot express; without it they are an error.
    force
        Replace files that exist.
    **source_options
        How to read the source: format, columns, winners, split, config, revision, limit, as for `curate.read`.

    Returns
    -------
    `Converted`: the files with their numbers of pairs; what the form cannot hold, as numbers of pairs that have it;
    pairs left out, and rows of the source that are no pairs, by reason. `kto` has two rows per pair.

    Raises
    ------
    RecipeError for an unknown form or option; InputError for a file that exists, for an ending that the form's readers
    do not know, and for pairs that it cannot express; whatever `curate.read` raises.

    Examples
    --------
    >>> import curate, tempfile
    >>> rows = [{"prompt": "Tea?", "chosen": "Green tea, brewed cool.", "rejected": "Tea.", "chosen_score": 4}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = curate.convert(rows, to="openai", out=f"{folder}/pairs.jsonl")
    ...     curate.read(f"{folder}/pairs.jsonl")["pair_id"].to_list() == curate.read(rows)["pair_id"].to_list()
    True
    >>> done.lost
    {'scores': 1}
    """
    form, problems = _form(to, model), Counter[str]()
    with ExitStack() as stack:
        blocks = _splits(source, source_options, problems, stack)
        paths = _paths(Path(out), form, to, list(blocks), force=force)
        surveys = {name: survey(each, form) for name, each in blocks.items()}
        refused, lost = (_total(surveys, what) for what in ("refused", "lost"))
        _check(surveys, refused, to, skip=skip)
        _check_kinds(surveys, paths, form, to)
        for name, each in blocks.items():
            write(paths[name], each, form, surveys[name])
    files = {str(paths[name]): found.expressible for name, found in surveys.items()}
    entries = _entries(form, {paths[name]: found for name, found in surveys.items()})
    return Converted(to, files, lost, refused, dict(problems.most_common()), entries)


def _form(to: str, model: str | None) -> Form:
    if to not in FORMS:
        raise unknown("form", to, FORMS)
    if model is None:
        return FORMS[to]
    if to not in ("text", "verl"):
        raise RecipeError(f"--model renders texts, but {to} has messages; leave it out, or use --to text")
    check_not_hidden("train")
    from train.models import load_tokenizer

    return by_template(FORMS[to], load_tokenizer(model))


def _splits(source: Any, options: Mapping[str, Any], problems: Counter[str], stack: ExitStack) -> dict[str, Blocks]:
    """Return the blocks of each split of a run; of any other source as the only one, named ""."""
    is_folder = isinstance(source, str | Path) and (Path(source) / MANIFEST).is_file()
    if not is_folder and not isinstance(source, Run):
        return {"": _spooled(source, options, problems, stack)}
    if further := sorted(set(options) - {"split"}):
        raise RecipeError(f"{further[0]} is for other sources than a run, of which only a split can be chosen")
    run = source if isinstance(source, Run) else open_run(source)
    asked = options.get("split")
    shards = {name: run.shards(name) for name in SPLITS if asked in (None, name)}
    found = {name: partial(_of_run, paths) for name, paths in shards.items() if paths}
    if not found:
        raise InputError(f"{run.folder} has no pairs" + (f" in a split {asked!r}" if asked else ""))
    return dict(found)


def _of_run(shards: list[Path]) -> Iterator[pl.DataFrame]:
    for shard in shards:
        for group in row_groups(shard):
            yield from_file(group.lazy()).select(list(PAIR)).collect()


def _spooled(source: Any, options: Mapping[str, Any], problems: Counter[str], stack: ExitStack) -> Blocks:
    """Read a source into files that can be read again, since a form is chosen columns for by all of its pairs."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="prefcurate-")))
    limit = options.get("limit")
    reading = {name: value for name, value in options.items() if name not in (*OPENING, "limit")}
    parts: list[Path] = []
    rows = 0
    with readable_paths(source) as paths:
        feeds = open_feeds(paths, **{name: options[name] for name in OPENING if name in options})
        blocks = (block for feed in feeds for block, _ in read_feed(feed, **reading))
        for block in blocks:
            read = block.head(limit - rows) if limit else block
            rows += len(read)
            problems.update(read.get_column("problem").drop_nulls())
            parts.append(folder / f"{len(parts)}.arrow")
            read.filter(pl.col("problem").is_null()).select(list(PAIR)).write_ipc(parts[-1])
            if limit and rows >= limit:
                break
    if not rows:
        raise InputError(f"{', '.join(paths)}: no rows to read")
    return lambda: (pl.read_ipc(part.read_bytes()) for part in parts)


def _paths(out: Path, form: Form, to: str, splits: list[str], *, force: bool) -> dict[str, Path]:
    """Return the file of each split. Raise InputError for one that exists."""
    kind = ending(out)
    if (kind or form.endings[0]) not in form.endings:
        raise InputError(f"{out}: {to} is read from {' or '.join(form.endings)} files only")
    if kind:
        stem, rest = out.name[: out.name.rindex(kind)], out.name[out.name.rindex(kind) :]
        paths = {split: out.with_name(f"{stem}-{split}{rest}") if split else out for split in splits}
    else:
        paths = {split: out / f"{split or 'train'}{form.endings[0]}" for split in splits}
    for path in paths.values():
        if path.exists() and not force:
            raise InputError(f"{path} exists already; choose another --out, or replace it with --force")
    return paths


def _total(surveys: Mapping[str, "Survey"], what: str) -> dict[str, int]:
    total = Counter[str]()
    for found in surveys.values():
        total.update(getattr(found, what))
    return dict(total.most_common())


def _check(surveys: Mapping[str, "Survey"], refused: Mapping[str, int], to: str, *, skip: bool) -> None:
    pairs = sum(found.pairs for found in surveys.values())
    why = ", ".join(f"{reason} {count:,}" for reason, count in refused.items())
    if refused and not skip:
        few = f"{sum(refused.values()):,} of {pairs:,} pairs cannot be expressed as {to} ({why})"
        raise InputError(f"{few}; choose another form, or leave them out with --skip")
    if pairs == sum(refused.values()):
        raise InputError(f"there are no pairs to write as {to}" + (f" ({why})" if why else ""))


def _check_kinds(surveys: Mapping[str, "Survey"], paths: Mapping[str, Path], form: Form, to: str) -> None:
    """Raise InputError for a file in which the form's reader would not understand fields that some message has."""
    special = {name for found in surveys.values() for name in found.found & {*OPTIONAL}}
    others = [path for path in paths.values() if ending(path) != ".parquet"]
    if form.calls_only_in_parquet and special and others:
        raise InputError(f"{others[0]}: {to} reads messages with {min(special)} from .parquet files only")


def _entries(form: Form, files: Mapping[Path, "Survey"]) -> dict[str, Any]:
    """Return the entries of LLaMA-Factory's dataset_info.json by which it finds the files."""
    if not form.entry:
        return {}
    columns: Any = form.entry["columns"]
    return {
        path.name.partition(".")[0]: {
            "file_name": path.name,
            **form.entry,
            "columns": columns | ({"tools": "tools"} if "tools" in found.found else {}),
        }
        for path, found in files.items()
    }
