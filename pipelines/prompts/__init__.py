"""Generate prompts: requests by one of several methods, parsing of the replies, and a novelty filter."""
