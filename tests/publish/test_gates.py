"""Gates: what they find, and that nothing is published unless they pass or are waived by name."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import curate
from curate.errors import RecipeError
from curate.publish import gates, licences, secrets
from curate.recipe.load import Recipe
from curate.rundir.result import Run
from tests.data import row, write_jsonl
from tests.publish.user import LICENSED, make_run, with_publish

AWS = "AKIA" + "Z" * 16  # has the form of a key, but is none
GITHUB = "ghp_" + "a1B2" * 9
HUB_TOKEN = "hf_" + "Ab1" * 12


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ask at the desk, key 7.", []),
        (f"My key is {AWS}.", ["AWS Access Key"]),
        (f"git clone with {GITHUB}", ["GitHub Token"]),
        (f"token {HUB_TOKEN} here", ["Key of a known format"]),
        ("sk-" + "a1" * 24, ["Key of a known format"]),
        ("postgres://joe:Xy7kkq91@db.host/x", ["Basic Auth Credentials"]),
        ("postgres://user:password@localhost/db", []),
        ("https://your_name:your_password@host", []),
        ("see the-publishers-own-secret there", [secrets.OWN]),
        ("line\nline\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow", ["Key of a known format"]),
        ("[a](http://x.org/0123456789abcdef0123456789abcdef)", []),
    ],
)
def test_secrets_by_their_form(text: str, found: list[str]) -> None:
    assert secrets.kinds(text, ["the-publishers-own-secret"]) == found


# Prefixes that the detectors look for; some of their patterns take quadratic time on a text that repeats one.
HOSTILE = [
    "!",
    "eyJ",
    "eyJa.",
    "artif ",
    "artif AP1aaaaaaaaa ",
    "://a:b@",
    "aws key ",
    "xoxb-1-",
    "NPM TOKEN ",
    "- ",
    "='",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_secrets_are_looked_for_in_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    start = time.monotonic()
    secrets.kinds(text, [])
    secrets.PLACEHOLDER.search(text)
    assert time.monotonic() - start < 20  # they took from half a minute to hours


@pytest.mark.parametrize(
    "secret", ["!" * 20 + "Password1", "(my_secret)", "aaaaaaa.example", "<key>", "a${KEY}", "PWD"]
)
def test_placeholders_are_not_secrets(secret: str) -> None:
    assert secrets.PLACEHOLDER.search(secret)


@pytest.mark.parametrize("secret", ["Xy7kkq91", "a-password", "x1234", "!!Xy7kkq91"])
def test_other_secrets_are_not_placeholders(secret: str) -> None:
    assert not secrets.PLACEHOLDER.search(secret)


def test_own_tokens_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    variables = {
        "MY_API_KEY": "long-enough-key",
        "SHORT_TOKEN": "abc",
        "PATH": "/usr/local/bin",
        "X_TOKEN": "tok-12345",
    }
    found = secrets.own_tokens(variables)
    assert set(found) >= {"long-enough-key", "tok-12345"}
    assert not {"abc", "/usr/local/bin"} & set(found)


def test_a_secret_is_named_by_its_place_and_never_shown(tmp_path: Path) -> None:
    lines = [row(0), row(1, prompt=f"What is {GITHUB} good for? Tell me."), row(2)]
    run = curate.clean(write_jsonl(tmp_path / "p.jsonl", lines), tmp_path / "RUN", rules={"defaults": False})
    gate = gates.secrets_in(run, {"the recipe": "a: b"})
    assert (gate.status, gate.text.startswith("1 × GitHub Token (pair "), "in prompt" in gate.text) == (
        "failed",
        True,
        True,
    )
    assert GITHUB not in gate.text


@pytest.mark.parametrize(
    ("target", "sources", "said"),
    [
        ("mit", {"a": "mit"}, None),
        ("cc-by-4.0", {"a": "apache-2.0", "b": "cc0-1.0"}, None),
        ("cc-by-sa-4.0", {"a": "cc-by-sa-4.0"}, None),
        ("cc-by-nc-4.0", {"a": "cc-by-nc-4.0", "b": "mit"}, None),
        ("mit", {}, None),
        (None, {"a": "mit"}, "no licence is specified"),
        ("my-own", {"a": "mit"}, "my-own is not in the table"),
        ("mit", {"a": None}, "the licence of a is unknown"),
        ("mit", {"a": "llama3"}, "llama3 is not in the table"),
        ("mit", {"a": "cc-by-sa-4.0"}, "requires the same licence, not mit"),
        ("mit", {"a": "cc-by-nc-4.0"}, "forbids commercial use"),
        ("cc0-1.0", {"a": "cc-by-4.0"}, "requires attribution"),
        ("mit", {"a": "cc-by-nc-nd-4.0"}, "allows no derived works"),
        ("cc-by-nc-4.0", {"a": "cc-by-nc-sa-4.0"}, "requires the same licence"),
    ],
)
def test_licences_of_sources_must_fit(target: str | None, sources: dict[str, str | None], said: str | None) -> None:
    found = licences.problem(target, sources)
    assert found is None if said is None else said in (found or "")


def checked(run: Run, recipe: Recipe | None = None, **facts: Any) -> dict[str, tuple[str, str]]:
    """Return gate → status and text, with some of the run's facts changed."""
    found = json.loads((run.folder / "summary.json").read_text()) | facts
    return {gate.name: (gate.status, gate.text) for gate in gates.check(run, found, recipe or run.recipe, {})}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("gates"), range(40))


