# Everything that a fresh machine with Python 3.11 to 3.13 needs is set up on the way, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AOT := .venv-aot
READY := $(VENV)/.ready

.PHONY: help setup quickstart test parity aot docs lint format clean

help:  ## what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade --quiet pip
	@echo "installing the dependencies into $(VENV): two or three minutes"
	$(BIN)/python -m pip install --quiet --progress-bar on --requirement requirements.txt --editable '.[dev]'
	@touch $@

setup: $(READY)  ## install everything into .venv

quickstart: $(READY)  ## synthesize music, pre-train, fine-tune, evaluate: about ten minutes
	$(BIN)/atbert quickstart --output runs/quickstart

test: $(READY)  ## run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 10 -m "not parity and not aot"

# Alone: PyTorch's compiler and TensorFlow crash when one process loads both.
parity: $(READY)  ## install PyTorch and compare with it
	$(BIN)/python -m pip install --quiet --requirement requirements.txt --editable '.[dev,torch]'
	$(BIN)/python -m pytest -m parity tests/models tests/conversion tests/weights

# In an environment of its own: with these wheels JAX looks for accelerators on every start.
aot:  ## compile steps for an H100 and a TPU that are not here
	$(PYTHON) -m venv $(AOT)
	@if $(AOT)/bin/python -m pip install --quiet --requirement requirements.txt --editable '.[dev,aot]'; then \
		$(AOT)/bin/python -m pytest -n 2 -m aot --durations 0 tests/ahead_of_time; \
	else \
		echo "SKIPPED make aot: the compilers for H100 and TPU could not be installed"; \
	fi

docs: $(READY)  ## build the documentation into build/site
	$(BIN)/python -m mkdocs build --strict

lint: $(READY)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches, not your runs
	rm -rf $(VENV) $(AOT) .pytest_cache .ruff_cache *.egg-info
