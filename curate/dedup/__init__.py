"""Duplicates among pairs. `exact` compares ids; every function returns the rows that go, and what they matched."""

from curate.dedup.exact import exact

__all__ = ["exact"]
