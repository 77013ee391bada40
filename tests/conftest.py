"""Tests reach no Hub except the ones that they start."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
