"""Cache of replies in one SQLite file, written on arrival, so that a killed run loses nothing it paid for."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from curate.errors import CurateError, InputError
from curate.files import no_space
from pipelines.clients.requests import Reply, Request

COLUMNS = tuple(field.name for field in fields(Reply))
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS replies (
        key TEXT NOT NULL, room INTEGER NOT NULL, model TEXT NOT NULL, at REAL NOT NULL,
        text TEXT, finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER, error TEXT, reasoning TEXT,
        logp_per_token REAL, checksum TEXT NOT NULL, PRIMARY KEY (key, room)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS lost (
        model TEXT PRIMARY KEY, tries INTEGER, input_tokens INTEGER, output_tokens INTEGER
    )
    """,
)
READ = f"SELECT checksum, room, {', '.join(COLUMNS)} FROM replies WHERE key = ?"  # noqa: S608 - names of our own
WRITE = (
    f"INSERT OR REPLACE INTO replies (key, room, model, at, checksum, {', '.join(COLUMNS)}) "  # noqa: S608 - as above
    f"VALUES (?, ?, ?, ?, ?, {', '.join('?' * len(COLUMNS))})"
)
LOSE = (
    "INSERT INTO lost VALUES (?, 1, ?, ?) ON CONFLICT (model) DO UPDATE SET tries = tries + 1, "
    "input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens"
)
SUMS = (
    "SELECT model, {}, CAST(TOTAL(input_tokens) AS INTEGER), CAST(TOTAL(output_tokens) AS INTEGER) FROM {} "
    "GROUP BY model"
)


def _checksum(key: str, room: int, values: Sequence[Any]) -> str:
    """Return the checksum of a stored reply under its key, with the room it had."""
    return hashlib.blake2b(json.dumps([key, room, *values]).encode(), digest_size=16).hexdigest()


class RequestCache:
    """
    Replies by request key. Failures are not stored, so the next start sends them again; their cost is stored.

    WAL with `synchronous=NORMAL`: replies survive any end of the process; a power failure may lose the last ones.
    Raises InputError if the file is not such a database, CurateError if the disk is full.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            # One connection, used from the event loop's thread and, in between, from the thread that counts.
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.text_factory = partial(str, encoding="utf-8", errors="replace")  # checksums notice damage
        except sqlite3.Error as error:
            raise self._converted(error) from error
        try:
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", *TABLES):
                self._run(statement)
            self._run(READ, "")
        except CurateError:
            self._db.close()
            raise

    def get(self, model: str, request: Request) -> Reply | None:
        """
        Return the stored reply to a request, or None. One that had other room counts where it would have come out the
        same; one that was damaged since, or that the request does not accept, is None: it is asked for again.
        """
        room = request.max_tokens
        for given, reply in sorted(self._of(request.key(model)), key=lambda row: row[0] != room):  # equal room first
            if reply.holds_for(room, given):
                return reply if request.accepts is None or request.accepts(reply) else None
        return None

    def put(self, model: str, request: Request, reply: Reply) -> None:
        """Store a reply. The cost of one that it replaces stays recorded."""
        key, room = request.key(model), request.max_tokens
        for given, old in self._of(key):
            if given == room:
                self.lose(model, old.input_tokens or 0, old.output_tokens or 0)
        values = [getattr(reply, name) for name in COLUMNS]
        self._run(WRITE, key, room, model, time.time(), _checksum(key, room, values), *values)

    def forget(self, model: str, requests: Iterable[Request]) -> int:
        """Remove the replies to these requests, so that they are asked for again; return how many. Their cost stays."""
        count = 0
        for key in {request.key(model) for request in requests}:
            for _, reply in self._of(key):
                self.lose(model, reply.input_tokens or 0, reply.output_tokens or 0)
                count += 1
            self._run("DELETE FROM replies WHERE key = ?", key)
        return count

    def lose(self, model: str, input_tokens: int, output_tokens: int) -> None:
        """Record the cost of an attempt without a reply."""
        self._run(LOSE, model, input_tokens, output_tokens)

    def spent(self) -> dict[str, tuple[int, int, int]]:
        """Per model: answered requests, input tokens, output tokens. Counts that were not reported are missing."""
        rows = self._run(SUMS.format("COUNT(*)", "replies"))
        return {model: (count, sent, got) for model, count, sent, got in rows}

    def lost(self) -> dict[str, tuple[int, int, int]]:
        """Per model: attempts without a reply that cost something, or may have; input tokens, output tokens."""
        rows = self._run(SUMS.format("tries", "lost"))
        return {model: (tries, sent, got) for model, tries, sent, got in rows}

    def paid(self) -> dict[str, tuple[int, int]]:
        """Per model: input and output tokens of all attempts, answered or not."""
        found: dict[str, tuple[int, int]] = {}
        for model, (_, sent, got) in [*self.spent().items(), *self.lost().items()]:
            known = found.get(model, (0, 0))
            found[model] = known[0] + sent, known[1] + got
        return found

    def close(self) -> None:
        """Close the file; SQLite merges the write-ahead log into it."""
        self._db.close()

    def _of(self, key: str) -> list[tuple[int, Reply]]:
        """Return the undamaged replies under a key, each with the room it had."""
        rows = self._run(READ, key)
        return [(room, Reply(*values)) for checksum, room, *values in rows if checksum == _checksum(key, room, values)]

    def _run(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._converted(error) from error

    def _converted(self, error: sqlite3.Error) -> CurateError:
        if "full" in str(error):
            return no_space(self._path.parent)
        return InputError(f"{self._path} cannot be used as a request cache ({error}); move it away to start over")

    def __enter__(self) -> "RequestCache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()
