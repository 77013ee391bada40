"""Checks before publishing: each gate has a name, by which it can be waived, and reports what it found."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from curate.errors import CurateError, unknown
from curate.files import FILES
from curate.publish import licences, secrets
from curate.recipe.data import Publish
from curate.recipe.load import Recipe, to_yaml
from curate.report.card_data import PERSONAL
from curate.report.card_header import hub_sources
from curate.rundir.file_form import from_file
from curate.rundir.result import Run
from curate.rundir.store import DATA, SPLITS
from curate.rundir.writers import row_groups
from curate.schema import OPTIONAL
from curate.signals.patterns import pattern as pattern_of

Status = Literal["passed", "failed", "not checked"]
NAMES = (
    "secrets", "personal_data", "licence", "contamination", "eval_sets", "splits", "leaks", "kept", "duplicates",
)  # fmt: skip
SHOWN = 3  # findings listed in a message
SIDES = ("prompt", "chosen", "rejected")
PLAIN = ("source", "chosen_model", "rejected_model", "extra")
# The same for candidates.
ANSWER_SIDES = ("prompt", "response")
ANSWER_PLAIN = ("source", "model", "params", "error", "reason", "judge")


class GateFailed(CurateError):
    """The data failed a check and is not published."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Gate:
    """The result of a gate."""

    name: str
    status: Status
    text: str


def check_names(waived: Sequence[str]) -> None:
    """Raise RecipeError for an unknown gate."""
    for name in waived:
        if name not in NAMES:
            raise unknown("gate", name, NAMES)


def check(
    run: Run,
    facts: Mapping[str, Any],
    recipe: Recipe,
    known: Mapping[str, str | None],
    answers: Sequence[Path] = (),
) -> list[Gate]:
    """
    Return the result of every gate, in the order of NAMES. `known` has the licences of Hub datasets, `answers` are the
    shards of candidates to be published.
    """
    publish = recipe.publish
    return [
        secrets_in(run, {"the recipe": to_yaml(recipe), **_kept_files(run)}, answers),
        _personal(facts, publish.max_personal, answers),
        _licence(facts, recipe, known),
        _contamination(run, facts, with_answers=bool(answers)),
        _eval_sets(run),
        _splits(facts["counts"], publish, recipe.split.test),
        _leaks(run, facts),
        _kept(facts, publish.min_kept),
    ]


def _kept_files(run: Run) -> dict[str, str]:
    """Return the text of the files that are published beside the recipe."""
    kept = [path for path in run.manifest.files if path.startswith(f"{FILES}/")]
    return {path: (run.folder / path).read_text("utf-8") for path in kept}


def stop_at_failed(gates: Sequence[Gate], waived: Sequence[str]) -> None:
    """Raise GateFailed naming every gate that failed and is not waived."""
    failed = [gate for gate in gates if gate.status == "failed" and gate.name not in waived]
    if failed:
        findings = "; ".join(f"{gate.name}: {gate.text}" for gate in failed)
        names = ",".join(gate.name for gate in failed)
        raise GateFailed(f"not published. {findings}. Fix this, or publish anyway with --waive {names}")


def secrets_in(run: Run, others: Mapping[str, str], answers: Sequence[Path] = ()) -> Gate:
    """Check all texts of data and candidates, and the others (name → text), for secrets."""
    own = secrets.own_tokens()
    kinds: Counter[str] = Counter()
    places: list[str] = []
    for name, text in others.items():
        kinds.update(in_text := secrets.kinds(text, own))
        places += [f"in {name}"] if in_text else []
    for frame in texts_of(run, answers):
        ids = frame.to_series(0)
        for row, column, kind in secrets.find(frame.drop(ids.name), own):
            kinds[kind] += 1
            if len(places) < SHOWN:
                places.append(f"{ids.name.removesuffix('_id')} {ids[row][:12]} in {column}")
    if not kinds:
        return Gate("secrets", "passed", "none found")
    found = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())
    return Gate("secrets", "failed", f"{found} ({'; '.join(places)})")


def texts_of(run: Run, answers: Sequence[Path] = ()) -> Iterator[pl.DataFrame]:
    """Yield the texts of data and candidates by row group: an id, and a column for each side and plain text."""
    yield from _texts(sorted((run.folder / DATA).glob("*.parquet")), "pair_id", SIDES, PLAIN)
    yield from _texts(answers, "candidate_id", ANSWER_SIDES, ANSWER_PLAIN)


def _texts(shards: Sequence[Path], name: str, sides: Sequence[str], plain: Sequence[str]) -> Iterator[pl.DataFrame]:
    fields = [pl.element().struct.field(field) for field in ("content", *OPTIONAL)]
    joined = [
        pl.col(side).list.eval(pl.concat_str(fields, separator="\n", ignore_nulls=True)).list.join("\n").alias(side)
        for side in sides
    ]
    for shard in shards:
        offered = [column for column in ("tools",) if column in pl.read_parquet_schema(shard)]
        for group in row_groups(shard, [name, *sides, *plain, *offered]):
            yield from_file(group.lazy(), sides).collect().select(name, *joined, *plain, *offered)


