"""The dataset card: README.md with the header that the Hub reads and a description built from the run's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.files import write_json, write_text
from curate.recipe.load import Recipe
from curate.report.card_data import facts
from curate.report.card_header import DEFAULT, Header, header_of, infos_of, join, read_header, to_text
from curate.report.environment import environment
from curate.report.generation import GenerationSummary
from curate.report.reasons import cell
from curate.report.summary import Summary
from curate.rundir.store import DATA, SUMMARY
from curate.sources import title
from curate.terminal import visible

OVERVIEW = (
    "<!-- overview -->\n",
    "<!-- end of overview -->\n",
)  # the part that lists the content of the whole repository


CELL_CHARS = 1_000  # of a text in a table


@dataclass(frozen=True, slots=True)
class Publication:
    """Card content that is only known when publishing."""

    repo: str = "OWNER/NAME"
    config: str = DEFAULT
    gates: Sequence[Mapping[str, Any]] = ()  # name, status (passed, failed, not checked), text
    waived: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()  # other cards of the repository: name, path
    candidates: Header | None = None  # header of their config, if they are published too
    candidate_counts: Mapping[str, int] = field(default_factory=dict)  # answers, prompts, judged, failed


def write_card(summary: Summary) -> None:
    """Write README.md and summary.json, the numbers in it, into the run directory."""
    found = facts(summary)
    write_json(summary.run.folder / SUMMARY, found)
    files = sorted((summary.run.folder / DATA).iterdir())
    write_text(summary.run.card, render(found, summary.run.recipe, files, Publication()))


def render(found: Mapping[str, Any], recipe: Recipe, files: Sequence[Path], about: Publication, old: str = "") -> str:
    """
    Return a run's card. `old` is the repository's current card; its header entries for other configs are kept.

    Texts of the data and the recipe are escaped: they never become markdown, HTML or YAML syntax.
    """
    found = escaped({name: value for name, value in found.items() if name != "sample"}) | {"sample": found["sample"]}
    name = title_of(recipe)
    ours = {"pretty_name": name} | header_of(found, recipe, files, about.config)
    header = join(ours, read_header(old)[0])
    if about.candidates:
        header = join(about.candidates, header)
    return f"---\n{to_text(header)}---\n\n# {plain(name)}\n\n{_body(found, recipe, header, about)}"


def title_of(recipe: Recipe) -> str:
    """Return the dataset's title."""
    paths = recipe.source.paths  # none if all prompts were generated
    return recipe.publish.name or (f"{title(paths)}, curated" if paths else "Preference pairs")


def with_overview(card: str, header: Header, links: Sequence[tuple[str, str]] = ()) -> str:
    """Return the card of another run with a new header and overview; the rest is unchanged."""
    _, body = read_header(card)
    before, opening, rest = body.partition(OVERVIEW[0])
    _, closing, after = rest.partition(OVERVIEW[1])
    if not opening or not closing:  # not written by prefcurate
        before, after = "\n", body
    return f"---\n{to_text(header)}---\n{before}{OVERVIEW[0]}{overview(header, links)}{OVERVIEW[1]}{after}"


def overview(header: Header, links: Sequence[tuple[str, str]] = ()) -> str:
    """Return a table of configs and splits with sizes, from the header, and links (title, path) to other cards."""
    return _rendered("overview.md.j2", infos=infos_of(header), links=links)


def plain(text: str, most: int = 200) -> str:
    """Return a text as one line without characters that would end a table cell or start code, a tag or a link."""
    return visible("".join(c for c in " ".join(text.split()) if c not in "`<>|\\[]"))[:most]


def escaped(found: Any) -> Any:
    """Return plain data with every text in it as `plain` gives it, keys too: it may have come from anywhere."""
    if isinstance(found, dict):
        return {plain(name, CELL_CHARS): escaped(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [escaped(value) for value in found]
    return plain(found, CELL_CHARS) if isinstance(found, str) else found


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
    return environment("curate.report", html=False).get_template(name).render(values)
