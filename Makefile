# Needs Python 3.11 or newer with its venv module, and make. `make` alone lists what there is.

VENV ?= .venv
DEMO_RUN ?= runs/demo
DEMO_STEPS ?= 1500
DEVICE ?= cpu
BIN := $(VENV)/bin
# One process more than cores, since some tests wait for programs that they start.
PYTEST := $(BIN)/python -m pytest --numprocesses $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 4 \
    --dist loadfile --no-loadscope-reorder
# Otherwise, where this is set, each of the programs that tests start would compile every module again.
export PYTHONDONTWRITEBYTECODE :=
# uv installs in a quarter of pip's time; where it can't (behind a mirror that only pip knows, say), pip does.
PIP := $(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -c constraints.txt
UV := $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt
READY := $(VENV)/.ready
READY_DOCS := $(VENV)/.ready_docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-fast docs bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile

setup: $(READY) ## make the environment in .venv

demo: $(READY) ## train on scenes of small digits, score the run and draw its pictures (needs no download of data)
	$(BIN)/airjax train multi-digits --steps $(DEMO_STEPS) --held-out-scenes 2000 --out $(DEMO_RUN)
	$(BIN)/airjax evaluate $(DEMO_RUN) --samples 10
	@echo "Pictures:"
	@$(BIN)/airjax figures $(DEMO_RUN)

test: $(READY) ## check format, lint and types, and run the tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo
	$(PYTEST) --durations=20 --durations-min=5

test-fast: $(READY) ## run the tests that take less than a few seconds each
	$(PYTEST) -m "not slow"

docs: $(READY_DOCS) ## build the documentation in build/docs, running every example (some minutes)
	$(BIN)/python -m sphinx -n -W --keep-going -q docs build/docs
	@echo "The documentation is in build/docs/index.html"

bench: $(READY) ## measure speed, beside peers where their checkouts are named (benchmarks/README.md)
	$(BIN)/python benchmarks/run.py --device $(DEVICE) \
	    $(if $(DATA_DIR),--data-dir $(DATA_DIR)) \
	    $(if $(PYRO),--pyro $(PYRO) --pyro-python $(PYRO_PYTHON)) \
	    $(if $(GENJAX),--genjax $(GENJAX) --genjax-python $(GENJAX_PYTHON))

clean: ## remove the environment and what tools leave behind, but no runs
	rm -rf $(VENV) build dist .import_linter_cache docs/gallery .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A candidate is tried by running it: a name on the PATH may be a shim that only fails.
$(READY): pyproject.toml constraints.txt
	@old=; found=; \
	for python in $(PYTHON) python3.12 python3.11 python3 python3.13 python; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    $$python -c 'import ensurepip, venv' >/dev/null 2>&1 || { old=$$python; continue; }; \
	    found=$$python; break; \
	done; \
	if [ -z "$$found" ] && [ -n "$$old" ]; then \
	    echo "$$old has no working venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	    echo "Python 3.11 or newer was not found; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$($$found --version); the first time, this takes a few minutes"; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $$found -m venv --clear $(VENV) || exit 1; \
	{ $(PIP) uv && $(UV) -e '.[test]'; } || $(PIP) -e '.[test]' || exit 1; \
	touch $@

$(READY_DOCS): $(READY)
	@$(UV) -e '.[docs]' || $(PIP) -e '.[docs]'
	@touch $@
