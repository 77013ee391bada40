"""
Limits on what comes from elsewhere: how much is read, unpacked or believed before the answer is one clear error.

Each is far above what honest data needs. Where a user may need more, a setting of the recipe overrides it.
"""

REPLY_BYTES = 16 << 20  # of an endpoint's reply, unpacked; `max_reply_bytes` of a model overrides it
REDIRECTS = 5  # followed for one request, all at the same scheme, host and port
TOKENS = 1 << 40  # a larger count of tokens in one reply is nonsense
PUBLISHED_FILE = 64 << 10  # bytes of a text file of a recipe (rubric, prices, template) that is published with it
