"""Every reply, stored the moment it arrives: one SQLite file, so that a kill loses nothing that was paid for."""

import sqlite3
import time
from dataclasses import astuple, fields
from pathlib import Path
from types import TracebackType

from curate.errors import InputError
from curate.store import no_space
from pipelines.requests import Reply

COLUMNS = tuple(field.name for field in fields(Reply))
TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, at REAL NOT NULL,
    text TEXT, finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER, error TEXT
) WITHOUT ROWID
"""


class RequestCache:
    """
    Replies by request key. Failures are never stored, so they are asked again on the next start.

    WAL with `synchronous=NORMAL`: a reply survives the end of the process, however it ends; a power cut may take
    the last ones. Raises InputError when the file is no such database, CurateError when the disk is full.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            # One connection, used from the thread that asks and, between its calls, from the one that counts.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(TABLE)
            self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM replies LIMIT 0")  # noqa: S608 - names of our own
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path} is no cache of requests ({error}); move it away to start afresh") from error

    def get(self, key: str) -> Reply | None:
        """The stored reply, if there is one."""
        query = f"SELECT {', '.join(COLUMNS)} FROM replies WHERE key = ?"  # noqa: S608
        row = self._db.execute(query, (key,)).fetchone()
        return Reply(*row) if row else None

    def put(self, key: str, model: str, reply: Reply) -> None:
        """Store a reply. The first one under a key stays."""
        marks = ", ".join("?" * (3 + len(COLUMNS)))
        try:
            self._db.execute(
                f"INSERT OR IGNORE INTO replies (key, model, at, {', '.join(COLUMNS)}) VALUES ({marks})",  # noqa: S608
                (key, model, time.time(), *astuple(reply)),
            )
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise no_space(self._path.parent) from error
            raise

    def has(self, keys: list[str]) -> int:
        """How many of the keys have a reply."""
        return sum(1 for key in keys if self._db.execute("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone())

    def spent(self) -> dict[str, tuple[int, int, int]]:
        """For each model: requests answered, input tokens, output tokens. What an endpoint did not count is missing."""
        query = "SELECT model, COUNT(*), TOTAL(input_tokens), TOTAL(output_tokens) FROM replies GROUP BY model"
        return {model: (count, int(sent), int(got)) for model, count, sent, got in self._db.execute(query)}

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._db.close()

    def __enter__(self) -> "RequestCache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()
