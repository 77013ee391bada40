"""Models in this process: the real libraries, with a chat model of a few thousand random weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curate.embeddings.local_models import batched
from curate.errors import InputError, ServiceError
from curate.text.sequences import conversation_ids
from pipelines.clients.local import TransformersModel
from pipelines.clients.requests import OF_PROMPT, Request
from pipelines.clients.reward import RewardModel

pytestmark = pytest.mark.slow
CHAT = (
    "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXT = 128
GREEDY = {"temperature": 0, "max_tokens": 12}


def user(text: str, **params: Any) -> Request:
    return Request([{"role": "user", "content": text}], {"max_tokens": 12, **params})


def exchange(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def make(folder: Path, kind: str, template: str | None = CHAT, **settings: Any) -> str:
    """Write a Llama with random weights and a tokenizer of single ASCII characters to a folder, and return its path."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["</s>", "<unk>", "<user>", "<assistant>", "<system>"]
    alphabet = [*filter(str.isascii, sorted(pre_tokenizers.ByteLevel.alphabet())), "Ġ", "Ċ"]  # space, line break
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    letters = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    letters.add_special_tokens(special)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=CONTEXT, eos_token_id=0, bos_token_id=None, initializer_range=0.5, **settings,
    )  # fmt: skip
    getattr(transformers, kind)(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("chat"), "LlamaForCausalLM")


@pytest.fixture(scope="module")
def model(folder: str) -> TransformersModel:
    return TransformersModel(folder, device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make(tmp_path_factory.mktemp("reward"), "LlamaForSequenceClassification", num_labels=1)


@pytest.fixture(scope="module")
def reward(reward_folder: str) -> RewardModel:
    return RewardModel(reward_folder, device="cpu", batch_size=4)


def test_a_batch_gives_the_answers_of_single_requests(model: TransformersModel) -> None:
    requests = [user("x" * length, temperature=0) for length in (1, 40, 7, 23, 80, 2)]
    together = model.generate(requests)
    assert together == [model.generate([request])[0] for request in requests]
    assert len({reply.text for reply in together}) > 1
    assert [reply.input_tokens for reply in together] == [3, 42, 9, 25, 82, 4]
    assert model.generate([]) == []


def test_replies_are_reproducible_and_depend_on_seeds(model: TransformersModel) -> None:
    import torch

    requests = [user("Hello", seed=seed, temperature=1.5, top_p=0.9) for seed in range(6)]
    before = torch.random.get_rng_state()
    replies = model.generate(requests)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.generate(requests) == replies
    assert len({reply.text for reply in replies}) == 6
    other = [user("Hello", seed=seed + 6, temperature=1.5, top_p=0.9) for seed in range(6)]
    assert model.generate(other) != replies


def test_log_probs_of_an_answer_are_those_of_the_models_own_logits(model: TransformersModel) -> None:
    import torch

    turns = exchange("Which tea?", "Green.")
    start = "<user>Which tea?<assistant>"
    ids = model._tokenizer(start + "Green.", add_special_tokens=False, return_tensors="pt")["input_ids"]
    skip = len(model._tokenizer(start, add_special_tokens=False)["input_ids"])
    with torch.inference_mode():
        logps = model._model(ids).logits[0].float().log_softmax(-1)
    expected = [logps[place - 1, token].item() for place, token in enumerate(ids[0].tolist())][skip:]
    longer = exchange("Which tea, and which cup?", "Black, in a glass.")
    params = {"max_tokens": 1, "temperature": 0, **OF_PROMPT}
    replies = model.generate(
        [Request(turns, params, skip=skip), Request(longer, params, skip=2), Request(turns, params)]
    )
    assert len(expected) == len("Green.")
    assert replies[0].logp_per_token == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    assert [(reply.text, reply.input_tokens, reply.output_tokens) for reply in replies] == [
        ("", ids.shape[1], 0), ("", 45, 0), ("", ids.shape[1], 0),
    ]  # fmt: skip
    (nothing,) = model.generate([Request(turns, params, skip=ids.shape[1])])
    assert (nothing.logp_per_token, nothing.error) == (None, None)


def test_a_conversation_beyond_the_context_has_no_log_probs(model: TransformersModel) -> None:
    params = {"max_tokens": 1, "temperature": 0, **OF_PROMPT}
    (reply,) = model.generate([Request(exchange("x", "y" * CONTEXT), params, skip=3)])
    assert (reply.logp_per_token, reply.error) == (
        None, f"the conversation of {CONTEXT + 3} tokens does not fit into the model's context of {CONTEXT}",
    )  # fmt: skip


def test_parameters_differ_within_a_call(model: TransformersModel) -> None:
    short, long, plain = model.generate(
        [user("Hi", temperature=0, max_tokens=3), user("Hi", temperature=0), user("Hi")]
    )
    assert (short.output_tokens, short.finish_reason) == (3, "length")
    assert (long.output_tokens, long.finish_reason) == (12, "length")
    assert (long.text or "").startswith(short.text or "?")
    assert plain.text != long.text


def test_a_narrow_top_p_is_greedy(model: TransformersModel) -> None:
    narrow, greedy = model.generate([user("Hi", temperature=2.0, top_p=1e-6), user("Hi", temperature=0)])
    assert narrow == greedy


def test_every_token_may_be_drawn(model: TransformersModel) -> None:
    replies = model.generate([user("Hi", temperature=1000, max_tokens=1, seed=seed) for seed in range(300)])
    assert len({reply.text for reply in replies}) > 60


def test_stop_texts_end_the_answer_and_are_excluded(model: TransformersModel) -> None:
    (whole,) = model.generate([user("Hi", temperature=0)])
    assert whole.text
    stop = whole.text[3:5]
    one, several = model.generate([user("Hi", temperature=0, stop=given) for given in (stop, ["~~~", stop, ""])])
    assert one == several
    assert (one.text, one.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    assert (one.output_tokens or 0) < 12


def test_the_end_token_ends_the_answer(folder: str, model: TransformersModel, tmp_path: Path) -> None:
    whole, other = model.generate([user("Hi", temperature=0), user("Hello you", temperature=0)])
    assert whole.text
    assert other.text
    end = next(letter for letter in whole.text[3:] if letter not in other.text and letter not in whole.text[:3])
    (token,) = model._tokenizer(end, add_special_tokens=False)["input_ids"]
    for file in Path(folder).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    # The model's end tokens are used, its recommended sampling is not.
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [token, 0], "do_sample": True}))
    requests = [user("Hi", temperature=0), user("Hello you", temperature=0)]
    ended, same = TransformersModel(str(tmp_path), device="cpu").generate(requests)
    head = whole.text[: whole.text.index(end)]
    assert (ended.text, ended.finish_reason, ended.output_tokens) == (head, "stop", len(head))
    assert same == other


