"""`curate.audit`: pairs or a run in, tables out; what it writes, and what it refuses."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import curate
from curate.errors import InputError, RecipeError
from curate.report.audit import audit_key
from curate.rundir.manifest import Pulled
from tests.data import row

FREE = ["rules.defaults=false", "dedup.exact=false"]
NAMES = ("auc", "features", "win_rates", "remedies", "pairs")


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return pairs whose chosen answer is longer in 8 of 10."""
    coin = random.Random(seed)
    found = []
    for number in range(count):
        long = f"Open drawer {number} slowly. " * coin.randint(3, 9)
        sides = {"chosen": long, "rejected": f"Drawer {number}."}
        if number % 5 == 0:
            sides = {"chosen": sides["rejected"], "rejected": long}
        found.append(row(number, **sides, topic=number % 3))
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> curate.Run:
    return curate.clean(rows(60), out=tmp_path_factory.mktemp("run") / "RUN", settings=FREE)


def test_a_run_is_audited_by_its_stored_signals(run: curate.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = curate.audit(pl.concat([run.train, run.test]).collect())
    monkeypatch.setattr("curate.api.auditing.measure", None)
    found = curate.audit(run.folder)
    for name in NAMES:
        assert getattr(found, name).equals(getattr(measured, name)), name
    assert repr(found) == f"Audit(60 pairs · surface AUC {found.auc['auc'][0]:.2f} " + repr(found).split(maxsplit=6)[-1]
    assert "lengths balanced</td><td>24</td><td>36" in found._repr_html_()


def test_options_are_for_sources_and_not_for_runs(run: curate.Run) -> None:
    given = [{"q": one["prompt"], "good": one["chosen"], "bad": one["rejected"]} for one in rows(60)]
    mapped = curate.audit(given, columns={"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert mapped.auc.equals(curate.audit(run).auc)
    assert curate.audit(rows(60), limit=20).auc["pairs"][0] == 20
    with pytest.raises(RecipeError, match="RUN is a run; limit can be given for sources only"):
        curate.audit(run, limit=3)


def test_a_pulled_run_is_measured(run: curate.Run) -> None:
    pulled = curate.Run(run.folder, run.manifest.replace(pulled=Pulled("o/n", "main", "default"), stages={}))
    assert curate.audit(pulled).auc.equals(curate.audit(run).auc)


def test_the_tables_are_written_beside_the_run(run: curate.Run) -> None:
    (run.folder / "audit.json").unlink(missing_ok=True)
    found = curate.audit(run)
    written = json.loads((run.folder / "audit.json").read_text("utf-8"))
    assert written == {"run": audit_key(run), **found.to_dict()}
    assert written["auc"][0]["pairs"] == 60
    assert curate.open_run(run.folder).counts == run.counts


def test_only_what_the_run_kept_is_audited(tmp_path: Path) -> None:
    out = tmp_path / "RUN"
    made = curate.clean([*rows(30), *rows(30)], out=out, settings=["rules.min_chosen_chars=20", "rules.defaults=false"])
    found = curate.audit(made)
    assert found.auc["pairs"][0] == made.counts["kept"] == 24
    assert set(found.pairs["pair_id"]) == set(pl.concat([made.train, made.test]).collect()["pair_id"])


def test_the_line_of_a_remedy_does_what_the_table_says(tmp_path: Path) -> None:
    made = curate.clean(rows(60), out=tmp_path / "RUN", settings=FREE)
    (line,) = curate.audit(made).remedies.filter(remedy="lengths balanced").to_dicts()
    setting = line["how"].removeprefix("--set '").removesuffix("'")
    retuned = curate.retune(made, settings=[setting]).run
    assert retuned.counts["kept"] == line["kept"] == 24
    again = curate.audit(retuned)
    assert [again.auc[name][0] for name in ("auc", "low", "high")] == [line[name] for name in ("auc", "low", "high")]


def test_the_lines_in_python_do_what_the_table_says() -> None:
    models = [{"chosen_model": "abbbd"[n % 5], "rejected_model": "bacad"[n % 5]} for n in range(60)]
    pairs = curate.read([one | written for one, written in zip(rows(60), models, strict=True)])
    audit = curate.audit(pairs)
    counts = {}
    for name, kept, how in audit.remedies.select("remedy", "kept", "how").rows():
        if how and not how.startswith("--set"):
            found = eval(how, {"curate": curate, "pl": pl, "audit": audit, "pairs": pairs})
            counts[name] = (kept, len(found.kept if isinstance(found, curate.Result) else found))
    assert counts == {
        "models balanced": (36, 36),  # of twelve a over b, 24 b over a, and twelve b over c and d over itself
        "certain ones dropped": (60, 60),
        "weighted by 1/p": (60, 60),
    }


def test_the_order_of_the_rows_changes_nothing() -> None:
    given = curate.read(rows(40))
    one, other = curate.audit(given), curate.audit(given.sample(fraction=1, shuffle=True, seed=3))
    for name in NAMES:
        assert getattr(one, name).equals(getattr(other, name)), name


def test_similar_prompts_are_one() -> None:
    texts = "Tell me please in some detail how I open the third drawer of the old cupboard in the kitchen of my aunt"
    given = [row(n, prompt=f"{texts} {'!' * n}", chosen="Slowly. " * (n + 1)) for n in range(4)]
    assert curate.audit([*given, *rows(9)]).auc["prompts"][0] == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([row(1, chosen="")], "one prompt"),
        ([row(1, chosen="a"), row(1, chosen="b")], "the source has pairs of one prompt .* at least two"),
    ],
)
def test_one_prompt_is_too_few(given: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        curate.audit(given)


def test_a_run_without_pairs(tmp_path: Path) -> None:
    made = curate.clean(rows(3), out=tmp_path / "RUN", settings=["rules.min_chosen_chars=9999"])
    with pytest.raises(InputError, match="RUN has no pairs to audit"):
        curate.audit(made)
    assert not (tmp_path / "RUN" / "audit.json").exists()
    with pytest.raises(InputError, match="the source has no pairs to audit"):
        curate.audit(curate.read(rows(3)).head(0))


def test_an_unfinished_run(tmp_path: Path) -> None:
    made = curate.clean(rows(5), out=tmp_path / "RUN", settings=FREE)
    (made.folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="an unfinished run"):
        curate.audit(made.folder)


def test_two_pairs_are_enough() -> None:
    assert curate.audit(rows(2)).auc["pairs"].to_list()[0] == 2


def test_topics_of_a_run_with_clusters(run: curate.Run, tmp_path: Path) -> None:
    made = curate.clean(rows(20), out=tmp_path / "RUN", settings=FREE)
    stage = made.folder / "stages" / "clusters"
    stage.mkdir()
    from curate.rundir.manifest import StageKey
    from curate.rundir.stage import Stage

    clusters = Stage(stage, "k")
    labels = [0] * 10 + [1] * 9 + [-1]
    clusters.write(0, pl.DataFrame({"row": pl.Series(range(20), dtype=pl.UInt64), "cluster": labels}))
    clusters.finish(names=["tea, milk", "drawers"])
    manifest = made.manifest.replace(stages={**made.manifest.stages, "clusters": StageKey("k")})
    found = curate.audit(curate.Run(made.folder, manifest)).win_rates.filter(pl.col("by") == "topic")
    assert found.select("value", "pairs").rows() == [("tea, milk", 10), ("drawers", 9)]
