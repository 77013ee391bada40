"""Train on a run, evaluate the model, compare ways of curating."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import check_not_hidden
from curate.rundir.result import RunLike, opened

if TYPE_CHECKING:
    from train.preflight import Preflight
    from train.training.train import Training


def preflight(
    run: RunLike, model: str | None = None, *, settings: Sequence[str] = (), config: Path | None = None, **options: Any
) -> "Preflight":
    """
    Say what TRL would drop, cut or garble of a run's rows with this model, and what max_length costs (extra: train).

    Returns a `Preflight`: `.findings()` and `.lengths()` as tables, `.to_dict()` as plain data. `options` are keys of
    the recipe's train section, `settings` the same as `train.key=value` and `trl.key=value` texts, `config` is a YAML
    file as for `trl dpo --config`; `trust_remote_code=True` lets code of the model's repository run. Raises InputError
    for a model that cannot be loaded, RecipeError for an option.

        curate.preflight(run, "HuggingFaceTB/SmolLM2-135M-Instruct").findings()
    """
    check_not_hidden("train")
    from train.preflight import preflight as check
    from train.training.settings import section_of

    there = opened(run)
    return check(there, section_of(there, model, settings, config, **options))


def train(
    run: RunLike,
    model: str | None = None,
    *,
    out: str | Path | None = None,
    settings: Sequence[str] = (),
    config: Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> "Training":
    """
    Train a model on a run by TRL, with options that fit the data and the machine (extra: train).

    Parameters
    ----------
    run
        A `Run` or its folder; the test split is held out.
    model
        Folder or Hub id of the model to start from; None = the recipe's.
    out
        Where to; None = RUN/training.
    settings
        `train.key=value` and `trl.key=value` texts, as for `--set`.
    config
        A YAML file as for `trl dpo --config`.
    resume, force
        Go on from the last checkpoint; start anew where a training lies.
    **options
        The recipe's train section: method (dpo, orpo, reward, sft), lora, lora_rank, batch, max_length, …; `trl` is a
        mapping of TRL's own options. `trust_remote_code=True` lets code of the model's repository run.

    Returns
    -------
    A `Training`: `.folder`, `.model` (folder of the model or adapter), `.result`.

    Raises
    ------
    InputError for data or a model that cannot be trained on, RecipeError for an unknown option, ConsentNeeded for what
    the recipe of a pulled run names and `curate.trust` did not allow.

        curate.train(run, model="HuggingFaceTB/SmolLM2-135M-Instruct", batch=8, trl={"beta": 0.05})
    """
    check_not_hidden("train")
    from train.training.settings import section_of
    from train.training.train import train as train_on

    there = opened(run)
    folder = None if out is None else Path(out)
    section = section_of(there, model, settings, config, **options)
    return train_on(there, section, folder, resume=resume, force=force)


def evaluate(
    run: RunLike, training: "Training | str | Path | None" = None, *, judges: Sequence[str] = (), **options: Any
) -> dict[str, Any]:
    """
    Compare a trained model with its reference: held-out pairs by slice, answers side by side, win rate, drift.

    `training` is a `Training` or its folder, None = RUN/training; `judges` as in a recipe (`heuristic`, `openai:NAME`);
    options: reference, count (prompts), max_tokens, trust_remote_code. Returns the content of evaluation.json; raises
    InputError where there is no finished training or no test split.

        curate.evaluate(run, judges=["heuristic"])["slices"]
    """
    check_not_hidden("train")
    from train.evaluation.evaluate import evaluate as compare
    from train.training.train import FOLDER, open_training

    there = opened(run)
    if training is None or isinstance(training, str | Path):
        training = open_training(Path(training) if training else there.folder / FOLDER)
    return compare(there, training, judges=judges, **options)


def bakeoff(file: str | Path, out: str | Path = "bakeoff") -> list[dict[str, Any]]:
    """
    Find which curation wins, by short trainings judged by the same held-out pairs (extra: train).

    `file` is a YAML file of arms, seeds and steps (`curate bakeoff --schema`), `out` the folder. Returns one dict per
    arm and point of the sweep, with estimates as mean, low and high of 95 % intervals over prompts and seeds. The same
    call continues an interrupted bake-off. Raises RecipeError for a file that is no bake-off.

        curate.bakeoff("bakeoff.yaml", out="OUT")
    """
    check_not_hidden("train")
    from train.bakeoff.arms import load_bakeoff
    from train.bakeoff.bakeoff import bakeoff as compare
    from train.evaluation.intervals import to_plain

    path = Path(file)
    rows: list[dict[str, Any]] = to_plain(compare(load_bakeoff(path), Path(out), root=path.parent))
    return rows
