"""`curate push`: gates, then one commit. After any failure, repeating the call leads to the same state."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.errors import InputError, RecipeError, require
from curate.publish import candidates, gates
from curate.publish.append_check import duplicates
from curate.publish.bundle import Bundle, published_recipe
from curate.publish.facts import published_facts, published_ledger
from curate.publish.hub import DATASET, MAIN, Hub, Remote, patiently, quiet
from curate.publish.names import check_names
from curate.publish.plan import Plan, check_readers, make_plan
from curate.recipe.load import Recipe, as_recipe
from curate.report.card_data import read_facts
from curate.report.card_header import DEFAULT, hub_sources
from curate.rundir.checksums import check_seal
from curate.rundir.result import Run, open_run
from curate.rundir.store import SUMMARY
from curate.terminal import busy


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `curate push`."""

    private: bool = False
    branch: str = MAIN
    pr: bool = False
    tag: str | None = None
    message: str | None = None
    config: str = DEFAULT
    candidates: bool = False
    append: bool = False
    allow_schema_change: bool = False
    waive: Sequence[str] = ()
    settings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push, or with a dry run what it would do."""

    repo: str
    plan: Plan
    gates: Sequence[gates.Gate]
    commit: str | None  # current commit of the repository; None after a dry run for a new one
    changed: bool
    url: str | None = None  # of the pull request
    waived: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        about = {"repo": self.repo, "commit": self.commit, "changed": self.changed, "pull_request": self.url}
        found = {"gates": [asdict(gate) for gate in self.gates], "waived": list(self.waived)}
        return {**about, **found, **self.plan.to_dict()}


def push(folder: str | Path, repo: str, *, dry_run: bool = False, **options: Any) -> Pushed:
    """
    Publish a run as OWNER/NAME in one commit, if anything changed. See `Options` for the keywords.

    Raise GateFailed (1), InputError (2: an unfinished or edited run, an unsuitable name or token, a schema that would
    break readers) or ServiceError (3: the Hub failed repeatedly).
    """
    wanted = _checked(Options(**options), repo)
    run = open_run(folder)
    with busy("check"):
        check_seal(run.folder, run.manifest)
    answers_of = candidates.opened(run, wanted.config) if wanted.candidates else nullcontext()
    with TemporaryDirectory(prefix="prefcurate-") as temporary, answers_of as answers:
        hub = Hub(repo)
        hub.check_writer()
        with busy("gates"):
            bundle = _bundle(run, repo, wanted, answers)
            bundle = replace(bundle, rewritten_ledger=published_ledger(run, Path(temporary)))
        if not dry_run:
            gates.stop_at_failed(bundle.gates, wanted.waive)
        plans: list[Plan] = []  # of every attempt: after a lost response the last one finds nothing to do
        with quiet():
            return patiently(repo, lambda: _attempt(hub, bundle, wanted, plans, dry_run=dry_run))


def _checked(options: Options, repo: str) -> Options:
    check_names(repo, options.config, options.branch, options.tag)
    gates.check_names(options.waive)
    if options.config == candidates.NAME:
        raise RecipeError(f"--config names the pairs; --{candidates.NAME} publishes the answers next to them")
    if options.pr and (options.tag or options.branch != MAIN):
        raise RecipeError("--pr proposes a change to main and cannot be combined with --tag or --branch")
    return options


def _bundle(run: Run, repo: str, options: Options, answers: candidates.Candidates | None) -> Bundle:
    facts = published_facts(read_facts(run.folder / SUMMARY))
    recipe = _with_settings(run.recipe, options.settings)
    known = patiently(repo, lambda: _licences(hub_sources(facts, recipe)))
    found = gates.check(run, facts, recipe, known, tuple(answers.shards) if answers else ())
    return Bundle(
        run,
        facts,
        published_recipe(recipe, run),
        repo,
        options.config,
        options.append,
        found,
        tuple(options.waive),
        answers,
    )


def _with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return the run's recipe with changes to its publish section; other changes would need another run."""
    if not settings:
        return recipe
    wrong = [text for text in settings if not text.strip().startswith("publish.")]
    if wrong:
        raise RecipeError(
            f"--set {wrong[0]}: only publish.… can be set for a finished run; for other settings, run it again"
        )
    return as_recipe(recipe, settings)


def _licences(repos: Sequence[str]) -> dict[str, str | None]:
    """Return the licences of Hub datasets that were read; None if unspecified or the dataset is gone."""
    api, errors = require("huggingface_hub", "hub").HfApi(), require("huggingface_hub.errors", "hub")
    found: dict[str, str | None] = {}
    for repo in repos:
        try:
            card = api.dataset_info(repo).card_data
        except errors.RepositoryNotFoundError:
            card = None
        licence: Any = card.get("license") if card else None
        found[repo] = licence[0] if isinstance(licence, list) and licence else licence
    return found


def _attempt(hub: Hub, bundle: Bundle, options: Options, plans: list[Plan], *, dry_run: bool) -> Pushed:
    """Take a snapshot, plan, commit, tag. A retry takes a new one, so that a commit with a lost response is found."""
    remote = hub.snapshot(options.branch)
    if bundle.append:
        bundle = replace(bundle, gates=[*bundle.gates, duplicates(bundle, remote, hub)])
    plan = make_plan(bundle, remote, hub)
    plans.append(plan)
    changed = any(not each.empty for each in plans)
    done = Pushed(hub.repo, plans[0], bundle.gates, remote.sha, changed=changed, waived=bundle.waived)
    if dry_run:
        return done
    gates.stop_at_failed(bundle.gates, options.waive)
    check_readers(plan, allowed=options.allow_schema_change)
    _check_tag(plan, options.tag)
    if options.pr and remote.sha and not plan.empty and (same := _same_pull(hub, bundle, options)):
        return replace(done, changed=len(plans) > 1, url=same)
    if remote.sha is None:
        hub.create(private=options.private)
        return _attempt(hub, bundle, options, plans, dry_run=False)
    if remote.branch_missing:
        hub.api.create_branch(hub.repo, branch=options.branch, revision=remote.sha, repo_type=DATASET, exist_ok=True)
    commit, url = remote.sha, None
    if not plan.empty:
        message = _message(bundle, options)
        commit, url = hub.commit(remote.sha, plan.adds, plan.deletes, message, options.branch, pr=options.pr)
    if options.tag and options.tag not in remote.tags:
        hub.api.create_tag(hub.repo, tag=options.tag, revision=commit, repo_type=DATASET, exist_ok=True)
    return replace(done, commit=commit, url=url)


def _message(bundle: Bundle, options: Options) -> str:
    counts = bundle.facts["counts"]
    verb = "Append" if bundle.append else "Publish"
    return (
        options.message or f"{verb} {bundle.config}: {counts['kept']:,} pairs, prefcurate {bundle.facts['prefcurate']}"
    )


def _check_tag(plan: Plan, tag: str | None) -> None:
    at = plan.remote.tags.get(tag) if tag else None
    if at and (at != plan.remote.sha or not plan.empty):
        raise InputError(f"the tag {tag} already exists, at commit {at[:8]}; tags are not moved: choose another")


def _same_pull(hub: Hub, bundle: Bundle, options: Options) -> str | None:
    """Return the URL of an open pull request of an earlier push with the same content, or None."""
    for revision, url in hub.pulls(_message(bundle, options)):
        proposed: Remote = hub.snapshot(revision)
        if make_plan(bundle, proposed, hub).empty:
            return url
    return None
