# `make demo` and `make test` install what is missing and then run: Debian packages by apt, Python packages by pip.
# DEVELOPING.md explains the tiers.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STEPS  ?=
FUZZ_SECONDS ?= 60

.PHONY: demo check test long fuzz coverage setup packages lint clean newer-tools compile_commands.json
setup: packages
	@$(MAKE) --no-print-directory $(VENV)/.done

packages:
	@./tests/install-packages

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: setup
	$(BIN)/router demo

# No sudo, no QEMU, no compiler.
check: lint
	$(BIN)/pytest -q -n 2 -m "$$($(BIN)/python -c 'from tests.support.tiers import FAST; print(FAST)')"

# What boots no system runs in parallel first; tests/support/tiers.py groups them.
test: setup lint newer-tools
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

# Hours. STEPS="fuzzing kernel" runs only these; tests/long.json keeps each step's last result.
long: setup newer-tools
	$(BIN)/python -m tests.support.long $(STEPS)

# Tests that need one of them skip where it cannot be had, and the reason is said again at the end of the run.
newer-tools: setup
	-@./tests/newer-tools cbmc qemu-system-aarch64

# Lines that the fast tests and the cases of the C cores reach. QEMU, seL4 and child processes are not counted.
coverage: $(VENV)/.done
	$(BIN)/coverage run -m pytest -q -m "$$($(BIN)/python -c 'from tests.support.tiers import FAST; print(FAST)')"
	$(BIN)/coverage report --sort=cover
	$(BIN)/python -m tests.support.c_coverage

# Searches for new inputs, FUZZ_SECONDS for each target, and notes how that ended; TARGETS="gic vsock" are these only.
# atheris guides those in Python where `pip install -e .[fuzz]` was done.
TARGETS ?= $(shell $(BIN)/python -c 'from tests import fuzz; print(*fuzz.NATIVE_TARGETS, *fuzz.TARGETS)')
fuzz: $(VENV)/.done
	for target in $(TARGETS); do $(BIN)/python -m tests.fuzz $$target --seconds $(FUZZ_SECONDS) || exit 1; done

# For clangd: every C file with the flags that it is built with.
compile_commands.json: setup
	$(BIN)/python -m tests.support.compile_commands

lint: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf build
