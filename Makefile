# `make quickstart` runs the main job, `make test` the tests, `make check` all that CI does. Each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := pyproject.toml constraints.txt

.PHONY: faults soak grid help setup quickstart test check bench bench-windows clean
help:
	@echo "make quickstart   set up, then run search_spaces/quickstart.yaml and write reports/quickstart.html"
	@echo "make test         set up, then run the tests"
	@echo "make grid         set up, then run every shipped study in miniature: a few minutes, what CI runs besides"
	@echo "make faults       set up, then kill, cut and starve small clusters: minutes, needs root for networks, CI runs it too"
	@echo "make soak         set up, then a study of 300 trials under a random sequence of faults, with a table of what was lost"
	@echo "make check        set up, then lint, types, import layers and tests: what CI runs"
	@echo "make bench        set up, then measure trials per hour, overhead, evaluation, attack and ascent: many minutes, each with its table"
	@echo "make bench-windows  TinyViT-21M at 32 pixels: clipped windows against padded ones, a few minutes"
	@echo "make setup        only set up (in $(VENV))"
	@echo "make clean        remove the environment and caches; studies in runs/ stay"

setup: $(VENV)/.ready

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "neglora needs Python 3.11 or newer; give one with PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(SETUP) | $(VENV)/bin/python
	@echo "Installing neglora into $(VENV): a few minutes and about 6 GB, mostly PyTorch"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(VENV)/.ready
	$(BIN)/neglora run search_spaces/quickstart.yaml

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/trials_per_hour.py --repeats 1
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/mia.py --sizes 1000
	$(BIN)/python benchmarks/ascend.py
	$(BIN)/python benchmarks/limit.py

bench-windows: $(VENV)/.ready
	$(BIN)/python benchmarks/windows.py

grid: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m grid

faults: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m faults

soak: $(VENV)/.ready
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
