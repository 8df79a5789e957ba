# `make demo` and `make test` do everything on a machine with Python >= 3.11 and make; `make bench` also takes a C compiler.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo
TESTS ?= tests
BIN := $(VENV)/bin

.PHONY: install demo test test-slow stress lint docs study bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hfac needs Python 3.11 or newer; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/hfac sweep goal_placement --config experiments/demo.toml --out $(DEMO)

test: install
	$(BIN)/python -m pytest $(TESTS)

test-slow: install
	$(BIN)/python -m pytest -m slow $(TESTS)

stress: install
	$(BIN)/python -m pytest -m stress

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/documented: $(VENV)/installed docs/requirements.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r docs/requirements.lock
	@touch $@

docs: $(VENV)/documented
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

study: install
	$(BIN)/python -m experiments.goal_placement

bench: install
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.scaling

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
