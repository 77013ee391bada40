"""Whether a dataset derived from some sources may be published under a licence, by a small table (`licences.yaml`)."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml


@cache
def groups() -> dict[str, str]:
    """Return licence → its group."""
    table = yaml.safe_load((files("curate.publish") / "licences.yaml").read_text("utf-8"))
    return {licence: group for group, licences in table.items() for licence in licences}


def conflict(target: str, source: str) -> str | None:
    """Return why a work derived from one under `source` may not be licensed as `target`, or None."""
    mine, theirs = groups().get(target), groups().get(source)
    unlisted = next((name for name, group in ((source, theirs), (target, mine)) if group is None), None)
    wrong = {
        f"{unlisted} is not in the table of known licences": unlisted is not None,
        f"{source} allows no derived works": theirs == "no_derivatives",
        f"{source} requires the same licence, not {target}": str(theirs).endswith("share_alike") and target != source,
        f"{source} forbids commercial use, {target} allows it": (
            theirs == "non_commercial" and not str(mine).startswith("non_commercial")
        ),
        f"{source} requires attribution, {target} does not": theirs == "attribution" and mine == "free",
    }
    return next((text for text, holds in wrong.items() if holds), None)


def problem(target: str | None, sources: Mapping[str, str | None]) -> str | None:
    """Return the first problem of a licence for a dataset derived from these sources, or None."""
    if not target:
        return "no licence is specified: --set publish.license=…"
    if target not in groups():
        return f"{target} is not in the table of known licences"
    unknown = [name for name, licence in sources.items() if not licence]
    if unknown:
        return f"the licence of {', '.join(unknown)} is unknown: --set publish.source_license=…"
    found = ((name, conflict(target, licence)) for name, licence in sources.items() if licence)
    return next((f"{name}: {text}" for name, text in found if text), None)
