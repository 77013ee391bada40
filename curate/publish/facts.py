"""What of a run's manifest, summary and tables is published: an allow-list. Its recipe: `curate.recipe.published`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curate.files import digest
from curate.rundir.result import Run
from curate.rundir.store import LEDGER
from curate.rundir.writers import TableWriter, row_groups
from curate.schema import CANDIDATES
from curate.schema import LEDGER as LEDGER_SCHEMA

# Not published: seconds, memory and other fields that say something about the machine.
MANIFEST_FIELDS = (
    "prefcurate", "python", "libraries", "inputs", "stages", "counts", "bytes", "leaks", "split", "clusters",
    "decontaminate", "select",
)  # fmt: skip
FACTS = (
    "prefcurate", "counts", "bytes", "inputs", "decontaminate", "leaks", "funnel", "reasons", "languages", "lengths",
    "flags", "signals", "personal", "clusters", "selection", "selected_sources", "sample",
)  # fmt: skip
GENERATION = {
    "prompts": (
        "method", "model", "asked", "failed", "bad_replies", "rounds", "kept", "duplicates", "unusable",
        "other_language", "surplus", "topics", "difficulties",
    ),
    "answers": ("model", "answers", "failed", "cut_off", "without_text", "on_policy", "mean_tokens"),
    "on_policy": ("under", "model", "topic", "answers", "measured", "mean", "low", "high"),
    "judges": (
        "judge", "method", "rubric", "rubric_hash", "verdicts", "null_rate", "problem", "problems", "tie_rate",
        "position_consistency", "first_position_rate", "length_bias", "style_flips", "style_pairs", "style_low",
        "style_high", "human_agreement", "human_pairs", "human_kappa", "human_ties",
    ),
    "panel": ("judges", "items", "agreement", "statistic", "kappa"),
    "requests": ("model", "requests", "input_tokens", "output_tokens", "usd"),
}  # fmt: skip
# Of an error only its kind: messages of endpoints and of the system name hosts, folders and users.
KINDS_OF_ERROR = (
    r"^(?:status \d{3}|no answer within [\d.]+ s|the reply is empty|the reply is not a chat completion|the reply has "
    r"no choices|cut off at max_tokens before any text|filtered by the endpoint|no text, but a call of a tool|refused "
    r"by the model|only reasoning and no answer|the endpoint ended the answer with an error|the stream ended)"
)
ASKING = ("prompts", "generate", "judge", "pair")  # stages whose reasons may quote an error


def published_generation(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's `generation` as it is published."""
    return {name: _those(found[name], names) for name, names in GENERATION.items() if name in found}


def published_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return `summary.json` as it is published; generation stays null for a run that asked no models."""
    generation = facts.get("generation")
    return {
        **{name: facts[name] for name in FACTS if name in facts},
        "generation": generation and published_generation(generation),
    }


def published_answers(rows: pl.DataFrame) -> pl.DataFrame:
    """CANDIDATES → CANDIDATES with the kind of each error only."""
    kind = pl.col("error").str.extract(KINDS_OF_ERROR, 0).fill_null("failed")
    return rows.select(list(CANDIDATES)).with_columns(error=pl.when(pl.col("error").is_not_null()).then(kind))


def published_ledger(run: Run, folder: Path) -> tuple[Path, str]:
    """Return the ledger as it is published, and its SHA-256: rewritten in `folder` for a run that asked models."""
    if not run.manifest.generation:
        return run.folder / LEDGER, run.manifest.files[LEDGER]
    target = folder / LEDGER
    writer = TableWriter(target, LEDGER_SCHEMA)
    only_rules = pl.col("reasons").list.eval(pl.element().str.extract(r"^([a-z0-9_]+)"))
    for group in row_groups(run.folder / LEDGER):
        asked = pl.col("stage").is_in(ASKING)
        writer.write(group.with_columns(reasons=pl.when(asked).then(only_rules).otherwise("reasons")))
    writer.close()
    return target, digest(target)


def _those(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_those(one, names) for one in value]
    return {name: value[name] for name in names if name in value}
