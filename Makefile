# `make demo` and `make test` set everything up in .venv; neither touches the system's Python.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
NATIVE := $(foreach kind,hpp cpp cuh cu,$(wildcard csrc/*/*.$(kind)))
SOURCES := pyproject.toml CMakeLists.txt $(NATIVE)

.PHONY: demo test test-long lint format bench clean

demo: $(VENV)/.installed
	$(BIN)/thermokern demo --out out/demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile -m long

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest thermokern._core
	if $(BIN)/python -c "import thermokern._cuda" 2> /dev/null; then $(BIN)/python -m mypy.stubtest thermokern._cuda; \
	    else echo "stubtest of thermokern._cuda: NOT RUN (not built)"; fi
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	$(BIN)/python benchmarks/run.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $$($(BIN)/python -c "import tomllib; \
	    print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['lint'])")
	touch $@

clean:
	rm -rf $(VENV) build out
