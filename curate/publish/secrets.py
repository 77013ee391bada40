"""Secrets in texts: the detectors of detect-secrets (extra: hub), our signal `keys`, and the publisher's own tokens."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import polars as pl

from curate.errors import require
from curate.signals.patterns import pattern as pattern_of

OWN = "the publisher's own token"
# These mistake prose and hashes for secrets; the other detectors know the issuer's format.
EXCLUDED = ("Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword")
# Look-around is not supported by polars' regex engine: without it a pattern finds more, and the detector decides.
LOOK_AROUND = re.compile(r"\(\?:\(\?<=\\W\)\|\(\?<=\^\)\)|\(\?![^)]*\)")
# Placeholders in documentation, not real passwords.
PLACEHOLDER = re.compile(
    r"(?i)^[^a-z0-9]*(?:.*(?:example|your|dummy|placeholder|redacted|changeme|xxxx|\.\.\.|<|\{|\$)|pass(?:word|wd)?\d*"
    r"|pwd|secret|token|pw|test|user(?:name)?|admin|root|postgres|guest|1234\w*|my\w+)"
)
MIN_OWN = 8  # characters: shorter values may occur in any text


def own_tokens(more: Mapping[str, str | None] = os.environ) -> list[str]:
    """Return the Hub token in use, and values of environment variables named like keys."""
    named = [value for name, value in more.items() if re.search(r"(?i)(?:_TOKEN|_API_KEY|_SECRET|^HF_TOKEN)$", name)]
    hub = require("huggingface_hub", "hub")
    found = [hub.get_token(), *named]
    return sorted({token for token in found if token and len(token) >= MIN_OWN})


def find(texts: pl.DataFrame, own: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (row, column, kind) of probable secrets in all text columns. The secret itself is never reported."""
    patterns = [*_suspect(), *(re.escape(token) for token in own)]
    for column in texts.columns:
        suspect = pl.any_horizontal(pl.col(column).str.contains(pattern) for pattern in patterns)
        rows = texts.with_row_index("row").filter(suspect).select("row", column)
        for row, text in rows.iter_rows():
            yield from ((row, column, kind) for kind in kinds(text, own))


def kinds(text: str, own: list[str]) -> list[str]:
    """Return the kinds of secrets in a text."""
    found = [OWN] if any(token in text for token in own) else []
    lines = text.splitlines()
    for kind, detector in _detectors().items():
        if any(not PLACEHOLDER.search(secret) for line in lines for secret in detector.analyze_string(line)):
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
def _suspect() -> list[str]:
    """Return patterns that match every text with a finding of a detector. Joined into one they would be very slow."""
    patterns = [pattern_of("keys")]
    for detector in _detectors().values():
        for regex in detector.denylist:
            source = LOOK_AROUND.sub("", regex.pattern)
            patterns.append(f"(?i:{source})" if regex.flags & re.IGNORECASE else source)
    return patterns
