"""What a card's header says of a repository, as Croissant metadata: tools that know no Hub card read it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curate.errors import require
from curate.header import DEFAULT, Header, infos_of, read_header
from curate.publish.files import File, plain_file

CROISSANT = "croissant.json"
REPOSITORY = "repo"
_TYPES = {"string": "TEXT", "bool": "BOOL", "uint32": "UINT32", "uint64": "UINT64", "float64": "FLOAT64"}


def croissant_of(repo: str, card: File) -> File:
    """The metadata that belongs to a card."""
    content = card.content if isinstance(card.content, bytes) else card.content.read_bytes()
    return plain_file(CROISSANT, croissant(repo, read_header(content.decode())[0]))


def croissant(repo: str, header: Header) -> bytes:
    """
    in : OWNER/NAME, the header of its card
    out: JSON-LD: a set of files and a set of records for every config of which the header names files and columns, and
         which split each record is from. The same header gives the same bytes.

    Columns of other types than ours are left out: they are in configs that others made. Source: the Croissant format
    (MLCommons), version 1.0, which mlcroissant writes.
    """
    mlc, hub = require("mlcroissant", "hub"), require("huggingface_hub.constants", "hub")
    url = f"{hub.ENDPOINT}/datasets/{repo}"
    columns = {info.get("config_name", DEFAULT): info.get("features", []) for info in infos_of(header)}
    files = {entry.get("config_name", DEFAULT): entry.get("data_files") for entry in header.get("configs") or []}
    known = {name: _paths(entries) for name, entries in files.items() if name in columns and _paths(entries)}
    metadata = mlc.Metadata(
        name=repo.replace("/", "__"),
        description=str(header.get("pretty_name", repo)),
        url=url,
        license=header.get("license"),
        keywords=header.get("tags"),
        in_language=header.get("language"),
        # A repository has no checksum: the format wants its branch in that place.
        distribution=[
            mlc.FileObject(
                id=REPOSITORY, name=REPOSITORY, content_url=url, encoding_formats=["git+https"], sha256="main"
            ),
            *(_files(mlc, config, paths) for config, paths in known.items()),
        ],
        record_sets=[_records(mlc, config, columns[config], paths) for config, paths in known.items()],
    )
    return (json.dumps(metadata.to_json(), indent=2, ensure_ascii=False) + "\n").encode()


def _paths(entries: Any) -> dict[str, str]:
    """Split → where its files lie; empty where the header says it in another way than ours."""
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    found = {entry.get("split"): entry.get("path") for entry in listed}
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
    fields = [field for feature in features if "name" in feature for field in _field(mlc, config, feature)]
    return mlc.RecordSet(id=config, name=config, fields=[first, *fields])


def _field(mlc: Any, config: str, feature: Mapping[str, Any]) -> Iterator[Any]:
    """The column, if it is of a type that we write; messages are lists of role and content."""
    name, parts = feature["name"], feature.get("list")

    def field(at: str, dtype: str, **more: Any) -> Any:
        source = mlc.Source(file_set=_file_set(config), extract=mlc.Extract(column=name), **more)
        return mlc.Field(id=f"{config}/{at}", name=at, data_types=[getattr(mlc.DataType, _TYPES[dtype])], source=source)

    if feature.get("dtype") in _TYPES:
        yield field(name, feature["dtype"])
    elif isinstance(parts, list) and all(part.get("dtype") in _TYPES for part in parts):
        members = [
            field(f"{name}/{part['name']}", part["dtype"], transforms=[mlc.Transform(json_path=part["name"])])
            for part in parts
        ]
        source = mlc.Source(file_set=_file_set(config), extract=mlc.Extract(column=name))
        yield mlc.Field(
            id=f"{config}/{name}", name=name, source=source, is_array=True, array_shape="-1", sub_fields=members
        )


def _file_set(config: str) -> str:
    return f"{config}-files"
