"""
Answers and verdicts: these pipelines, distilabel and Data Designer on the same work, in one run.

    python -m tests.benchmarks.generate --others .venv-others/bin/python

The work of all tools: two models answer every prompt, and a judge grades every answer, which is four requests per
prompt. A local endpoint answers (1) at once, or (2) in half to one and a half times the delay, with a capacity that it
tells nobody: requests beyond it get a 429. In (1) slower tools get fewer prompts, since the rate is compared; in (2)
all get the same.

Every measurement is a process of its own, in the environment of the tool (`pip install '.[bench]'` for Data Designer,
which needs older libraries than we do). Seconds are those of the whole job, without the start of Python and imports:
`curate run` with pairs, cleaning, report and card; `Pipeline.run` with the processes that it starts; `create` with its
checks of the models and its statistics. "Start" is what of it a job of four prompts takes. Data Designer runs with the
default of max_parallel_requests and with others, of which the best is compared as well.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.concurrency import OLD_DEFAULT
from tests.benchmarks.endpoint import Counts, running

ROOT = Path(__file__).resolve().parents[2]
OURS, CLIENT, DISTILABEL, DESIGNER = "prefcurate", "prefcurate's client alone", "distilabel", "Data Designer"
INSTANT_LIMITS = (None, 16, 64)  # max_parallel_requests of Data Designer; None is its default
CAPACITY_LIMITS = (None, 16, 32, 48)
HEAD = (
    "| tool | limit | prompts | incomplete | seconds | start | requests | requests/s | 429s | most at once |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


class Run(NamedTuple):
    """One tool with one limit."""

    tool: str
    limit: int | None
    prompts: int
    rows: int
    seconds: float
    start: float
    counts: Counts

    @property
    def rate(self) -> float:
        return self.counts.answered / self.seconds

    @property
    def lasting_rate(self) -> float:
        """The rate of a job that is so long that its start does not count."""
        return self.counts.answered / (self.seconds - self.start)

    def __str__(self) -> str:
        counts, limit = self.counts, self.limit or "default"
        return (
            f"| {self.tool} | {limit} | {self.prompts:,} | {self.prompts - self.rows:,} | {self.seconds:.1f} "
            f"| {self.start:.1f} | {counts.answered:,} | {self.rate:,.0f} | {counts.refused:,} | {counts.peak or '–'} |"
        )


def measured(root: str, others: Path | None, tool: str, prompts: int, limit: int | None = None) -> Run:
    """Run a tool in a process of its own."""
    python = str(others) if tool == DESIGNER else sys.executable
    command = [python, "-m", "tests.benchmarks.generate_tools", tool, root, str(prompts)]
    command += ["--limit", str(limit)] if limit else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tool} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    counts = Counts(*found.pop("counts"))
    run = Run(tool=tool, limit=limit, prompts=prompts, counts=counts, **found)
    print(run, flush=True)
    return run


def instant(options: argparse.Namespace) -> None:
    """Print requests per second against an instant endpoint."""
    print(f"\nInstant endpoint:\n\n{HEAD}")
    with running(options.port) as root:
        ours = measured(root, options.others, OURS, options.ours)
        measured(root, options.others, CLIENT, options.ours)
        plain = measured(root, options.others, DISTILABEL, options.rows)
        designed = [
            measured(root, options.others, DESIGNER, options.rows, limit)
            for limit in (INSTANT_LIMITS if options.others else ())
        ]
    compared = {DISTILABEL: plain}
    if designed:
        best = max(designed, key=lambda run: run.rate)
        compared |= {
            f"{DESIGNER}, its default": designed[0],
            f"{DESIGNER}, best limit ({best.limit or 'default'})": best,
        }
    print("\nRequests per second of prefcurate, times those of the others (in brackets: without the start):")
    for name, run in compared.items():
        print(f"- {name}: {ours.rate / run.rate:.1f} ({ours.lasting_rate / run.lasting_rate:.1f})")


def limited(options: argparse.Namespace) -> None:
    """Print the seconds that the same prompts take against an endpoint with a capacity."""
    print(f"\nCapacity of {options.capacity}, {options.delay} s per answer on average:\n\n{HEAD}")
    with running(options.port, options.capacity, options.delay) as root:
        ours = [measured(root, options.others, OURS, options.prompts) for _ in range(options.repeat)]
        fixed = [
            measured(root, options.others, OURS, options.prompts, limit)
            for limit in (OLD_DEFAULT, options.capacity // 2, options.capacity * 2 // 3, options.capacity)
        ]
        plain = measured(root, options.others, DISTILABEL, options.prompts)
        designed = [
            measured(root, options.others, DESIGNER, options.prompts, limit)
            for limit in (CAPACITY_LIMITS if options.others else ())
        ]
    slowest = max(run.seconds for run in ours)
    best = min(fixed, key=lambda run: run.seconds)
    compared = {f"fixed {OLD_DEFAULT}": fixed[0], f"best fixed limit ({best.limit})": best, DISTILABEL: plain}
    if designed:
        best = min(designed, key=lambda run: run.seconds)
        compared |= {
            f"{DESIGNER}, its default": designed[0],
            f"{DESIGNER}, best limit ({best.limit or 'default'})": best,
        }
    print(f"\nTimes as long as prefcurate by trying (slowest of {options.repeat} runs, {slowest:.1f} s):")
    for name, run in compared.items():
        print(f"- {name}: {run.seconds / slowest:.2f}")


def main() -> None:
    """Print a table for each endpoint, and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--others", type=Path, help="a Python that has Data Designer; without it that is skipped")
    parser.add_argument("--rows", type=int, default=300, help="prompts for the other tools, instant endpoint")
    parser.add_argument("--ours", type=int, default=3000, help="prompts for these pipelines, instant endpoint")
    parser.add_argument("--prompts", type=int, default=300, help="prompts for all, endpoint with a capacity")
    parser.add_argument("--repeat", type=int, default=3, help="runs with the limit that is found by trying")
    parser.add_argument("--capacity", type=int, default=96, help="requests that the endpoint takes at once")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds an answer takes, on average")
    parser.add_argument("--port", type=int, default=18199)
    options = parser.parse_args()
    options.others = options.others and options.others.absolute()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    instant(options)
    limited(options)


if __name__ == "__main__":
    main()
