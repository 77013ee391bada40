"""
Limits on what comes from elsewhere: how much is read, unpacked or believed before the answer is one clear error.

Each is far above what honest data needs. Where a user may need more, a setting of the recipe overrides it.
"""

REPLY_BYTES = 16 << 20  # of an endpoint's reply, unpacked; `max_reply_bytes` of a model overrides it
REDIRECTS = 5  # followed for one request, all at the same scheme, host and port
TOKENS = 1 << 40  # a larger count of tokens in one reply is nonsense
ID_BYTES = 100  # of the ids of a published row
PUBLISHED_FILE = 64 << 10  # bytes of a text file of a recipe (rubric, prices, template) that is published with it

# Sources, in bytes after decompression and decoding.
ROW_BYTES = 32 << 20  # of one row; `source.max_row_bytes` overrides it
COLUMNS = 1_000
UNPACKED_BYTES = 100 << 30  # of one file, and beyond UNPACKED_FREE this many times its own size …
UNPACKED_RATIO = 200  # … (text compresses to a tenth); `source.max_unpacked_bytes` overrides them
UNPACKED_FREE = 256 << 20
JSON_DEPTH = 10_000  # of an array of rows: an item that is nested deeper is no row, and nobody looks for its end
PAGE_BYTES = 512 << 20  # of the largest pages of a parquet row group's columns, or of an Arrow batch: held at once
BAD_ROWS = 10_000  # of a source, from which on `source.max_bad_rows` is checked while reading and not only at the end

# YAML that a user writes: recipes, price tables, options of a trainer, headers of cards.
YAML_SIZE = 4_000_000  # characters, with what an alias refers to counted each time
YAML_VALUE = 60  # that a value counts in addition, by the time it takes
YAML_DEPTH = 50

NAMED_FILE = 32 << 20  # bytes of a text file that a recipe names, and of a recipe
LEDGER_ROWS = 10_000  # of one source row that `why` explains: pairs of a ranking, or of answers to a prompt
ERROR_CHARS = 3_000  # of the line of an error that the command prints

# Chat templates: what a call of one, for some thousand conversations, may take in addition.
TEMPLATE_SECONDS = 120
TEMPLATE_BYTES = 2 << 30
