"""The cache stores every reply once and finds it again; a broken file is a one-line error."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError, InputError
from pipelines.clients.cache import RequestCache
from pipelines.clients.requests import Reply, Request

SAID = Reply("Yes.", "stop", 12, 3)


def question(text: str, room: int = 0) -> Request:
    return Request([{"role": "user", "content": text}], {"max_tokens": room})


def test_a_reply_is_found_again_after_closing(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert cache.get("openai:m", question("k")) is None
        cache.put("openai:m", question("k"), SAID)
        assert cache.get("openai:m", question("k")) == SAID
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert cache.get("openai:m", question("k")) == SAID
        cache.put("openai:m", question("k"), Reply("No.", "stop", 99, 98))
        assert cache.get("openai:m", question("k")) == Reply("No.", "stop", 99, 98)  # it was asked for again
        assert (cache.spent(), cache.lost()) == ({"openai:m": (1, 99, 98)}, {"openai:m": (1, 12, 3)})
    assert [path.name for path in tmp_path.iterdir()] == ["r.sqlite"]  # the write-ahead log is merged


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
COUNTS = st.none() | st.integers(0, 2**40)


@given(st.builds(Reply, TEXTS, st.none() | TEXTS, COUNTS, COUNTS, st.none() | TEXTS, st.none() | TEXTS))
def test_any_text_is_returned_unchanged(reply: Reply) -> None:
    with RequestCache(":memory:") as cache:
        cache.put("m", question("k"), reply)
        assert cache.get("m", question("k")) == reply


def test_missing_counts_add_nothing_to_the_sum() -> None:
    with RequestCache(":memory:") as cache:
        cache.put("one", question("a"), SAID)
        cache.put("one", question("b"), Reply("Hm", None, None, None))
        cache.put("two", question("c"), SAID)
        assert cache.spent() == {"one": (2, 12, 3), "two": (1, 12, 3)}


def test_the_cost_of_failed_attempts_is_stored(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "r.sqlite") as cache:
        cache.put("one", question("a"), SAID)
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
        "from tests.pipelines.clients.test_cache import question\n"
        "cache = RequestCache(sys.argv[1])\n"
        "for n in range(500): cache.put('m', question(str(n)), Reply('x' * n, 'stop', 1, 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "r.sqlite"])
    assert done.returncode == -9
    with RequestCache(tmp_path / "r.sqlite") as cache:
        assert [len((cache.get("m", question(str(n))) or SAID).text or "") for n in range(500)] == list(range(500))


def test_several_threads(tmp_path: Path) -> None:
    with RequestCache(tmp_path / "r.sqlite") as cache, ThreadPoolExecutor(8) as pool:

        def one(number: int) -> None:
            cache.put("m", question(str(number)), SAID)
            cache.get("m", question(str(number - 1)))
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
            cache.put("m", question(str(number)), Reply("x" * 200, "stop", 1, 1))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with RequestCache(path) as cache, pytest.raises(CurateError, match="malformed"):
        [cache.get("m", question(str(number))) for number in range(2_000)]


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
     "output_tokens = -3", "output_tokens = 'three'", "error = 'broken'", "reasoning = 'Hm'", "room = 7",
     "checksum = ''"],
)  # fmt: skip
def test_a_damaged_reply_is_asked_for_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.sqlite"
    with RequestCache(path) as cache:
        cache.put("m", question("k"), SAID)
        cache.put("m", question("other"), SAID)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE replies SET {damage} WHERE key = ?", (question("k").key("m"),))
    db.close()
    with RequestCache(path) as cache:
        assert cache.get("m", question("k")) is None
        assert cache.get("m", question("other")) == SAID
        cache.put("m", question("k"), SAID)
        assert cache.get("m", question("k")) == SAID


def test_a_reply_under_the_key_of_another_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with RequestCache(path) as cache:
        cache.put("m", question("k"), SAID)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE replies SET key = ?", (question("j").key("m"),))
    db.close()
    with RequestCache(path) as cache:
        assert cache.get("m", question("j")) is None


@pytest.mark.parametrize(
    ("reply", "given", "found"),
    [
        # An answer that ended by itself is the same with more room, and with less as long as it fits.
        (Reply("Yes.", "stop", 1, 30), 50, [30, 31, 49, 50, 51, 5000, 0]),
        (Reply("Yes.", None, 1, 30), 50, [30, 31, 49, 50, 51, 5000, 0]),
        # One that was cut off is asked for again with more room, and with less.
        (Reply("Yes, and", "length", 1, 50), 50, [50]),
        (Reply(None, "length", 1, 50, "cut off at max_tokens before any text"), 50, [50]),
        # Without a count it has at most the tokens of its room.
        (Reply("Yes."), 50, [50, 51, 5000, 0]),
        (Reply("Yes.", "stop", 1, 30), 0, [30, 31, 49, 50, 51, 5000, 0]),
        (Reply("Yes.", "stop"), 0, [0]),
        # What the model or a filter refused.
        (Reply(None, "content_filter", 1, 0, "filtered"), 50, [50, 51, 5000, 0]),
    ],
)  # fmt: skip
def test_a_reply_counts_for_any_room_in_which_it_is_the_same(reply: Reply, given: int, found: list[int]) -> None:
    with RequestCache(":memory:") as cache:
        cache.put("m", question("k", given), reply)
        rooms = (29, 30, 31, 49, 50, 51, 5000, 0)
        assert [room for room in rooms if cache.get("m", question("k", room)) == reply] == found


def test_replies_with_different_room_are_kept_beside_each_other() -> None:
    cut, whole = Reply("Yes, and", "length", 1, 50), Reply("Yes, and no.", "stop", 1, 80)
    with RequestCache(":memory:") as cache:
        cache.put("m", question("k", 50), cut)
        cache.put("m", question("k", 100), whole)
        assert [cache.get("m", question("k", room)) for room in (50, 79, 80, 100, 200)] == [
            cut, None, whole, whole, whole,
        ]  # fmt: skip
        assert cache.spent() == {"m": (2, 2, 130)}


def test_the_two_names_of_the_limit_lead_to_one_reply() -> None:
    newer = Request([{"role": "user", "content": "k"}], {"max_tokens": None, "max_completion_tokens": 50})
    with RequestCache(":memory:") as cache:
        cache.put("m", question("k", 50), SAID)
        assert newer.max_tokens == 50
        assert newer.key("m") == question("k", 7).key("m")
        assert cache.get("m", newer) == SAID


def test_a_stored_reply_that_the_request_does_not_accept_is_asked_for_again() -> None:
    with RequestCache(":memory:") as cache:
        cache.put("m", question("k"), SAID)
        for accepts, found in ((lambda reply: reply.text == "Yes.", SAID), (lambda reply: reply.text == "No.", None)):
            assert cache.get("m", replace(question("k"), accepts=accepts)) == found


def test_forgotten_replies_are_asked_for_again_and_stay_paid_for() -> None:
    with RequestCache(":memory:") as cache:
        cache.put("one", question("a"), SAID)
        cache.put("one", question("b"), SAID)
        cache.put("two", question("a"), SAID)
        cache.put("one", question("c"), SAID)
        asked = [question("a"), question("b", 9), question("none")]
        assert (cache.forget("one", asked), cache.forget("none", asked)) == (2, 0)
        assert [cache.get("one", question(text)) for text in "abc"] == [None, None, SAID]
        assert cache.get("two", question("a")) == SAID
        assert cache.paid() == {"one": (36, 9), "two": (12, 3)}
