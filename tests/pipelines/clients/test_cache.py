"""The cache stores every reply once and finds it again; a broken file is a one-line error."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError, InputError
from pipelines.clients.cache import RequestCache
from pipelines.clients.requests import Reply, Request

SAID = Reply("Yes.", "stop", 12, 3)


def test_a_reply_is_found_again_after_closing(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert cache.get("k") is None
        cache.put("k", "openai:m", SAID)
        assert cache.get("k") == SAID
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert cache.get("k") == SAID
        cache.put("k", "openai:m", Reply("No.", "stop", 99, 99))
        assert cache.get("k") == SAID  # the first one stays
        assert cache.spent() == {"openai:m": (1, 12, 3)}
    assert [path.name for path in tmp_path.iterdir()] == ["r.sqlite"]  # the write-ahead log is merged


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
COUNTS = st.none() | st.integers(0, 2**40)


@given(st.builds(Reply, TEXTS, st.none() | TEXTS, COUNTS, COUNTS))
def test_any_text_is_returned_unchanged(reply: Reply) -> None:
    with RequestCache(":memory:") as cache:
        cache.put("k", "m", reply)
        assert cache.get("k") == reply


def test_missing_counts_add_nothing_to_the_sum() -> None:
    with RequestCache(":memory:") as cache:
        cache.put("a", "one", SAID)
        cache.put("b", "one", Reply("Hm", None, None, None))
        cache.put("c", "two", SAID)
        assert cache.spent() == {"one": (2, 12, 3), "two": (1, 12, 3)}


def test_the_cost_of_failed_attempts_is_stored(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "r.sqlite") as cache:
        cache.put("a", "one", SAID)
        cache.lose("one", 10, 4)
        cache.lose("one", 1, 1)
        cache.lose("two", 7, 0)
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert cache.lost() == {"one": (2, 11, 5), "two": (1, 7, 0)}
        assert cache.spent() == {"one": (1, 12, 3)}
        assert cache.paid() == {"one": (23, 8), "two": (7, 0)}


def test_a_kill_loses_no_stored_reply(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal\n"
        "from pipelines.clients.cache import RequestCache\n"
        "from pipelines.clients.requests import Reply\n"
        "cache = RequestCache(sys.argv[1])\n"
        "for n in range(500): cache.put(str(n), 'm', Reply('x' * n, 'stop', 1, 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "r.sqlite"])
    assert done.returncode == -9
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert [len((cache.get(str(n)) or SAID).text or "") for n in range(500)] == list(range(500))


def test_several_threads(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "r.sqlite") as cache, ThreadPoolExecutor(8) as pool:

        def one(number: int) -> None:
            cache.put(str(number), "m", SAID)
            cache.get(str(number - 1))
            cache.spent()

        list(pool.map(one, range(400)))
        assert cache.spent() == {"m": (400, 4_800, 1_200)}


def write_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, whatever its name says\n" * 100)


def write_other_table(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE replies (question TEXT, answer TEXT)")
    database.close()


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("spoil", [write_garbage, write_other_table, make_folder])
def test_a_file_that_is_not_a_cache_is_a_one_line_error(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "r.sqlite")
    with pytest.raises(InputError, match=r"cannot be used as a request cache .*move it away") as raised:
        RequestCache(tmp_path / "r.sqlite")
    assert "\n" not in str(raised.value)


def test_damage_found_later_is_a_curate_error_too(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with RequestCache(path) as cache:
        for number in range(2_000):
            cache.put(str(number), "m", Reply("x" * 200, "stop", 1, 1))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with RequestCache(path) as cache, pytest.raises(CurateError, match="malformed"):
        [cache.get(str(number)) for number in range(2_000)]


def test_the_key_depends_on_the_request_alone() -> None:
    asked = [{"role": "user", "content": "Why?"}]
    key = Request(asked, {"temperature": 1.0, "seed": 0}).key("m")
    assert key == Request(asked, {"seed": 0, "temperature": 1.0}).key("m")
    # With another key every request would be sent, and paid for, again.
    assert key == "f6add94b35b13621e4058cd23f580b9a"
    others = [
        Request(asked, {"temperature": 1.0, "seed": 1}),
        Request(asked, {"temperature": 1.0, "seed": 0}, 1),
        Request(asked, {"temperature": 1.0}),
        Request([{"role": "user", "content": "Why"}], {"temperature": 1.0, "seed": 0}),
        Request([{"role": "system", "content": "Why?"}], {"temperature": 1.0, "seed": 0}),
    ]
    assert len({key, *(other.key("m") for other in others), Request(asked, {}).key("n")}) == 7


@pytest.mark.parametrize(
    "damage",
    ["text = 'Yes!'", "text = CAST(x'59ff' AS TEXT)", "text = NULL", "finish_reason = 'length'", "input_tokens = 13",
     "output_tokens = -3", "output_tokens = 'three'", "error = 'broken'", "checksum = ''"],
)  # fmt: skip
def test_a_damaged_reply_is_asked_for_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.sqlite"
    with RequestCache(path) as cache:
        cache.put("k", "m", SAID)
        cache.put("other", "m", SAID)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE replies SET {damage} WHERE key = 'k'")
    db.close()
    with RequestCache(path) as cache:
        assert cache.get("k") is None
        assert cache.get("other") == SAID
        cache.put("k", "m", SAID)
        assert cache.get("k") == SAID


def test_a_reply_under_the_key_of_another_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with RequestCache(path) as cache:
        cache.put("k", "m", SAID)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE replies SET key = 'j'")
    db.close()
    with RequestCache(path) as cache:
        assert cache.get("j") is None
