# Two commands set everything up on a machine that has Python 3.11 to 3.13 and make:
#   make book    the whole site in _build/html, from stored rows
#   make test    all tests
# Both keep their environment in .venv.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: book test results status bundle merge lint lock notebooks clean

book: $(READY)
	rm -rf _build/html _build/.doctrees  # pages draw from rows, which Sphinx does not look at
	$(BIN)/jupyter-book build book/
	$(BIN)/python book/check_site.py

test: $(READY)
	$(BIN)/python -m pytest

# Rows that are not stored yet: make results PROFILE=laptop WORKERS=2 LIMIT=9m
PROFILE ?= laptop
WORKERS ?= 1
LIMIT   ?=
results: $(READY)
	$(BIN)/python -m washout results --profile $(PROFILE) --workers $(WORKERS) $(if $(LIMIT),--limit $(LIMIT))

status: $(READY)
	$(BIN)/python -m washout status

# What a machine without a network needs for rows that are missing, in parts; and rows back:
# make bundle PROFILE=paper OPTIONS="--chapter 3 --wheels --python 3.12", make merge DIR=out/back
DIR     ?=
OPTIONS ?=
bundle: $(READY)
	$(BIN)/python -m washout bundle $(or $(DIR),out/bundle) --profile $(PROFILE) $(OPTIONS)

ifeq ($(filter merge,$(MAKECMDGOALS))$(DIR),merge)
$(error merge: DIR is not given; name the folder of the parts that came back: make merge DIR=out/back)
endif
merge: $(READY)
	$(BIN)/python -m washout merge $(DIR)

lint: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check lib tests benchmarks book
	$(BIN)/mypy

# The .py files are the source of the notebooks.
notebooks: $(READY)
	$(BIN)/jupytext --to ipynb --update $(patsubst %.ipynb,%.py,$(wildcard book/*.ipynb))

# Versions that were seen to work; without the CUDA packages, which torch pins itself.
lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia|cuda|triton|-e )' \
		| sed 's/+.*//' > constraints.txt

clean:
	rm -rf _build

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"washout needs Python 3.11 to 3.13, {sys.executable} is {v.major}.{v.minor}; name another with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[book,test,cluster]"
	touch $(READY)
