"""Where the files of a conversion are, what is said of them, and mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest

import curate
from curate.errors import CurateError
from tests.data import plain, row, rows, write_jsonl
from tests.train.tiny import TEMPLATE, tiny_tokenizer

TALK = [
    {"role": "user", "content": "Tea?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Which?"},
]
LONG = {
    "prompt": TALK,
    "chosen": [{"role": "assistant", "content": "Green."}, *TALK[1::-1]],
    "rejected": [{"role": "assistant", "content": "Any."}],
}


def ids(source: Any) -> list[str]:
    return sorted(curate.read(source).get_column("pair_id"))


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "a.json.zst", "a.csv.gz", "folder"]
)
def test_the_ending_says_how_a_file_is_written(tmp_path: Path, name: str) -> None:
    done = curate.convert(rows(5), to="text", out=tmp_path / name)
    path = tmp_path / (name if "." in name else f"{name}/train.jsonl")
    assert done.files == {str(path): 5}
    assert ids(path) == ids(rows(5))
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_json_is_one_array(tmp_path: Path) -> None:
    given = [row(0, chosen='A line\nand "another", …'), row(1)]
    curate.convert(given, to="text", out=tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == given


def test_a_run_has_a_file_for_each_split(tmp_path: Path) -> None:
    run = curate.clean(rows(40), out=tmp_path / "RUN", settings=["split.test=0.2"])
    done = curate.convert(tmp_path / "RUN", to="llamafactory", out=tmp_path / "a.json")
    names = {split: tmp_path / f"a-{split}.json" for split in ("train", "test")}
    assert done.files == {str(path): run.counts[split] for split, path in names.items()}
    for split, path in names.items():
        assert ids(path) == sorted(run.split(split).collect().get_column("pair_id"))
    assert done.dataset_info["a-test"]["file_name"] == "a-test.json"
    folder = curate.convert(run, to="trl", out=tmp_path / "FOLDER", split="test")
    assert folder.files == {str(tmp_path / "FOLDER/test.jsonl"): run.counts["test"]}


def test_what_is_not_in_a_file_is_counted(tmp_path: Path) -> None:
    given = [*rows(3), LONG, row(4, chosen_score=2), row(5, rejected=None)]
    done = curate.convert(given, to="axolotl", out=tmp_path / "a.jsonl", skip=True)
    assert done.files == {str(tmp_path / "a.jsonl"): 4}
    assert (done.left_out, done.problems) == ({"answers of several turns": 1}, {"missing_rejected": 1})
    assert curate.convert(given[:5], to="openai", out=tmp_path / "b.jsonl").lost == {"scores": 1}


def test_columns_and_limits_are_those_of_read(tmp_path: Path) -> None:
    given = [{"q": f"Tea {n}?", "good": "Green.", "bad": "Any."} for n in range(9)]
    mapped = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    path = write_jsonl(tmp_path / "in.jsonl", given)
    curate.convert(path, to="trl", out=tmp_path / "a.jsonl", columns=mapped, limit=4)
    assert ids(tmp_path / "a.jsonl") == sorted(curate.read(path, columns=mapped, limit=4)["pair_id"])


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (rows(2), {"to": "llama-factory"}, "Did you mean 'llamafactory'"),
        (rows(2), {"to": "openai", "out": "a.json"}, "openai is read from .jsonl files only"),
        (rows(2), {"to": "trl", "out": "a.xlsx"}, "another ending than .jsonl"),
        (rows(2), {"to": "trl", "out": "a.parquet.gz"}, "another ending than"),
        (rows(2), {"to": "trl", "out": "a.csv"}, "a table of text cannot hold prompt, chosen, rejected"),
        (rows(2), {"to": "trl", "out": "there.jsonl"}, "exists already; choose another --out"),
        (rows(2), {"to": "trl", "model": "x"}, "trl has messages"),
        ([LONG], {"to": "axolotl"}, r"1 of 1 pairs cannot be expressed as axolotl \(answers of several turns 1\)"),
        ([LONG], {"to": "axolotl", "skip": True}, "there are no pairs to write as axolotl"),
        ([], {"to": "trl"}, "no rows to read"),
    ],
)
def test_mistakes(tmp_path: Path, source: Any, options: dict[str, Any], said: str) -> None:
    (tmp_path / "there.jsonl").write_text("mine")
    with pytest.raises(CurateError, match=said):
        curate.convert(source, **{**options, "out": tmp_path / options.get("out", "a.jsonl")})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("there.jsonl", "mine")]


def test_a_file_can_be_replaced_even_by_itself(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", rows(3))
    before = ids(path)
    curate.convert(path, to="ms-swift", out=path, force=True)
    assert ids(path) == before
    assert "rejected_response" in path.read_text("utf-8")


@pytest.mark.slow
def test_texts_by_the_chat_template_of_a_model_are_trls(tmp_path: Path) -> None:
    from trl.data_utils import apply_chat_template

    tokenizer = tiny_tokenizer(TEMPLATE)
    tokenizer.save_pretrained(tmp_path / "model")
    given = [{**LONG, "chosen": [{"role": "assistant", "content": "Green."}]}, row(0)]
    done = curate.convert(given, to="text", out=tmp_path / "a.jsonl", model=str(tmp_path / "model"))
    pairs = curate.read(given).select("prompt", "chosen", "rejected").to_dicts()
    theirs = [apply_chat_template(plain(pair), tokenizer) for pair in pairs]
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()] == theirs
    assert done.lost == {}


@pytest.mark.slow
def test_a_template_that_refuses_a_conversation_is_named(tmp_path: Path) -> None:
    tiny_tokenizer("{{ raise_exception('no system, please') }}").save_pretrained(tmp_path / "model")
    with pytest.raises(CurateError, match="refuses a conversation: no system, please"):
        curate.convert(rows(1), to="text", out=tmp_path / "a.jsonl", model=str(tmp_path / "model"))
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.slow
def test_the_files_load_with_datasets_and_are_what_trl_expects(tmp_path: Path) -> None:
    import datasets
    from trl.data_utils import extract_prompt, is_conversational

    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    called = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    given = [row(0), row(1, chosen=called, tools=[tool])]
    for form, kind in (("trl", "parquet"), ("trl-implicit", "parquet"), ("trl", "jsonl"), ("kto", "parquet")):
        out = curate.convert(given, to=form, out=tmp_path / f"{form}.{kind}").files
        loaded: Any = datasets.load_dataset({"jsonl": "json"}.get(kind, kind), data_files=list(out), split="train")
        assert is_conversational(loaded[0])
        if form == "trl-implicit":
            assert extract_prompt(loaded[0])["prompt"] == [{"role": "user", "content": given[0]["prompt"],
                "tool_calls": None}]  # fmt: skip
        answers = [turn for found in loaded for turn in found.get("chosen", found.get("completion"))]
        assert any((turn.get("tool_calls") or [{}])[0].get("function") == call["function"]
                   for turn in answers)  # fmt: skip
