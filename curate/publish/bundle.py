"""The files that a run publishes, with their paths in the repository, and the repository's card."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from curate.files import FILES
from curate.publish.candidates import Candidates
from curate.publish.facts import MANIFEST_FIELDS, published_generation
from curate.publish.gates import Gate
from curate.publish.hub import Remote
from curate.publish.repo_file import File, plain_file
from curate.recipe.load import Recipe, to_yaml
from curate.recipe.published import published
from curate.report.card import Publication, render, with_overview
from curate.report.card_header import DEFAULT, data_folder, header_of, infos_of, join, read_header
from curate.rundir.manifest import Manifest
from curate.rundir.result import Run
from curate.rundir.store import CARD, DATA, LEDGER, MANIFEST, RECIPE, SUMMARY

META = "prefcurate"  # the folder of all files other than data


@dataclass(frozen=True)
class Bundle:
    """A run to be published as a config of a repository."""

    run: Run
    facts: Mapping[str, Any]
    recipe: Recipe  # as published: without local folders and addresses
    repo: str
    config: str = DEFAULT
    append: bool = False
    gates: Sequence[Gate] = ()
    waived: Sequence[str] = ()
    candidates: Candidates | None = None  # published with the pairs, as a separate config
    rewritten_ledger: tuple[Path, str] | None = None  # file and SHA-256, where the run's own has more than is published

    @cached_property
    def part(self) -> str:
        """A name for an appended part, derived from its content: the same data is the same part."""
        sums = [self.run.manifest.files[f"{DATA}/{shard.name}"] for shard in self.shards]
        return hashlib.sha256("".join(sums).encode()).hexdigest()[:12]

    @property
    def ledger(self) -> tuple[Path, str]:
        """The ledger as it is published: file and SHA-256."""
        return self.rewritten_ledger or (self.run.folder / LEDGER, self.run.manifest.files[LEDGER])

    @cached_property
    def shards(self) -> list[Path]:
        """The data files."""
        return sorted((self.run.folder / DATA).glob("*.parquet"))

    def meta(self, *, appended: bool) -> str:
        """Return the folder of recipe, manifest, ledger and card."""
        base = f"{META}/{self.config}"
        return f"{base}/parts/{self.part}" if appended else base

    def appends_to(self, remote: Remote) -> bool:
        """Whether this is appended to existing data of the config."""
        return self.append and any(path.startswith(f"{data_folder(self.config)}/") for path in remote.files)

    def files(self, remote: Remote) -> list[File]:
        """Return every file for the given state of the repository; deterministic, byte for byte."""
        appended = self.appends_to(remote)
        meta = self.meta(appended=appended)
        pairs = [] if appended and f"{meta}/{MANIFEST}" in remote.files else self._pairs(meta, appended=appended)
        answers = self._answers(remote, appended=appended)
        if not pairs and not answers:
            return []  # this part is published already
        card = self._joined_card(remote, appended=appended, pairs=bool(pairs), answers=bool(answers))
        return [*pairs, *answers, plain_file(CARD, card.encode())]

    def _pairs(self, meta: str, *, appended: bool) -> list[File]:
        kept = [path for path in self.run.manifest.files if path.startswith(f"{FILES}/")]
        return [
            *(self._shard(shard, appended=appended) for shard in self.shards),
            *(File(f"{meta}/{path}", self.run.folder / path, self.run.manifest.files[path]) for path in kept),
            File(f"{meta}/{LEDGER}", *self.ledger),
            plain_file(f"{meta}/{RECIPE}", to_yaml(self.recipe).encode()),
            plain_file(f"{meta}/{SUMMARY}", _json(self.facts)),
            plain_file(f"{meta}/{MANIFEST}", _json(self._manifest().to_dict())),
            plain_file(f"{meta}/{CARD}", self._card("").encode()),
        ]

    def _answers(self, remote: Remote, *, appended: bool) -> list[File]:
        if self.candidates is None:
            return []
        files = [File(*place) for place in self.candidates.places(appended=appended)]
        return [] if appended and all(file.path in remote.files for file in files) else files

    def _shard(self, shard: Path, *, appended: bool) -> File:
        name = shard.name
        if appended:
            split, _, rest = name.partition("-")
            name = f"{split}-{self.part}-{rest}"
        return File(f"{data_folder(self.config)}/{name}", shard, self.run.manifest.files[f"{DATA}/{shard.name}"])

    def _manifest(self) -> Manifest:
        """Return the fields of the manifest that are published: none that differs between runs of the same recipe."""
        manifest = self.run.manifest
        sums = {path: sha for path, sha in manifest.files.items() if path.startswith((f"{DATA}/", f"{FILES}/"))}
        gates = [{"name": gate.name, "status": gate.status, "text": gate.text} for gate in self.gates]
        return Manifest(
            **{name: getattr(manifest, name) for name in MANIFEST_FIELDS},
            generation=published_generation(manifest.generation),
            files={**sums, LEDGER: self.ledger[1]},
            gates=gates,
            waived=self._needed_waivers,
        )

    def _publication(self) -> Publication:
        gates = [{"name": gate.name, "status": gate.status, "text": gate.text} for gate in self.gates]
        about = Publication(self.repo, self.config, gates, self._needed_waivers)
        found = self.candidates
        return replace(about, candidates=found.header(), candidate_counts=found.counts) if found else about

    @cached_property
    def _needed_waivers(self) -> list[str]:
        """Waivers of gates that failed; the card does not mention others."""
        return [gate.name for gate in self.gates if gate.status == "failed" and gate.name in self.waived]

    def _card(self, old: str, links: Sequence[tuple[str, str]] = ()) -> str:
        return render(self.facts, self.recipe, self.shards, replace(self._publication(), links=tuple(links)), old)

    def _joined_card(self, remote: Remote, *, appended: bool, pairs: bool, answers: bool) -> str:
        """Return the repository's card: ours if this is its first config, else the old one with our config added."""
        header, _ = read_header(remote.card)
        leads = next((info.get("config_name", DEFAULT) for info in infos_of(header)), self.config)
        links = self._links(remote, appended=appended)
        if not appended and self.config in (leads, DEFAULT):
            return self._card(remote.card, [link for link in links if link[0] != self.config])
        if pairs:
            ours = header_of(self.facts, self.recipe, self.shards, self.config)
            header = join(ours, header, append=appended)
        if answers and self.candidates:
            header = join(self.candidates.header(), header, append=appended)
        return with_overview(remote.card, header, [link for link in links if link[0] != leads])

    def _links(self, remote: Remote, *, appended: bool) -> list[tuple[str, str]]:
        """Return (name, path) of the cards of configs and parts."""
        paths = {path for path in remote.files if path.startswith(f"{META}/") and path.endswith(f"/{CARD}")}
        if not appended:
            paths = {path for path in paths if not path.startswith(f"{META}/{self.config}/parts/")}
        paths.add(f"{self.meta(appended=appended)}/{CARD}")
        named = [(str(PurePosixPath(path).parent.relative_to(META)).replace("/parts/", " + "), path) for path in paths]
        return sorted(named)


def published_recipe(recipe: Recipe, run: Run) -> Recipe:
    """Return a run's recipe as it is published."""
    return published(recipe, run.manifest.inputs, run.manifest.files)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
