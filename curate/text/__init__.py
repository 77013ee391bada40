"""Text as data: messages as polars expressions, and texts as hashes of their words. Nothing here knows about pairs."""
