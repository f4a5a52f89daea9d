# SPDX-License-Identifier: GPL-3.0-or-later
# Every target sets up what it needs; a second run finds it there. The plain commands stand in README.md.
PYTHON ?= python3
HOSTS ?= 3
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help demo test test-faults test-hostile check lab lab-down bench format clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1	/' | expand -t 12

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

lab: .venv/.ready ## bring up the simulated hosts (HOSTS=20 makes more)
	$(BIN)/python -m lab up --hosts $(HOSTS)

lab-down: ## remove the simulated hosts and all that they left
	$(PYTHON) -m lab down

demo: lab ## deploy otto.yaml on the lab and fetch a page from it
	$(BIN)/otto-run up --once --yes --accept-new-host-keys
	curl --silent --show-error --fail --max-time 10 http://10.77.0.11:8080/ | head -n 5

test: .venv/.ready ## every test, on the lab of real hosts
	$(PYTHON) -m lab tools
	$(BIN)/python -m lab up --fresh rpi-01 rpi-02 rpi-03
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

test-faults: .venv/.ready ## every fault of docs/faults.md, the long ones too, and a table
	$(PYTHON) -m lab tools
	$(BIN)/python -m lab up --fresh rpi-01 rpi-02 rpi-03
	$(BIN)/python -m pytest -p tests.faults.table --faults -m ""

test-hostile: .venv/.ready ## what nodes, files and strangers may not do, the long tests
	$(PYTHON) -m lab tools
	$(BIN)/python -m lab up --fresh rpi-01 rpi-02 rpi-03
	$(BIN)/python -m pytest -m hostile
	tests/cores.sh 2.20 python3.12 -m ""
	tests/cores.sh 2.21 python3.13 -m ""

check: .venv/.ready ## format, lint, types, ansible-lint, sanity
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --offline --strict --profile production
	tests/sanity.sh

format: .venv/.ready ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.ready ## Otto beside community.docker and pyinfra, paired in one run
	$(BIN)/python -m lab up
	$(BIN)/python bench/compare.py

clean: ## remove what the build made (not the lab)
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis bench/.venv
