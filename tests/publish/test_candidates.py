"""`push --candidates`: every answer next to the pairs, in the same commit, under the same checks."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import pipelines
from curate.errors import InputError
from curate.publish import candidates, gates
from curate.recipe.load import make_recipe
from curate.report.card_header import read_header
from curate.rundir import writers
from curate.rundir.checksums import check_seal
from curate.rundir.file_form import file_schema
from curate.rundir.manifest import Manifest
from curate.rundir.result import Run
from curate.schema import CANDIDATES
from tests.data import plain
from tests.hub_server import HubServer, read
from tests.publish.test_gates import GITHUB, checked
from tests.publish.user import LICENSED, SMALL, Reader, User, command, make_run, with_publish

PLACE = "candidates/data/train-00000-of-00001.parquet"
QUESTIONS = ("How do I boil an egg?", "Why is bread dough left to rest?", "What keeps cut apples white?")
ANSWERS = ("Put it in boiling water for some minutes.", "It depends.", None)


def make_judged(folder: Path, note: str = "", questions: int = 20) -> Run:
    """Return a run of answers that were generated and judged elsewhere: three per question, one of them failed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "prompt_id": f"{number:032}",
            "prompt": [{"role": "user", "content": f"{QUESTIONS[number % 3]} I have {number} of them."}],
            "candidate_id": hashlib.sha256(f"{number} {answer} {note}".encode()).hexdigest()[:32],
            "response": [{"role": "assistant", "content": f"{answer} You have {number}. {note}"}] if answer else None,
            "error": None if answer else "status 400: refused",
            "score": float(len(answer)) if answer else None,
            "model": "openai:writer",
            "source": "p.jsonl",
            "source_row": number,
        }
        for number in range(questions)
        for answer in ANSWERS
    ]
    (folder / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tree = {
        "source": {"paths": [str(folder / "c.jsonl")]},
        "pair": {"strategy": "max_min"},
        "rules": {"defaults": False},
    }
    return pipelines.run(make_recipe(tree, [*SMALL, *LICENSED, "publish.min_kept=0"]), folder / "RUN")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_judged(tmp_path_factory.mktemp("judged"))


def files_of(hub: HubServer, repo: str) -> dict[str, bytes]:
    commit = hub.repos[repo].at("main")
    assert commit is not None
    return {path: read(data) for path, data in commit.files.items()}


def splits(hub: HubServer, repo: str) -> dict[str, dict[str, int]]:
    """Return the header's config → split → rows."""
    infos = read_header(files_of(hub, repo)["README.md"].decode())[0]["dataset_info"]
    return {info["config_name"]: {s["name"]: s["num_examples"] for s in info["splits"]} for info in infos}


def only(splits: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of a config's only split."""
    assert list(splits) == ["train"]
    return splits["train"]


def rows_of(run: Run) -> list[dict[str, Any]]:
    """Return the run's answers as they are published, with only the kind of an error."""
    rows = pl.read_parquet(run.folder / "candidates.parquet").to_dicts()
    return [row | {"error": row["error"] and "status 400"} for row in rows]


# ---- the answers of a run ----


@pytest.mark.slow
def test_the_published_answers_of_a_run(run: Run) -> None:
    with candidates.opened(run, "default") as found:
        assert found.config == "candidates"
        assert found.counts == {"answers": 60, "prompts": 20, "judged": 40, "failed": 20}
        assert [path for path, *_ in found.places(appended=False)] == [PLACE]
        header = found.header()
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "candidates/data/train-*.parquet"}]
    features = {feature["name"]: feature for feature in header["dataset_info"]["features"]}
    assert list(features) == list(CANDIDATES)
    assert features["on_policy"] == {"name": "on_policy", "dtype": "bool"}
    scores = [{"name": "aspect", "dtype": "string"}, {"name": "score", "dtype": "float64"}]
    assert features["scores"] == {"name": "scores", "list": scores}


def test_candidates_are_named_after_the_config_of_their_pairs() -> None:
    assert [candidates.name_beside(config) for config in ("default", "raw")] == ["candidates", "raw-candidates"]


@pytest.mark.slow
def test_a_large_file_is_cut_into_shards(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "SHARD_BYTES", 1)
    groups = [pl.DataFrame(rows_of(run), schema=CANDIDATES).slice(start, 20) for start in (0, 20, 40)]
    writer = writers.TableWriter(tmp_path / "candidates.parquet", CANDIDATES)
    for group in groups:
        writer.write(group)
    writer.close()
    large = Run(tmp_path, Manifest(files={"candidates.parquet": ""}))
    with candidates.opened(large, "default") as found:
        assert len(found.shards) == 3
        assert next(found.places(appended=False))[0].endswith("/train-00000-of-00003.parquet")
        assert pl.concat([pl.read_parquet(shard) for shard in found.shards]).equals(pl.concat(groups))
        expected = writers.arrow_schema(file_schema(frozenset(), CANDIDATES))
        assert pq.read_schema(next(iter(found.shards))).equals(expected)
        shards = list(found.shards)
    assert not any(shard.exists() for shard in shards)


