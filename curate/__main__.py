"""`python -m curate`, the same as the `curate` command."""

import sys
from pathlib import Path

# `-m` puts the current folder first on the path, where a user's own train.py or pipelines/ would shadow ours.
# An installed curate does not need it; a checkout that is run from its own folder does.
if sys.path and Path(sys.path[0] or ".").resolve() == Path.cwd() != Path(__file__).resolve().parent.parent:
    del sys.path[0]

from curate.cli import main

main()
