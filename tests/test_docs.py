"""The documentation is correct: tables match the code, commands and code run, links resolve."""

import ast
import importlib
import inspect
import json
import operator
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import curate
from curate import limits
from curate.cli import app
from curate.findings.kinds import KINDS
from curate.publish.forms import FORMS
from curate.rules import DEFAULTS
from curate.signals import SIGNALS
from curate.sources import read
from curate.sources.formats import FORMATS, AnswerFormat
from curate.sources.input import open_feeds
from tests import forked
from tests.data import rows, write_jsonl
from tests.sources.shapes import REFUSED, SHAPES

ROOT = Path(__file__).resolve().parents[1]
README, CURATE = ROOT / "README.md", ROOT / "curate" / "README.md"
SHARED_SHAPES = ROOT.parent / "shared" / "formats"
SECURITY = ROOT / ".github" / "SECURITY.md"
PAGES = [README, CURATE, SECURITY, *(ROOT / path for path in (
    "CHANGELOG.md", ".github/CONTRIBUTING.md", "curate/publish/README.md", "curate/stages/SCALE.md",
    "pipelines/README.md", "train/README.md", "tests/benchmarks/README.md",
))]  # fmt: skip
WITH_CODE = [page for page in PAGES if "```" in page.read_text("utf-8")]
MOST_LINES = 150  # of the README
# Commands that run here, on the files of `folder`; the others need a Hub, a model, a GPU or real data, and are parsed.
LOCAL = {
    "audit", "check", "clean", "convert", "run", "why", "export", "generate", "judge", "rubric", "signals", "evals",
    "recipe",
}  # fmt: skip
# The last of these need a run that asked a judge, or a rubric of a model.
ELSEWHERE = re.compile(r"OWNER|\.\./shared|gsm8k|evals\.parquet|--again|--raw|RUBRIC/")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def table(header: str, lines: list[tuple[str, ...]]) -> str:
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    rule = "|".join("---" for _ in header.split(" | "))
    return "\n".join([f"| {header} |", f"|{rule}|", *(f"| {line} |" for line in cells)])


def about(text: str | None) -> str:
    """Return the first paragraph on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def size(count: int) -> str:
    """Return a limit as people write it."""
    powers = {1 << 30: "GB", 1 << 20: "MB", 1 << 10: "kB"}
    return next((f"{count // power:,} {unit}" for power, unit in powers.items() if count % power == 0), f"{count:,}")


def limit_table() -> str:
    ratio = (
        f"{limits.UNPACKED_RATIO} times its size (beyond {size(limits.UNPACKED_FREE)}), {size(limits.UNPACKED_BYTES)}"
    )
    ids = f"{limits.ID_BYTES} bytes per row (beyond {size(limits.UNPACKED_FREE)})"
    return table(
        "what | limit | setting",
        [
            ("a reply of an endpoint, unpacked", size(limits.REPLY_BYTES), "`max_reply_bytes` of the model"),
            ("redirects of a request, on the same host", str(limits.REDIRECTS), ""),
            ("a row or cell of a source, decoded", size(limits.ROW_BYTES), "`source.max_row_bytes`"),
            ("a compressed or encoded file, unpacked", ratio, "`source.max_unpacked_bytes`"),
            ("columns of a source", f"{limits.COLUMNS:,}", ""),
            ("unreadable rows, checked while reading", f"from {limits.BAD_ROWS:,} on", "`source.max_bad_rows`"),
            ("a YAML file, aliases written out", f"{limits.YAML_SIZE:,} characters, {limits.YAML_DEPTH} levels", ""),
            ("a call of a chat template", f"{limits.TEMPLATE_SECONDS} s, {size(limits.TEMPLATE_BYTES)}", ""),
            ("a text file published with a recipe", size(limits.PUBLISHED_FILE), ""),
            ("ids of published rows, read before an append", ids, ""),
        ],
    )


def tables() -> dict[str, str]:
    """Return every generated part of curate/README.md by its name."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        "commands": table("command | what it does", [(f"`curate {n}`", about(c.help)) for n, c in commands.items()]),
        "formats": table(
            "format | what it is | rows hold | read so",
            [
                (f"`{name}`", about(shape.__doc__), holds(shape), ", ".join(SHAPES.get(name, ())))
                for name, shape in FORMATS.items()
            ],
        ),
        "forms": table(
            "form | columns | read by | not in it | cannot express",
            [
                (f"`{n}`", f.about, f"[{f.reader}]({f.reference})", ", ".join(f.lost), ", ".join(f.refused))
                for n, f in FORMS.items()
            ],
        ),
        "codes": table(
            "code | finding | severity | why | what to do",
            [(k.code, f"`{k.name}`", k.severity, k.why, k.repair) for k in KINDS.values()],
        ),
        "rules": table(
            "rule | default | why", [(f"`{name}`", str(v).lower(), why) for name, (v, why) in DEFAULTS.items()]
        ),
        "signals": table(
            "signal | of | definition",
            [(f"`{s.name}`", ", ".join(s.sides) or "pair", about(s.about)) for s in SIGNALS.values()],
        ),
    }


def holds(shape: object) -> str:
    """Return what the rows of a format hold; answers are paired by their scores."""
    return "answers" if isinstance(shape, AnswerFormat) else "pairs"


