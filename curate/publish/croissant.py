"""Croissant metadata from a card's header, for tools that do not read Hub cards."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from curate.errors import require
from curate.publish.repo_file import File, plain_file
from curate.report.card_header import DEFAULT, Header, infos_of, read_header

CROISSANT = "croissant.json"
HUB = "https://huggingface.co"
REPOSITORY = "repo"
Kind = TypeVar("Kind")
_TYPES = {"string": "TEXT", "bool": "BOOL", "uint32": "UINT32", "uint64": "UINT64", "float64": "FLOAT64"}


def croissant_of(repo: str, card: File) -> File:
    """Return the metadata for a card."""
    content = card.content if isinstance(card.content, bytes) else card.content.read_bytes()
    return plain_file(CROISSANT, croissant(repo, read_header(content.decode())[0]))


def croissant(repo: str, header: Header) -> bytes:
    """
    Return Croissant metadata as JSON-LD; deterministic.

    in : OWNER/NAME, the header of its card
    out: for every config with files and columns in the header: a file set, a record set, and each record's split

    Columns of types that prefcurate does not write are omitted. Source: the Croissant format (MLCommons), version 1.0,
    as written by mlcroissant.
    """
    mlc = require("mlcroissant", "hub")
    url = f"{HUB}/datasets/{repo}"  # not HF_ENDPOINT, which may be an address inside the publisher's network
    # The header may contain entries of other tools; those of an unknown form are omitted.
    infos = _those(dict, infos_of(header))
    columns = {info.get("config_name", DEFAULT): _those(dict, info.get("features")) for info in infos}
    files = {entry.get("config_name", DEFAULT): _paths(entry) for entry in _those(dict, header.get("configs"))}
    known = {name: paths for name, paths in files.items() if name in columns and paths}
    metadata = mlc.Metadata(
        name=repo.replace("/", "__"),
        description=str(header.get("pretty_name", repo)),
        url=url,
        license=_those(str, header.get("license")) or None,
        keywords=_those(str, header.get("tags")) or None,
        in_language=_those(str, header.get("language")) or None,
        # A repository has no checksum; the format expects its branch instead.
        distribution=[
            mlc.FileObject(
                id=REPOSITORY, name=REPOSITORY, content_url=url, encoding_formats=["git+https"], sha256="main"
            ),
            *(_files(mlc, config, paths) for config, paths in known.items()),
        ],
        record_sets=[_records(mlc, config, columns[config], paths) for config, paths in known.items()],
    )
    return (json.dumps(metadata.to_json(), indent=2, ensure_ascii=False) + "\n").encode()


def _those(kind: type[Kind], value: Any) -> list[Kind]:
    """Return the items of this type in a list; a single value is treated as a list of one."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, kind)]


def _paths(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return split → path of its files; empty if the header uses another form than ours."""
    found = {file.get("split"): file.get("path") for file in _those(dict, entry.get("data_files"))}
    return {split: path for split, path in found.items() if isinstance(split, str) and isinstance(path, str)}


def _files(mlc: Any, config: str, paths: Mapping[str, str]) -> Any:
    name, kind = _file_set(config), "application/x-parquet"
    return mlc.FileSet(
        id=name, name=name, contained_in=[REPOSITORY], encoding_formats=[kind], includes=list(paths.values())
    )


def _records(mlc: Any, config: str, features: Sequence[Mapping[str, Any]], paths: Mapping[str, str]) -> Any:
    split = mlc.Transform(regex=rf".*/({'|'.join(map(re.escape, paths))})-[^/]*$")
    path = mlc.Source(file_set=_file_set(config), extract=mlc.Extract(file_property="fullpath"), transforms=[split])
    first = mlc.Field(id=f"{config}/split", name="split", data_types=[mlc.DataType.TEXT], source=path)
    named = [feature for feature in features if isinstance(feature.get("name"), str)]
    fields = [field for feature in named for field in _field(mlc, config, feature)]
    return mlc.RecordSet(id=config, name=config, fields=[first, *fields])


def _field(mlc: Any, config: str, feature: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the column if it has a type that we write; messages are lists of objects, without their calls of tools."""
    name, parts = feature["name"], _those(dict, feature.get("list"))
    parts = [part for part in parts if part.get("list") != "json"]  # a type that the format does not have

    def field(at: str, dtype: str, **more: Any) -> Any:
        source = mlc.Source(file_set=_file_set(config), extract=mlc.Extract(column=name), **more)
        return mlc.Field(id=f"{config}/{at}", name=at, data_types=[getattr(mlc.DataType, _TYPES[dtype])], source=source)

    if _is_ours(feature):
        yield field(name, feature["dtype"])
    elif parts and all(_is_ours(part) and "name" in part for part in parts):
        members = [
            field(f"{name}/{part['name']}", part["dtype"], transforms=[mlc.Transform(json_path=part["name"])])
            for part in parts
        ]
        source = mlc.Source(file_set=_file_set(config), extract=mlc.Extract(column=name))
        yield mlc.Field(
            id=f"{config}/{name}", name=name, source=source, is_array=True, array_shape="-1", sub_fields=members
        )


def _is_ours(feature: Mapping[str, Any]) -> bool:
    return isinstance(feature.get("dtype"), str) and feature["dtype"] in _TYPES


def _file_set(config: str) -> str:
    return f"{config}-files"
