"""Errors that a user can act on. They say what was found, what was expected, and what to do."""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

SHOWN = 100
LONG_BITS = 1000


class CurateError(Exception):
    """
    An error in the input or the call, as one line; the command prints it and exits with `exit_code`.

    `hint` ends the line; it says what to do where that depends on the caller.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message, self.hint = message, hint


class InputError(CurateError):
    """The data cannot be read or is not what was expected."""


class RecipeError(CurateError):
    """The recipe or an option of the command is invalid."""


class MissingExtra(CurateError):
    """A required optional library is not installed."""


class ServiceError(CurateError):
    """An external service (the Hub, an endpoint) failed; the same call may work later."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest known name, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> RecipeError:
    """Return the error for a name that is not in a list: it suggests the closest name, then lists all."""
    names = sorted(known)
    return RecipeError(f"unknown {kind} {name!r}.{nearest(name, names)} Known: {', '.join(names)}")


def shortened(value: object) -> str:
    """Return what was found in place of a setting, for an error: at most SHOWN characters."""
    if isinstance(value, int) and value.bit_length() > LONG_BITS:  # Python refuses to write these
        return "a number of hundreds of digits"
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def check_not_hidden(package: str) -> None:
    """
    Raise CurateError if a file or folder of the user hides our package of that name (`train`, `pipelines`), as happens
    in a notebook or script next to a train.py.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise CurateError(f"the package {package!r} of prefcurate is missing; install prefcurate again")
    found = Path(spec.origin or next(iter(spec.submodule_search_locations or [package])))
    if Path(__file__).resolve().parents[1] not in found.resolve().parents:
        shown = found.parent if found.name == "__init__.py" else found
        raise CurateError(
            f"{shown} hides prefcurate's own package {package!r}: rename it, or start Python in another folder "
            f"(python -P keeps the current folder off the import path)"
        )


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library. Raise MissingExtra with the install command if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".", maxsplit=1)[0]:  # installed but broken: show the real cause
            raise
        raise MissingExtra(f"{module} is not installed; run: pip install 'prefcurate[{extra}]'") from error