@pytest.mark.slow
def test_a_good_run_passes(run: Run) -> None:
    assert {name: status for name, (status, _) in checked(run).items()} == {
        "secrets": "passed", "personal_data": "passed", "licence": "passed", "contamination": "not checked",
        "eval_sets": "passed", "splits": "passed", "leaks": "passed", "kept": "passed",
    }  # fmt: skip


@pytest.mark.slow
def test_each_gate_fails_on_its_own_problem(run: Run) -> None:
    counts = {**run.counts, "train": 0, "kept": 2, "rows": 40}
    strict = with_publish(run.recipe, max_personal=0.1, license=None, min_test=50)
    sets = {"gsm8k": {"items": 1319, "hit": 3, "rows": 4}}
    found = checked(
        run, strict, counts=counts, personal={"emails": 1, "phones": 0, "ips": 0}, leaks=2, decontaminate={"sets": sets}
    )
    assert {name for name, (status, _) in found.items() if status == "failed"} == set(found) - {"secrets", "eval_sets"}
    assert found["splits"][1].startswith("train has 0 pairs, fewer than 1; test has")
    assert found["kept"][1] == "2 of 40 rows kept (5.0%); at least 10% expected"
    assert found["leaks"][1] == "0 prompts in two splits; near-duplicates across the splits: 2"
    assert found["contamination"][1].startswith("4 contaminated rows were not dropped (gsm8k 3 of 1,319")


def test_failed_gates_are_named_unless_waived() -> None:
    found = [
        gates.Gate("licence", "failed", "none"),
        gates.Gate("kept", "failed", "3%"),
        gates.Gate("leaks", "passed", ""),
    ]
    message = r"licence: none; kept: 3%\. Fix this, .* --waive licence,kept"
    with pytest.raises(gates.GateFailed, match=message) as caught:
        gates.stop_at_failed(found, [])
    assert caught.value.exit_code == 1
    gates.stop_at_failed(found, ["licence", "kept"])
    with pytest.raises(RecipeError, match="Did you mean 'licence'"):
        gates.check_names(["license"])


def test_one_licence_per_source(run: Run) -> None:
    recipe = with_publish(run.recipe, source_license={"p.jsonl": "cc-by-nc-4.0"})
    assert "p.jsonl: cc-by-nc-4.0 forbids commercial use" in checked(run, recipe)["licence"][1]
    assert LICENSED[0] == "publish.license=mit"


def test_the_files_of_a_hub_dataset_have_its_licence(run: Run) -> None:
    recipe = with_publish(run.recipe, source_license=None)
    recipe = recipe.model_copy(update={"source": recipe.source.model_copy(update={"paths": ("org/set",)})})
    found = json.loads((run.folder / "summary.json").read_text())
    found["inputs"] = dict.fromkeys(["org/set/a.parquet", "org/set/b.parquet"], found["inputs"]["p.jsonl"])
    gate = {gate.name: gate for gate in gates.check(run, found, recipe, {"org/set": "apache-2.0"})}["licence"]
    assert (gate.status, gate.text) == ("passed", "mit; org/set: apache-2.0")


UNKNOWN = ("failed", "the licence of p.jsonl is unknown: --set publish.source_license=…")


@pytest.mark.parametrize(
    ("generation", "paths", "found"),
    [
        ({"prompts": [{"method": "topics"}]}, (), ("passed", "mit")),  # everything was generated: no source
        ({"prompts": [{"method": "topics"}]}, ("p.jsonl",), UNKNOWN),
        ({"answers": [{"model": "openai:m"}]}, (), UNKNOWN),  # answers to prompts of others
        (None, ("p.jsonl",), UNKNOWN),
        (None, (), UNKNOWN),
    ],
)
def test_only_data_generated_from_nothing_has_no_source(
    run: Run, generation: dict[str, Any] | None, paths: tuple[str, ...], found: tuple[str, str]
) -> None:
    recipe = with_publish(run.recipe, source_license=None)
    recipe = recipe.model_copy(update={"source": recipe.source.model_copy(update={"paths": paths})})
    assert checked(run, recipe, generation=generation)["licence"] == found