def test_a_bad_request_affects_no_other(model: TransformersModel) -> None:
    good = user("Hi", temperature=0)
    bad = {
        "the prompt of 202 tokens does not fit into the model's context of 128": user("x" * 200),
        "not support the parameter logit_bias": user("Hi", logit_bias={}),
        "could not convert": user("Hi", temperature="hot"),
        "out of range": user("Hi", top_p=0),
        "no tools here": Request([{"role": "tool", "content": "42"}]),
    }
    first, *failed, last = model.generate([good, *bad.values(), good])
    assert first == last == model.generate([good])[0]
    assert [reply.text for reply in failed] == [None] * len(bad)
    for said, reply in zip(bad, failed, strict=True):
        assert said in (reply.error or "")


def test_the_remaining_context_limits_the_answer(model: TransformersModel) -> None:
    (reply,) = model.generate([user("x" * (CONTEXT - 7), max_tokens=1000, temperature=0)])
    assert (reply.input_tokens, reply.output_tokens, reply.finish_reason) == (CONTEXT - 5, 5, "length")


def test_a_user_turn_is_continued(model: TransformersModel) -> None:
    system = [{"role": "system", "content": "Cooking."}]
    assert model._user_turn([], {}) == ("<user>", (), [3])  # <assistant> ends it
    assert model._user_turn(system, {}) == ("<system>Cooking.<user>", (), [3])
    replies = model.generate([Request(said, {"continue_user": True, **GREEDY}) for said in ([], system)])
    assert [reply.input_tokens for reply in replies] == [1, 10]
    assert all(reply.text for reply in replies)


