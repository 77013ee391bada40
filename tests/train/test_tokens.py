"""Tokens are identical to TRL's, row by row."""

from typing import Any

import polars as pl
import pytest

from curate.schema import widened
from curate.text.sequences import SegmentTokenizer, sequences
from tests.data import SHARED
from tests.train.tiny import TEMPLATE, pair, pairs, tiny_tokenizer, toy_rows
from train.tokens import tokens
from train.training.fit import as_dataset

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers

ROWS = [
    pair([("user", "Is the door red?")], "Yes, it is.", "No."),
    pair([("system", "Be brief."), ("user", "Hi  ")], " Hello", ""),
    pair([("user", "<user> in a </s>text")], "with <assistant>", "ünïcödé ⚙️ 你好"),
    pair([("user", "One"), ("assistant", "Two"), ("user", "Three")], "Four  \n", "Four"),
]
ROWS += [pair([("user", row["prompt"])], row["chosen"], row["rejected"]) for row in toy_rows(20)]
TRIMMING = TEMPLATE.replace("m['content']", "m['content'] | trim")
THINKING = TEMPLATE.replace("<assistant>{% endif %}", "<assistant>think{% endif %}")


def by_trl(rows: Any, tokenizer, max_length: int | None = None) -> list[dict[str, list[int]]]:
    """Return the rows of a dataset (or frame) as TRL's trainer prepares them, without prompts that fill max_length."""
    from trl import DPOConfig, DPOTrainer

    args = DPOConfig(output_dir="unused", max_length=max_length, report_to="none", use_cpu=True, bf16=False)
    trainer = DPOTrainer.__new__(DPOTrainer)  # only its data preparation, which needs no model
    trainer._tokenizer = tokenizer
    data = as_dataset(widened(rows)) if isinstance(rows, pl.DataFrame) else rows
    prepared = trainer._prepare_dataset(data, tokenizer, args, "train")
    return [{name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in prepared]


@pytest.mark.slow
@pytest.mark.parametrize("metaspace", [False, True])
@pytest.mark.parametrize("template", [TEMPLATE, TRIMMING, THINKING])
def test_same_tokens_as_trl(template: str, metaspace: bool) -> None:
    tokenizer = tiny_tokenizer(template, metaspace=metaspace)
    theirs = by_trl(pairs(*ROWS), tokenizer)
    assert [list(sequences(row, tokenizer)) for row in ROWS] == [list(row.values()) for row in theirs]
    ours = tokens(pairs(*ROWS), tokenizer, frozenset({tokenizer.eos_token_id}))
    for name in ("prompt", "chosen", "rejected"):
        assert ours.get_column(f"{name}_tokens").to_list() == [len(row[f"{name}_ids"]) for row in theirs]
    whole = [(row["prompt_ids"] + row["chosen_ids"], row["prompt_ids"] + row["rejected_ids"]) for row in theirs]
    shared = [
        next((n for n, (a, b) in enumerate(zip(*two, strict=False)) if a != b), min(map(len, two))) for two in whole
    ]
    assert ours.get_column("shared_tokens").to_list() == shared


@pytest.mark.slow
def test_same_tokens_as_trl_on_real_rows() -> None:
    file = SHARED / "hh_rlhf_harmless.jsonl.gz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in ../shared/data")
    import tempfile

    import curate

    with tempfile.TemporaryDirectory() as folder:
        rows = curate.clean(file, f"{folder}/RUN").train.head(200).select("prompt", "chosen", "rejected").collect()
    tokenizer = tiny_tokenizer()
    theirs = by_trl(rows, tokenizer)
    ours = tokens(rows, tokenizer, frozenset({tokenizer.eos_token_id}))
    for name in ("prompt", "chosen", "rejected"):
        assert ours.get_column(f"{name}_tokens").to_list() == [len(row[f"{name}_ids"]) for row in theirs]


def test_of_special_tokens_that_start_alike_the_longest_counts() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<n>", "<n><m>", "<n><m><o>"], special_tokens=True)
    text = "the red <n><m><o> door <n><m> is <n>"
    assert SegmentTokenizer(tokenizer).ids(text).tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_segments_are_cached_and_evicted() -> None:
    tokenizer = tiny_tokenizer()
    segments = SegmentTokenizer(tokenizer)
    texts = ["<user>Is the door red?<assistant>Yes</s>", "", "<user><user>", "Is the door red?"]
    segments.load(texts)
    assert sorted(segments._cache) == ["Is the door red?", "Yes"]
    for text in [*texts, "unseen <user> before"]:
        assert segments.ids(text).tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    segments.load(["Yes"])
    assert sorted(segments._cache) == ["Yes"]


@pytest.mark.parametrize("setting", ["lstrip", "rstrip", "single_word"])
def test_tokens_beside_a_special_token_that_takes_part_of_the_text(setting: str) -> None:
    from tokenizers import AddedToken

    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<note>", special=True, normalized=False, **{setting: True})])
    text = "the red <note> door<note>is"
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    alone = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in ("the red ", " door", "is")]
    note = tokenizer.convert_tokens_to_ids("<note>")
    assert whole != [*alone[0], note, *alone[1], note, *alone[2]]  # the parts differ from the whole
    assert SegmentTokenizer(tokenizer).ids(text).tolist() == whole


