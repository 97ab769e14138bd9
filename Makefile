# Every target does its own set-up in .venv, once; see README.md.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
FORMATTED_C := $(wildcard codegen/kernels/*.h codegen/kernels/cuda/* firmware/*.[ch] firmware/ports/*/*.[ch])

export TINYCOMPRESS_CACHE ?= $(CURDIR)/.cache
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo lint check test bench bench-onnx golden clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[emulator,demo]'
	@touch $@

$(DEV): $(STAMP)
	$(BIN)/pip install -q -c constraints.txt -e '.[emulator,demo,dev]'
	@touch $@

demo: $(STAMP) ## Train, compress, quantize, build and run the MNIST network on the emulated STM32F746
	$(BIN)/tinycompress deploy --board stm32f746 --emulate

lint: $(DEV) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED_C)

check: lint ## Lint, format, types and the tests that take seconds
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not bench'

test: lint ## Lint, format, types and all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not bench'

bench: $(DEV) ## Print instructions, RAM and flash beside the peers' figures
	$(BIN)/python -m pytest -q -m bench tests/bench -s

bench-onnx: $(DEV) ## Print how many of onnx's own node tests import and pass
	$(BIN)/python -m tests.bench.onnx_backend

golden: $(DEV) ## Rewrite the golden files after a change that was meant
	$(BIN)/python -m pytest -q tests/golden tests/cli --update-golden

clean: ## Remove build products and caches, keep .venv
	rm -rf build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
