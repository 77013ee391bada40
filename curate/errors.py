"""Errors that a user can act on: what was found, what was expected, what to do."""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


class CurateError(Exception):
    """
    A mistake in the input or the call, in one line; the command prints it and ends with `exit_code`.

    `hint` says what to do where that depends on who asked; it ends the line.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message, self.hint = message, hint


class InputError(CurateError):
    """The data cannot be read as what it claims to be."""


class RecipeError(CurateError):
    """The recipe or an option of the command is wrong."""


class MissingExtra(CurateError):
    """An optional library is needed and not installed."""


class ServiceError(CurateError):
    """An outside service (the Hub, an endpoint) failed; the same call may work later."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> RecipeError:
    """The error for a name that is not in a list: the closest one first, then all of them."""
    names = sorted(known)
    return RecipeError(f"unknown {kind} {name!r}.{nearest(name, names)} Known: {', '.join(names)}")


def check_not_hidden(package: str) -> None:
    """
    Raise CurateError where a file or folder of the user's own is found before our package of that name (`train`,
    `pipelines`), as happens in a notebook or script beside a train.py.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise CurateError(f"the package {package!r} of prefcurate is missing; install prefcurate again")
    found = Path(spec.origin or next(iter(spec.submodule_search_locations or [package])))
    if Path(__file__).resolve().parents[1] not in found.resolve().parents:
        shown = found.parent if found.name == "__init__.py" else found
        raise CurateError(
            f"{shown} hides prefcurate's own package {package!r}: rename it, or start Python where it does not lie "
            f"(python -P keeps the current folder off the import path)"
        )


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or name the install line."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".", maxsplit=1)[0]:  # installed but broken inside: show the real cause
            raise
        raise MissingExtra(f"{module} is not installed; run: pip install 'prefcurate[{extra}]'") from error
