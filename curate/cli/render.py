"""Output of the command for people. Texts from the data are printed as text, never as markup."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate import terminal
from curate.cli.inputs import described
from curate.report.generation import GenerationSummary, rubric_tables
from curate.report.reasons import cell, explanation
from curate.report.summary import Summary
from curate.rundir.result import Run
from curate.schema.message import shown_turns

SHOWN_CHARS = 1_000
console = terminal.console()


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with equal keys as a table."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(rows[0]):
        shown.add_column(
            escape(terminal.visible(name)),
            no_wrap=number == 0,
            justify="right" if all(_is_number(r[name]) for r in rows) else "left",
        )
    for row in rows:
        shown.add_row(*(Text(terminal.visible(cell(value))) for value in row.values()))
    console.print(shown)


def run(finished: Run) -> None:
    """Print counts, reasons, and paths of the output."""
    counts, manifest = finished.counts, finished.manifest
    for name, found in manifest.inputs.items():
        for text, style in described(name, found):
            console.print(Text(terminal.visible(text), style=style))
    summary = Summary(finished)
    _generation(summary.generation)
    splits = f"({', '.join(f'{rows:,} {name}' for name, rows in summary.splits.items())})"
    if summary.generation:
        origin = f"{counts['sets']:,} prompts with {counts['answers']:,} answers"
        console.print(f"[bold]{counts['kept']:,} pairs[/] {splits} from {origin} · {counts['dropped']:,} dropped")
    else:
        kept = f"{counts['kept']:,} of {counts['rows']:,} pairs kept"
        console.print(f"[bold]{kept}[/] {splits} · {counts['dropped']:,} dropped")
    if (before := finished.replaced) and any(before.get(name) != counts[name] for name in ("kept", "dropped")):
        console.print(f"before: {before['kept']:,} kept · {before['dropped']:,} dropped")
    reasons = summary.reasons
    if reasons:
        console.print()
        table(
            [
                {"dropped": r.first, "rows with it": r.any, "stage": r.stage, "reason": r.rule, "meaning": r.about}
                for r in reasons
            ]
        )
    if summary.evals:
        console.print()
        table(summary.evals)
    for name, rows in (manifest.split.short if manifest.split else {}).items():
        console.print(f"{name} lacks {rows:,} pairs: clusters of similar prompts are too large", style="yellow")
    console.print()
    for what, path in (
        ("data", finished.folder / "data"),
        ("ledger", finished.folder / "ledger.parquet"),
        ("report", finished.report),
        ("card", finished.card),
    ):
        console.print(Text(f"{what:<7} {path}"), soft_wrap=True)
    peak = manifest.peak_memory_mb.get("total")
    memory = "" if peak is None else f", peak memory {peak:,} MB"
    console.print(f"{manifest.seconds['total']:.1f} s{memory}", style="dim")
    if not finished.recipe.publish.license:
        console.print("no licence is specified yet: --set publish.license=… adds one to the card", style="dim")


def sample(finished: Run) -> None:
    """Print one of the pairs."""
    rows = Summary(finished).kept_examples
    for side in ("prompt", "chosen", "rejected") if rows else ():
        for message in rows[0][side]:
            console.print(Text(f"\n{side} · {message['role']}", style="bold"))
            console.print(Text(_cut(message["content"])), soft_wrap=True)


def next_steps(finished: Run) -> None:
    """Print commands to continue with a run."""
    console.print("\n[bold]next[/]")
    for what, command in (
        ("look", f"curate why {finished.folder} 0"),
        ("edit", f"curate run {finished.folder}/recipe.yaml -o {finished.folder} --set pair.min_margin=0.1"),
        ("push", f"curate push {finished.folder} OWNER/NAME --dry-run --set publish.license=…"),
        ("train", f"curate train {finished.folder} --model HuggingFaceTB/SmolLM2-135M-Instruct"),
    ):
        console.print(Text(f"{what:<6} {command}"), soft_wrap=True)


def look_ahead(
    requests: Sequence[Mapping[str, Any]] | None = None, models: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Print the requests that a recipe would send, and which of its models answer."""
    if requests:
        _estimates(requests)
    for model in models or ():
        key = f", with the key in {model['key']}" if model["key"] else ""
        line = Text(f"{model['model']} → {model['address']}{key}: ")
        said = model["problem"] or f"answers, after {model['seconds']:.1f} s"
        console.print(line.append(said, style="red" if model["problem"] else "green"), soft_wrap=True)
    if not (requests or models):
        console.print("no requests to models")


