# One command a need. Each makes .venv and installs the locked, hashed requirements by itself; nothing to do is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# TensorFlow has wheels for Python 3.11 to 3.13 only; the first of these that is there is taken.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python

HOSPITALS ?= 3
ROUNDS ?= 5
EPOCHS ?= 5
DATA ?=
TEST ?=
ALPHA ?= inf
SEED ?= 0
PORT ?= 8000
EXIT ?=
SMOKE ?=
CHAOS ?= var/chaos
KILLS ?= 200
REPEATS ?= 2
SHORT ?=
SERVICES ?=
SECONDS ?= 60
JOBS ?= 2

# One word for the shell, whatever is in it. 0, no and false mean no.
quoted = '$(subst ','\'',$(1))'
yes = $(filter-out 0 no false,$(1))

.PHONY: help demo run test test-processes test-browser test-services chaos guards fuzz lint docs wheel bench screenshots clean lock

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found (TensorFlow's range)"; echo "hint: install one, or say make PYTHON=/path/to/python"; exit 2; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.hub: requirements/hub.txt | $(VENV)/bin/python
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/hub.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/bin/python
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@touch $@ $(VENV)/.hub

$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.dev
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/fuzz.txt
	@touch $@

demo: $(VENV)/.hub ## hospitals train one model together (HOSPITALS ROUNDS EPOCHS DATA TEST ALPHA SEED PORT EXIT=1 SMOKE=1)
	@$(PY) -m hospintel_site.demo --hospitals $(HOSPITALS) --rounds $(ROUNDS) --epochs $(EPOCHS) --alpha $(ALPHA) --seed $(SEED) --port $(PORT) \
		$(if $(DATA),--data $(call quoted,$(DATA))) $(if $(TEST),--test $(call quoted,$(TEST))) \
		$(if $(call yes,$(EXIT)),--exit) $(if $(call yes,$(SMOKE)),--smoke)

run: $(VENV)/.hub ## the hub: web, workers, tick; Ctrl-C ends it
	@$(PY) manage.py up --port $(PORT)

# Whole hubs and agents, each of several processes, that are killed, cut off and started again.
PROCESSES := tests/flows tests/chaos tests/agent

test: $(VENV)/.dev ## the tests that need nothing but Python, without the two following
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/browser $(addprefix --ignore=,$(PROCESSES))

test-processes: $(VENV)/.dev ## whole hubs and agents as processes: rounds, kills, bad lines (needs nothing but Python)
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PROCESSES)

test-browser: $(VENV)/.dev ## the tests of the pages (needs Chromium)
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/browser

chaos: $(VENV)/.dev ## kill processes at every failpoint and at random (KILLS REPEATS SHORT=1 SERVICES=1); results in var/chaos
	@PYTHONPATH=.:tests/federation:tests/flows:tests/chaos $(PY) tests/chaos/campaign.py --folder $(call quoted,$(CHAOS)) --kills $(KILLS) \
		--repeats $(REPEATS) $(if $(call yes,$(SHORT)),--short) $(if $(call yes,$(SERVICES)),--services)

# What touches the database, the queue or processes. Not the matrix, its attacks and mutations: thousands of calls, each on
# a copy of the database, that ask who may do what, which no database changes. The demo, and the hub behind nginx, are
# embedded always.
SERVED := tests/services tests/flows tests/audit tests/federation tests/finetune tests/accounts
NOT_SERVED := $(addprefix --ignore=tests/,services/test_nginx.py flows/test_demo.py $(patsubst %,accounts/test_%.py,matrix attacks mutations))

# Two minutes of what differs on PostgreSQL and Redis: two of each process, transactions, races, lost databases.
SERVED_SHORT := tests/services $(patsubst %,tests/federation/test_hub_%.py,attempts database_away races) tests/audit/test_transaction.py

test-services: $(VENV)/.dev ## the same hub on a private PostgreSQL and Redis, which it starts (SHORT=1: two minutes of it)
	@$(PY) -m tools.services $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(call yes,$(SHORT)),$(SERVED_SHORT),$(SERVED)) $(NOT_SERVED)

guards: $(VENV)/.dev ## take each guard out of a copy of the tree and see that its test fails
	@$(PY) -m tools.guards

fuzz: $(VENV)/.fuzz ## made-up bytes for every parser of bytes from outside (SECONDS each, JOBS at a time); finds in var/fuzz
	@$(PY) tests/fuzz/fuzz_run.py --seconds $(SECONDS) --jobs $(JOBS)

lint: $(VENV)/.dev ## format, lint, types, migrations, settings
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) manage.py makemigrations --check --dry-run
	@$(PY) manage.py check --fail-level WARNING
	@$(PY) manage.py spectacular --validate --fail-on-warn --file /dev/null

docs: $(VENV)/.hub ## write docs/api.md from the API's own description
	@$(PY) manage.py api_docs

wheel: $(VENV)/.dev ## the agent's wheel, in dist/
	@rm -rf build *.egg-info  # a file that is gone from the tree would go on living there
	@$(PY) -m build --wheel --no-isolation

bench: $(VENV)/.dev ## medians of interleaved runs
	@$(PY) -m benchmarks

network: $(VENV)/.dev ## uploads and rounds over lines that break, are slow, fall silent; an hour
	@PYTHONPATH=.:tests/core:tests/federation:tests/flows $(PY) -m bad_lines uploads
	@PYTHONPATH=.:tests/core:tests/federation:tests/flows $(PY) -m bad_lines rounds
	@PYTHONPATH=.:tests/core:tests/federation:tests/flows $(PY) -m tools.services $(PY) -m bad_lines services

screenshots: $(VENV)/.dev ## pictures of every page, in docs/images (needs Chromium)
	@$(PY) -m tools.screenshots

lock: $(VENV)/.dev ## resolve the requirements anew (needs uv)
	@for set in "agent:" "hub:--extra hub --extra imagenet" "dev:--extra hub --extra imagenet --extra dev" "fuzz:--group fuzz"; do \
		rm -f requirements/$${set%%:*}.txt; \
		uv pip compile $$(test "$${set%%:*}" = fuzz || echo pyproject.toml) $${set#*:} --generate-hashes --universal --python-version 3.11 --no-annotate --quiet \
			--no-emit-index-url --custom-compile-command "make lock" --output-file requirements/$${set%%:*}.txt || exit 1; done

clean: ## remove .venv, caches and what the demo made
	@rm -rf $(VENV) var/demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
