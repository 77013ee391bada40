"""Errors that a user can act on. They say what was found, what was expected, and what to do."""

import difflib
import errno
import importlib
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
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


# What a system call's error means, and what to do. Without a path, `{path}` is "a file".
SYSTEM = {
    errno.ENOENT: "{path} does not exist",
    errno.ENOTDIR: "a folder was expected where a file is: {path}",
    errno.EISDIR: "{path} is a folder; a file was expected",
    errno.EEXIST: "{path} exists already; move it, or choose another name",
    errno.ENAMETOOLONG: "the name is too long for this disk: {path}",
    errno.ELOOP: "{path} is a link that leads back to itself",
    errno.EROFS: "{path} is on a disk that cannot be written; choose another folder",
    errno.ENOSPC: "no space left on the disk of {path}; free some and run the same command again",
    errno.EDQUOT: "the disk quota for {path} is used up; free some space and run the same command again",
    errno.EFBIG: "{path} would be larger than the system allows (ulimit -f)",
    errno.EMFILE: "too many open files; allow more (ulimit -n) and run the same command again",
    errno.ENFILE: "too many open files on this machine; run the same command again later",
    errno.ENOMEM: "out of memory; free some, or allow more (ulimit -v)",
    errno.EAGAIN: "the system allows no more processes or threads (ulimit -u)",
    errno.EIO: "the disk of {path} fails to read or write",
    errno.ESTALE: "the network disk of {path} is gone; connect it again",
    errno.EINVAL: "the system does not accept this for {path}",
    errno.ENXIO: "{path} is a socket or device; a regular file was expected",
    errno.ENODEV: "{path} is a device that does not allow this; a regular file was expected",
    errno.EBUSY: "{path} is in use by another program",
    errno.ETXTBSY: "{path} is in use by another program",
    errno.EXDEV: "{path} and its temporary file are on different disks",
    errno.EOVERFLOW: "a number is too large: {text}",
    errno.EPIPE: "the reader of the output went away",
}
DENIED = (errno.EACCES, errno.EPERM)
# Libraries write the number of the system's error into their text: "[Errno 28] …" and "… (os error 28)".
NUMBER = re.compile(r"(?:\[errno |\(os error |\bos \{ code: )(\d+)", re.IGNORECASE)
# What they say of it without the number.
TEXTS = {
    r"malloc of size \d+ failed|realloc of size|out of memory|cannot allocate memory|bad_alloc": errno.ENOMEM,
    r"can't start new thread|ThreadPoolBuild|failed to spawn": errno.EAGAIN,
    r"symlink loop": errno.ELOOP,
    r"database or disk is full|no space left": errno.ENOSPC,
    r"disk i/o error": errno.EIO,
    r"too many open files|unable to open database file": errno.EMFILE,
}
KINDS = {
    MemoryError: errno.ENOMEM, PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT,
    OverflowError: errno.EOVERFLOW,
}  # fmt: skip


def explained(error: BaseException) -> CurateError | None:
    """
    Return the error as one that says what to do, where the user or the machine caused it; None for a bug.

    Libraries wrap system errors in their own, so the causes are examined as well.
    """
    if isinstance(error, CurateError):
        return error
    return next((found for each in _causes(error) if (found := _of_system(each))), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _of_system(error: BaseException) -> CurateError | None:
    if isinstance(error, UnicodeError):
        return _not_utf8(error)
    if isinstance(error, RecursionError):
        return InputError("the input is nested too deeply; expected at most some hundred levels")
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, BrokenPipeError):
        return ServiceError(f"a connection failed: {text or type(error).__name__}; run the same command again later")
    number = _number(error, text)
    path = str(getattr(error, "filename", None) or next(iter(re.findall(r"loop from '(.*)'", text)), ""))
    if number in DENIED:
        return _denied(path)
    if number == errno.ENOENT and not Path(path).is_absolute() and not _folder_exists():
        return CurateError("the current folder no longer exists; change into another one")
    found = SYSTEM.get(number or 0) or ("{path}: {text}" if isinstance(error, OSError) else None)
    return CurateError(found.format(path=path or "a file", text=text)) if found else None


def _number(error: BaseException, text: str) -> int | None:
    """Return the number of the system's error behind an exception, if there is one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if written := NUMBER.search(text):
        return int(written[1])
    kinds = [number for kind, number in KINDS.items() if isinstance(error, kind)]
    texts = (number for said, number in TEXTS.items() if re.search(said, text, re.IGNORECASE))
    return next(iter([*kinds, *texts]), None)


def _denied(path: str) -> CurateError:
    if not path:
        return CurateError("permission denied for a file; see who may read and write the files named in the command")
    if os.path.isfile(path) and not os.access(path, os.R_OK):  # Path.is_file raises below a closed folder
        return InputError(f"{path} cannot be read: permission denied; give yourself the right to read it")
    return CurateError(f"{path} cannot be written: permission denied; choose another folder, or change its permissions")


def _not_utf8(error: UnicodeError) -> CurateError:
    found = getattr(error, "object", "")
    shown = found[:100] if isinstance(found, str) else bytes(found[:100]).decode("utf-8", "backslashreplace")
    return InputError(f"{shown!r} is not UTF-8 text; rename the file, or convert it")


def _folder_exists() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True


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
