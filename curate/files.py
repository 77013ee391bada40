"""
Atomic writes: files are written under a temporary name, synced, then renamed, so that none is ever partial.

Also the reader of YAML files that users write.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError

from curate import limits
from curate.errors import CurateError, InputError, RecipeError

OWNER = ".prefcurate"  # in every folder that prefcurate keeps, and names what it is: a run or a training
FILES = "files"  # folder of a run with the text files that its recipe refers to: rubric, prices, chat template
T = TypeVar("T")
CHUNK = 1 << 20  # bytes hashed at once
NO_SPACE = 64 << 10  # free bytes below which a failed write is attributed to a full disk


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end of the block, or is removed if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    try:
        yield temporary
        for file in [temporary] if temporary.is_file() else sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        if path.is_dir():  # a folder cannot be replaced atomically; without its manifest the run counts as unfinished
            remove(path)
        temporary.replace(path)
        _sync(path.parent)
    except Exception as error:  # libraries report a full disk in many ways, not all as OSError
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        usage = shutil.disk_usage(path.parent)
        if usage.total and usage.free < NO_SPACE:  # /proc has none of either
            raise no_space(path.parent) from error
        if _size_limit() <= max(_sizes(temporary), default=0):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path)) from error
        raise
    finally:
        remove(temporary)


def _sizes(path: Path) -> Iterator[int]:
    yield from (file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def _size_limit() -> float:
    """Return the size in bytes beyond which the system lets no file grow (ulimit -f)."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


def no_space(folder: Path) -> CurateError:
    """Return the error for a full disk."""
    return CurateError(f"no space left on the disk of {folder}; free some and run the same command again")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_named(path: Path) -> bytes:
    """
    Return a file that a recipe or the command names: a recipe, a rubric, prices, a chat template.

    Raises InputError for a device or pipe, which may never end, and for a file beyond `limits.NAMED_FILE`; OSError for
    one that cannot be read.

        read_named(Path("rubric.txt"))
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a device or pipe; a regular file was expected")
    with path.open("rb") as file:
        data = file.read(limits.NAMED_FILE + 1)
    if len(data) > limits.NAMED_FILE:
        raise InputError(f"{path} is larger than {limits.NAMED_FILE:,} bytes; expected a text of some pages")
    return data


def read_json(path: Path, kind: type[T]) -> T:
    """
    Return a JSON file that prefcurate wrote, as a type: a msgspec.Struct, a TypedDict, `dict[str, int]`, ….

    Raises InputError naming the file and the field for one that is damaged, or was written by something else.

        read_json(Path("RUN/summary.json"), dict[str, Any])
    """
    return parse_json(path.read_bytes(), kind, str(path))


def parse_json(raw: bytes, kind: type[T], name: str) -> T:
    """Return JSON as a type, as `read_json` does; `name` says in errors where it came from."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{name} cannot be read: {error}") from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raise InputError for a device or folder in its place."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder, device or pipe; a regular file was expected")
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


if yaml.__with_libyaml__:  # its parser is several times as fast; what it parses is composed by the class below

    class _Loader(Composer, yaml.CSafeLoader):
        def __init__(self, text: str) -> None:
            yaml.CSafeLoader.__init__(self, text)
            Composer.__init__(self)

else:
    _Loader = yaml.SafeLoader  # type: ignore[misc, assignment]  # either class is the base


class BoundedYaml(_Loader):
    """Plain data of limited depth and size; what an alias refers to counts each time and must not contain it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._size = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, as the base class does."""
        mark: Any = self.peek_event().start_mark  # type: ignore[union-attr]  # it is called at an event
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > limits.YAML_DEPTH:
            raise ComposerError(None, None, f"nested more than {limits.YAML_DEPTH} levels deep", mark)
        before = self._size
        node = super().compose_node(parent, index)
        if node is None or (is_alias and node not in self._sizes):
            raise ComposerError(None, None, "an alias inside of what it refers to", mark)
        own = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        self._size += self._sizes[node] if is_alias else limits.YAML_VALUE + own
        if self._size > limits.YAML_SIZE:
            raise ComposerError(None, None, f"more than {limits.YAML_SIZE:,} characters, aliases written out", mark)
        if not is_alias:
            self._sizes[node] = self._size - before
        self._depth -= 1
        return node


