# Everything from a machine with Python 3.11+, pip and (for the shim) a C compiler. Tools live in .venv; nothing needs root.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(shell find src -type f \( -name '*.py' -o -name '*.c' -o -name '*.h' -o -name '*.yaml' -o -name '*.html' -o -name '*.css' -o -name '*.js' -o -name '*.md' \) 2>/dev/null) pyproject.toml setup.py
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes

.PHONY: help install demo test lint format bench requirements clean docs
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.all: requirements/all.txt | $(BIN)/python
	@echo "installing the pinned dependencies into $(VENV) ..."
	$(PIP) -r requirements/all.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/.all
	@echo "installing the pinned development tools into $(VENV) ..."
	$(PIP) -r requirements/dev.txt
	@touch $@

$(VENV)/.build: requirements/build.txt | $(BIN)/python
	$(PIP) -r requirements/build.txt
	@touch $@

$(VENV)/.wheel: $(SOURCES) | $(VENV)/.all $(VENV)/.build
	@rm -rf build/lib* build/bdist* dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > build.log 2>&1 || { cat build.log; exit 1; }
	@grep -A20 -E 'WITHOUT the (Envoy shim|loop|compiled patterns)' build.log || true
	@rm -f build.log
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --force-reinstall dist/*.whl
	@touch $@

install: $(VENV)/.wheel ## Install Eastwall with control, lake and console into .venv
	@echo "installed: $(BIN)/eastwall"

demo: install ## Protect a small shop, watch it being mapped, then attacked; stays up until Ctrl-C
	$(BIN)/eastwall demo $(DEMO)

test: install $(VENV)/.dev ## Run all tests against the built wheel; TEST="tests/unit/policy -k zone" for some
ifdef TEST
	$(BIN)/python -m pytest $(TEST)
else
	$(BIN)/python -m pytest -n auto --dist loadfile tests --ignore=tests/contracts --ignore=tests/e2e
	$(BIN)/python -m pytest tests/contracts tests/e2e
endif

lint: $(VENV)/.wheel $(VENV)/.dev ## ruff, import contracts, strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the sources
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: bench-inline ## The inline bench (requests/s, latency, CPU, memory against peers)

bench-policy: install $(VENV)/.dev ## What policies cost: evaluate, compile, apply; a limit over four engines; replay
	$(BIN)/python -m bench.policy_cost
	$(BIN)/python -m bench.policy_limits
	$(BIN)/python -m bench.policy_replay

bench-%: install $(VENV)/.dev
	$(BIN)/python -m bench.$*

requirements: $(VENV)/.dev ## Compile the pinned requirement files anew
	for f in build base all dev; do $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --python-version 3.11 requirements/$$f.in -o requirements/$$f.txt || exit 1; done

clean: ## Remove what was built
	rm -rf $(VENV) build dist
