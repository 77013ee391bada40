"""
Mutates a seeded sample of the code that decides about data, and reports the mutants that its tests do not kill.

    python -m tests.mutants --seed 1 --count 150 [--only curate/pairing/strategies.py] [--jobs 2]

`tests/mutants.yaml` names the modules, the tests of each, and mutations known to change nothing. Every mutant runs in a
copy of the tree, one per job. A mutant whose tests do not end in time counts as killed: pytest-timeout would fail
them.
"""

import argparse
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.mutation import Mutation, mutations

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "mutants.yaml"
COPIED = ("curate", "pipelines", "train", "tests", "pyproject.toml", "README.md")
LIMIT = 120  # seconds per mutant; the slowest of the lists takes about 20
GOAL = 0.95
DEVNULL = subprocess.DEVNULL
NO_TESTS = 5  # pytest's exit code
PYTEST = ("-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--no-header", "--tb=no")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation of a module."""

    module: str
    source: bytes
    mutation: Mutation

    def place(self) -> str:
        """Return file:line."""
        return f"{self.module}:{self.mutation.line(self.source)}"

    def key(self) -> tuple[str, str, str]:
        """Return what identifies it as long as its line stays the same: module, line before, line after."""
        return (self.module, *self.mutation.texts(self.source))


def known_equivalents() -> dict[tuple[str, str, str], str]:
    """Return module, line before and line after of mutations that change nothing, and why."""
    listed = yaml.safe_load(TABLE.read_text("utf-8"))["equivalent"] or []
    return {(each["module"], each["before"], each["after"]): each["why"] for each in listed}


def tests_of() -> dict[str, list[str]]:
    """Return the tests of each module that is mutated."""
    found: dict[str, list[str]] = yaml.safe_load(TABLE.read_text("utf-8"))["modules"]
    return {module: [f"tests/{test}" for test in tests] for module, tests in found.items()}


def sample(modules: Sequence[str], seed: int, count: int) -> list[Mutant]:
    """Return `count` of the mutants of these modules, chosen at random."""
    sources = {module: (ROOT / module).read_bytes() for module in modules}
    every = [Mutant(name, source, each) for name, source in sources.items() for each in mutations(source)]
    return random.Random(seed).sample(every, min(count, len(every)))


def passes(tree: Path, tests: Sequence[str], limit: float = LIMIT, output: int | None = DEVNULL) -> bool:
    """Return whether the tests pass in time; exit if none of them runs, since that would kill every mutant."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    process = subprocess.Popen(
        [sys.executable, *PYTEST, *tests], cwd=tree, env=environment, start_new_session=os.name == "posix",
        stdout=output, stderr=output,
    )  # fmt: skip
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return False
    finally:
        _end(process)
    if code == NO_TESTS:
        sys.exit(f"none of the tests in {', '.join(tests)} is run: all are slow")
    return code == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the tests and the processes they started."""
    if process.poll() is None:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, 9)
        process.wait()


def survives(tree: Path, mutant: Mutant, tests: Sequence[str]) -> bool:
    """Return whether the tests pass on the mutant; the tree is restored afterwards."""
    file = tree / mutant.module
    try:
        _write(file, mutant.mutation.apply(mutant.source))
        return passes(tree, tests)
    finally:
        _write(file, mutant.source)


def _write(file: Path, source: bytes) -> None:
    file.write_bytes(source)
    # Python recognises compiled code by whole seconds and size, which a mutant may share.
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()


def copied(folder: Path) -> Path:
    """Return a copy of the tree, without `../shared`: tests that need it are skipped."""
    tree = folder / "tree"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    return tree


def run(mutants: Sequence[Mutant], tests: dict[str, list[str]], jobs: int) -> list[Mutant]:
    """Return the mutants that survive, after a check that the tests pass without any."""
    trees = queue.SimpleQueue[Path]()

    def try_one(mutant: Mutant) -> bool:
        start, tree = time.monotonic(), trees.get()
        survived = survives(tree, mutant, tests[mutant.module])
        trees.put(tree)
        outcome = "SURVIVED" if survived else "killed"
        print(f"{outcome:8} {time.monotonic() - start:5.1f} s  {mutant.place()}", flush=True)  # noqa: T201
        return survived

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        for number in range(jobs):
            trees.put(copied(Path(folder) / str(number)))
        every = sorted({test for mutant in mutants for test in tests[mutant.module]})
        if not passes(Path(folder) / "0/tree", every, 10 * LIMIT, output=None):
            sys.exit("without any mutation the tests fail or take too long")
        return [mutant for mutant, survived in zip(mutants, pool.map(try_one, mutants), strict=True) if survived]


def report(mutants: Sequence[Mutant], alive: Sequence[Mutant], equivalent: int) -> float:
    """Print the survivors and the share of killed mutants; return that share."""
    for mutant in alive:
        _, before, after = mutant.key()
        print(f"\n{mutant.place()}\n  - {before}\n  + {after}")  # noqa: T201
    killed = len(mutants) - len(alive)
    share = killed / len(mutants) if mutants else 1.0
    print(f"\n{killed} of {len(mutants)} killed ({share:.1%}); {equivalent} more are known as equivalent")  # noqa: T201
    return share


def main() -> None:
    """Run the sample; exit with 1 if fewer than GOAL of the mutants are killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--only", nargs="*", help="modules, instead of all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    tests, known = tests_of(), known_equivalents()
    drawn = sample(options.only or list(tests), options.seed, options.count)
    mutants = [mutant for mutant in drawn if mutant.key() not in known]
    share = report(mutants, run(mutants, tests, options.jobs), len(drawn) - len(mutants))
    sys.exit(share < GOAL)


if __name__ == "__main__":
    main()
