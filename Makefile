# What a person types. Each target sets itself up first: .venv, with the versions of constraints.txt.
#
#   make run            the gateway on http://127.0.0.1:8080, or the sandbox where there is no gateway.toml
#   make test           the tests            make lint    what they do not see
#   make faults         what it survives: the long form of tests/faults, which `make test` has in short
#   make bench          how fast it is       make clean   away with all that was made here, but for data/
#   make windows        the gateway on Windows' own Python, under Wine: minutes, and as root it installs Wine on Debian
#   make docs           the tables of settings in docs/configuration.md, from their declarations
#   make fuzz           inputs drawn at random against all that reads some: ten minutes, or ARGS="--seconds 60 console"
#   make mutants        which small changes of ARGS (a file or a folder) no test notices: docs/mutants.md
#
# ARGS are passed on:    make run ARGS="--port 9000"    make test ARGS="-k keyword"
# Another Python:        make run PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

# The versions hold for what builds the package, too, by whichever of the two names this pip knows.
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(BIN)/python -m pip install --quiet --prefer-binary -c constraints.txt

# The tests start some two hundred processes: each would compile the whole gateway anew, where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test faults fuzz lint windows bench docs mutants clean
.DELETE_ON_ERROR:

run: $(VENV)/run.stamp
	@exec $(BIN)/gateway serve $(ARGS)

# Every line and branch of the pure core is tried by the tests that are about it. By themselves: to watch each line costs
# the others a minute, and they have nothing to add.
CORE := tests/schemas
PYTEST := $(BIN)/python -m pytest --dist worksteal

test: $(VENV)/test.stamp
ifeq ($(strip $(ARGS)),)
	$(PYTEST) -n 2 $(CORE) --cov=schemas --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100
	$(PYTEST) -n 4 --ignore=$(CORE)
else
	$(PYTEST) -n 4 $(ARGS)
endif

faults: $(VENV)/test.stamp
	$(BIN)/python -m pytest tests/faults --full-faults -n 2 $(ARGS)

fuzz: $(VENV)/fuzz.stamp
	$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

windows: $(VENV)/test.stamp
	$(BIN)/python -m tests.windows

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/run.stamp
	$(BIN)/python -m docs.settings

mutants: $(VENV)/mutants.stamp
	@$(BIN)/python -m tests.mutants $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than what it was made from, or it is made again: a second call starts at once.
$(VENV)/run.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "Installing what the gateway needs into $(VENV) ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "Installing what the gateway and its tests need into $(VENV) ..."
	@$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/fuzz.stamp: $(VENV)/test.stamp
	@echo "Installing atheris into $(VENV), where there is one for this system ..."
	@$(INSTALL) -e '.[test,fuzz]'
	@touch $@

$(VENV)/mutants.stamp: $(VENV)/test.stamp
	@echo "Installing mutmut into $(VENV) ..."
	@$(INSTALL) -e '.[test,mutants]'
	@touch $@

$(VENV)/made.stamp:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is `"$(PYTHON)" -V 2>&1`; the gateway needs 3.11 or newer. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@
