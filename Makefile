# `make` says what there is. All targets set themselves up in .venv; none touches the system's Python.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
NATIVE := $(foreach kind,hpp cpp cuh cu,$(wildcard csrc/*/*.$(kind)))
# What an extra of pyproject.toml lists, without the package itself.
extra = $$($(BIN)/python -c "import tomllib; \
    print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['$(1)'])")
# What the package itself needs, without the package.
needs = $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'])")
SOURCES := pyproject.toml CMakeLists.txt $(NATIVE)

.PHONY: help demo test test-long lint format docs wheels bench clean

help:
	@echo "make demo       ten trained networks to their TAEP, in out/demo: 3 minutes of one core"
	@echo "make test       the tests: 10 minutes on two cores"
	@echo "make test-long  the tests that take minutes each: 10 minutes"
	@echo "make lint       style and types: 2 minutes"
	@echo "make format     repairs style"
	@echo "make docs       the pages as a site, in build/site: 20 seconds"
	@echo "make wheels     a wheel and a source archive in build/wheels, tried in an environment of its own: 10 minutes of one core"
	@echo "make bench      speed beside other programs: an hour"
	@echo "make clean      removes .venv, build and out"
	@echo "The first of them also sets up .venv: PyTorch, and about 4 minutes of one core to compile."

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

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The steps of the workflow `wheels`, without its container: the tag of the wheel is that of this machine's libraries.
wheels: $(VENV)/.wheels
	rm -rf build/wheels build/wheel-raw build/wheel-env
	THERMOKERN_CUDA=OFF THERMOKERN_ISA_SETS=all $(BIN)/python -m build --outdir build/wheel-raw
	PATH=$(BIN):$$PATH $(BIN)/auditwheel repair --exclude libgomp.so.1 --wheel-dir build/wheels build/wheel-raw/*.whl
	mv build/wheel-raw/*.tar.gz build/wheels
	$(BIN)/auditwheel show build/wheels/*.whl
	tests/wheel.sh build/wheels/*.whl $(BIN)/python
	ls -l build/wheels

bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	$(BIN)/python benchmarks/run.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(call extra,lint)
	touch $@

# Apart from .installed: the pages are built from the sources, without the package.
$(VENV)/.docs: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(call extra,docs)
	touch $@

# The test extra says which PyTorch; the wheel that is tried is the only build of the package.
$(VENV)/.wheels: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(call extra,wheels) $(call extra,test) $(needs)
	touch $@

clean:
	rm -rf $(VENV) build out
