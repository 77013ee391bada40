# Two commands set everything up on a machine with Python 3.11 or newer: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: quickstart test lint bench clean

quickstart: $(VENV)/quickstart ## Clean the small set that ships with the package, and say where the result lies
	$(BIN)/curate quickstart --out quickstart-run --force

test: lint ## Everything that continuous integration checks
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev ## Speed and memory beside the same filters over datasets.map; needs ../shared/data
	$(BIN)/python tests/benchmarks/clean.py

clean:
	rm -rf $(VENV) build dist *.egg-info quickstart-run .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Only the core: the quickstart needs no torch.
$(VENV)/quickstart: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e .
	touch $@

# torch comes first and pinned: what else asks for it would take the newest build with gigabytes of CUDA.
$(VENV)/dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt --group dev -e '.[all]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q 'pip>=25.1'