def _personal(facts: Mapping[str, Any], most: float, answers: Sequence[Path]) -> Gate:
    found, kept = facts["personal"], facts["counts"]["kept"]
    said = [", ".join(f"{count:,} pairs with {name}" for name, count in found.items())]
    failed = found["emails"] > most * kept
    if answers:
        rows, counted = _personal_answers(answers)
        said.append(", ".join(f"{count:,} candidates with {name}" for name, count in counted.items()))
        failed |= counted["emails"] > most * rows
    bound = f"the limit is e-mail addresses in {most:.1%} of the {'pairs or candidates' if answers else 'pairs'}"
    return Gate("personal_data", "failed" if failed else "passed", "; ".join([*said, bound]))


def _personal_answers(answers: Sequence[Path]) -> tuple[int, dict[str, int]]:
    """Return the number of candidates, and by kind the number with personal data in prompt, response or reason."""
    rows, counted = 0, dict.fromkeys(PERSONAL, 0)
    for texts in _texts(answers, "candidate_id", ANSWER_SIDES, ["reason"]):
        rows += len(texts)
        for name in PERSONAL:
            has = pl.any_horizontal(pl.col(*ANSWER_SIDES, "reason").str.contains(pattern_of(name)))
            counted[name] += texts.select(has.sum()).item()
    return rows, counted


def _licence(facts: Mapping[str, Any], recipe: Recipe, known: Mapping[str, str | None]) -> Gate:
    publish = recipe.publish
    said = publish.source_license
    hub = hub_sources(facts, recipe)
    sources: dict[str, str | None] = {}
    for name in facts["inputs"]:
        repo = next((repo for repo in hub if name.startswith(repo)), name)
        sources[repo] = said if isinstance(said, str) else (said or {}).get(repo) or known.get(repo)
    if (facts["generation"] or {}).get("prompts") and not recipe.source.paths:
        sources = {}  # prompts and answers were all generated
    wrong = licences.problem(publish.license, sources)
    if wrong:
        return Gate("licence", "failed", wrong)
    return Gate("licence", "passed", "; ".join([str(publish.license), *(f"{n}: {x}" for n, x in sources.items())]))


def _eval_sets(run: Run) -> Gate:
    """Check that no input is itself an eval set: a model that trains on it cannot be measured by it any more."""
    evals = [f"{name} ({found.format})" for name, found in run.manifest.inputs.items() if found.is_eval]
    if evals:
        return Gate("eval_sets", "failed", f"{', '.join(evals)}: an eval set, which is not to be trained on")
    return Gate("eval_sets", "passed", "no input is known to be one")


def _contamination(run: Run, facts: Mapping[str, Any], *, with_answers: bool) -> Gate:
    """Check that contaminated pairs were dropped; candidates still contain them."""
    sets = (facts["decontaminate"] or {}).get("sets")
    if not sets:
        return Gate("contamination", "not checked", "not compared with any evaluation set")
    dropped = run.ledger.filter(pl.col("stage") == "decontaminate").select(pl.len()).collect().item()
    said = ", ".join(f"{name} {found['hit']:,} of {found['items']:,} items" for name, found in sets.items())
    remaining = max(found["rows"] for found in sets.values()) - dropped
    if remaining > 0:
        return Gate("contamination", "failed", f"{remaining:,} contaminated rows were not dropped ({said})")
    if with_answers and dropped:
        return Gate("contamination", "failed", f"{dropped:,} dropped pairs are still among the candidates ({said})")
    return Gate("contamination", "passed", f"found and dropped: {said}")


def _splits(counts: Mapping[str, int], publish: Publish, test_share: float) -> Gate:
    least = {"train": publish.min_train} | ({"test": publish.min_test} if test_share else {})
    small = [f"{name} has {counts[name]:,} pairs, fewer than {n:,}" for name, n in least.items() if counts[name] < n]
    sizes = ", ".join(f"{name} {counts[name]:,}" for name in SPLITS)
    return Gate("splits", "failed" if small else "passed", "; ".join(small) or sizes)


def _leaks(run: Run, facts: Mapping[str, Any]) -> Gate:
    prompts = pl.concat([run.split(name).select("prompt_id").unique() for name in SPLITS])
    both = prompts.group_by("prompt_id").len().filter(pl.col("len") > 1)
    shared, near = both.select(pl.len()).collect(engine="streaming").item(), facts["leaks"]
    said = f"{shared:,} prompts in two splits; near-duplicates across the splits: "
    said += "not checked" if near is None else f"{near:,}"
    return Gate("leaks", "failed" if shared or near else "passed", said)


def _kept(facts: Mapping[str, Any], least: float) -> Gate:
    counts = facts["counts"]
    share = counts["kept"] / counts["rows"] if counts["rows"] else 0.0
    said = f"{counts['kept']:,} of {counts['rows']:,} rows kept ({share:.1%}); at least {least:.0%} expected"
    return Gate("kept", "failed" if share < least else "passed", said)
