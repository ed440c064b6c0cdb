# What a person types. Each target sets itself up first: .venv, with the files that constraints.txt and tests/locks name by
# version and hash, and no others.
#
#   make run            the gateway on http://127.0.0.1:8080, or the sandbox where there is no gateway.toml
#   make test           the tests            make lint    what they do not see
#   make faults         what it survives: the long form of tests/faults, which `make test` has in short
#   make bench          how fast it is       make clean   away with all that was made here, but for data/
#   make windows        the gateway on Windows' own Python, under Wine: minutes, and as root it installs Wine on Debian
#   make docs           the tables of settings in docs/configuration.md, from their declarations
#   make fuzz           inputs drawn at random against all that reads some: ten minutes, or ARGS="--seconds 60 console"
#   make lock           the versions and hashes of constraints.txt and tests/locks anew (ARGS=--upgrade: the newest versions)
#   make sbom           dist/sbom.json, a CycloneDX list of what is installed to run, and docs/licences.md from it
#   make mutants        which small changes of ARGS (a file or a folder) no test notices: docs/mutants.md
#
# ARGS are passed on:    make run ARGS="--port 9000"    make test ARGS="-k keyword"
# Another Python:        make run PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

# Wheels alone: what builds a package from source is fetched by pip unhashed. Where a package has no wheel for this machine
# (Alpine, Intel Macs), `make run WHEELS=--prefer-binary` builds it.
WHEELS ?= --only-binary=:all:
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet
LOCKED := $(PIP) $(WHEELS) --require-hashes
# The checkout has no hash. Without an index pip can but look whether all that it needs is there.
PROJECT := $(PIP) --no-index --no-build-isolation

# The tests start some two hundred processes: each would compile the whole gateway anew, where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test faults fuzz lint windows bench docs mutants lock sbom clean
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

# One lock for what runs, with what builds the package, and one for each extra, with what the locks before it have not,
# or for some platforms only.
EXTRAS := test fuzz mutants supply
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	--python-version 3.11 $(ARGS)
pinned = sed -n 's/^\([a-z0-9-]*\)==[^;]*$$/--no-emit-package \1/p' $(1)

lock: $(VENV)/supply.stamp
	@sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(COMPILE) pyproject.toml - -o constraints.txt
	@set -e; for extra in $(EXTRAS); do \
	  locks=constraints.txt; [ $$extra = test ] || locks="$$locks tests/locks/test.txt"; \
	  $(COMPILE) pyproject.toml --extra $$extra `printf -- '-c %s ' $$locks` `$(call pinned,$$locks)` \
	    -o tests/locks/$$extra.txt; \
	done

# In an environment of its own, with what other platforms need, too, and without pip.
sbom: $(VENV)/supply.stamp
	@rm -rf build/runtime && mkdir -p build dist && "$(BIN)/python" -m venv --without-pip build/runtime
	@sed 's/ ; .*\\$$/ \\/' constraints.txt > build/runtime/every-platform.txt
	@$(BIN)/python -m pip --python build/runtime/bin/python install --quiet $(WHEELS) --require-hashes \
	  -r build/runtime/every-platform.txt
	@$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --of JSON -o dist/sbom.json \
	  build/runtime/bin/python
	@$(BIN)/python -m docs.licences dist/sbom.json

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than what it was made from, or it is made again: a second call starts at once.
$(VENV)/run.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt
	@echo "Installing what the gateway needs into $(VENV) ..."
	@$(LOCKED) -r constraints.txt
	@$(PROJECT) -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/made.stamp pyproject.toml constraints.txt tests/locks/test.txt
	@echo "Installing what the gateway and its tests need into $(VENV) ..."
	@$(LOCKED) -r constraints.txt -r tests/locks/test.txt
	@$(PROJECT) -e '.[test]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/fuzz.stamp $(VENV)/mutants.stamp $(VENV)/supply.stamp: $(VENV)/%.stamp: $(VENV)/test.stamp tests/locks/%.txt
	@echo "Installing the tools of tests/locks/$*.txt into $(VENV) ..."
	@$(LOCKED) -r tests/locks/$*.txt
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
