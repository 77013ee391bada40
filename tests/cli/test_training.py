"""preflight, train, evaluate and bakeoff from a user's view: output, exit codes, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from curate.cli import main
from tests import forked
from tests.train.tiny import TEMPLATE, tiny_model, tiny_tokenizer, toy_run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of torch, transformers and TRL


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    toy_run(folder, 24)
    tiny_model(folder / "model")
    tiny_model(folder / "bare", tiny_tokenizer(template=None))
    tiny_model(folder / "silent", tiny_tokenizer(TEMPLATE.replace("</s>", "")))
    (folder / "dpo.yaml").write_text("beta: 0.2\nmodel_name_or_path: model\nuse_peft: true\nlora_r: 4\n")
    (folder / "wrong.yaml").write_text("betta: 0.2\n")
    return folder


def curate(*arguments: str | Path) -> int:
    """Run the command in this process and return its exit code."""
    before, sys.argv = sys.argv, ["curate", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv = before
    return 0


def test_preflight(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    assert curate("preflight", "RUN", "--model", "model") == 0
    assert "every row is used for training in full, unchanged" in capsys.readouterr().out
    assert curate("preflight", "RUN", "--model", "silent", "--json") == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["finding"], finding["rows"]) == ("no_end", 24)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "RUN"], "no model given: --model"),
        (["train", "NONE", "-m", "model"], "NONE does not exist"),
        (["train", "RUN", "-m", "./none"], "there is no folder ./none"),
        (["train", "RUN", "-m", "bare"], "bare has no chat template"),
        (["train", "RUN", "-m", "model", "--set", "trl.betta=1"], "unknown TRL option trl.betta. Did you mean 'beta'?"),
        (["train", "RUN", "-m", "model", "--config", "wrong.yaml"], "unknown TRL option trl.betta."),
        (["train", "RUN", "-m", "model", "--config", "none.yaml"], "none.yaml does not exist"),
        (["train", "RUN", "-m", "model", "--set", "trl.packing=true"], "It is an option of sft."),
        (["train", "RUN", "-m", "model", "--set", "trl.output_dir=x"], "trl.output_dir is set by --out"),
        (["train", "RUN", "-m", "model", "--set", "trl.hub_token=x"], "is set by the Hub login, or HF_TOKEN"),
        (["train", "RUN", "-m", "model", "--set", "train.lorra=false"], "Did you mean 'lora'?"),
        (["train", "RUN", "-m", "model", "--set", "split.test=0"], "expected train.key=value, or trl.key=value"),
        (
            ["train", "RUN", "-m", "model", "--set", "trl.max_length=3"],
            "no row is usable for training: 24 of 24 dropped",
        ),
        (["evaluate", "RUN"], "has no training"),
        (["bakeoff", "none.yaml"], "none.yaml does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    place: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    code = curate(*arguments)
    printed = capsys.readouterr()
    assert said in printed.err
    assert (code, printed.out, printed.err.count("\n")) == (2, "", 1)


@pytest.mark.slow
def test_train_and_evaluate(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    sets = ["--set", "trl.max_steps=4", "--set", "trl.learning_rate=5e-3", "--set", "train.batch=4"]
    assert curate("train", "RUN", "--config", "dpo.yaml", *sets, "-o", "OUT") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "4 steps on 1" in printed.out
    assert (
        "accelerate launch --num_processes 8 -m curate train RUN --config dpo.yaml --set trl.max_steps=4" in printed.out
    )
    options = json.loads(Path("OUT/result.json").read_text())["options"]
    assert (options["lora_rank"], options["trl"]["beta"], options["model"]) == (4, 0.2, "model")
    assert curate("train", "RUN", "-m", "model", "-o", "OUT") == 2
    assert "continue it with --resume, replace it with --force" in capsys.readouterr().err
    asked = ["--prompts", "2", "--max-tokens", "4", "--judge", "heuristic"]
    assert curate("evaluate", "RUN", "--training", "OUT", *asked) == 0
    printed = capsys.readouterr()
    assert "length-controlled" in printed.out
    assert "OUT/evaluation/evaluation.html" in printed.out


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_exit_code_2(place: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    line = ("train", "RUN", "-m", "model", "-o", disk / "OUT", "--set", "trl.max_steps=2")
    try:
        done = forked.curate(*line, folder=place, preload=forked.TRAINING)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 2
    assert "no space left on the disk" in done.stderr.splitlines()[-1]


def test_bakeoff_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert curate("bakeoff", "--schema") == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) >= {"arms", "seeds", "steps", "sweep", "train"}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump({"arms": {}}))
    assert curate("bakeoff", tmp_path / "b.yaml") == 2
