"""Secrets in texts: the detectors of detect-secrets (extra: hub), our signal `keys`, and the publisher's own tokens."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any

import polars as pl

from curate.errors import require
from curate.signals.patterns import pattern as pattern_of

OWN = "the publisher's own token"
# These mistake prose and hashes for secrets; the other detectors know the issuer's format.
EXCLUDED = ("Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword")
# Placeholders in documentation, not real passwords.
PLACEHOLDER = re.compile(
    r"(?i)example|your|dummy|placeholder|redacted|changeme|xxxx|\.\.\.|<|\{|\$"
    r"|\A[^a-z0-9]*+(?:pass|pwd|secret|token|pw|test|user|admin|root|postgres|guest|1234|my\w)"
)
# polars' regex engine takes linear time and has no look-around: the character is matched instead.
LOOK_AROUND = {r"(?:(?<=\W)|(?<=^))": r"(?:\W|^)", r"(?![a-f0-9])": r"(?:[^a-f0-9]|$)"} | {
    r"(?![a-zA-Z0-9_\-])": r"(?:[^a-zA-Z0-9_\-]|$)"
}
MIN_OWN = 8  # characters: shorter values may occur in any text


def own_tokens(more: Mapping[str, str | None] = os.environ) -> list[str]:
    """Return the Hub token in use, and values of environment variables named like keys."""
    named = [value for name, value in more.items() if re.search(r"(?i)(?:_TOKEN|_API_KEY|_SECRET|^HF_TOKEN)$", name)]
    hub = require("huggingface_hub", "hub")
    found = [hub.get_token(), *named]
    return sorted({token for token in found if token and len(token) >= MIN_OWN})


def find(texts: pl.DataFrame, own: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (row, column, kind) of probable secrets in all text columns. The secret itself is never reported."""
    patterns = [pattern_of("keys"), *chain(*_patterns().values()), *(re.escape(token) for token in own)]
    for column in texts.columns:
        # Joined into one pattern they would be very slow.
        suspect = pl.any_horizontal(pl.col(column).str.contains(pattern) for pattern in patterns)
        rows = texts.with_row_index("row").filter(suspect).select("row", column)
        for row, text in rows.iter_rows():
            yield from ((row, column, kind) for kind in kinds(text, own))


def kinds(text: str, own: list[str]) -> list[str]:
    """Return the kinds of secrets in a text."""
    found = [OWN] if any(token in text for token in own) else []
    lines = pl.Series(text.splitlines(), dtype=pl.String)
    for kind, detector in _detectors().items():
        # A detector sees only what its pattern matches: on a whole text some take quadratic time.
        matches = chain(*(lines.str.extract_all(pattern).explode().drop_nulls() for pattern in _patterns()[kind]))
        if any(not PLACEHOLDER.search(secret) for match in matches for secret in detector.analyze_string(match)):
            found.append(kind)
    if not found and pl.Series([text]).str.contains(pattern_of("keys")).item():
        found.append("Key of a known format")
    return found


@cache
def _detectors() -> dict[str, Any]:
    """
    Return detectors by the kind they find. Only their `analyze_string` is called: their scan would ask the issuer over
    the network whether a secret is valid.
    """
    util = require("detect_secrets.core.plugins.util", "hub")
    classes = util.get_mapping_from_secret_type_to_class()
    return {kind: detector() for kind, detector in sorted(classes.items()) if kind not in EXCLUDED}


@cache
def _patterns() -> dict[str, list[str]]:
    """Return the detectors' patterns by kind, for polars."""
    found: dict[str, list[str]] = {}
    for kind, detector in _detectors().items():
        for regex in detector.denylist:
            source = regex.pattern
            for look, matched in LOOK_AROUND.items():
                source = source.replace(look, matched)
            found.setdefault(kind, []).append(f"(?i:{source})" if regex.flags & re.IGNORECASE else source)
    return found
