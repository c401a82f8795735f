# `make demo` and `make test` need Python 3.11 or newer, pip and make: the rest they fetch themselves, into $(VENV).
# Without a GPU, torch's small CPU build saves gigabytes: set TORCH_INDEX to the index of it that torch's website names.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= auto
TORCH_INDEX ?=

bin := $(VENV)/bin
installed := $(VENV)/.installed
pip_install := $(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
export NODE_PATH := $(NODE_PATH):$(abspath $(VENV))/npm/node_modules

.PHONY: help install demo test clients slow check format lint types

help:  ## show these commands
	@sed -n 's/^\([a-z]*\):.*##/  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

install: $(installed)  ## create the virtual environment and install everything

# The stamp makes a changed pyproject.toml or constraints.txt install again. torch comes first, and alone, so that
# TORCH_INDEX is asked about nothing else.
$(installed): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Kakehashi needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(pip_install) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(pip_install) --editable '.[all,dev]'
	@touch $@

demo: $(installed)  ## train, score and use a translator on the built-in corpus, in minutes, without network
	$(bin)/kakehashi demo

test: $(installed)  ## the fast tests
	$(bin)/pytest -m "not slow" -n $(JOBS) --dist worksteal

clients: $(installed)  ## the tests with clients nobody here wrote; npm fetches one of them, and `make test` finds it then
	npm install --silent --no-fund --no-audit --prefix $(VENV)/npm libretranslate-ts@0.5.12
	$(bin)/pytest tests/serving/api/test_clients.py

slow: $(installed)  ## the slow tests
	$(bin)/pytest -m slow -n $(JOBS) --dist worksteal

check: lint types test  ## everything a change must pass: format, lint, types, fast tests

lint: $(installed)  ## format and lint, changing nothing
	$(bin)/ruff format --check
	$(bin)/ruff check

types: $(installed)  ## types, strict on the public API
	$(bin)/basedpyright --pythonpath $(bin)/python

format: $(installed)  ## put the code into the house style
	$(bin)/ruff format
	$(bin)/ruff check --fix