def _estimates(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the estimated requests: tokens in are approximate, tokens out and dollars are upper bounds."""
    names = {"input_tokens": "tokens in", "output_tokens": "tokens out", "usd": "USD", "usd_expected": "expected"}
    money = ("usd", "usd_expected")
    plain = [{**row, **{name: None if row[name] is None else f"{row[name]:,.4f}" for name in money}} for row in rows]
    hidden = ["address", "key"] + ["usd_expected"] * all(row["usd_expected"] is None for row in rows)
    table([{names.get(name, name): value for name, value in row.items() if name not in hidden} for row in plain])
    console.print()
    for model, address, key in dict.fromkeys((row["model"], row["address"], row["key"]) for row in rows):
        where = f"{address}, with the key in {key}" if key else f"{address}, without a key"
        console.print(Text(f"{model} → {where if address != 'this machine' else address}"), soft_wrap=True)
    notes = "\nknown: answered before, free · tokens in: approximate · tokens out, USD: at most"
    notes += "" if "usd_expected" in hidden else " · expected: by the length of the replies so far"
    console.print(notes, style="dim", soft_wrap=True)
    costs = [row["usd"] for row in rows]
    if None not in costs:
        console.print(f"[bold]${sum(costs):,.4f} at most[/]")
    else:
        unpriced = ", ".join(dict.fromkeys(row["model"] for row in rows if row["usd"] is None))
        text = f"no price is known for {unpriced}: set input_price and output_price of the model, or budget.prices"
        console.print(Text(text), style="dim")


def generation(found: Mapping[str, Any], folder: Path, *, judged: bool) -> None:
    """Print what models generated: prompts, answers, judges, requests and their cost."""
    _generation(GenerationSummary(found))
    judge = "" if judged else " --set judge.models=MODEL"
    console.print(Text(f"candidates {folder / 'candidates.parquet'}"), soft_wrap=True)
    console.print(Text(f"next       curate run {folder / 'recipe.yaml'} -o {folder}{judge}"), soft_wrap=True)


def rubric(found: Mapping[str, Any], folder: Path, judge: str) -> None:
    """Print how a drafted rubric compares with the one in use, and how to use it with the judge, given as its line."""
    for title, rows in rubric_tables(found).items():
        console.print(f"[bold]{title}[/]")
        table(rows)
        console.print()
    notes = "agreement: a tie or no usable verdict counts half · as labelled, κ, longer wins: of the decided pairs"
    console.print(f"{notes}\n", style="dim")
    console.print(Text(f"{found['sentence']}\n", style="green" if found["kept"] else "yellow"))
    if not found["kept"]:
        console.print(Text(f"drafts {folder}/draft-*.txt"), soft_wrap=True)
        return
    method = "" if found["method"] == "rubric" else f" --method {found['method']}"
    path, line = folder / "rubric.txt", shlex.quote(judge)
    console.print(Text(f"rubric {path} (read it before you use it)"), soft_wrap=True)
    command = f"curate judge RUN --judge {line}{method} --rubric {shlex.quote(str(path))} -o RUN2"
    console.print(Text(f"next   {command}"), soft_wrap=True)


def _generation(about: GenerationSummary) -> None:
    for title, rows in about.tables.items():
        console.print(f"[bold]{title}[/]")
        table(rows)
        console.print()
    for sentence in about.sentences:
        console.print(Text(f"{sentence}\n"))


def preflight(found: Mapping[str, Any]) -> None:
    """Print how a model's tokenizer handles a run."""
    console.print(Text(f"{found['rows']:,} rows with the tokenizer of {found['model']}"), soft_wrap=True)
    table(found["lengths"])
    console.print(f"max_length {found['max_length']}\n")
    if not found["findings"]:
        console.print("every row is used for training in full, unchanged")
        return
    table([{**row, "share": f"{row['share']:.1%}"} for row in found["findings"]])


def training(folder: Path, result: Mapping[str, Any], launch: str) -> None:
    """Print the result of a training, and the path of its model."""
    left_out = f", {result['left_out']:,} left out" if result["left_out"] else ""
    console.print(
        f"[bold]{result['steps']:,} steps[/] on {result['rows']:,} pairs{left_out} · {result['seconds']:,.0f} s"
    )
    shown = ("loss", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")
    if held_out := {name: result["held_out"][name] for name in shown if name in result["held_out"]}:
        table([{"held out": name, "value": value} for name, value in held_out.items()])
    stopped = [f"stopped early: {result['stopped']}"] if result["stopped"] else []
    for sentence in [*stopped, *result["warnings"]]:
        console.print(Text(sentence, style="yellow"))
    console.print()
    for what, where in (
        ("model", folder / "model"), ("log", folder / "log.csv"), ("page", folder / "training.html"),
        ("GPUs", launch), ("next", f"curate evaluate RUN --training {folder}"),
    ):  # fmt: skip
        console.print(Text(f"{what:<6} {where}"), soft_wrap=True)


def pushed_model(done: Mapping[str, Any]) -> None:
    """Print the result of pushing a trained model."""
    state = "commit" if done["changed"] else "nothing has changed since commit"
    console.print(Text(f"pushed {done['repo']}: {state} {done['commit'][:8]}"), soft_wrap=True)


def evaluation(found: Mapping[str, Any], folder: Path) -> None:
    """Print the comparison of a tuned model with its reference."""
    console.print(Text(f"{found['model']}, tuned, against {found['reference']}"), soft_wrap=True)
    for rows in (found["slices"], found["wins"], found["drift"]):
        if rows:
            console.print()
            table([{name: _interval(value) for name, value in row.items()} for row in rows])
    console.print(f"\nKL from the reference: {cell(found['kl_per_token'])} nats per token on its own answers")
    for sentence in found["warnings"]:
        console.print(Text(sentence, style="yellow"))
    console.print(Text(f"page   {folder / 'evaluation.html'}"), soft_wrap=True)


def bakeoff(found: Sequence[Mapping[str, Any]]) -> None:
    """Print one row per arm and point of the sweep."""
    table([{name: _interval(value) for name, value in row.items()} for row in found])
    console.print("\naccuracy on the same held-out pairs, 95 % intervals over prompts and seeds", style="dim")


def _interval(value: Any) -> Any:
    """Return an estimate as mean [low, high]; anything else unchanged."""
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" if isinstance(value, dict) else value


def why(found: Sequence[Mapping[str, Any]]) -> None:
    """Print ledger rows with their reasons and texts."""
    for row in found:
        decision = f"kept, in {row['split']}" if row["kept"] else f"dropped at {row['stage']}"
        console.print(
            f"[bold]{escape(row['source'])} row {row['source_row']}[/] · {decision} · pair {row['pair_id'] or '–'}"
        )
        for reason in row["reasons"]:
            console.print(Text(f"  {reason}: {explanation(reason, row)}"), soft_wrap=True)
        if row["matched"]:
            similarity = "" if row["value"] is None else f" · {cell(row['value'])}"
            console.print(Text(f"  matched {row['matched']}{similarity}"), soft_wrap=True)
        for side in ("prompt", "chosen", "rejected"):
            for message in shown_turns(row, side):
                console.print(Text(f"\n{side} · {message['role']}", style="bold"))
                console.print(Text(_cut(message["content"])), soft_wrap=True)
        for said in row.get("replies", ()):
            problem = f" · {said['problem']}" if said["problem"] else ""
            console.print(Text(f"\n{said['judge']} on {', then '.join(said['about'])}{problem}", style="bold"))
            console.print(Text(_cut(said["reply"] or "–")), soft_wrap=True)
        console.print()


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= SHOWN_CHARS
        else f"{text[:SHOWN_CHARS]} … ({len(text) - SHOWN_CHARS:,} more characters; --json shows all)"
    )


def pushed(done: Mapping[str, Any], *, dry_run: bool) -> None:
    """Print gates, files, and the change of the repository."""
    waived = done["waived"]
    results = {
        g["name"]: "waived" if g["status"] == "failed" and g["name"] in waived else g["status"] for g in done["gates"]
    }
    table([{"gate": gate["name"], "result": results[gate["name"]], "": gate["text"]} for gate in done["gates"]])
    console.print()
    if done["files"]:
        table([{"file": f["file"], "state": f["state"], "bytes": f["bytes"], "rows": f["rows"]} for f in done["files"]])
        console.print()
    for text in (*done["schema"], *(f"would break readers: {text}" for text in done["breaks"])):
        console.print(Text(text), soft_wrap=True)
    if done["pull_request"]:
        text = f"pull request {done['pull_request']}"
    elif not done["changed"]:
        text = f"nothing changed: {done['repo']} stays at {(done['commit'] or '')[:8]}"
    else:
        text = f"{'would be' if dry_run else 'is'} published as {done['repo']}"
        text += "" if dry_run else f", commit {done['commit'][:8]}"
    console.print(Text(text), soft_wrap=True)


def _is_number(value: object) -> bool:
    """Whether the value is shown as a number: 12%, 0.0041, –."""
    text = cell(value) if not isinstance(value, bool) else ""
    return re.fullmatch(r"[\d,.]+%?|–", text) is not None
