"""The wheel in a clean environment without extras: what a new user gets."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.data import row, rows, write_jsonl

ROOT = Path(__file__).resolve().parents[1]


def call(*command: str | Path, folder: Path) -> str:
    """Run in the folder, without this environment's variables; fail with the command's output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=folder, env=plain)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # builds, and installs everything that is required
def test_wheel_without_extras_cleans(tmp_path: Path) -> None:
    # The wheel is built from the sdist, so that both are as in a release.
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT, folder=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "constraints.txt"} <= members
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    assert "curate/sources/shipped/quickstart.jsonl" in files & members
    assert {"curate/py.typed", "pipelines/recipes/domain.yaml", "train/templates/card.md.j2"} <= files
    assert not [name for name in files if name.startswith("tests/")]
    venv.create(tmp_path / "env")
    binaries = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python]
    call(*pip, "install", "-q", "--no-compile", "-c", ROOT / "constraints.txt", wheel, folder=tmp_path)
    installed = {p["name"].lower() for p in json.loads(call(*pip, "list", "--format=json", folder=tmp_path))}
    assert not installed & {
        "torch",
        "transformers",
        "datasets",
        "trl",
        "huggingface-hub",
        "huggingface_hub",
        "distilabel",
    }

    (tmp_path / "train.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "pipelines").mkdir()
    write_jsonl(tmp_path / "p.jsonl", [*rows(5), row(9, chosen="")])
    for command in ([binaries / "curate"], [python, "-m", "curate"]):
        said = call(*command, "clean", "p.jsonl", "-o", "RUN", "--json", folder=tmp_path)
        assert json.loads(said)["counts"]["kept"] == 5
    hidden = "import curate\ntry:\n    curate.train('RUN')\nexcept curate.CurateError as error:\n    print(error)"
    assert "train.py hides prefcurate's own package 'train'" in call(python, "-c", hidden, folder=tmp_path)
    said = call(python, "-c", "import curate; print(repr(curate.open_run('RUN')))", folder=tmp_path)
    assert said == "Run('RUN': 5 of 6 kept · train 5, test 0)\n"
    ours = "import train, pipelines, curate.cli; print(train.__file__, pipelines.__file__)"
    assert "site-packages" in call(python, "-P", "-c", ours, folder=tmp_path)
    missing = subprocess.run(
        [binaries / "curate", "clean", "OWNER/NAME", "-o", "HUB"], capture_output=True, text=True, cwd=tmp_path
    )
    assert missing.returncode == 2
    assert "pip install 'prefcurate[hub]'" in missing.stderr