def test_a_secret_in_the_recipe(run: Run) -> None:
    recipe = with_publish(run.recipe, about=f"Made with {GITHUB}.")
    assert checked(run, recipe)["secrets"] == ("failed", "1 × GitHub Token (in the recipe)")


def test_a_secret_in_a_file_beside_the_recipe(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "RUN")
    rubric = tmp_path / "RUN/files/judge/strict.txt"
    rubric.parent.mkdir(parents=True)
    rubric.write_text(f"Grade the answers. {GITHUB}")
    files = {**run.manifest.files, "files/judge/strict.txt": "0" * 64}
    manifest = msgspec.structs.replace(run.manifest, files=files)
    found = checked(Run(tmp_path / "RUN", manifest))["secrets"]
    assert found == ("failed", "1 × GitHub Token (in files/judge/strict.txt)")


def test_bounds_of_gates_are_inclusive(run: Run) -> None:
    counts = {"rows": 40, "kept": 4, "train": 3, "validation": 0, "test": 1}
    exact = with_publish(run.recipe, min_kept=0.1, min_train=3, min_test=1, max_personal=0.25)
    stricter = with_publish(run.recipe, min_kept=0.101, min_train=4, min_test=2, max_personal=0.24)
    personal = {"emails": 1, "phones": 0, "ips": 0}
    names = ("kept", "splits", "personal_data")
    found = checked(run, exact, counts=counts, personal=personal)
    assert [found[name][0] for name in names] == ["passed"] * 3
    found = checked(run, stricter, counts=counts, personal=personal)
    assert [found[name][0] for name in names] == ["failed"] * 3
    assert found["splits"][1] == "train has 3 pairs, fewer than 4; test has 1 pairs, fewer than 2"


def test_a_run_without_a_test_split_needs_no_test_pairs(run: Run) -> None:
    counts = {"rows": 40, "kept": 40, "train": 40, "validation": 0, "test": 0}
    recipe = with_publish(run.recipe, min_test=50)
    without = recipe.model_copy(update={"split": recipe.split.model_copy(update={"test": 0.0})})
    assert checked(run, without, counts=counts)["splits"] == ("passed", "train 40, validation 0, test 0")
    assert checked(run, recipe, counts=counts)["splits"] == ("failed", "test has 0 pairs, fewer than 50")


def test_one_contaminated_row_that_was_not_dropped(run: Run) -> None:
    def sets(rows: int) -> dict[str, Any]:
        return {"sets": {"gsm8k": {"items": 9, "hit": rows, "rows": rows}, "mmlu": {"items": 1, "hit": 0, "rows": 0}}}

    said = "gsm8k 1 of 9 items, mmlu 0 of 1 items"
    assert checked(run, decontaminate=sets(1))["contamination"] == (
        "failed", f"1 contaminated rows were not dropped ({said})",
    )  # fmt: skip
    assert checked(run, decontaminate=sets(0))["contamination"][0] == "passed"


def test_one_pair_that_leaks(run: Run) -> None:
    assert checked(run, leaks=1)["leaks"][0] == "failed"
    assert checked(run, leaks=0)["leaks"] == (
        "passed", "0 prompts in two splits; near-duplicates across the splits: 0",
    )  # fmt: skip
    assert checked(run, leaks=None)["leaks"][1].endswith("across the splits: not checked")


def test_at_most_three_places_are_listed(tmp_path: Path) -> None:
    lines = [row(n, prompt=f"What is {GITHUB} good for? Number {n}.") for n in range(4)]
    run = curate.clean(write_jsonl(tmp_path / "p.jsonl", lines), tmp_path / "RUN", rules={"defaults": False})
    text = gates.secrets_in(run, {}).text
    assert text.startswith("4 × GitHub Token (pair ")
    assert text.count("in prompt") == 3


@pytest.mark.slow
def test_an_eval_set_is_not_published(tmp_path: Path) -> None:
    rows = [
        {
            "input": f"Which tea is number {n}?",
            "output_1": f"Green tea {n}, brewed cool.",
            "output_2": "No.",
            "label": 1,
        }
        for n in range(30)
    ]
    found = curate.clean(rows, out=tmp_path / "RUN", settings=["split.test=0", *LICENSED])
    gate = checked(found)["eval_sets"]
    assert gate == ("failed", "rows (llmbar): an eval set, which is not to be trained on")