@pytest.mark.parametrize(
    ("template", "before", "stop"),
    [
        (
            "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}[assistant]\n",
            "[user]\n",
            ("[assistant]",),
        ),
        ("{% for m in messages %}[INST] {{ m.content | trim }} [/INST]{% endfor %}", "[INST]", ("[/INST]",)),
    ],
)
def test_a_user_turn_that_text_ends(tmp_path: Path, template: str, before: str, stop: tuple[str, ...]) -> None:
    model = TransformersModel(make(tmp_path, "LlamaForCausalLM", template), device="cpu")
    assert model._user_turn([], {}) == (before, stop, [])


def test_loading_and_answering_print_nothing(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    TransformersModel(folder, device="cpu").generate([user("x" * 200), user("Hi"), user("Hi", temperature=0, stop="a")])
    assert capfd.readouterr() == ("", "")


def test_names_that_are_not_chat_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        TransformersModel(str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot load the model"):
        TransformersModel(str(tmp_path))
    with pytest.raises(InputError, match="has no chat template"):
        TransformersModel(make(tmp_path / "base", "LlamaForCausalLM", None))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ServiceError, match="the Hub does not answer"):
        TransformersModel("me/not-in-the-cache")


def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoConfig": "evil.Config"}}))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(InputError, match="cannot load the model"):
        TransformersModel(str(tmp_path))


def test_scores_are_those_at_the_last_token(reward: RewardModel, reward_folder: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    conversations = [exchange("Hi", "x" * length) for length in (3, 50, 1, 20, 9)]
    plain = AutoModelForSequenceClassification.from_pretrained(reward_folder)
    rows = [
        torch.tensor([conversation_ids(reward._tokenizer, conversation, CONTEXT)]) for conversation in conversations
    ]
    expected = [plain(row).logits.item() for row in rows]
    assert reward.score(conversations) == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == 5
    assert reward.score([]) == []


def test_a_long_conversation_loses_its_oldest_exchanges(reward: RewardModel) -> None:
    system = [{"role": "system", "content": "Be kind."}]
    old, last = exchange("o" * 60, "x" * 30), exchange("Hi", "y" * 60)
    whole, cut, too_long = reward.score([[*system, *old, *last], [*system, *last], exchange("Hi", "y" * 200)])
    assert whole == pytest.approx(cut, abs=1e-5)
    assert too_long is None


def test_a_template_that_rejects_some_or_all(reward: RewardModel) -> None:
    tool = [{"role": "tool", "content": "42"}]
    assert reward.score([tool, exchange("Hi", "Ho")])[0] is None
    with pytest.raises(InputError, match="all conversations: no tools here"):
        reward.score([tool])


def test_without_a_template_roles_are_written_out(tmp_path: Path) -> None:
    model = RewardModel(
        make(tmp_path, "LlamaForSequenceClassification", None, num_labels=1, pad_token_id=1), device="cpu"
    )
    assert (
        model._tokenizer.decode(conversation_ids(model._tokenizer, exchange("Hi", "Ho"), CONTEXT) or [])
        == "user: Hi\nassistant: Ho"
    )
    first, second = model.score([exchange("Hi", "Ho"), exchange("Hi", "No")])
    assert first != second


def test_models_that_are_not_reward_models(folder: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a reward model: it is a LlamaForCausalLM"):
        RewardModel(folder)
    with pytest.raises(InputError, match="it has 2 labels, expected 1"):
        RewardModel(make(tmp_path, "LlamaForSequenceClassification", num_labels=2))


def test_a_batch_that_does_not_fit_is_halved() -> None:
    sizes = []

    def run(batch: Sequence[int]) -> list[str]:
        sizes.append(len(batch))
        if len(batch) > 2 or 3 in batch:
            raise RuntimeError("CUDA out of memory")
        return [str(job) for job in batch]

    done = dict(batched(range(6), 5, run, lambda error: f"failed: {error}"))
    assert done == {0: "0", 1: "1", 2: "2", 3: "failed: CUDA out of memory", 4: "4", 5: "5"}
    assert sizes == [5, 2, 3, 1, 2, 1, 1, 1]
