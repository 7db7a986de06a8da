# Each target sets itself up from a bare checkout: it makes .venv, installs what it needs and runs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

BENCH  := .venv-bench

.PHONY: demo test lint readme bench validate clean

test: $(READY) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)
	$(BIN)/python -m miest.demo --out demo

# Every estimator on every task of known information, some ten minutes; trials that validation/ has are kept.
validate: $(READY)
	$(BIN)/python -m miest validate --suite full --n 1000 --n 10000 --seeds 5 --out validation
	$(BIN)/python notebooks/readme.py validation

# Rewrites the measured tables and outputs in README.md.
readme: $(READY)
	$(BIN)/python notebooks/readme.py

# Times the kernels against peers, in an environment of its own; nothing else should run meanwhile.
bench: $(BENCH)/.ready
	$(BENCH)/bin/python kernels/bench/bench.py --out kernels/bench/results

$(BENCH)/.ready: pyproject.toml .ci/constraints.txt kernels/bench/requirements.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[torch,plot]' \
		--requirement kernels/bench/requirements.txt
	touch $@

$(READY): pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) demo validation .pytest_cache .mypy_cache .ruff_cache .hypothesis
