"""Label confidence in a run: measured once, in the data, the ledger and `why`; rules and selections may use it."""

from pathlib import Path

import polars as pl
import pytest

import curate
from curate.errors import RecipeError

pytest.importorskip("sklearn")
WORDS = [
    "the",
    "tea",
    "is",
    "green",
    "and",
    "hot",
    "or",
    "cold",
    "with",
    "milk",
    "and",
    "a",
    "slice",
    "of",
    "lemon",
    "on",
    "a",
    "plate",
]


WRONG = (3, 17, 28, 30, 41, 59, 66, 74, 85, 92, 101, 118, 120, 139, 146, 157)


def rows(count: int = 160) -> list[dict[str, str]]:
    """Return pairs whose longer answer is chosen, but for those of WRONG."""
    made = []
    for n in range(count):
        long = " ".join(WORDS[(n + k) % len(WORDS)] for k in range(12 + n % 5)) + f" number {n}."
        short = f"Tea {n}, {WORDS[n % len(WORDS)]}."
        sides = (short, long) if n in WRONG else (long, short)
        made.append(
            {"prompt": f"How is tea number {n} made in {WORDS[n % 7]}?", "chosen": sides[0], "rejected": sides[1]}
        )
    return made


@pytest.mark.slow
def test_confidence_is_measured_used_by_rules_and_written(tmp_path: Path) -> None:
    settings = ["label_noise.vectors=false", "split.test=0", "split.clusters=exact"]
    run = curate.clean(rows(), tmp_path / "RUN", settings=settings)
    assert run.counts["kept"] == 160  # reported only
    assert run.manifest.label_noise is not None
    assert [head["head"] for head in run.manifest.label_noise.heads] == ["surface", "n-grams"]
    assert run.manifest.label_noise.verdicts["reversed"] == 16
    confidence = run.train.sort("source_row").select("label_confidence").collect().to_series()
    least = confidence.arg_sort()[:16].sort().to_list()
    assert least == list(WRONG)
    assert run.why(3)[0]["label_verdict"] == "reversed"
    # Rules, conditions and selections from what was stored; nothing is estimated again.
    key = run.manifest.stages["label_noise"].key
    ruled = curate.retune(run, settings=["rules.min_label_confidence=0.25"])
    assert ruled.run.counts["dropped_rules"] == 16
    assert ruled.run.manifest.stages["label_noise"].key == key
    assert ruled.run.why(3)[0]["rule"] == "min_label_confidence"
    chosen = curate.retune(run, settings=["rules.min_label_confidence=null", "select.selective.share=0.5"])
    assert chosen.run.counts["kept"] == 80
    assert not set(WRONG) & set(chosen.run.train.collect()["source_row"])
    stated = curate.retune(run, settings=["select=null", "rules.where=label_verdict <> 'reversed'"])
    assert stated.run.counts["kept"] == 144


@pytest.mark.slow
def test_annotators_of_the_source_are_evidence_unless_they_are_not_wanted(tmp_path: Path) -> None:
    settings = ["label_noise.vectors=false", "split.test=0"]
    # w0 gave the wrong labels, which are a third of theirs; the others only right ones.
    right = [n for n in range(160) if n not in WRONG][:32]
    who = [f"w{0 if n in (*WRONG, *right) else 1 + n % 2}" for n in range(160)]
    named = [{**row, "meta": {"by": name}} for row, name in zip(rows(), who, strict=True)]
    auto = [{**row, "worker_id": name} for row, name in zip(rows(), who, strict=True)]
    found = curate.clean(named, tmp_path / "A", settings=[*settings, "label_noise.annotator=extra.meta.by"])
    plain = curate.clean(named, tmp_path / "B", settings=settings)
    assert found.manifest.label_noise is not None
    assert plain.manifest.label_noise is not None
    assert [head["head"] for head in found.manifest.label_noise.heads] == ["surface", "n-grams", "annotators"]
    assert [head["head"] for head in plain.manifest.label_noise.heads] == ["surface", "n-grams"]
    by = [run.train.sort("source_row").select("label_confidence").collect().to_series() for run in (found, plain)]
    assert all(by[0][n] < by[1][n] for n in (*WRONG, *right))
    again = curate.clean(auto, tmp_path / "C", settings=settings).train.sort("source_row")
    assert again.select("label_confidence").collect().to_series().to_list() == pytest.approx(by[0].to_list())
    unused = curate.clean(auto, tmp_path / "D", settings=[*settings, "label_noise.annotator=null"])
    assert unused.manifest.label_noise == plain.manifest.label_noise


def test_what_needs_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"rules.min_label_confidence: only models measure .*; set label_noise: true"):
        curate.clean(rows(4), tmp_path / "RUN", settings=["rules.min_label_confidence=0.2"])
    with pytest.raises(RecipeError, match="4 pairs of 4 prompts are too few to learn from"):
        curate.clean(rows(4), tmp_path / "RUN", settings=["label_noise=true", "label_noise.vectors=false"])


def test_a_run_without_it_has_no_such_column(tmp_path: Path) -> None:
    run = curate.clean(rows(4), tmp_path / "RUN")
    assert "label_confidence" not in run.train.collect_schema()
    assert run.signals.scan().select(pl.col("label_confidence").count()).collect().item() == 0


@pytest.mark.slow
def test_the_report_shows_the_labels_of_least_confidence(tmp_path: Path) -> None:
    hostile = [{**row, "prompt": f"<script>alert(1)</script> {row['prompt']}"} for row in rows()]
    run = curate.clean(hostile, tmp_path / "RUN", settings=["label_noise.vectors=false", "split.test=0"])
    html = run.report.read_text("utf-8")
    part = html[html.index('<h2 id="labels">') : html.index('<h2 id="lengths">')]
    assert part.count("<details>") == 20
    assert "<td>reversed</td>" in part
    assert "&lt;script&gt;alert(1)&lt;/script&gt; How is tea" in part
    assert "<script" not in html
    without = curate.clean(rows(4), tmp_path / "OTHER")
    assert 'id="labels"' not in without.report.read_text("utf-8")