def test_a_tokenizer_of_another_kind_gets_whole_texts() -> None:
    class Letters:
        """A tokenizer of an unknown class, which can only be called."""

        def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    assert SegmentTokenizer(Letters()).ids("a<user>").tolist() == [97, 60, 117, 115, 101, 114, 62]


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_tokens_of_a_tokenizer_that_begins_each_text_differently(scheme: str) -> None:
    from tokenizers import pre_tokenizers

    tokenizer = tiny_tokenizer(metaspace=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    text = "<user>the door<assistant>red"
    assert SegmentTokenizer(tokenizer).ids(text).tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_refused_row_has_the_error_and_the_others_are_measured() -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TEMPLATE
    tokenizer = tiny_tokenizer(strict)
    ours = tokens(pairs(*ROWS[:2]), tokenizer, frozenset({tokenizer.eos_token_id}))
    assert ours.get_column("refused").to_list() == [None, "no system turn"]
    assert ours.get_column("prompt_tokens").null_count() == 1


def test_end_tokens_and_system_turns() -> None:
    without = TEMPLATE.replace("</s>", "").replace(
        "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
    )
    tokenizer = tiny_tokenizer(without)
    ours = tokens(pairs(*ROWS[:2]), tokenizer, frozenset({tokenizer.eos_token_id}))
    assert ours.select("chosen_ends", "rejected_ends", "system_lost").rows() == [(False,) * 3, (False, False, True)]
    whole = tokens(pairs(*ROWS[:2]), tiny_tokenizer(), frozenset({tokenizer.eos_token_id}))
    assert whole.select("chosen_ends", "rejected_ends", "system_lost").rows() == [(True, True, False)] * 2


def test_a_system_turn_that_only_the_answers_quote_is_lost() -> None:
    tokenizer = tiny_tokenizer(TEMPLATE.replace("in messages %}", "in messages if m.role != 'system' %}"))
    quoting = pair([("system", "Be brief."), ("user", "Hi")], "Be brief.", "I am told: Be brief.")
    assert tokens(pairs(quoting), tokenizer, frozenset()).get_column("system_lost").to_list() == [True]


@pytest.mark.parametrize(("after", "ends"), [(0, True), (3, True), (4, False)])
def test_an_end_token_is_one_of_the_last_four(after: int, ends: bool) -> None:
    tokenizer = tiny_tokenizer(TEMPLATE.replace("</s>", "</s>" + "<user>" * after))
    ours = tokens(pairs(ROWS[0]), tokenizer, frozenset({tokenizer.eos_token_id}))
    assert ours.select("chosen_ends", "rejected_ends").rows() == [(ends, ends)]


def test_lengths_of_a_pair() -> None:
    """# and % are one token each, as is each special token; the generation prompt ends in two that answers lack."""
    tokenizer = tiny_tokenizer(TEMPLATE.replace("<assistant>{% endif %}", "<assistant>##{% endif %}"))
    ours = tokens(pairs(pair([("user", "#")], "%%", "%%%")), tokenizer, frozenset({tokenizer.eos_token_id}))
    assert ours.rows(named=True) == [
        {
            "prompt_tokens": 3,
            "lost_tokens": 2,
            "chosen_tokens": 3,
            "rejected_tokens": 4,
            "shared_tokens": 5,
            "chosen_ends": True,
            "rejected_ends": True,
            "system_lost": False,
            "content_lost": False,
            "refused": None,
        }
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_the_prompt_ends_where_either_answer_differs_from_it(turned: bool) -> None:
    """The generation prompt ends in ##, and one of the answers begins with #."""
    tokenizer = tiny_tokenizer(TEMPLATE.replace("<assistant>{% endif %}", "<assistant>##{% endif %}"))
    row = pair([("user", "#")], "%", "#%%") if turned else pair([("user", "#")], "#%%", "%")
    first, second = (["%", "</s>"], ["#", "%", "%", "</s>"]) if turned else (["#", "%", "%", "</s>"], ["%", "</s>"])
    parts = [tokenizer.convert_ids_to_tokens(ids) for ids in sequences(row, tokenizer)]
    assert parts == [["<user>", "#", "<assistant>"], first, second]
    ours = tokens(pairs(row), tokenizer, frozenset())
    assert ours.select("prompt_tokens", "chosen_tokens", "rejected_tokens").row(0) == (3, len(first), len(second))


def test_no_tokens_are_added_to_a_text() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 1)])
    assert tokenizer("#")["input_ids"][0] == 1
    assert tokenizer.convert_ids_to_tokens(SegmentTokenizer(tokenizer).ids("#").tolist()) == ["#"]


def test_no_rows() -> None:
    assert tokens(pairs(), tiny_tokenizer(), frozenset()).is_empty()
