"""The command's entrance: `curate` and `python -m curate` alike."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command; an interrupt while it is still loading is one line, too."""
    try:
        from curate.cli import main as command

        command()
    except KeyboardInterrupt:
        print("curate: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)


def drop_current_folder() -> None:
    """
    Take the current folder off the import path, where `-m` puts it first: a user's own train.py or pipelines/ there
    would shadow ours. Only a checkout that is run from its own folder needs it.
    """
    ours = Path(__file__).resolve().parent.parent
    if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd() != ours:
        del sys.path[0]


if __name__ == "__main__":
    drop_current_folder()
    main()
