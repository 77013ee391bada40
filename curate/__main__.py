"""The command's entrance: `curate` and `python -m curate` alike."""

import sys
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Run the command; an interrupt or an error while it is still loading is one line, too."""
    try:
        # Imported here, because importing takes long enough to be interrupted.
        from curate.terminal import prepare, tell
        from curate.terminal.interrupts import defer_inside_polars

        defer_inside_polars()
        if problem := prepare():
            tell(f"curate: {problem}")
            sys.exit(2)
        command = load()
        command()
    except KeyboardInterrupt:
        from curate.terminal import tell

        tell("curate: interrupted")
        sys.exit(130)


def load() -> Callable[[], None]:
    """Return the command with its libraries, which may need more memory or open files than there are."""
    from curate.terminal import tell

    try:
        from curate.cli import main as command
    except (OSError, MemoryError, ImportError) as error:
        tell(f"curate: its libraries cannot be loaded: {error or 'out of memory'}")
        sys.exit(2)
    return command


def drop_current_folder() -> None:
    """
    Take the current folder off the import path, where `-m` puts it first: a user's own train.py or pipelines/ there
    would shadow ours. Only a checkout that is run from its own folder needs it.
    """
    ours = Path(__file__).resolve().parent.parent
    try:
        here = Path.cwd()
    except OSError:  # it was deleted
        return
    if sys.path and Path(sys.path[0] or ".").resolve() == here != ours:
        del sys.path[0]


if __name__ == "__main__":
    drop_current_folder()
    main()
