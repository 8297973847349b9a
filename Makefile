# Each target sets up all that it needs in .venv (bench and test-newest in a .venv-… of their own);
# nothing else on the machine is touched, but by slurm-up, which starts a Slurm.
PYTHON ?= python3
BIN := .venv/bin
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
SLURM = PYTHONPATH=tests/slurm $(PYTHON) -B -m private_slurm

.PHONY: help demo ui test test-fast faults fuzz test-newest bench lint docs screenshots clean \
  slurm-up slurm-down
.DEFAULT_GOAL := demo

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/.trainer ## train the bundled scenes on this machine and show the results
	PREFECT_PROFILES_PATH=/dev/null $(BIN)/python -m flows.train --run-all --exp-name demo --workers 2

ui: .venv/.trainer ## Prefect's UI with the deployments, until Ctrl-C
	$(BIN)/python -m deployments.serve

# Three processes on two cores: tests wait for Slurm and servers more than they compute.
test: .venv/.dev ## all tests but those that take long
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long"

test-fast: .venv/.dev ## tests without Slurm, browser, server, training or launched processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	  -m "not (slurm or browser or server or training or processes or long)"

faults: .venv/.dev ## every cell of the fault table, and docs/reliability.md, in about half an hour
	$(BIN)/python -m tests.faults -n 3 --dist loadfile --no-loadscope-reorder

fuzz: .venv/.dev ## search for input that our code mishandles, in about half an hour
	$(BIN)/python -m pytest -n 2 --hypothesis-profile full -o timeout=0 tests/fuzz

# An environment of its own, without lock and bounds. It reports: it is not part of CI.
test-newest: ## contract tests and a flow with the newest libraries, in minutes
	$(PYTHON) -m venv --clear .venv-newest
	$(PYTHON) tests/contracts/newest.py requirements > .venv-newest/requirements.txt
	.venv-newest/bin/python -m pip install --quiet --requirement .venv-newest/requirements.txt
	.venv-newest/bin/python -m pip install --quiet --no-deps --editable .
	.venv-newest/bin/python tests/contracts/newest.py report

bench: .venv/.trainer .venv-bench/.peers ## docs/performance.md: all measurements, in about 25 minutes
	$(BIN)/python -m benchmarks

lint: .venv/.dev ## ruff, mypy, the layers' contracts, and the documentation's links
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MKDOCS) --site-dir .venv/site

docs: .venv/.dev ## docs/flags.md from the options, and the pages as a site in site/
	$(BIN)/python -m flows.flags_page
	$(MKDOCS) --site-dir site

# The folder is named and emptied by pytest: it shows in the pictures.
screenshots: .venv/.dev ## docs/images: the form, a run's page and the report, in minutes
	TS_SCREENSHOTS=docs/images $(BIN)/python -m pytest -n 0 -k screenshots \
	  --basetemp /tmp/training-scheduler tests/deployments/test_ui.py

slurm-up: ## a private Slurm on this machine (as root); ACCOUNTING=1 with sacct
	@$(SLURM) up $(if $(filter-out 0,$(ACCOUNTING)),--accounting)

slurm-down: ## end it and all that runs on it
	@$(SLURM) down

clean: ## what `make` made; results in outputs/ stay
	rm -rf .venv .venv-newest .venv-bench site

.venv/.trainer: .venv/.python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable ".[trainer]"
	touch $@

.venv/.dev: .venv/.python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable ".[dev]"
	touch .venv/.trainer $@

.venv-bench/.peers: .venv/.trainer
	$(PYTHON) -m venv --clear .venv-bench
	$(BIN)/python -m benchmarks.peers requirements > .venv-bench/requirements.txt
	.venv-bench/bin/python -m pip install --quiet --constraint requirements.lock \
	  --requirement .venv-bench/requirements.txt
	touch $@

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	touch $@
