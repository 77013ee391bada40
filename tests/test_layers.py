"""Imports point down, and those that a user waits for are cheap."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.structure import ROOT, arrows, circles, graph, longest_chain, modules, tree

# From the ground up: a room imports only rooms of the lines above its own.
ROOMS = [
    {"errors", "limits", "terminal"},
    {"schema", "files", "engine"},
    {"text", "embeddings", "pairing"},
    {"sources", "signals", "selection"},
    {"rules", "dedup", "contamination"},
    {"recipe", "findings"},
    {"rundir"},
    {"stages", "report"},
    {"flow", "publish"},
    {"pipelines"},
    {"train"},
    {"api"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(ROOMS) for name in names}
# These two are not imported before models are opened.
IMPORT_DISTILABEL = {"pipelines/clients/llms.py", "pipelines/clients/tasks.py"}
HEAVY = {"torch", "transformers", "trl", "distilabel", "datasets", "huggingface_hub", "sentence_transformers", "peft"}
POSIX_ONLY = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
FACADE = {"__init__", "api"}
MOST_ROOMS, MOST_ARROWS, LONGEST_CHAIN = 27, 138, 14
MAX_LINES, MAX_FUNCTION = 300, 60


def packages_named(path: Path) -> set[str]:
    """Return the top-level packages that the file imports anywhere."""
    nodes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = [[a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] for node in nodes]
    return {name.split(".")[0] for names in named for name in names}


def at_module_level(path: Path) -> set[str]:
    """Return the top-level packages that the file imports at module level."""
    body = tree(path).body
    names = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


def test_imports_point_down() -> None:
    wrong = [line for (here, there), lines in arrows().items() if LEVEL[there] >= LEVEL[here] for line in lines]
    assert wrong == []


def test_every_room_has_a_level_and_there_are_few() -> None:
    entries = {path.stem for path in (ROOT / "curate").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert entries - {"__pycache__"} == set(LEVEL) - {"pipelines", "train"}
    assert len(entries - {"__pycache__"}) <= MOST_ROOMS
    # The facade imports whatever it exports, and the limits are constants for all: these arrows are not counted, since
    # they say nothing about how the rooms depend on each other.
    assert len([pair for pair in arrows() if pair[0] not in FACADE and pair[1] != "limits"]) <= MOST_ARROWS


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(graph(lazy=True)) == []


def test_chains_of_imports_are_short() -> None:
    assert len(longest_chain(graph())) <= LONGEST_CHAIN, longest_chain(graph())


def test_only_two_modules_import_distilabel() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pipelines").rglob("*.py")
        if "distilabel" in packages_named(path)
    }
    # connect.py names its type, for checkers only.
    assert importing - {"pipelines/clients/connect.py"} == IMPORT_DISTILABEL


def test_heavy_libraries_are_not_imported_at_module_level() -> None:
    for folder in ("curate", "pipelines", "train"):
        for path in (ROOT / folder).rglob("*.py"):
            allowed = {"distilabel"} if str(path.relative_to(ROOT)) in IMPORT_DISTILABEL else set()
            assert not at_module_level(path) & HEAVY - allowed, path


def test_importing_and_help_load_nothing_heavy() -> None:
    program = (
        "import sys, curate, curate.cli\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(curate.cli.app, ['clean', '--help']).exit_code == 0\n"
        f"print(sorted({HEAVY | {'pyarrow', 'polars_hash', 'vl_convert', 'jinja2'}!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_curate_does_not_load_polars() -> None:
    program = "import sys, curate; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def lines_of(function: ast.FunctionDef) -> int:
    """Return the number of lines of a function without its docstring, which may have to be long."""
    docstring = function.body[0] if ast.get_docstring(function, clean=False) else None
    explained = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - explained


def test_files_and_functions_stay_small() -> None:
    long = []
    for folder in ("curate", "pipelines", "train"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            if text.count("\n") > MAX_LINES:
                long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
            functions = (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef))
            long += [
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines_of(node)} lines"
                for node in functions
                if lines_of(node) > MAX_FUNCTION
            ]
    assert long == []


def test_every_module_can_be_imported_without_posix_modules() -> None:
    """As on Windows, which does not have these. The two modules that import distilabel are left out."""
    ours = sorted(set(modules()) - {path.removesuffix(".py").replace("/", ".") for path in IMPORT_DISTILABEL})
    program = (
        "import importlib, sys\n"
        "import filelock, subprocess, tempfile  # these know what to do without them\n"
        f"sys.modules.update(dict.fromkeys({POSIX_ONLY!r}))\n"
        f"for name in {ours!r}:\n"
        "    importlib.import_module(name)\n"
        "from curate.flow import _peak_memory_mb\n"
        "print(_peak_memory_mb())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("None\n", "")
