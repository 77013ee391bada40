"""
Signals of the user's own, in use beside the built-in ones while a run is made.

A recipe only names their columns: code is never loaded because a recipe says so, since it may come from elsewhere.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import RecipeError, nearest
from curate.schema import PAIR
from curate.signals import COLUMNS, SIGNALS, Signal, as_signal, columns_of, measure

SAMPLE = pl.DataFrame(
    {
        name: [[{"role": "user" if name == "prompt" else "assistant", "content": "Tea?"}]]
        for name in ("prompt", "chosen", "rejected")
    }
)
FOUND: dict[str, Signal] = {}  # in use, by name


@contextmanager
def in_use(own: Sequence[Signal | Callable[..., Any]]) -> Iterator[None]:
    """
    Use own signals beside the built-in ones: they are measured, rules may name them, `why` and the ledger show them.

    Raises RecipeError for a name that is taken, and for a signal that fails or measures neither numbers, truth values
    nor texts on a pair of one word each.
    """
    added: dict[str, Signal] = {}
    for each in own:
        signal = each if isinstance(each, Signal) else as_signal(each)
        taken = {signal.name, *signal.columns} & {*SIGNALS, *COLUMNS, *PAIR, *added}
        if taken:
            raise RecipeError(f"signal {signal.name}: the name {min(taken)} is taken; rename the function")
        added[signal.name] = _checked(signal)
    columns = columns_of(list(added.values()))
    SIGNALS.update(added)
    COLUMNS.update(columns)
    FOUND.update(added)
    try:
        yield
    finally:
        for table, names in ((SIGNALS, added), (COLUMNS, columns), (FOUND, added)):
            for name in names:
                table.pop(name, None)


def columns_in_use() -> tuple[str, ...]:
    """Return the columns of the own signals in use."""
    return tuple(columns_of(list(FOUND.values())))


def fingerprint_in_use() -> list[str]:
    """Return a text per own signal in use, which changes when its source does."""
    return [f"{name} {hashlib.sha256(_source(signal.function).encode()).hexdigest()}" for name, signal in FOUND.items()]


def load(where: str) -> Callable[..., Any]:
    """Return the function that `FILE.py:FUNCTION` names; the file is run. Raises RecipeError if there is none."""
    file, _, name = where.rpartition(":")
    path = Path(file)
    if not name.isidentifier() or path.suffix != ".py":
        raise RecipeError(f"--signals {where!r}: expected FILE.py:FUNCTION")
    if not path.is_file():
        raise RecipeError(f"--signals {where!r}: {path} does not exist")
    spec = spec_from_file_location(f"own_signals_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file ends in .py
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"--signals {where!r}: {path} fails: {_line(error)}") from error
    function: object = getattr(module, name, None)
    if not callable(function):
        functions = [n for n, value in vars(module).items() if inspect.isfunction(value) and not n.startswith("_")]
        raise RecipeError(
            f"--signals {where!r}: {path} has no function {name!r}.{nearest(name, functions)}"
            f" It has {', '.join(functions) or 'none'}"
        )
    return function


def _checked(signal: Signal) -> Signal:
    empty = {name: pl.lit(None, dtype).alias(name) for name, dtype in PAIR.items() if name not in SAMPLE.columns}
    pair = SAMPLE.with_columns(**empty)
    try:
        found = measure(pair, [signal])
    except Exception as error:
        raise RecipeError(f"signal {signal.name} fails: {_line(error)}") from error
    kinds = set(found.dtypes)
    if not all(kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null) for kind in kinds):
        raise RecipeError(
            f"signal {signal.name} measures {', '.join(map(str, kinds))}; expected numbers, true and false, or texts"
        )
    return replace(signal, is_text=pl.String in kinds)


def _source(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed into a console, or built in
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts, code.co_names)) if code else repr(function)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
