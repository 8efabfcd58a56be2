# Every target sets itself up: Python 3.13 (uv if it is installed, else pyenv or python3.13), .venv, pinned requirements.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test up check bench clean functional others

PYTHON := .venv/bin/python
STAMP := .venv/.installed
TRUSTED := tests/unit/core tests/unit/access

# The functional tests mostly wait, so the others run beside them; each shows its results as a whole.
SIDE_BY_SIDE := --jobs=2 --keep-going --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync) functional others

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## the environment alone

$(STAMP): requirements.txt requirements-dev.txt .python-version infra/local/setup.sh
	@infra/local/setup.sh
	@touch $@

demo: $(STAMP)  ## run the main job to its end on the embedded stand-in for Azure
	@$(PYTHON) -m infra.local demo

up: $(STAMP)  ## start stand-in and app and keep them running
	@$(PYTHON) -m infra.local up

test: $(STAMP)  ## all tests
	@echo "Two runs of pytest, side by side. Each shows its results once it is through."
	@$(MAKE) $(SIDE_BY_SIDE)

functional: $(STAMP)
	@$(PYTHON) -m pytest tests/functional

others: $(STAMP)
	@$(PYTHON) -m pytest --ignore=tests/functional $(WITHOUT:%=--ignore=%)

check: $(STAMP)  ## what CI runs: ruff, types, import contracts, tests, the coverage of core and broker
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(PYTHON) -m mypy
	@PYTHONPATH=. .venv/bin/lint-imports
	@$(PYTHON) -m pytest $(TRUSTED) --cov=shared.core --cov=shared.access --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100
	@$(MAKE) $(SIDE_BY_SIDE) WITHOUT="$(TRUSTED)"

bench: $(STAMP)  ## the benchmarks, side by side: a table, and JSON under build/bench
	@$(PYTHON) -m tests.benchmarks.jit
	@$(PYTHON) -m tests.benchmarks.stand_in

clean:  ## remove what the targets made
	@rm -rf .venv .local build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
