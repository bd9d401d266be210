# Two commands on a fresh machine: `make search` and `make test`. Both make .venv and install the pinned set first.
PYTHON ?= python3
STUDY ?= digits-vae
BIN := .venv/bin

.PHONY: search test test-slow test-gpu lint format clean
# Files that run for minutes come first, so that none is left alone at the end.
LONG := tests/end_to_end/test_readme.py tests/faults/test_kills.py tests/end_to_end/test_search.py
RUN := $(wildcard tests/end_to_end/test_*.py tests/faults/test_*.py tests/browser/test_*.py)
export RAY_USAGE_STATS_ENABLED = 0

search: .venv/installed
	$(BIN)/hpo search $(STUDY) --home runs/$(notdir $(basename $(STUDY)))

# Files side by side: a test needs one core, and one of a search waits for processes to start most of the time.
test: .venv/installed-test
	$(BIN)/pytest --numprocesses=2 --dist=loadfile tests/contracts tests/unit
	$(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(LONG) $(filter-out $(LONG),$(RUN))

test-slow: .venv/installed-test
	$(BIN)/pytest -m slow

test-gpu: .venv/installed-test
	$(BIN)/pytest -m gpu

lint: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@ .venv/installed
