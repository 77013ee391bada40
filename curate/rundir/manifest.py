"""The manifest of a run: versions, inputs, stages, counts and checksums. Written last, validated when read."""

import builtins
import hashlib
import json
from pathlib import Path
from typing import Any, Self

import msgspec

from curate.errors import InputError

COUNTS = ("rows", "kept", "dropped", "train", "test")  # that every run has


class Input(msgspec.Struct, frozen=True):
    """One input: a file, a split of a Hub dataset, or a table in memory."""

    fingerprint: str
    rows: int
    format: str = "unknown"
    is_eval: bool = False  # it is known as an eval set, which is not to be trained on
    columns: dict[str, str] = {}  # the columns that were read, by field
    unused: dict[str, str] = {}  # all others, with what they may contribute to the pair; "" for metadata


class StageKey(msgspec.Struct, frozen=True):
    """The key of a stage: a hash of its settings, its inputs' keys and its own version."""

    key: str


class SplitFacts(msgspec.Struct, frozen=True):
    """`short`: by split, how many rows it lacks because clusters of similar prompts were too large for its share."""

    short: dict[str, int] = {}


class ClusterFacts(msgspec.Struct, frozen=True):
    """Names of the prompt clusters, indexed by cluster number."""

    names: list[str] = []


class ContaminationFacts(msgspec.Struct, frozen=True):
    """By eval set: `items`, `hit` (items contained in some pair), `rows` (contaminated pairs)."""

    sets: dict[str, dict[str, int]] = {}


class StepFacts(msgspec.Struct, frozen=True):
    """What one step of the selection changed: pairs before and after, in all and by source, and medians of lengths."""

    step: str
    rows: tuple[int, int]
    sources: dict[str, tuple[int, int]] = {}
    medians: dict[str, tuple[float | None, float | None]] = {}  # chosen_chars, rejected_chars, margin


class SelectionFacts(msgspec.Struct, frozen=True):
    """The steps of the selection, in order; the last one is `budget` where the recipe has one."""

    steps: list[StepFacts] = []


class LabelNoiseFacts(msgspec.Struct, frozen=True):
    """What label noise was learnt from: heads (name, weight, share of pairs in which it agrees), pairs by verdict."""

    pairs: int = 0
    heads: list[dict[str, float | str]] = []
    verdicts: dict[str, int] = {}


class Pulled(msgspec.Struct, frozen=True):
    """Where a run was pulled from."""

    repo: str
    revision: str
    config: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    manifest.json of a run directory. Empty and null fields are not written.

    `counts`: rows, kept, dropped, a count per split, dropped_STAGE per stage that dropped any, and sets and answers if
    models answered. `bytes`: size of each split as Arrow. `seconds` and `peak_memory_mb`: by step, and total; memory is
    missing where the system does not report it. `files`: SHA-256 by path. `seal`: SHA-256 of all other fields.
    """

    prefcurate: str = ""
    python: str = ""
    libraries: dict[str, str] = {}
    inputs: dict[str, Input] = {}
    stages: dict[str, StageKey] = {}
    counts: dict[str, int] = {}
    bytes: dict[str, int] = {}
    leaks: int | None = None  # similar prompts in different splits, counted in the written data
    split: SplitFacts | None = None
    clusters: ClusterFacts | None = None
    decontaminate: ContaminationFacts | None = None
    select: SelectionFacts | None = None
    label_noise: LabelNoiseFacts | None = None
    generation: dict[str, Any] = {}  # prompts, answers, judges, panel, requests; empty where pairs were read
    seconds: dict[str, float] = {}
    peak_memory_mb: dict[str, int] = {}
    files: dict[str, str] = {}
    seal: str | None = None
    pulled: Pulled | None = None
    gates: list[dict[str, str]] = []  # of a published run: name, status, text
    waived: list[str] = []

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest.json. Raise InputError naming the file and the field that cannot be read, or was edited."""
        found = cls.parse(path.read_bytes(), str(path))
        found.check(str(path))
        return found

    def digest(self) -> str:
        """Return the SHA-256 of all fields but the seal."""
        return hashlib.sha256(json.dumps(self.replace(seal=None).to_dict(), sort_keys=True).encode()).hexdigest()

    def check(self, where: str) -> None:
        """Raise InputError if a field was edited after the run."""
        if self.seal != self.digest():
            raise InputError(f"{where} was edited after the run; run the same command again to restore it")

    @classmethod
    def parse(cls, raw: "builtins.bytes", where: str) -> Self:
        """Decode a manifest. Raise InputError if it is invalid, or of version 0.1."""
        try:
            found = msgspec.json.decode(raw, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{where} is not the manifest of a run: {error}") from error
        if found.prefcurate.startswith("0.1."):
            raise InputError(
                f"{where} was written by prefcurate {found.prefcurate}, whose runs this version cannot read; "
                f"run its recipe again into another folder"
            )
        if missing := [name for name in COUNTS if name not in found.counts]:
            raise InputError(f"{where} is not the manifest of a run: $.counts has no {missing[0]}")
        return found
