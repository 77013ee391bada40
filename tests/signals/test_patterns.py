"""Every pattern of every file matches its examples, and none matches a near miss."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import polars as pl
import pytest
import yaml

from curate.signals.patterns import (
    RESPONSE,
    TEXT,
    ai_boilerplate,
    mojibake,
    pattern,
    refusal,
    role_label,
    template_family,
    template_leak,
)

Signal = Callable[[pl.Expr], pl.Expr]
COUNTED = {signal.name: signal.function for signal in TEXT}

# (file, language) -> for every pattern, in the file's order, texts that it matches. Texts are in lower case where the
# signal looks at lower case. Keys are put together from parts, so that no scanner takes them for real ones.
EXAMPLES: dict[tuple[str, str], list[list[str]]] = {
    ("refusal", "en"): [
        [
            "i'm sorry, but i can't do that",
            "i am very sorry but we are unable",
            "i’m afraid that won’t work",
            "sorry, i'm afraid this is not allowed",
        ],
        [
            "i can't help with that",
            "we cannot provide instructions",
            "i really can’t answer",
            "i am unable to assist",
            "i'm unable to provide that",
            "i’m not able to help",
            "we're not able to share it",
            "we are unable to comply",
            "i must decline to answer",
        ],
        ["i won't help", "i will not participate", "we won’t be able to do it"],
        ["i'm not comfortable discussing this", "i am not going to write it", "i’m not programmed to answer"],
        ["i don't feel comfortable", "i do not condone violence", "we don’t provide advice about illegal acts"],
        ["that is against my guidelines", "it violates openai's policies", "this violates our content policy"],
        ["i'd rather not answer", "i would prefer to not say", "i’d rather not discuss it"],
        ["sorry, i can't help with that", "i apologize, i’m unable to assist", "unfortunately i cannot share it"],
    ],
    ("refusal", "pt"): [
        ["desculpe, mas não posso fazer isso", "infelizmente não consigo", "sinto muito, não sou capaz"],
        ["não posso ajudar", "não consigo te fornecer isso", "não estou autorizada a responder"],
    ],
    ("refusal", "es"): [
        ["lo siento, pero no puedo hacerlo", "lamentablemente no podré", "disculpa, no soy capaz"],
        ["no puedo ayudar", "no me es posible proporcionar eso", "no estoy autorizado a responder"],
    ],
    ("ai_boilerplate", "en"): [
        [
            "as an ai language model",
            "as a large language model",
            "as an a.i., i have no body",
            "as an artificial intelligence",
        ],
        ["i'm just an ai", "i am a language model", "i’m an a.i. and cannot eat"],
        ["my knowledge cutoff is 2021", "my training data ends there", "my knowledge cut-off"],
        ["as of my last update", "as of my last knowledge update", "as of my last training"],
        ["i was trained by openai", "i'm a model developed by google", "i am an assistant created by anthropic"],
    ],
    ("ai_boilerplate", "pt"): [
        ["como uma inteligência artificial", "como um modelo de linguagem", "como uma i.a., não sinto"],
        ["sou apenas uma ia", "sou um modelo de língua"],
    ],
    ("ai_boilerplate", "es"): [
        [
            "como una inteligencia artificial",
            "como una ia, no siento",
            "como modelo de lenguaje",
            "como una i.a. no siento",
        ],
        ["soy solo una ia", "soy un modelo de lenguaje", "soy sólo una inteligencia artificial"],
    ],
    ("about_form", "en"): [
        ["add the missing comma", "fix the punctuation", "a semi-colon", "with quotes", "an en dash", "hyphenate it"],
        ["format this as a list", "in **bold**", "bullet points", "as json", "write code", "indentation"],
        ["check the grammar", "proofread this", "the corrected text", "corrections", "find the typos"],
    ],
    ("about_form", "pt"): [["onde falta a vírgula", "entre aspas", "corrija a frase", "em negrito", "a pontuação"]],
    ("about_form", "es"): [["faltan comas", "entre comillas", "corrige la frase", "en negrita", "puntúa esto"]],
    ("role_label", "any"): [
        ["Hi.\nUser: and then?", "Hi.\n\n  **Assistant:** yes", "Hi.\nHUMAN :\n", "Hi.\nChatGPT:", "Hi.\n**AI**: no"]
    ],
    ("template_leak", "ChatML (Qwen, Yi, InternLM, OLMo 3, Nemotron 3, LFM)"): [
        ["<|im_start|>user", "bye<|im_end|>\nHi", "<|startoftext|>Hi", "<|endofprompt|>"],
        ["<|action_start|><|plugin|>{}", "{}<|action_end|>", "<|interpreter|>", "<|tool_list_start|>[]"],
    ],
    ("template_leak", "Kimi"): [
        [
            "<|im_user|>user<|im_middle|>Hi",
            "<|im_assistant|>",
            "<|tool_calls_section_begin|>",
            "<|tool_call_begin|>f:0",
        ],
        ["◁think▷ beans ◁/think▷ Soak them."],
    ],
    ("template_leak", "Llama 3"): [
        ["<|begin_of_text|>", "<|start_header_id|>user", "a<|eot_id|>b", "<|python_tag|>f()"]
    ],
    ("template_leak", "Llama 4"): [["<|header_start|>user<|header_end|>", "a<|eot|>b", "<|python_start|>f()"]],
    ("template_leak", "Llama 2, Mistral"): [
        ["[INST] hi [/INST]", "<<SYS>>", "<</SYS>>"],
        ["<s> hi", " <s>", "bye</s>", "bye</s>\n", "bye</s> <s>hi"],
        ["[THINK]beans[/THINK]Soak them.", "[TOOL_CALLS][]", "[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT]"],
    ],
    ("template_leak", "Gemma"): [
        ["<start_of_turn>user", "<end_of_turn>\nHi", "<|turn>model", "a<turn|>b", "<|channel>thought"],
        ["<bos>Soak them.", "Soak them.<eos>"],
        ["<|tool_call>call:f{}<tool_call|>", "<|tool_response>", "<start_function_call>"],
    ],
    ("template_leak", "Cohere Command"): [
        ["<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hi", "<|USER_TOKEN|>", "<BOS_TOKEN>Hi"],
        ["<|START_THINKING|>", "<|END_RESPONSE|> x", "<|START_ACTION|>[]", "<|START_TOOL_RESULT|>"],
    ],
    ("template_leak", "DeepSeek, Hunyuan"): [
        ["<｜User｜>hi", "<｜begin▁of▁sentence｜>", "<｜tool▁calls▁begin｜>", "<｜hy_Assistant｜>", "a\n<|EOT|>\nb"]
    ],
    ("template_leak", "gpt-oss (harmony)"): [
        [
            "<|channel|>final<|message|>Soak them.",
            "<|start|>assistant",
            "a<|return|>b",
            "{}<|call|>",
            "<|constrain|>json",
        ],
        ["analysisBeans are dry.assistantfinalSoak them.", "assistantcommentary to=f"],
    ],
    ("template_leak", "Granite"): [["<|start_of_role|>user<|end_of_role|>Hi", "<|tool_call|>[]"]],
    ("template_leak", "GLM"): [["[gMASK]<sop>Hi", "[gMASK]sop", "<|observation|>", "<arg_key>city</arg_key>"]],
    ("template_leak", "Phi, Zephyr, Falcon 3, OLMo 2, GLM"): [
        ["<|assistant|>\nHi", "<|user|>", "a<|end|>b", "a<|endoftext|>b", "<|im_sep|>", "<|fim_middle|>"]
    ],
    ("template_leak", "Nemotron"): [["<extra_id_1>User", "<SPECIAL_11>Assistant", "<TOOLCALL>[]</TOOLCALL>"]],
    ("template_leak", "EXAONE"): [["[|user|]Hi", "[|assistant|]", "bye[|endofturn|]"]],
    ("template_leak", "OpenChat"): [["a<|end_of_turn|>b", "GPT4 Correct Assistant: Hi"]],
    ("template_leak", "Hermes, Qwen (tools)"): [
        ['<tool_call>\n{"name": "f"}\n</tool_call>', "<tool_response>4</tool_response>"]
    ],
    ("template_leak", "Alpaca"): [
        ["### Response:\nyes", "text\n### Instruction : do", "###Human: hi", "### Assistant:"]
    ],
    ("template_leak", "Vicuna"): [["ASSISTANT: Soak them.", " USER: How?"]],
    ("template_leak", "Anthropic (hh-rlhf)"): [["bye\n\nHuman: hi", "bye\n\nAssistant: hi"]],
    ("template_leak", "a role without its tokens"): [
        ["assistant\n\nSoak them.", "model\nSoak them.", " assistant \r\nSoak them."]
    ],
    ("mojibake", "any"): [
        ["donâ€™t", "â€œyesâ€\x9d", "donâ\x80\x99t", "waitâ€¦"],
        ["cafÃ©", "nÃ£o", "seÃ±or", "coraÃ§Ã£o", "Ã\xadndice"],
        ["10Â°C", "Â£5", "Â©", "Â¿quÃ©?", "aÂ\xa0b"],
        ["ï»¿text", "ï¿½", "ðŸ˜€", "ð\x9fðŸ\x98"],
    ],
    ("urls", "any"): [["see https://example.com/a?b=1", "HTTP://EXAMPLE.COM", "www.example.com"]],
    ("emails", "any"): [["ana.maria+news@mail.example.com", "write to x@y.io!"]],
    ("phones", "any"): [
        ["+55 11 91234-5678", "+1 (415) 555-2671", "+34 912 345 678", "+442079460958"],
        ["(415) 555-2671", "415-555-2671", "call 415.555.2671"],
    ],
    ("ips", "any"): [["192.168.0.1", "at 11.0.0.255,", "200.147.3.199", "http://128.0.0.1:80"]],
    ("keys", "any"): [
        ["sk-" + "a1B2" * 6, "sk-proj-" + "a1B2" * 6, "sk-ant-" + "a-_2" * 6],
        ["AKIA" + "ABCD" * 4, "ASIA" + "1234" * 4],
        ["ghp_" + "a1B2" * 9, "github_pat_" + "a_B2" * 10],
        ["hf_" + "aB" * 17],
        ["xoxb-" + "1234567890-abc"],
        ["AIza" + "a1B2_-c" * 5],
        ["-----BEGIN " + "PRIVATE KEY-----", "-----BEGIN RSA " + "PRIVATE KEY-----"],
        ["eyJ" + "a1B2" * 4 + ".eyJ" + "a1B2" * 4 + "." + "a1_-" * 4],
    ],
    ("dangling", "en"): [["and", "it was the", "to be with", "because it’s", "he said that you're", "(a"]],
    ("dangling", "pt"): [["para", "isso não foi", "a resposta são", "ele e minha"]],
    ("dangling", "es"): [["pero", "una respuesta del", "habla con sus", "lo que fue"]],
}

NEAR_MISSES: dict[str, list[str]] = {
    "refusal": [
        "i'm sorry to hear that. here is what you can do",
        "i'm happy to help with that",
        "you can't provide both options at once",
        "i can't believe it is not butter",
        "the app cannot start",
        "they're unable to help",
        "i will answer in two parts",
        "i'm not sure, but here is a guess",
        "i don't know",
        "it is against the law",
        "i would rather answer in french",
        "sorry for the delay! your parcel left today",
        "unfortunately, the shop closes at six",
        "posso ajudar com isso",
        "não há de quê",
        "infelizmente a loja fecha às seis",
        "puedo ayudar con eso",
        "no hay problema",
        "lo siento por la demora, aquí está",
    ],
    "ai_boilerplate": [
        "as an aid to memory",
        "as an airline pilot",
        "i'm an artist",
        "my knowledge of law",
        "as of my last visit",
        "i was trained by my aunt",
        "language models are trained on text",
        "como um amigo",
        "sou uma pessoa",
        "como una persona",
        "soy un modelo de ropa",
    ],
    "about_form": [
        "what shall we do?",
        "when was he born?",
        "how far is the moon?",
        "a colony of ants",
        "in a comatose state",
        "que horas são?",
        "qué hora es?",
    ],
    "role_label": [
        "User: first line",
        "The user:\nis here",
        "a\nUser name: x",
        "a\nUsers: 3",
        "a\nAI:powered",
        "a\nassistant: in lower case",
    ],
    "template_leak": [
        "<|cat|>",
        "a <s>struck</s> word",
        "[INSTALL]",
        "### Responses",
        "### Input and output",
        "a ### Response: b",
        "\nHuman: one line break",
        "end_of_turn",
        "[instance]",
        "[THINKING]",
        "a <bos> b",
        "<eos> ends a text",
        "◁think",
        "assistant teachers help",
        "An assistant\nhelps.",
        "modeling\nis hard",
        "the assistant's final answer",
        "<｜",
        "<tool-call>",
        "|user|",
        "[|x|]",
    ],
    "mojibake": ["don’t", "café", "NÃO", "CORAÇÃO", "MANHÃ", "Âmbar", "“quoted”", "naïve", "10°C", "🙂", "Â"],
    "urls": ["http colon", "ftp://example.com", "www dot com", "awww.", "example.com"],
    "emails": ["@ana", "ana@home", "a @ b.com", "5@3", "user@.com"],
    "phones": ["2024-01-15", "555-2671", "1,234,567,890", "+5", "12345678", "1234-5678-9012", "+12 34"],
    "ips": ["127.0.0.1", "0.0.0.0", "1.2.3.4", "10.0.0.1", "192.168.1", "300.1.1.1", "192.168.0.256", "192.168.0.1234"],
    "keys": [
        "sk-short",
        "risk-" + "a" * 24,
        "AKIA" + "ABCD" * 3,
        "xAKIA" + "ABCD" * 4,
        "ghp_" + "a" * 20,
        "hf_hub_download",
        "xoxo-love",
        "-----BEGIN PUBLIC KEY-----",
        "eyJhbGci.eyJzdWIi",
    ],
    "dangling": [
        "the end",
        "and.",
        "band",
        "não",
        "coração",
        "dia",
        "día",
        "frío",
        "pães",
        "di\u0301a",
        "andy",
        "the 3a",
    ],
}


def regexes(name: str) -> dict[str, list[Any]]:
    listed = yaml.safe_load((files("curate.signals") / "patterns" / f"{name}.yaml").read_text("utf-8"))
    groups: dict[str, list[Any]] = listed["patterns"]
    return groups


def matches(regex: str, text: str) -> bool:
    """Match as the signals do: with ASCII word boundaries."""
    found: bool = pl.select(pl.lit(text).str.contains(regex.replace(r"\b", r"(?-u:\b)"))).item()
    return found


def value(signal: Signal, text: str | None) -> Any:
    return pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(signal(pl.col("text"))).item()


def test_every_file_and_language_has_examples_and_near_misses() -> None:
    names = [file.name.removesuffix(".yaml") for file in (files("curate.signals") / "patterns").iterdir()]
    assert set(EXAMPLES) == {(name, language) for name in names for language in regexes(name)}
    assert set(NEAR_MISSES) == set(names)


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_every_pattern_compiles(name: str) -> None:
    listed = [regex for group in regexes(name).values() for regex in group]
    assert all(isinstance(regex, str) for regex in listed)
    assert not any(matches(regex, "") for regex in [*listed, pattern(name)])


@pytest.mark.parametrize(("name", "language"), EXAMPLES)
def test_every_pattern_matches_its_examples(name: str, language: str) -> None:
    for regex, texts in zip(regexes(name)[language], EXAMPLES[name, language], strict=True):
        assert [text for text in texts if not matches(regex, text)] == []


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_no_pattern_matches_a_near_miss(name: str) -> None:
    assert [text for text in NEAR_MISSES[name] if matches(pattern(name), text)] == []


@pytest.mark.parametrize(
    ("signal", "text", "expected"),
    [
        (refusal, "I'M SORRY, BUT I CAN'T HELP WITH THAT.", True),
        (refusal, "I’m unable to provide that information.", True),
        (refusal, "Desculpe, mas não posso ajudar com isso.", True),
        (refusal, "Lo siento, pero no puedo ayudar con eso.", True),
        (refusal, "a" * 237 + " I can't help", True),
        (refusal, "a" * 238 + " I can't help", False),
        (refusal, "a" * 250 + " I can't help with that", False),  # too late to be a refusal
        (ai_boilerplate, "As an AI language model, I have no opinion.", True),
        (ai_boilerplate, "As an A.I., I have no opinion.", True),
        (ai_boilerplate, "Como um modelo de linguagem, não tenho opinião.", True),
        (ai_boilerplate, "Como inteligencia artificial, no tengo opinión.", True),
        (ai_boilerplate, "As an aide, I have many opinions.", False),
        (template_leak, "Fine.<|im_end|>", True),
        (template_leak, "Fine. |im_end|", False),
        (template_leak, "Each turn ends with `<|im_end|>`.", False),
        (template_leak, "Each turn ends with ``<|im_end|>``.", False),
        (template_leak, "So:\n```\n<|im_start|>user\nHi<|im_end|>\n```\nThat is all.", False),
        (template_leak, "So:\n~~~\n[INST] Hi [/INST]\n~~~", False),
        (template_leak, "`code` and then<|im_end|>", True),
        (template_leak, "```\ncode\n```\n<|im_start|>user\n```", True),
        (template_leak, "`code`\nassistant\n", False),
        (role_label, "Fine.\nUser: and now?", True),
        (role_label, "User: and now?", False),
        (mojibake, "itâ€™s", True),
        (mojibake, "it’s", False),
    ],
)
def test_boolean_signals(signal: Signal, text: str, expected: bool) -> None:
    assert value(signal, text) is expected


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("urls", "https://a.com and (http://b.org/c) or www.d.net", 3),
        ("urls", "a.com", 0),
        ("emails", "a@b.com, c.d@e.org", 2),
        ("emails", "a@b", 0),
        ("phones", "+55 11 91234-5678 or 415-555-2671", 2),
        ("phones", "2024-01-15", 0),
        ("ips", "192.168.0.1, 8.8.8.8, 172.16.0.9", 2),
        ("ips", "version 1.2.3.4", 0),
        ("keys", "hf_" + "aB" * 17 + " and AKIA" + "ABCD" * 4, 2),
        ("keys", "hf_hub", 0),
    ],
)
def test_counted_signals(name: str, text: str, count: int) -> None:
    assert value(COUNTED[name], text) == count


@pytest.mark.parametrize("signal", [signal.function for signal in TEXT + RESPONSE])
def test_null_is_not_measured_and_an_empty_text_has_none(signal: Signal) -> None:
    assert value(signal, None) is None
    assert value(signal, "") == 0  # False for boolean signals


FAMILIES = [family for name, family in EXAMPLES if name == "template_leak"]


def test_every_family_has_its_sources() -> None:
    listed = yaml.safe_load((files("curate.signals") / "patterns" / "template_leak.yaml").read_text("utf-8"))
    assert list(listed["sources"]) == list(listed["patterns"]) == FAMILIES


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("<|channel|>final<|message|>Soak them.", "gpt-oss (harmony)"),
        ("assistant\n\nSoak them.", "a role without its tokens"),
        ("[THINK]soaking matters[/THINK]Soak them.", "Llama 2, Mistral"),
        ("<bos>Soak them.", "Gemma"),
        ("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Soak them.", "Cohere Command"),
        ("<｜Assistant｜>Soak them.", "DeepSeek, Hunyuan"),
        ("Soak them. `<|im_end|>`", None),
        ("Soak them.", None),
    ],
)
def test_the_family_of_a_template_is_named(text: str, family: str | None) -> None:
    assert template_family(text) == family
