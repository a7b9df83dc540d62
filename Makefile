# Everything here sets itself up: a virtual environment in .venv, then the package, editable.
# Needs make and Python >= 3.11 only. Nothing is installed twice: each install leaves a stamp in
# .venv, and is repeated only after pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
OUT ?= mindseye-demo

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
# One thread per worker: many small models side by side are faster than one on all cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile
FAST := not slow and not browser and not model

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check test test-all demo examples bench clean

help:
	@echo "make setup     install mindseye and its developer tools into $(VENV)"
	@echo "make check     lint, format check, types, import order, fast tests"
	@echo "make test      the default test suite, browser tests included"
	@echo "make test-all  every test, slow ones too"
	@echo "make demo      the embedded audit; writes $(OUT)/report.html (OUT=folder)"
	@echo "make examples  run every script in examples/"
	@echo "make bench     the engine against forward hooks, nnsight and TransformerLens; 15 minutes"
	@echo "make clean     remove caches and build outputs; $(VENV) and $(OUT) stay"
	@echo "Variables: PYTHON=$(PYTHON) (at least 3.11), OUT=$(OUT)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mindseye needs Python 3.11 or newer, and '$(PYTHON)' is not that." \
		"Name one that is: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first, so that no other package gets to choose its build.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) -e .
	@touch $@

$(DEV): $(RUNTIME)
	$(PIP) -e '.[dev]'
	@touch $@

setup: $(DEV)

check: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(PYTEST) -m "$(FAST)"

test: $(DEV)
	$(PYTEST) -m "not slow"

test-all: $(DEV)
	$(PYTEST)

demo: $(RUNTIME)
	$(BIN)/mindseye demo --out "$(OUT)"

examples: $(RUNTIME)
	@set -e; for script in examples/*.py; do \
		[ -e "$$script" ] || { echo "examples/ holds no script." >&2; exit 1; }; \
		echo "$$script"; $(BIN)/python "$$script"; \
	done

# From here, so that benchmarks is a package; on an idle machine, or its figures mean little.
bench: $(DEV)
	$(BIN)/python -m benchmarks.sweep --figures docs/images

clean:
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
