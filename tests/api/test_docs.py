"""Public names are documented, their examples run as shown, and tab completion offers nothing else."""

import doctest
import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import pytest

import curate
import pipelines
import train

FUNCTIONS = [name for name in curate.__all__ if inspect.isfunction(getattr(curate, name))]
PACKAGES = [curate, pipelines, train] + [
    importlib.import_module(found.name)
    for package in (curate, pipelines, train)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if found.ispkg
]
# Functions that need a network, a model or a training have an example that is not run.
NOT_RUN = {
    "bakeoff", "decontaminate", "evaluate", "export", "generate", "judge", "open_run", "preflight", "pull", "push",
    "rubric", "run", "train", "trust",
}  # fmt: skip
MODULES = [
    "curate.api.auditing", "curate.api.checking", "curate.api.choosing", "curate.api.converting", "curate.api.frames",
    "curate.api.runs", "curate.dedup.frames", "curate.findings.features", "curate.findings.linear",
    "curate.findings.prompts", "curate.findings.remedies", "curate.schema.result", "curate.sources.frames",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_shown(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_docstring_covers_parameters_result_and_errors(name: str) -> None:
    about = inspect.getdoc(getattr(curate, name)) or ""
    assert "Return" in about
    assert re.search(r"\b[Rr]aises?\b", about) or name == "select"
    example = f"curate.{name}(" in about or f"{name}(" in about
    assert example, about
    if name not in NOT_RUN:
        assert ">>> " in about
    for parameter in inspect.signature(getattr(curate, name)).parameters:
        assert parameter in about, f"{name}: {parameter} is not explained"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_tab_completion_shows_the_public_names(package: ModuleType) -> None:
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert hasattr(package, name) or importlib.import_module(f"{package.__name__}.{name}")
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018
