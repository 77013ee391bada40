"""Imports point down, and stay cheap where a user waits for them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A module imports only modules of the lines above its own (and, inside a package, its own siblings).
TIERS = [
    {"errors", "progress"},
    {"schema"},
    {"messages", "store", "embedding", "vectors"},
    {"sources", "signals", "embedding_cache"},
    {"rules", "dedup", "decontaminate", "split", "pairing", "diversity"},
    {"sections"},
    {"recipe", "product"},
    {"stages", "result", "why", "made", "seal"},
    {"summary", "charts", "header"},
    {"report", "facts"},
    {"card"},
    {"flow", "publish", "show"},
    {"cli"},
    {"__main__", "__init__"},
]
TIER = {name: level for level, names in enumerate(TIERS) for name in names}
# The same for pipelines.
PIPELINE_TIERS = [
    {"requests", "passages", "novelty", "server", "verdicts"},
    {
        "limits",
        "cache",
        "budget",
        "completions",
        "rubrics",
        "scoring",
        "batches",
        "heuristic",
        "prompt_replies",
        "generate",
    },
    {"endpoint", "desk", "agreement", "judge", "prompt_methods", "local"},
    {"llms", "prompts", "scorers"},
    {"rows", "origin"},
    {"models", "estimate", "work"},
    {"checks"},
    {"flow"},
    {"__init__"},
]
PIPELINE_TIER = {name: level for level, names in enumerate(PIPELINE_TIERS) for name in names}
# The same for train.
TRAIN_TIERS = [
    {"models", "tokens", "monitor", "intervals", "processes"},
    {"memory", "settings", "watch", "defaults", "sft", "page", "card", "logps", "slices"},
    {"preflight", "answers", "arms"},
    {"generations", "wins"},
    {"fit"},
    {"dpo"},
    {"evaluate", "push"},
    {"bakeoff"},
    {"__init__"},
]
TRAIN_TIER = {name: level for level, names in enumerate(TRAIN_TIERS) for name in names}
KNOW_DISTILABEL = {
    "pipelines/clients/llms.py",
    "pipelines/clients/tasks.py",
}  # nobody imports these two before models are opened
HEAVY = {"torch", "transformers", "trl", "distilabel", "datasets", "huggingface_hub", "sentence_transformers", "peft"}
ABOVE = {"pipelines", "train"}
# Same line of TIERS, on purpose: an opened run answers `why`, and `why` reads an opened run (for its types only).
SIDEWAYS = {("result", "why"), ("why", "result")}
MAX_LINES, MAX_FUNCTION = 300, 60


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module in ("curate", "pipelines"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(path: Path) -> set[str]:
    """Top-level packages that are imported as soon as the file is."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


def test_imports_point_down() -> None:
    wrong = []
    for path in (ROOT / "curate").rglob("*.py"):
        here = path.relative_to(ROOT / "curate").parts[0].removesuffix(".py")
        for name in imported(path):
            top, _, rest = name.partition(".")
            there = rest.split(".")[0]
            if top in ABOVE and here != "cli":
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            if top != "curate" or not there or there == here or (here, there) in SIDEWAYS:
                continue
            if TIER[there] >= TIER[here]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_imports_of_pipelines_point_down() -> None:
    wrong = []
    for path in (ROOT / "pipelines").rglob("*.py"):
        here = path.relative_to(ROOT / "pipelines").parts[0].removesuffix(".py")
        names = {name.split(".")[1] for name in imported(path) if name.startswith("pipelines.")} - {here}
        wrong += [f"{here} imports {there}" for there in names if PIPELINE_TIER[there] >= PIPELINE_TIER[here]]
        if any(name.split(".")[0] == "train" for name in imported(path)):
            wrong.append(f"{here} imports train")
    assert wrong == []


def test_imports_of_train_point_down() -> None:
    wrong = []
    for path in (ROOT / "train").glob("*.py"):
        here = path.name.removesuffix(".py")
        names = {name.split(".")[1] for name in imported(path) if name.startswith("train.")} - {here}
        wrong += [f"{here} imports {there}" for there in names if TRAIN_TIER[there] >= TRAIN_TIER[here]]
    assert wrong == []


def test_only_two_modules_know_distilabel() -> None:
    knowing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pipelines").rglob("*.py")
        if any(name.split(".")[0] == "distilabel" for name in imported(path))
    }
    assert knowing - {"pipelines/clients/connect.py"} == KNOW_DISTILABEL  # models.py names its type, for checkers only


def test_every_module_has_a_tier() -> None:
    top = {
        path.name.removesuffix(".py") for path in (ROOT / "curate").iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert top - {"__pycache__", "data", "templates", "py.typed"} <= set(TIER)


def test_heavy_libraries_are_not_imported_at_module_level() -> None:
    for folder in ("curate", "pipelines", "train"):
        for path in (ROOT / folder).rglob("*.py"):
            allowed = {"distilabel"} if str(path.relative_to(ROOT)) in KNOW_DISTILABEL else set()
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


def test_import_curate_does_not_even_load_polars() -> None:
    program = "import sys, curate; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_files_and_functions_stay_small() -> None:
    long = []
    for folder in ("curate", "pipelines", "train"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            if text.count("\n") > MAX_LINES:
                long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
            long += [
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION
            ]
    assert long == []
