"""The dataset card: README.md with the header that the Hub reads, and what was done, from the run's own numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from curate.files import write_json, write_text
from curate.recipe.load import Recipe
from curate.report.card_data import facts
from curate.report.card_header import DEFAULT, Header, header_of, infos_of, join, read_header, to_text
from curate.report.generation import GenerationSummary
from curate.report.summary import Summary, cell
from curate.rundir.store import DATA, SUMMARY
from curate.sources import title

OVERVIEW = ("<!-- overview -->\n", "<!-- end of overview -->\n")  # the part that says what the whole repository holds


@dataclass(frozen=True, slots=True)
class Publication:
    """What a card says that is known only when it is published."""

    repo: str = "OWNER/NAME"
    config: str = DEFAULT
    gates: Sequence[Mapping[str, Any]] = ()  # name, status (passed, failed, not checked), text
    waived: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()  # further cards of the repository: name, path
    candidates: Header | None = None  # of their config, where they are published, too
    candidate_counts: Mapping[str, int] = field(default_factory=dict)  # answers, prompts, judged, failed


def write_card(summary: Summary) -> None:
    """Write README.md, and the numbers it is made of, into the run directory."""
    found = facts(summary)
    write_json(summary.run.folder / SUMMARY, found)
    files = sorted((summary.run.folder / DATA).iterdir())
    write_text(summary.run.card, render(found, summary.run.recipe, files, Publication()))


def render(found: Mapping[str, Any], recipe: Recipe, files: Sequence[Path], about: Publication, there: str = "") -> str:
    """
    A run's card. `there` is the repository's card now: what it says of other configs stays in the header.

    Texts of the data and of the recipe are data here, too: they never become markdown, HTML or YAML of their own.
    """
    name = title_of(recipe)
    ours = {"pretty_name": name} | header_of(found, recipe, files, about.config)
    header = join(ours, read_header(there)[0])
    if about.candidates:
        header = join(about.candidates, header)
    return f"---\n{to_text(header)}---\n\n# {plain(name)}\n\n{_body(found, recipe, header, about)}"


def title_of(recipe: Recipe) -> str:
    """What the dataset is called."""
    paths = recipe.source.paths  # none where all prompts were made
    return recipe.publish.name or (f"{title(paths)}, curated" if paths else "Preference pairs")


def with_overview(card: str, header: Header, links: Sequence[tuple[str, str]] = ()) -> str:
    """Another run's card with a new header and the overview that belongs to it; what else it says stays."""
    _, body = read_header(card)
    before, opening, rest = body.partition(OVERVIEW[0])
    _, closing, after = rest.partition(OVERVIEW[1])
    if not opening or not closing:  # a card of somebody else's
        before, after = "\n", body
    return f"---\n{to_text(header)}---\n{before}{OVERVIEW[0]}{overview(header, links)}{OVERVIEW[1]}{after}"


def overview(header: Header, links: Sequence[tuple[str, str]] = ()) -> str:
    """Configs and splits with their pairs, from the header, and where further cards lie (title, path)."""
    return _rendered("overview.md.j2", infos=infos_of(header), links=links)


def plain(text: str, most: int = 200) -> str:
    """A text as one line that ends no table cell and opens no code, tag or link."""
    return "".join(c for c in " ".join(text.split()) if c not in "`<>|\\[]")[:most]


def _body(found: Mapping[str, Any], recipe: Recipe, header: Header, about: Publication) -> str:
    return _rendered(
        "card.md.j2",
        summary={**found, "generation": GenerationSummary(found["generation"] or {})},
        recipe=recipe,
        about=about,
        overview=OVERVIEW[0] + overview(header, about.links) + OVERVIEW[1],
        cell=cell,
        plain=plain,
        counts=found["counts"],
        license=recipe.publish.license,
        version=found["prefcurate"],
        inputs={plain(name): entry for name, entry in found["inputs"].items()},
        sample=found["sample"],
        title=title_of(recipe),
    )


def _rendered(name: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("curate.report"),
        autoescape=False,  # noqa: S701 - markdown, not HTML: texts are indented in the template
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values)
