"""The command line. Each command parses, calls one library function of the same name, and prints."""

import sys

from curate.cli import commands as commands
from curate.cli import models as models
from curate.cli import publishing as publishing
from curate.cli import training as training
from curate.cli.options import app as app
from curate.errors import CurateError

INTERRUPTED = 130
DEFECT = "(a bug in prefcurate)"


def main() -> None:
    """Run the command: 0 done, 1 findings or a bug, 2 bad input or usage, 3 a service failed, 130 interrupted."""
    debug = "--debug" in sys.argv
    code: int | str | None = 0
    try:
        app()
    except SystemExit as end:  # from typer: usage errors, --help, our exit codes, an interrupt
        code = end.code
        if code == INTERRUPTED:
            _fail("interrupted; the same command continues from where it stopped", INTERRUPTED, debug=False)
    except CurateError as error:
        code = _fail(str(error), error.exit_code, debug=debug)
    except OSError as error:
        code = _fail(f"{error.filename or 'file'}: {error.strerror or error}", 2, debug=debug)
    except MemoryError:
        code = _fail("out of memory", 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - a bug: reported in one line, the traceback on demand
        first_line = next(iter(str(error).splitlines()), "")
        code = _fail(f"{type(error).__name__}: {first_line} {DEFECT}", 1, debug=debug)
    sys.exit(code)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    hint = "; --debug before the command shows the traceback" if message.endswith(DEFECT) and not debug else ""
    print(f"curate: {message}{hint}", file=sys.stderr)  # noqa: T201
    return code


__all__ = [
    "commands",
    "models",
    "options",
    "publishing",
    "render",
    "training",
]


def __dir__() -> list[str]:
    return sorted(__all__)
