# Everything runs from a virtual environment in .venv, made on first use; nothing is installed elsewhere.
# PYTHON=python3.12 chooses the interpreter, WORKERS=8 how many tests run at a time, PYTEST="-k etcd" narrows them,
# MODEL="--states 100000 PART-OF-A-NAME" what is explored, ADVERSARY="--store etcd --rounds 5" what guards are tried by,
# FIRE="--store sqlite --rounds 5" what the watchdog is put under.

# Most tests wait for a lease to end, so more workers than cores is right; too many, and tests that count seconds wait
# for a core instead.
WORKERS ?= 5
PYTEST ?=
COMPARE ?=
MODEL ?=
CRONPROOF ?=
ADVERSARY ?=
FIRE ?=
VENV := .venv
BIN := $(VENV)/bin
SERVERS := .cache/servers

# The first of these that is new enough.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
endif

.PHONY: demo test lint model cronproof adversary fire servers bench comparison docs clean help

help:
	@echo "make demo       an election to watch, on this machine"
	@echo "make test       linters, types and all tests, against real servers"
	@echo "make lint       linters and types"
	@echo "make model      explore the election's state machine far (MODEL=... as for python -m model)"
	@echo "make adversary  let stale leaders write, and see them refused (ADVERSARY=... as for python -m adversary)"
	@echo "make fire       put the watchdog under fire, and measure (FIRE=... as for python -m fire)"
	@echo "make cronproof  prove on real stores that slots run once (CRONPROOF=... as for python -m cronproof; as root)"
	@echo "make servers    fetch etcd, Consul and the databases for the tests"
	@echo "make bench      measure"
	@echo "make comparison measure the stores side by side, and refresh docs/comparison.* (COMPARE=... as for leasekit compare)"
	@echo "make docs       the documentation as a site, in build/site"
	@echo "make clean      remove all that was made here"

demo: $(VENV)/.package
	@$(BIN)/leasekit demo

test: $(VENV)/.dev lint
	@scripts/get-servers.sh $(SERVERS) || echo "make: going on with the servers on PATH or in LEASEKIT_SERVERS" >&2
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy leasekit tests benchmarks

model: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python -m model $(MODEL)

adversary: $(VENV)/.dev servers
	@PYTHONPATH=tests $(BIN)/python -m adversary $(ADVERSARY)

fire: $(VENV)/.dev servers
	@PYTHONPATH=tests $(BIN)/python -m fire $(FIRE)

cronproof: $(VENV)/.dev servers
	@PYTHONPATH=tests $(BIN)/python -m cronproof $(CRONPROOF)

servers:
	@scripts/get-servers.sh $(SERVERS)

bench: $(VENV)/.dev servers
	@$(BIN)/python -m benchmarks

comparison: $(VENV)/.dev servers
	@$(BIN)/python scripts/comparison.py $(COMPARE)

docs: $(VENV)/.docs
	@$(BIN)/python -m mkdocs build --strict -f docs/site/mkdocs.yml
	@echo "Open build/site/index.html; for the search box: $(BIN)/python -m http.server -d build/site"

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: made anew when pyproject.toml changes. Without PYTHONWARNINGS setuptools would warn of editable installs as such.
$(VENV)/.package: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: leasekit needs Python 3.11 or later, and found none; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"make: leasekit needs Python 3.11 or later; $(PYTHON) is {sys.version.split()[0]}")'
	@echo "make: installing into $(VENV)" >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade "pip>=25.1"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install -q -e ".[all]"
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	@$(BIN)/python -m pip install -q --group docs
	@touch $@

# The docs too: the tests build the site.
$(VENV)/.dev: $(VENV)/.docs
	@$(BIN)/python -m pip install -q --group dev
	@touch $@
