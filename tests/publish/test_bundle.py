"""Which files a run publishes, for each state of the repository."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from curate.publish.bundle import Bundle, published_recipe
from curate.publish.candidates import Candidates
from curate.publish.facts import published_facts
from curate.publish.gates import Gate
from curate.publish.hub import Remote
from curate.publish.repo_file import File
from curate.report.card_data import read_facts
from curate.report.card_header import infos_of, read_header
from curate.rundir.manifest import Manifest
from curate.rundir.result import Run
from tests.publish.user import make_run

META = ["ledger.parquet", "recipe.yaml", "summary.json", "manifest.json", "README.md"]
TEST, TRAIN = "test-00000-of-00001.parquet", "train-00000-of-00001.parquet"


def bundle_of(run: Run) -> Bundle:
    facts = published_facts(read_facts(run.folder / "summary.json"))
    return Bundle(run, facts, published_recipe(run.recipe, run), "me/set")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(make_run(tmp_path_factory.mktemp("bundle"), range(40)))


def paths(bundle: Bundle, *there: str) -> list[str]:
    return [file.path for file in bundle.files(Remote("c0", {path: {"0" * 64} for path in there}))]


def with_answers(bundle: Bundle) -> Bundle:
    """Return the bundle with candidates; any shard will do for them."""
    counts = {"answers": 9, "prompts": 3, "judged": 9, "failed": 0}
    return replace(bundle, candidates=Candidates("candidates", {bundle.shards[0]: "ab" * 32}, counts, 100))


@pytest.mark.slow
def test_a_new_repository(bundle: Bundle) -> None:
    expected = [f"data/{TEST}", f"data/{TRAIN}", *(f"prefcurate/default/{name}" for name in META), "README.md"]
    assert paths(bundle) == expected
    assert paths(replace(bundle, append=True)) == expected  # nothing to append to
    assert paths(replace(bundle, append=True), "datasets.txt", "other/data/a.parquet", "README.md") == expected


def test_another_config(bundle: Bundle) -> None:
    named = [f"big/data/{TEST}", f"big/data/{TRAIN}", *(f"prefcurate/big/{name}" for name in META), "README.md"]
    assert paths(replace(bundle, config="big"), f"data/{TRAIN}") == named


def test_an_appended_part_is_named_by_its_content(bundle: Bundle) -> None:
    part = bundle.part
    assert (len(part), int(part, 16) > 0) == (12, True)
    assert paths(replace(bundle, append=True), "data/train-00000-of-00003.parquet") == [
        f"data/test-{part}-00000-of-00001.parquet",
        f"data/train-{part}-00000-of-00001.parquet",
        *(f"prefcurate/default/parts/{part}/{name}" for name in META),
        "README.md",
    ]


def test_a_part_that_is_already_published_changes_nothing(bundle: Bundle) -> None:
    pairs, answers = replace(bundle, append=True), replace(with_answers(bundle), append=True)
    there = (f"data/{TRAIN}", f"prefcurate/default/parts/{bundle.part}/manifest.json")
    (answer,) = (path for path in paths(answers, f"data/{TRAIN}") if path.startswith("candidates/"))
    assert paths(pairs, *there) == []
    assert paths(answers, *there) == [answer, "README.md"]
    assert paths(answers, *there, answer) == []
    assert answer not in paths(answers, f"data/{TRAIN}", answer)
    assert len(paths(answers, f"data/{TRAIN}", answer)) == len(META) + 3


def test_candidates_are_named_by_number_and_appended_ones_by_content(bundle: Bundle) -> None:
    answers = with_answers(bundle)
    assert paths(answers)[-2:] == ["candidates/data/train-00000-of-00001.parquet", "README.md"]
    # The first twelve digits of sha256("ab" * 32).
    appended = "candidates/data/train-271a413bd339-00000-of-00001.parquet"
    assert paths(replace(answers, append=True), f"data/{TRAIN}")[-2:] == [appended, "README.md"]


def test_without_append_everything_is_published_again(bundle: Bundle) -> None:
    assert len(paths(bundle, *paths(bundle))) == len(META) + 3


@pytest.mark.parametrize(("config", "kept"), [("default", False), ("big", True)])
def test_another_config_keeps_the_text_of_the_card(bundle: Bundle, config: str, kept: bool) -> None:
    def card(of: Bundle, remote: Remote) -> str:
        (file,) = (file for file in of.files(remote) if file.path == "README.md")
        assert isinstance(file.content, bytes)
        return file.content.decode()

    old = card(bundle, Remote()) + "\nWritten by hand.\n"
    remote = Remote("c0", {path: {"0" * 64} for path in paths(bundle)}, old)
    assert ("Written by hand." in card(replace(bundle, config=config), remote)) is kept


def test_candidates_that_are_already_published_are_not_counted_twice(bundle: Bundle) -> None:
    def card(files: Sequence[File]) -> str:
        (content,) = (file.content for file in files if file.path == "README.md")
        assert isinstance(content, bytes)
        return content.decode()

    def examples(text: str) -> list[tuple[str, int]]:
        infos = infos_of(read_header(text)[0])
        return [(info["config_name"], split["num_examples"]) for info in infos for split in info["splits"]]

    answers = with_answers(bundle)
    first = card(answers.files(Remote()))
    assert examples(first) == [("default", 36), ("default", 4), ("candidates", 9)]
    appended = replace(answers, append=True)
    (answer,) = (path for path in paths(appended, f"data/{TRAIN}") if path.startswith("candidates/"))
    remote = Remote("c0", {path: {"0" * 64} for path in (f"data/{TRAIN}", answer)}, first)
    assert examples(card(appended.files(remote))) == [("default", 72), ("default", 8), ("candidates", 9)]


@pytest.mark.parametrize(("config", "linked"), [("default", "other"), ("big", "big other")])
def test_the_card_links_to_those_of_all_but_the_first_config(bundle: Bundle, config: str, linked: str) -> None:
    there = [*paths(bundle), "other/data/a.parquet", "prefcurate/other/README.md"]
    (first,) = (file.content for file in bundle.files(Remote()) if file.path == "README.md")
    assert isinstance(first, bytes)
    remote = Remote("c0", {path: {"0" * 64} for path in there}, first.decode())
    (card,) = (file.content for file in replace(bundle, config=config).files(remote) if file.path == "README.md")
    assert isinstance(card, bytes)
    assert [name for name in ("big", "default", "other") if f"prefcurate/{name}/README.md" in card.decode()] == (
        linked.split()
    )


def test_only_waivers_of_failed_gates_are_published(bundle: Bundle) -> None:
    gates = (Gate("kept", "failed", "größer"), Gate("licence", "failed", "none"), Gate("leaks", "passed", "0"))
    waived = replace(bundle, gates=gates, waived=("kept", "leaks"))
    assert waived._needed_waivers == ["kept"]
    (manifest,) = (file for file in waived.files(Remote()) if file.path == "prefcurate/default/manifest.json")
    assert isinstance(manifest.content, bytes)
    assert b'"waived": [\n    "kept"\n  ]' in manifest.content
    assert '"text": "größer"' in manifest.content.decode()


def test_a_manifest_lists_data_and_ledger(bundle: Bundle, tmp_path: Path) -> None:
    found: Manifest = replace(bundle, rewritten_ledger=(tmp_path, "cd" * 32))._manifest()
    assert sorted(found.files) == [f"data/{TEST}", f"data/{TRAIN}", "ledger.parquet"]
    assert found.files["ledger.parquet"] == "cd" * 32
    assert bundle._manifest().files["ledger.parquet"] == bundle.run.manifest.files["ledger.parquet"]


def test_files_beside_the_recipe_are_published(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.run.folder, tmp_path / "RUN")
    rubric = tmp_path / "RUN/files/judge/strict.txt"
    rubric.parent.mkdir(parents=True)
    rubric.write_text("Grade the answers.")
    manifest = msgspec.structs.replace(
        bundle.run.manifest, files={**bundle.run.manifest.files, "files/judge/strict.txt": "0" * 64}
    )
    found = paths(bundle_of(Run(tmp_path / "RUN", manifest)))
    assert [path for path in found if "/files/" in path] == ["prefcurate/default/files/judge/strict.txt"]


def test_links_to_the_cards_of_removed_parts_are_removed(bundle: Bundle) -> None:
    old = "prefcurate/default/parts/0123456789ab/README.md"
    remote = Remote("c0", {path: {"0" * 64} for path in (f"data/{TRAIN}", "prefcurate/other/README.md", old)})
    assert bundle._links(remote, appended=False) == [
        ("default", "prefcurate/default/README.md"),
        ("other", "prefcurate/other/README.md"),
    ]
    named = [name for name, _ in bundle._links(remote, appended=True)]
    assert named == sorted(["default + 0123456789ab", f"default + {bundle.part}", "other"])
