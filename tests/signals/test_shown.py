"""The signals that the report charts, that the card shows, and that both list by the share of pairs with any."""

from curate.report.html import charted
from curate.signals import SIGNALS


def test_the_report_charts_these_columns() -> None:
    assert charted() == [
        "chosen_words", "rejected_words", "chosen_distinct_word_share", "chosen_top_3gram_share",
        "chosen_dup_5gram_share", "chosen_alpha_share", "chosen_symbol_share", "chosen_markdown_share",
        "chosen_language_confidence", "chars_ratio", "response_turns", "margin", "strength", "word_jaccard",
        "chosen_reward", "rejected_reward", "reward_margin", "reward_strength", "chosen_logp_per_token",
        "rejected_logp_per_token", "implicit_gap", "chosen_relevance", "rejected_relevance", "label_confidence",
    ]  # fmt: skip


def test_the_card_shows_these_columns() -> None:
    assert [column for signal in SIGNALS.values() for column in signal.card_columns] == [
        "prompt_words", "chosen_words", "rejected_words", "chosen_distinct_word_share", "chosen_markdown_share",
        "chars_ratio", "response_turns", "margin", "strength", "word_jaccard", "reward_margin", "reward_strength",
        "implicit_gap", "label_confidence",
    ]  # fmt: skip


def test_signals_that_count_occurrences_and_those_that_are_text() -> None:
    counted = [name for name, signal in SIGNALS.items() if signal.counted]
    assert counted == ["control_chars", "zero_width", "urls", "emails", "phones", "ips", "keys"]
    assert [name for name, signal in SIGNALS.items() if signal.is_text] == ["language", "label_verdict"]
