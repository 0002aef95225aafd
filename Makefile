# `make demo` on a fresh machine trains a classifier and one generator of each family on spoken digits, and ends with a leaderboard.
# The environment is made once, in .venv; `make demo PYTHON=python3.12` says from which Python.

PYTHON = python3 python3.13 python3.12 python3.11
# Two processes of one thread each, a file of tests at a time.
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadfile
PIP = .venv/bin/python -m pip --disable-pip-version-check -qq

help:
	@echo "make demo       the whole benchmark on spoken digits: some fifteen minutes on two cores, nothing to download but packages"
	@echo "make demo-all   the same with every generator that there is: under an hour"
	@echo "make test       the linters, then the tests that take seconds: some ten minutes on two cores"
	@echo "make test-all   the linters, then every test"
	@echo "make lint       ruff and mypy"
	@echo 'make bench      how fast everything is, beside its goal and the limit of this machine; ROWS="a b" for single rows'
	@echo "make clean      remove .venv and caches; _workdir stays"

demo: .venv/.installed
	.venv/bin/python -m pipeline.spoken_digits --workers 2

demo-all: .venv/.installed
	.venv/bin/python -m pipeline.spoken_digits --models all --workers 2

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

# One table of every speed that the project cares about: `make bench ROWS="wavenet-sampling rerun"`, `make bench FLAGS=--quick`.
bench: .venv/.installed
	.venv/bin/python -m benchmarks.bench $(if $(ROWS),--rows $(ROWS)) --json _workdir/bench.json $(FLAGS)

lint: .venv/.installed-test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find pipeline tasks models evaluation tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was installed from, so that a call with nothing to install costs nothing.
.venv/.installed: .venv/.made setup.py constraints.txt
	@echo "Installing what constraints.txt lists into .venv; this takes a minute or two."
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-test: .venv/.installed
	@$(PIP) install --constraint constraints.txt --editable ".[test]"
	@touch $@

# Debian's python3 may lack ensurepip, and pyenv's python3.12 may be a name without a Python: ask each whether it works.
.venv/.made:
	@for python in $(PYTHON); do \
	    if "$$python" -c "import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" 2>/dev/null; then \
	        echo "Making .venv from $$("$$python" --version)."; \
	        "$$python" -m venv --clear .venv && touch $@; \
	        exit; \
	    fi; \
	done; \
	echo "Earshot needs Python 3.11, 3.12 or 3.13 with its venv and ensurepip modules, and found none as: $(PYTHON)." >&2; \
	echo "Install one (on Debian and Ubuntu: apt install python3-venv), or name it: make demo PYTHON=path/to/python3" >&2; \
	exit 1

.PHONY: help demo demo-all test test-all lint bench clean
