"""Errors say what was found, what was expected, and what to do."""

from pathlib import Path

import pytest

from curate.errors import CurateError, InputError, MissingExtra, RecipeError, ServiceError, nearest, require, unknown


@pytest.mark.parametrize(
    ("error", "exit_code"), [(CurateError, 2), (InputError, 2), (RecipeError, 2), (MissingExtra, 2), (ServiceError, 3)]
)
def test_every_error_is_a_curate_error_with_the_commands_exit_code(error: type[CurateError], exit_code: int) -> None:
    assert issubclass(error, CurateError)
    assert error("x").exit_code == exit_code


@pytest.mark.parametrize(
    ("name", "hint"), [("chosn", " Did you mean 'chosen'?"), ("chosen", " Did you mean 'chosen'?"), ("xyz", "")]
)
def test_nearest_returns_the_closest_or_nothing(name: str, hint: str) -> None:
    assert nearest(name, ["rejected", "chosen"]) == hint


def test_nearest_of_nothing_is_nothing() -> None:
    assert nearest("chosen", []) == ""


def test_unknown_names_the_closest_first_then_all_in_order() -> None:
    error = unknown("format", "prefrence", ["preference", "comparison"])
    assert isinstance(error, RecipeError)
    assert str(error) == "unknown format 'prefrence'. Did you mean 'preference'? Known: comparison, preference"


def test_unknown_without_a_close_name_lists_what_is_known() -> None:
    assert str(unknown("format", "xyz", ["own"])) == "unknown format 'xyz'. Known: own"


def test_require_returns_the_module() -> None:
    assert require("json.decoder", "hub").JSONDecoder().decode("[1]") == [1]


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.inside"])
def test_require_names_the_install_line(module: str) -> None:
    with pytest.raises(MissingExtra) as caught:
        require(module, "hub")
    assert str(caught.value) == f"{module} is not installed; run: pip install 'prefcurate[hub]'"


def test_an_installed_but_broken_library_shows_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_inside.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_library'"):
        require("broken_inside", "hub")
