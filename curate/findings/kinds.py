"""
The kinds of findings, one table. A code never changes its meaning, so that it can be ignored or searched for.

To add one, add its entry here, and a test. Groups: 1xx reading and format, 2xx texts and templates, 3xx duplicates and
contradictions, 4xx labels and bias, 5xx splits and leaks, 6xx under a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from curate.rules import DEFAULTS

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")  # ascending


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of finding. `reasons` are the rules, problems and drops behind it: what a run's ledger calls them.

    `fix` are settings of `curate clean` by which its rows are dropped, where the defaults do not drop them already.
    """

    code: str
    name: str
    severity: Severity
    why: str  # why it harms training
    repair: str
    how: str  # how it is measured
    reasons: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Return what its hundred is about."""
        return GROUPS[self.code[2]]


GROUPS = {
    "1": "reading and format",
    "2": "texts and templates",
    "3": "duplicates and contradictions",
    "4": "labels and bias",
    "5": "splits and leaks",
    "6": "under a model",
}
# Rules that are off in `clean` by default; `check` applies them with these bounds.
EXTRA_RULES: dict[str, float | bool] = {"max_chars_ratio": 10}
DROPPED = "`curate clean` drops these rows"


def _rule(code: str, severity: Severity, rule: str, name: str = "") -> Kind:
    """Return the kind of a default rule."""
    repair, how = f"{DROPPED} (rule {rule})", f"the default rule {rule}"
    return Kind(code, name or rule.partition("_")[2], severity, DEFAULTS[rule][1], repair, how, (rule,))


def _problem(code: str, name: str, severity: Severity, why: str, repair: str, *problems: str) -> Kind:
    """Return the kind of rows that cannot become pairs."""
    reasons = problems or (name,)
    return Kind(code, name, severity, why, repair, f"rows that the reader marks {', '.join(reasons)}", reasons)


READING = (
    _problem("PC101", "broken_row", "error", "the row is lost: it cannot be read",
             "repair the line that the message names; the file may have been cut off while it was written"),
    _problem("PC102", "not_text", "error", "the row is lost: a value is not text",
             "export the column as text, or name another one with --columns"),
    _problem("PC103", "not_messages", "error", "the row is lost: its conversation cannot be read",
             "write conversations as lists of {role, content}", "not_messages", "no_messages", "no_transcript"),
    _problem("PC104", "no_content", "error", "the row is lost: a message says nothing", "fill or remove the message"),
    _problem("PC105", "unknown_role", "error", "the row is lost: chat templates do not know a role",
             "rename the role to system, user, assistant or tool"),
    _problem("PC106", "not_supported", "error", "the row is lost: it has images or other parts that are not text",
             "leave these rows out, or describe the parts in text"),
    _problem("PC107", "no_assistant_turn", "error", "the row is lost: a side does not answer",
             "let both sides end with a turn of the assistant"),
    _problem("PC108", "missing_prompt", "error", "the row is lost: its answers belong to no question",
             "name the column with --columns prompt=COLUMN", "missing_prompt", "no_shared_prompt"),
    _problem("PC109", "missing_answer", "error", "the row is lost: there is nothing to compare",
             "fill in or remove the row", "missing_chosen", "missing_rejected", "missing_response_a",
             "missing_response_b"),
    _problem("PC110", "broken_tree", "warning", "the answers below a missing message are lost",
             "export the tree with all its messages", "no_parent", "deleted"),
    _problem("PC111", "uneven_lists", "error", "the row is lost: which score belongs to which answer cannot be told",
             "give every answer one score"),
    _problem("PC112", "no_pair", "note", "the answers to a prompt form no pair, so it teaches nothing",
             "give at least two different answers a score", "no_answer", "one_answer", "cut_off", "off_policy",
             "not_judged", "no_on_policy", "missing_model", "chosen_below_floor", "below_margin"),
    _problem("PC113", "not_in_a_pair", "note", "the row takes part in no pair, other answers do",
             "nothing; the recipe's section pair says which answers form pairs", "rejected_side", "not_picked",
             "too_many_answers", "prompt_row", "duplicate_prompt", "seed"),
    Kind("PC114", "unused_column", "warning",
         "the pairs may lack a part of what the annotators saw, such as an input text or earlier turns",
         "name the column with --columns, or remove it if it does not belong to the pair",
         "columns that are not read although they hold messages, texts of their own, bytes or verdicts"),
    _problem("PC199", "other_problem", "error", "the row is lost", "see the row's own message", "other"),
)  # fmt: skip
TEXTS = (
    _rule("PC201", "error", "no_prompt_empty"),
    _rule("PC202", "error", "no_chosen_empty"),
    _rule("PC203", "error", "no_rejected_empty"),
    _rule("PC204", "error", "no_identical_normalized", "identical_answers"),
    _rule("PC205", "warning", "no_truncated", "truncated_copy"),
    _rule("PC206", "error", "no_roles_broken"),
    _rule("PC207", "error", "no_prompt_not_from_user"),
    _rule("PC208", "error", "no_chosen_unknown_tool"),
    _rule("PC209", "error", "no_chosen_invalid_arguments"),
    _rule("PC210", "error", "no_chosen_result_without_call"),
    _rule("PC211", "warning", "max_response_turns", "dialogues_diverge"),
    _rule("PC212", "warning", "max_chosen_chars", "chosen_very_long"),
    _rule("PC213", "warning", "max_rejected_chars", "rejected_very_long"),
    _rule("PC214", "warning", "max_prompt_chars", "prompt_very_long"),
    _rule("PC215", "error", "no_chosen_template_leak"),
    _rule("PC216", "error", "no_rejected_template_leak"),
    _rule("PC217", "warning", "no_chosen_role_label"),
    _rule("PC218", "warning", "no_think_differs"),
    _rule("PC219", "warning", "no_chosen_control_chars"),
    _rule("PC220", "warning", "no_rejected_control_chars"),
    _rule("PC221", "warning", "no_chosen_mojibake"),
    _rule("PC222", "error", "no_chosen_keys", "chosen_secret"),
    _rule("PC223", "error", "no_rejected_keys", "rejected_secret"),
    _rule("PC224", "warning", "no_chosen_open_fence"),
    _rule("PC225", "warning", "no_chosen_ends_midsentence"),
    _rule("PC226", "warning", "no_chosen_repeats_prompt"),
    _rule("PC227", "warning", "max_chosen_top_4gram_share", "chosen_repeats_phrase"),
    _rule("PC228", "warning", "max_chosen_dup_10gram_share", "chosen_repeats_passages"),
    _rule("PC229", "warning", "max_chosen_dup_line_share", "chosen_repeats_lines"),
    Kind("PC230", "lengths_far_apart", "note", "the pair is too easy: its length alone tells which side is which",
         "curate clean --set rules.max_chars_ratio=10 drops these rows",
         "the longer answer has more than ten times as many characters (signal chars_ratio)",
         ("max_chars_ratio",), ("rules.max_chars_ratio=10",)),
    Kind("PC231", "languages_differ", "note", "the pair is too easy: it teaches a language, not an answer",
         "read some of them; curate clean --set rules.no_languages_differ=true drops these rows, and less certain ones",
         "the answers are in different languages, each with a confidence of 0.85 or more (signal languages_differ has "
         "0.7, at which 6 of 13 pairs of real sets had the same language)"),
    Kind("PC232", "refusal_differs", "note", "the pair teaches to refuse, or not to, more than how to answer",
         "decide whether that is the aim; curate clean --set rules.no_refusal_differs=true drops these rows, and those "
         "in which a side declines a part only",
         "one side declines in its first 250 characters (signal refusal_differs) and has at most 400; the other does "
         "not decline in other words either"),
)  # fmt: skip
DUPLICATES = (
    Kind("PC301", "duplicate_pair", "warning", "the pair counts twice in training, and may be in both splits",
         f"{DROPPED} but the first (dedup.exact)",
         "prompt, chosen and rejected are equal in NFC, with white space folded; copies after the first are counted",
         ("duplicate_pair",)),
    Kind("PC302", "near_duplicate", "note",
         "prompts of one template, or with a word changed, count several times and may be in both splits",
         "curate clean --near keeps one prompt of each cluster",
         "Jaccard similarity of the prompts' word 3-grams of 0.8 or more; prompts after a cluster's first are counted",
         ("near_duplicate",)),
    Kind("PC303", "contradiction", "error", "one pair teaches the opposite of the other",
         f"{DROPPED} (dedup.contradictions; `vote` keeps the majority)",
         "pairs of the same prompt and the same two answers that prefer opposite sides", ("contradiction",)),
    Kind("PC304", "several_pairs_per_prompt", "note",
         "prompts with many pairs weigh more than others, and their pairs are not independent",
         "curate clean --set dedup.max_pairs_per_prompt=1 keeps one, and splits keep a prompt together",
         "pairs whose prompt has other pairs"),
    Kind("PC305", "preference_cycle", "warning", "A is preferred to B, B to C and C to A: the labels cannot all hold",
         "have the pairs of these prompts judged again, or keep one pair of each prompt",
         "strongly connected components of three or more answers, contradictions left out"),
    Kind("PC306", "repeated_answer", "warning", "one answer to everything wins (or loses) whatever is asked",
         "look at the answer, and drop its pairs: it may be an attack on the judge, or an error of an endpoint",
         "the same text answers at least ten different prompts, and 0.5 % of all"),
)  # fmt: skip
LABELS = (
    Kind("PC401", "tie", "warning", "neither side is better, so either order teaches noise",
         f"{DROPPED} (rule no_tie, and rows whose verdict is a tie)",
         "equal scores, or a verdict that says tie", ("tie", "no_tie")),
    _problem("PC402", "no_preference", "warning", "the row is lost: nothing says which answer is better",
             "fill in the verdict, or say with winners which of its values mean a and b"),
    _rule("PC403", "error", "no_scores_contradict"),
    Kind("PC404", "length_bias", "warning", "the model learns to write longer (or shorter) answers, not better ones",
         "balance lengths, bound chars_ratio, or train with a length penalty",
         "share of the pairs of unequal length in which chosen is longer: its 95 % Wilson interval is above 0.6 or "
         "below 0.4"),
    Kind("PC405", "style_bias", "warning", "the model learns a form, such as lists or bold text, not better content",
         "judge with `judge.style_check`, or take pairs whose sides have the same form",
         "of the pairs in which one side only has a list, headings, bold text or code, in which share it is chosen: "
         "its 95 % Wilson interval is above 0.65 or below 0.35, and they are at least 5 % of all"),
    Kind("PC406", "opening_bias", "warning", "the model learns a phrase to begin with",
         "remove the opening from both sides, or drop the pairs",
         "of the answers that begin with the same two words, at least 1 % of all, in which share they are chosen: "
         "its 95 % Wilson interval is above 0.8 or below 0.2"),
    Kind("PC407", "model_bias", "warning", "who wrote it tells the label: the model learns to imitate one writer",
         "take pairs of the same model, or several models on both sides",
         "a model's answers are chosen in a share of its pairs with others whose 95 % Wilson interval is above 0.9 or "
         "below 0.1"),
    Kind("PC408", "told_by_one_feature", "error", "the set teaches little but this feature",
         "add pairs in which the feature does not tell the sides apart",
         "share of the pairs in which a signal is higher for chosen (a half where it is equal), which is the AUC of "
         "its difference: the 95 % Wilson interval is above 0.9 or below 0.1"),
    Kind("PC409", "annotator_opposed", "warning", "an annotator's labels are probably swapped",
         "look at the annotator's rows, and swap or drop them",
         "of the comparisons that others labelled too, agreement with their majority: its 95 % Wilson interval is "
         "below 0.5, among at least three annotators"),
    Kind("PC410", "source_opposed", "warning", "a source's labels are probably swapped",
         "look at the source's rows, and swap or drop them",
         "as annotator_opposed, with at least three sources in place of annotators"),
)  # fmt: skip
SPLITS = (
    Kind("PC501", "prompt_in_two_splits", "error", "the test measures what was trained on",
         "let curate clean split the rows of all files: it keeps equal and similar prompts together",
         "prompts of another split that are also in the first one; splits by the names of files, or a column `split`"),
    Kind("PC502", "pair_in_two_splits", "error", "the test measures what was trained on",
         "let curate clean split the rows of all files: it drops duplicates first",
         "pairs of another split that are also in the first one, word for word"),
    Kind("PC503", "near_prompt_in_two_splits", "warning", "the test measures nearly what was trained on",
         "let curate clean split the rows of all files: it keeps equal and similar prompts together",
         "near-duplicates (as in near_duplicate) whose first prompt is in another split"),
    Kind("PC504", "eval_set", "error", "a model trained on an eval set cannot be evaluated by it any more",
         "leave the set out of training; curate clean OTHER --decontaminate FILE drops its items from another set",
         "the format of an input is that of a known eval set (RewardBench, JudgeBench, …)"),
)  # fmt: skip


def _model(code: str, severity: Severity, name: str, why: str, repair: str) -> Kind:
    return Kind(code, name, severity, why, repair, f"curate preflight's finding {name}", (f"model:{name}",))


LONGER, OTHER = "raise max_length", "use another chat template (train.chat_template), or another model"
MODEL = (
    _model("PC601", "error", "refused", "TRL stops: the chat template raises an error", "repair the conversation"),
    _model("PC602", "error", "dropped", "TRL drops the row: the prompt alone fills max_length", LONGER),
    _model("PC603", "error", "equal_after_cut", "both sides are the same up to max_length: nothing to learn", LONGER),
    _model("PC604", "error", "empty", "one side has no tokens", "fill the answer, or " + OTHER),
    _model("PC605", "warning", "cut", "an answer is cut at max_length: it teaches to stop anywhere", LONGER),
    _model("PC606", "warning", "prompt_not_prefix", "training and inference see different prompts", OTHER),
    _model("PC607", "warning", "no_end", "the model does not learn to stop", OTHER),
    _model("PC608", "warning", "system_lost", "the model never sees the system message", OTHER),
    _model("PC609", "error", "content_lost", "the template leaves a part of an answer out: it is not trained on",
           OTHER),
    _model("PC610", "note", "first_token_tied", "both answers begin with the same tokens, which carry no preference",
           "nothing, unless it is nearly every row: then the answers may share an opening"),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.code: kind for kind in (*READING, *TEXTS, *DUPLICATES, *LABELS, *SPLITS, *MODEL)}
BY_NAME = {kind.name: kind for kind in KINDS.values()}
BY_REASON = {reason: kind.code for kind in KINDS.values() for reason in kind.reasons}


def rank(severity: str, of: Sequence[str] = SEVERITIES) -> int:
    """Return how severe it is, ascending from 0."""
    return of.index(severity)
