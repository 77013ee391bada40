"""
prefcurate: turn prompts and raw comparisons into preference datasets worth training on.

In a notebook, frames in and frames out, no run directory needed:

    import curate

    pairs = curate.read("pairs.jsonl")  # also a frame, a datasets.Dataset, a list of dicts, several paths, a Hub id
    table = curate.measure(pairs, signals=["chars_ratio"])
    kept = curate.filter(pairs, max_chars_ratio=4).kept
    unique = curate.dedup.near(kept, threshold=0.8).kept

A whole run, with ledger, report and card:

    run = curate.clean("pairs.jsonl", out="RUN", rules={"max_chars_ratio": 4})
    run.train.collect(), run.counts, run.why(17)

`help(curate.filter)` and the like say what each function takes, returns and raises.
"""

import lazy_loader

# The names stand in `__init__.pyi` and are loaded when first used: `import curate` costs next to nothing.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
