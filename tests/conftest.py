"""Nothing in the tests reaches a Hub but the ones that they start themselves."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
