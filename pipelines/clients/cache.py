"""Every reply, stored the moment it arrives: one SQLite file, so that a kill loses nothing that was paid for."""

import sqlite3
import time
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from curate.errors import CurateError, InputError
from curate.files import no_space
from pipelines.clients.requests import Reply

COLUMNS = tuple(field.name for field in fields(Reply))
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS replies (
        key TEXT PRIMARY KEY, model TEXT NOT NULL, at REAL NOT NULL,
        text TEXT, finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER, error TEXT
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS lost (
        model TEXT PRIMARY KEY, tries INTEGER, input_tokens INTEGER, output_tokens INTEGER
    )
    """,
)
READ = f"SELECT {', '.join(COLUMNS)} FROM replies WHERE key = ?"  # noqa: S608 - names of our own
WRITE = (
    f"INSERT OR IGNORE INTO replies (key, model, at, {', '.join(COLUMNS)}) "  # noqa: S608
    f"VALUES (?, ?, ?, {', '.join('?' * len(COLUMNS))})"
)
LOSE = (
    "INSERT INTO lost VALUES (?, 1, ?, ?) ON CONFLICT (model) DO UPDATE SET tries = tries + 1, "
    "input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens"
)
SUMS = "model, {}, CAST(TOTAL(input_tokens) AS INTEGER), CAST(TOTAL(output_tokens) AS INTEGER)"


class RequestCache:
    """
    Replies by request key. Failures are never stored, so they are asked again on the next start; what they cost is.

    WAL with `synchronous=NORMAL`: a reply survives the end of the process, however it ends; a power cut may take
    the last ones. Raises InputError when the file is no such database, CurateError when the disk is full.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            # One connection, used from the thread that asks and, between its calls, from the one that counts.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        except sqlite3.Error as error:
            raise self._said(error) from error
        try:
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", *TABLES):
                self._run(statement)
            self._run(READ, "")
        except CurateError:
            self._db.close()
            raise

    def get(self, key: str) -> Reply | None:
        """The stored reply, if there is one."""
        rows = self._run(READ, key)
        return Reply(*rows[0]) if rows else None

    def put(self, key: str, model: str, reply: Reply) -> None:
        """Store a reply. The first one under a key stays."""
        self._run(WRITE, key, model, time.time(), *(getattr(reply, name) for name in COLUMNS))

    def lose(self, model: str, input_tokens: int, output_tokens: int) -> None:
        """Remember what a try cost that brought no reply."""
        self._run(LOSE, model, input_tokens, output_tokens)

    def spent(self) -> dict[str, tuple[int, int, int]]:
        """For each model: requests answered, input tokens, output tokens. What an endpoint did not count is missing."""
        rows = self._run(f"SELECT {SUMS.format('COUNT(*)')} FROM replies GROUP BY model")  # noqa: S608
        return {model: (count, sent, got) for model, count, sent, got in rows}

    def lost(self) -> dict[str, tuple[int, int, int]]:
        """For each model: tries that brought no reply and cost something, or may have; input tokens, output tokens."""
        rows = self._run(f"SELECT {SUMS.format('tries')} FROM lost GROUP BY model")  # noqa: S608
        return {model: (tries, sent, got) for model, tries, sent, got in rows}

    def paid(self) -> dict[str, tuple[int, int]]:
        """For each model: input tokens and output tokens of everything, answered or not."""
        found: dict[str, tuple[int, int]] = {}
        for model, (_, sent, got) in [*self.spent().items(), *self.lost().items()]:
            known = found.get(model, (0, 0))
            found[model] = known[0] + sent, known[1] + got
        return found

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._db.close()

    def _run(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._said(error) from error

    def _said(self, error: sqlite3.Error) -> CurateError:
        if "full" in str(error):
            return no_space(self._path.parent)
        return InputError(f"{self._path} cannot be used as a cache of requests ({error}); move it away to start afresh")

    def __enter__(self) -> "RequestCache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()