def part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def commands_of(page: Path) -> list[list[str]]:
    """Return every `curate …` line of the page's code blocks, as arguments."""
    blocks = re.findall(r"```\w*\n(.*?)```", text_of(page), re.DOTALL)
    lines = [line for block in blocks for line in re.findall(r"^(curate [^#\n]+)", block, re.MULTILINE)]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("name", ["codes", "commands", "formats", "forms", "rules", "signals"])
def test_tables_match_the_code(name: str) -> None:
    found = part(name).search(text_of(CURATE))
    assert found is not None
    assert found[2].strip() == tables()[name], "run: python tests/test_docs.py"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_SHAPES.is_dir(), reason=f"the shapes are not there: {SHARED_SHAPES}")
def test_shapes_are_recognized_as_the_table_says() -> None:
    def format_of(file: str) -> str:
        feed = open_feeds([str(SHARED_SHAPES / file)])[0]
        return next(read(feed))[1].name

    expected = {shape["file"] for shape in json.loads(text_of(SHARED_SHAPES / "expected.json"))}
    assert expected == {file for files in SHAPES.values() for file in files} | set(REFUSED)
    assert {name: tuple(f for f in files if format_of(f) == name) for name, files in SHAPES.items()} == SHAPES


def test_the_limits_match_the_code() -> None:
    found = part("limits").search(text_of(SECURITY))
    assert found is not None
    assert found[2].strip() == limit_table(), "run: python tests/test_docs.py"


def test_the_readme_is_short() -> None:
    assert text_of(README).count("\n") <= MOST_LINES


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_every_command_line_is_valid(page: Path) -> None:
    """Names and options of every command line are known."""
    group = typer.main.get_command(app)
    for arguments in commands_of(page):
        with group.make_context("curate", list(arguments)) as context:
            name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
            assert command is not None
            command.make_context(name, rest, parent=context).close()


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, CURATE, ROOT / "pipelines" / "README.md"], ids=name_of)
def test_commands_run(tmp_path: Path, page: Path) -> None:
    fill(tmp_path)
    local = [a for a in commands_of(page) if a[0] in LOCAL and not ELSEWHERE.search(" ".join(a))]
    assert len(local) >= 2
    for arguments in local:
        done = forked.curate(*arguments, folder=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, CURATE], ids=name_of)
def test_code_runs(tmp_path: Path, page: Path) -> None:
    fill(tmp_path)
    blocks = re.findall(r"(<!-- not run[^\n]*-->\n)?```python\n(.*?)```", text_of(page), re.DOTALL)
    code = "\n".join(block for skipped, block in blocks if not skipped)
    assert "curate.read(" in code
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if page == README:
        assert "Result(20 of 20 kept)" in done.stdout
        assert "Run('RUN': 20 of 20 kept · train 18, test 2)" in done.stdout


def code_of(page: Path) -> str:
    """Return the Python code of a page or a notebook."""
    if page.suffix == ".ipynb":
        cells = json.loads(text_of(page))["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n\n".join(re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL))


@pytest.mark.parametrize("page", [*WITH_CODE, ROOT / "train" / "tutorial.ipynb"], ids=name_of)
def test_code_imports_and_calls_what_exists(page: Path) -> None:
    """Also in code that needs a network or a GPU: our imports resolve, and `curate.…` takes the keywords."""
    for node in ast.walk(ast.parse(code_of(page))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"curate", "pipelines", "train"}:
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if isinstance(node, ast.Call) and (named := re.fullmatch(r"curate\.([\w.]+)", ast.unparse(node.func))):
            function = operator.attrgetter(named[1])(curate)
            keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(function).bind(*node.args, **keywords)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """Relative links name files of the repository, and anchors headings of the page they lead to."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)} links to {target}, which is not there"
        assert ROOT in file.parents, target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{name_of(page)} links to {target}, which has no such heading"


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|`)make (\w+)", text_of(page), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_files_and_modules_exist(page: Path) -> None:
    """Paths in backticks that begin with one of our folders."""
    for path in re.findall(r"`((?:curate|pipelines|train|tests)/[\w./-]*\w/?)[`:]", text_of(page)):
        assert (ROOT / path).exists(), f"{name_of(page)} names {path}"


def fill(folder: Path) -> None:
    """Write the files that the pages' examples name."""
    write_jsonl(folder / "pairs.jsonl", rows(20))
    write_jsonl(folder / "labelled.jsonl", rows(250))
    write_jsonl(folder / "prompts.jsonl", [{"prompt": f"What is {n} times {n}?"} for n in range(3)])
    write_jsonl(folder / "mine.jsonl", [{"prompt": "An item of an exam of your own."}])
    (folder / "recipe.yaml").write_text("source: {paths: pairs.jsonl.gz}\n")
    subprocess.run(["gzip", "-k", "pairs.jsonl"], cwd=folder, check=True)


if __name__ == "__main__":
    text = text_of(CURATE)
    for name, generated in tables().items():
        text = part(name).sub(lambda found, new=generated: f"{found[1]}{new}\n{found[3]}", text)  # type: ignore[misc]
    CURATE.write_text(text, "utf-8")
    filled = part("limits").sub(lambda found: f"{found[1]}{limit_table()}\n{found[3]}", text_of(SECURITY))
    SECURITY.write_text(filled, "utf-8")
