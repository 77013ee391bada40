"""Validation of names given by the user, before they are used in paths and URLs."""

import re

from curate.errors import RecipeError, require

CONFIG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
REF = re.compile(r"(?!.*(?:\.\.|//|@\{))[A-Za-z0-9][A-Za-z0-9_./-]{0,99}(?<![./])")
RESERVED = {"data", "prefcurate"}  # folders of the repository


def check_names(repo: str, config: str, branch: str, tag: str | None) -> None:
    """Raise RecipeError for a name that the Hub would reject, or that would escape its folder."""
    check_repo(repo)
    if not CONFIG.fullmatch(config) or config in RESERVED or ".." in config:
        raise RecipeError(f"{config!r} is not a valid config name: letters, digits, - _ . (and not data or prefcurate)")
    for what, name in (("branch", branch), ("tag", tag)):
        if name is not None and not REF.fullmatch(name):
            raise RecipeError(f"{name!r} is not a valid {what} name: letters, digits, - _ . /")


def check_repo(repo: str) -> None:
    """Raise RecipeError unless the name is a valid OWNER/NAME for the Hub."""
    if repo.count("/") != 1:
        raise RecipeError(f"{repo!r} is not a valid Hub name; expected OWNER/NAME")
    errors = require("huggingface_hub.errors", "hub")
    try:
        require("huggingface_hub.utils", "hub").validate_repo_id(repo)
    except errors.HFValidationError as error:
        raise RecipeError(" ".join(str(error).split())) from error