@pytest.mark.slow
def test_answers_are_sealed_and_those_of_another_recipe_are_not(run: Run, tmp_path: Path) -> None:
    edited = make_judged(tmp_path / "edited")
    check_seal(edited.folder, edited.manifest)
    (edited.folder / "candidates.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"candidates\.parquet was edited after the run"):
        check_seal(edited.folder, edited.manifest)
    plain = make_run(tmp_path / "plain", range(10))
    (plain.folder / "candidates.parquet").write_bytes((run.folder / "candidates.parquet").read_bytes())
    with pytest.raises(InputError, match="has no candidates"), candidates.opened(plain, "default"):
        pass


# ---- gates ----


def answers_checked(
    run: Run, file: Path | None = None, facts: Mapping[str, Any] | None = None
) -> dict[str, tuple[str, str]]:
    """Return gate → status and text, with candidates checked, and e-mail addresses allowed in a tenth of them."""
    found = json.loads((run.folder / "summary.json").read_text()) | dict(facts or {})
    recipe = with_publish(run.recipe, max_personal=0.1)
    looked = gates.check(run, found, recipe, {}, [file or run.folder / "candidates.parquet"])
    return {gate.name: (gate.status, gate.text) for gate in looked}


@pytest.mark.slow
def test_gates_check_texts_of_candidates(run: Run, tmp_path: Path) -> None:
    assert {name: status for name, (status, _) in answers_checked(run).items()} == {
        name: status for name, (status, _) in checked(run).items()
    }
    table = pl.read_parquet(run.folder / "candidates.parquet").with_columns(
        reason=pl.lit("Ask joe.miller@kitchen.org about it."), params=pl.lit(json.dumps({"system": f"Use {GITHUB}."}))
    )
    table.write_parquet(tmp_path / "c.parquet")
    found = answers_checked(run, tmp_path / "c.parquet")
    assert {name for name, (status, _) in found.items() if status == "failed"} == {"secrets", "personal_data"}
    assert found["secrets"][1].startswith("60 × GitHub Token (candidate ")
    assert "in params" in found["secrets"][1]
    assert GITHUB not in found["secrets"][1]
    assert found["personal_data"][1] == (
        "0 pairs with emails, 0 pairs with phones, 0 pairs with ips; 60 candidates with emails, 0 candidates with "
        "phones, 0 candidates with ips; the limit is e-mail addresses in 10.0% of the pairs or candidates"
    )


def test_candidates_with_addresses_pass_up_to_the_limit(run: Run, tmp_path: Path) -> None:
    table = pl.read_parquet(run.folder / "candidates.parquet").with_row_index("n")
    for many, status in ((6, "passed"), (7, "failed")):  # of 60
        reason = pl.when(pl.col("n") < many).then(pl.lit("Ask joe.miller@kitchen.org about it."))
        table.with_columns(reason=reason).drop("n").write_parquet(tmp_path / "c.parquet")
        assert answers_checked(run, tmp_path / "c.parquet")["personal_data"][0] == status


def test_candidates_without_contaminated_ones_pass(run: Run) -> None:
    sets = {"decontaminate": {"sets": {"gsm8k": {"items": 9, "hit": 0, "rows": 0}}}}
    assert answers_checked(run, facts=sets)["contamination"] == ("passed", "found and dropped: gsm8k 0 of 9 items")


def test_contaminated_pairs_are_still_among_the_candidates(run: Run) -> None:
    class Decontaminated(Run):
        @property
        def ledger(self) -> pl.LazyFrame:
            return super().ledger.with_columns(stage=pl.lit("decontaminate"))

    sets = {"decontaminate": {"sets": {"gsm8k": {"items": 9, "hit": 1, "rows": 1}}}}
    status, text = answers_checked(Decontaminated(run.folder, run.manifest), facts=sets)["contamination"]
    assert (status, "dropped pairs are still among the candidates" in text) == ("failed", True)


# ---- over the loopback Hub ----


@pytest.mark.slow
def test_one_commit_with_both_configs(hub: HubServer, user: User, run: Run, tmp_path: Path, loaded: Reader) -> None:
    planned = user.push(run, "me/both", candidates=True, dry_run=True)
    assert {f["file"]: f["rows"] for f in planned["files"]}[PLACE] == 60
    assert "me/both" not in hub.repos
    first = user.push(run, "me/both", candidates=True)
    again = user.push(run, "me/both", candidates=True)
    assert (first["changed"], again["changed"], first["commit"]) == (True, False, again["commit"])
    assert len(hub.repos["me/both"].history("main")) == 2  # with the one that created the repository
    assert splits(hub, "me/both") == {
        "default": {name: run.counts[name] for name in ("train", "test") if run.counts[name]},
        "candidates": {"train": 60},
    }
    assert only(loaded("me/both", "candidates")) == plain(rows_of(run))
    card = files_of(hub, "me/both")["README.md"].decode()
    assert "60 answers to\n20 prompts, 40 with a score, 20 without a text" in card
    assert "| `candidates` | train | 60 |" in card
    pulled = user.pull("me/both", tmp_path / "RUN")
    assert pulled["counts"] == run.counts
    assert "its configs are default" in user.pull("me/both", tmp_path / "NONE", config="candidates")["text"]


@pytest.mark.slow
def test_a_push_of_pairs_alone_keeps_the_candidates(
    hub: HubServer, user: User, run: Run, tmp_path: Path, loaded: Reader
) -> None:
    user.push(run, "me/later")
    assert user.push(run, "me/later", candidates=True)["changed"] is True
    was = splits(hub, "me/later")
    user.push(run, "me/later")
    assert splits(hub, "me/later") == was
    assert PLACE in files_of(hub, "me/later")
    other = make_judged(tmp_path / "other", "Indeed.", questions=12)
    user.push(other, "me/later", config="raw", candidates=True)
    assert splits(hub, "me/later").keys() == {"default", "candidates", "raw", "raw-candidates"}
    assert user.push(other, "me/later", config="raw", candidates=True)["changed"] is False
    assert only(loaded("me/later", "raw-candidates")) == plain(rows_of(other))


@pytest.mark.slow
def test_candidates_are_appended_with_their_pairs(
    hub: HubServer, user: User, run: Run, tmp_path: Path, loaded: Reader
) -> None:
    further = make_judged(tmp_path / "further", "Then wait.", questions=12)
    user.push(run, "me/append", candidates=True)
    added = {"append": True, "waive": ["duplicates"]}  # the prompts are the same
    assert user.push(further, "me/append", **added)["changed"] is True
    assert splits(hub, "me/append")["candidates"] == {"train": 60}
    assert user.push(further, "me/append", candidates=True, **added)["changed"] is True
    assert user.push(further, "me/append", candidates=True, **added)["changed"] is False
    assert splits(hub, "me/append")["candidates"] == {"train": 96}
    assert splits(hub, "me/append")["default"]["train"] == run.counts["train"] + further.counts["train"]
    back = {row["candidate_id"] for row in only(loaded("me/append", "candidates"))}
    assert back == {row["candidate_id"] for one in (run, further) for row in rows_of(one)}
    assert user.push(run, "me/append", candidates=True, allow_schema_change=True)["changed"] is True
    assert [path for path in files_of(hub, "me/append") if path.startswith("candidates/")] == [PLACE]


@pytest.mark.slow
def test_candidates_that_break_readers_are_refused(hub: HubServer, user: User, run: Run, tmp_path: Path) -> None:
    old = pl.read_parquet(run.folder / "candidates.parquet").with_columns(mark=pl.lit(1), score=pl.lit("high"))
    old.write_parquet(tmp_path / "old.parquet")
    there: Mapping[str, bytes] = {"candidates/data/train-0.parquet": (tmp_path / "old.parquet").read_bytes()}
    hub.commit("me/other", there)
    refused = user.push(run, "me/other", candidates=True)
    for said in ("candidates: column mark is gone", "candidates: column score was string, would be double"):
        assert said in refused["text"]
    assert user.push(run, "me/other", candidates=True, allow_schema_change=True)["changed"] is True
    assert "candidates/data/train-0.parquet" not in files_of(hub, "me/other")


@pytest.mark.slow
def test_a_run_without_candidates_exits_with_2(hub: HubServer, run: Run, tmp_path: Path) -> None:
    plain = make_run(tmp_path / "plain", range(10))
    for arguments, said in (
        ((plain.folder, "me/none", "--candidates"), "has no candidates"),
        ((run.folder, "me/none", "--config", "candidates"), "--candidates publishes the answers"),
    ):
        done = command(hub.url, tmp_path, "push", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert said in done.stderr
    assert "me/none" not in hub.repos
    done = command(hub.url, tmp_path, "push", run.folder, "me/cli", "--candidates")
    assert (done.returncode, done.stderr) == (0, "")
    assert PLACE in files_of(hub, "me/cli")
