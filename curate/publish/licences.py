"""May a dataset made from these sources be published under this licence? A small table (`licences.yaml`)."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml


@cache
def groups() -> dict[str, str]:
    """Licence → its group."""
    table = yaml.safe_load((files("curate.publish") / "licences.yaml").read_text("utf-8"))
    return {licence: group for group, licences in table.items() for licence in licences}


def conflict(target: str, source: str) -> str | None:
    """Why `target` is no licence for what derives from a work under `source`; None where it is one."""
    mine, theirs = groups().get(target), groups().get(source)
    unlisted = next((name for name, group in ((source, theirs), (target, mine)) if group is None), None)
    wrong = {
        f"{unlisted} is not in the table of known licences": unlisted is not None,
        f"{source} allows no derived works": theirs == "no_derivatives",
        f"{source} asks for the same licence, not {target}": str(theirs).endswith("share_alike") and target != source,
        f"{source} forbids commercial use, {target} allows it": (
            theirs == "non_commercial" and not str(mine).startswith("non_commercial")
        ),
        f"{source} asks to name the authors, {target} does not": theirs == "attribution" and mine == "free",
    }
    return next((text for text, holds in wrong.items() if holds), None)


def problem(target: str | None, sources: Mapping[str, str | None]) -> str | None:
    """The first thing wrong with a licence for a dataset made from these sources, or None."""
    if not target:
        return "no licence is stated: --set publish.license=…"
    if target not in groups():
        return f"{target} is not in the table of known licences"
    unknown = [name for name, licence in sources.items() if not licence]
    if unknown:
        return f"the licence of {', '.join(unknown)} is not known: --set publish.source_license=…"
    found = ((name, conflict(target, licence)) for name, licence in sources.items() if licence)
    return next((f"{name}: {text}" for name, text in found if text), None)