class TextKeys(BoundedYaml):
    """As `BoundedYaml`, and keys are text: a date or a number is not one that anybody means."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        """Construct a mapping, as the base class does."""
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            kind = key.tag.removeprefix("tag:yaml.org,2002:")
            if kind not in ("str", "merge"):
                shown = repr(key.value[:40]) if isinstance(key.value, str) else "a key"
                raise ConstructorError(None, None, f"{shown} is {kind}; put quotes around a key", key.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, loader: type[BoundedYaml] = BoundedYaml) -> Any:
    """
    Return plain data from YAML. Raises yaml.YAMLError for whatever is wrong with it, limits of size and depth included.

        parse_yaml("a: [1, 2]")
    """
    if len(text) > limits.YAML_SIZE:
        raise yaml.YAMLError(f"it has {len(text):,} characters; expected at most {limits.YAML_SIZE:,}")
    try:
        return yaml.load(text, loader)  # noqa: S506 - both are safe loaders
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error  # `!!int x`, the date 2026-99-99 and such


def yaml_text(tree: Mapping[str, Any]) -> str:
    r"""
    Return plain data as YAML, in its own order.

        yaml_text({"split": {"test": 0.1}})  # "split:\n  test: 0.1\n"
    """
    how: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 120}
    if yaml.__with_libyaml__:
        with contextlib.suppress(UnicodeEncodeError):  # lone surrogates
            text = yaml.dump(dict(tree), Dumper=yaml.CSafeDumper, **how)
            if "\\U" not in text:  # its emitter is ten times as fast, and escapes emoji
                return str(text)
    return str(yaml.safe_dump(dict(tree), **how))


def read_yaml(path: Path, expected: str) -> tuple[dict[str, Any], str]:
    """
    Return a YAML file's mapping, and its text, by which an error can name the line.

    Raises RecipeError for a file that does not exist, is not YAML (or beyond its limits in `curate.limits`), has keys
    that are not text, or is no mapping; `expected` says of what.

        read_yaml(Path("dpo.yaml"), "TRL options, one per line")
    """
    try:
        text = read_named(path).decode()
        tree = parse_yaml(text, TextKeys)
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        hint = "; indent with spaces, not tabs" if "cannot start any token" in str(error) and "\t" in text else ""
        raise RecipeError(f"{path} is not a YAML file: {' '.join(str(error).split())}{hint}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path} contains {type(tree).__name__}; expected {expected}")
    return tree, text


def claim(folder: Path, kind: str, *, beside: Collection[str] = ()) -> None:
    """
    Create a folder and mark it as ours, so that what is replaced in it later was written by us.

    Raises RecipeError for a folder that holds something else, apart from the names in `beside`: there is no option
    that overrides this, because names of ours, such as data/ or README.md, are also names that people use.

        claim(Path("RUN"), "run")
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_ours(folder, kind, beside=beside)
    if not (folder / OWNER).is_file():
        write_text(folder / OWNER, f"{kind}\n")


def check_ours(folder: Path, kind: str, *, beside: Collection[str] = ()) -> None:
    """Raise RecipeError for a folder that `claim` would refuse; nothing is written."""
    mark = folder / OWNER
    if mark.is_file():
        if (found := mark.read_text("utf-8", "replace").strip()) != kind:
            raise RecipeError(f"{folder} contains a {found[:20]}, not a {kind}; choose another --out")
    elif others := sorted(path.name for path in folder.iterdir() if path.name not in beside):
        raise RecipeError(
            f"{folder} is not empty and contains no {kind} ({others[0]}, …); choose another --out, which may be new"
        )


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
