"""The command line. Each command parses, calls one library function of the same name, and prints."""

import sys
from typing import Any

from curate import limits, terminal
from curate.cli import auditing as auditing
from curate.cli import checking as checking
from curate.cli import commands as commands
from curate.cli import comparing as comparing
from curate.cli import converting as converting
from curate.cli import models as models
from curate.cli import publishing as publishing
from curate.cli import training as training
from curate.cli.options import app as app
from curate.errors import RecipeError, explained

INTERRUPTED = 130
DEFECT = "(a bug in prefcurate)"
# Commands whose only result is what they print.
PRINTING = ("why", "preview", "diff", "audit", "check", "signals", "evals", "recipe", "preflight")


def main() -> None:
    """Run the command: 0 done, 1 findings or a bug, 2 bad input or usage, 3 a service failed, 130 interrupted."""
    with terminal.outputs() as (results, _):
        code = _run()
        if (lost := results.why_lost()) and not terminal.is_broken_pipe(lost):
            why = getattr(lost, "strerror", None) or lost
            command = next((text for text in sys.argv[1:] if not text.startswith("-")), "")
            done = "" if command in PRINTING or code else "; everything else is done"
            terminal.tell(f"curate: the output could not be printed: {why}{done}")
            code = code or (2 if command in PRINTING else 0)
    sys.exit(code)


def _run() -> int:
    """Run the command and return its exit code; an error is printed as one line."""
    try:
        _check_arguments()
        code = app(standalone_mode=False)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - a panic of a library in Rust is no Exception
        return _failed(error)
    if code == INTERRUPTED:
        terminal.tell("curate: interrupted; the same command continues from where it stopped")
    return code if isinstance(code, int) else 0


def _check_arguments() -> None:
    """Raise RecipeError for an argument that is not UTF-8, which no table or recipe could hold."""
    for text in sys.argv[1:]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            shown = text.encode("utf-8", "backslashreplace").decode()
            raise RecipeError(
                f"the argument {shown} is not UTF-8; rename the file or folder, or use a UTF-8 locale (LC_ALL=C.UTF-8)"
            ) from error


def _failed(error: BaseException) -> int:
    """Print an error and return the exit code."""
    debug = "--debug" in sys.argv
    if debug:
        import traceback

        traceback.print_exc()
    if hasattr(error, "format_message"):  # a mistake in the usage, found by typer
        return _misused(error)
    if known := explained(error):
        _tell(str(known))
        return known.exit_code
    first_line = next(iter(str(error).splitlines()), "")
    hint = "" if debug else "; --debug before the command shows the traceback"
    _tell(f"{type(error).__name__}: {first_line} {DEFECT}{hint}")
    return 1


def _misused(error: Any) -> int:
    message, context = error.format_message(), getattr(error, "ctx", None)
    if message.strip():  # empty after the help was printed, where no command was given
        path = context.command_path if context else "curate"
        _tell(f"{message.strip()} ({path} --help shows how)")
    return int(getattr(error, "exit_code", 2))


def _tell(message: str) -> None:
    """Print an error; what is left out of a very long one, which quotes the input, is its middle."""
    half = limits.ERROR_CHARS // 2
    shown = message if len(message) <= 2 * half else f"{message[:half]} … {message[-half:]}"
    terminal.tell(f"curate: {shown}")


__all__ = [
    "checking",
    "commands",
    "comparing",
    "converting",
    "models",
    "options",
    "publishing",
    "render",
    "training",
]


def __dir__() -> list[str]:
    return sorted(__all__)
