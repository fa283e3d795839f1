# `make demo` and `make test` install what is missing and then run: Debian packages by apt, Python packages by pip.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test setup packages lint clean newer-tools compile_commands.json
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

test: setup lint newer-tools
	$(BIN)/pytest

# Tests that need one of them skip where it cannot be had, and the reason is said again at the end of the run.
newer-tools: setup
	-@./tests/newer-tools cbmc qemu-system-aarch64

# For clangd: every C file with the flags that it is built with.
compile_commands.json: setup
	$(BIN)/python -m tests.support.compile_commands

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf build
