# Each target sets itself up from a bare checkout: it makes .venv, installs what it needs and runs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

BENCH  := .venv-bench

RESULTS ?= kernels/bench/results

.PHONY: demo demo-fashion test lint readme bench gpu validate clean

test: $(READY) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)
	$(BIN)/python -m miest.demo --out demo

# Two networks on Fashion-MNIST, each with cross-entropy alone and with weight decay, and their planes: some four minutes.
demo-fashion: $(READY)
	$(BIN)/miest data fetch fashion-mnist
	$(BIN)/python -m miest.experiments.fashion --out demo-fashion

# Every estimator on every task of known information: ten minutes, and an hour for those that train critics; trials that
# validation/ has are kept.
validate: $(READY)
	$(BIN)/python -m miest validate --suite full --n 1000 --n 10000 --seeds 5 --out validation \
		$(foreach one,auto:neural=False ksg mixed-ksg ross gaussian gaussian-copula binning plug-in,--estimator $(one))
	$(BIN)/python -m miest validate --suite full --n 10000 --seeds 1 --out validation/trained \
		--estimator auto --estimator discriminator
	$(BIN)/python notebooks/readme.py validation

# Rewrites the measured tables and outputs in README.md.
readme: $(READY)
	$(BIN)/python notebooks/readme.py

# Times the kernels against peers, in an environment of its own; nothing else should run meanwhile.
bench: $(BENCH)/.ready
	$(BENCH)/bin/python kernels/bench/bench.py --out kernels/bench/results
	$(BENCH)/bin/python kernels/bench/costs.py --out kernels/bench/results

# On a machine with a CUDA device: the contract on the device, then the times. Installs nothing: it takes the Python that
# is there, with torch, numpy, scipy, numba, cuda-core or CuPy, and pytest.
gpu: export PYTHONPATH := .:kernels
gpu:
	$(PYTHON) -m pytest -m gpu tests/kernels/test_contract.py tests/kernels/test_cuda.py
	$(PYTHON) kernels/bench/gpu.py --out $(RESULTS)

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
	rm -rf $(VENV) $(BENCH) demo demo-fashion validation .pytest_cache .mypy_cache .ruff_cache .hypothesis
