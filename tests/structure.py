"""
Figures of the source's structure: `python -m tests.structure [FOLDER]` prints them, `test_layers.py` limits them.

A room is an entry of `curate/` (a module or a package), or one of the packages `pipelines` and `train`. An arrow is a
pair of rooms of which the first imports the second, anywhere in a file. A chain is a path of modules that import each
other at module level.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("curate", "pipelines", "train")
SHORT = 4  # lines, signature included, of a helper that could be inlined


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return every module of the three packages by its dotted name; a package is its `__init__.py`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(path: Path, names: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """Yield the modules among `names` that a file imports, and whether it imports them at module level."""
    top = {id(node) for node in tree(path).body}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in names or node.module in names:
                    yield inner if inner in names else node.module, id(node) in top


def room(module: str) -> str:
    """`curate.dedup.near` → `dedup`; `pipelines.flow` → `pipelines`; `curate` itself → `__init__`."""
    package, _, rest = module.partition(".")
    return (rest.partition(".")[0] or "__init__") if package == "curate" else package


def arrows(root: Path = ROOT) -> dict[tuple[str, str], list[str]]:
    """Return pairs of rooms, with the imports behind each, as `FILE imports MODULE`."""
    names = modules(root)
    known = frozenset(names)
    found: dict[tuple[str, str], list[str]] = {}
    for module, path in names.items():
        for other, _ in imported(path, known):
            if room(module) != room(other):
                found.setdefault((room(module), room(other)), []).append(f"{path.relative_to(root)} imports {other}")
    return found


def graph(root: Path = ROOT, *, lazy: bool = False) -> dict[str, set[str]]:
    """Return module → modules that it imports at module level; with `lazy` also inside functions and for types."""
    names = modules(root)
    known = frozenset(names)
    return {
        module: {other for other, at_once in imported(path, known) if at_once or lazy} - {module}
        for module, path in names.items()
    }


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return groups of modules of which each reaches every other."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for other in edges[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        reach[start] = seen
    groups = {tuple(sorted(o for o in reach[m] if m in reach[o])) for m in edges if m in reach[m]}
    return [list(group) for group in sorted(groups)]


def longest_chain(edges: dict[str, set[str]]) -> list[str]:
    """Return the longest path of module-level imports, from the top down; an `__init__` counts where it is named."""

    @cache
    def below(module: str) -> tuple[str, ...]:
        deeper: list[tuple[str, ...]] = [below(other) for other in sorted(edges[module])]
        return (module, *max(deeper, key=len, default=()))

    longest: tuple[str, ...] = max((below(module) for module in sorted(edges)), key=len)
    return list(longest)


def used_once(root: Path = ROOT) -> tuple[int, list[tuple[str, int]]]:
    """Return the number of private functions and methods, and those used once in their file."""
    total, once = 0, []
    for module, path in modules(root).items():
        uses = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Name | ast.Attribute)
        )
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__"):
                total += 1
                if uses[node.name] == 1:
                    once.append((f"{module}.{node.name}", (node.end_lineno or 0) - node.lineno + 1))
    return total, once


def figures(root: Path = ROOT) -> dict[str, int]:
    """Return the figures of the whole tree."""
    edges = graph(root)
    found = circles(graph(root, lazy=True))
    private, once = used_once(root)
    known = {room(module) for module in modules(root)}
    return {
        "rooms of curate": len(known - {"pipelines", "train"}),
        "arrows": len(arrows(root)),
        "circles": len(found),
        "longest chain": len(longest_chain(edges)),
        "modules": len(edges),
        "private functions": private,
        "private functions used once": len(once),
        f"of these up to {SHORT} lines": sum(lines <= SHORT for _, lines in once),
    }


if __name__ == "__main__":
    for name, value in figures(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT).items():
        print(f"{value:>5}  {name}")  # noqa: T201
