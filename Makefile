# Each target does all its own set-up on a bare machine with python3, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_ALL := $(VENV)/.ready-all
MLFLOW := $(VENV)/.ready-mlflow
# Two threads at most, so that no machine is crowded.
export OMP_NUM_THREADS ?= 2
export OMP_WAIT_POLICY ?= PASSIVE
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1

.PHONY: demo demo-audit setup test test-all lint format bench chromium

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("python 3.11 or later is needed") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

# The tests of registries and ledgers need MLflow, an S3 server and PostgreSQL's driver.
$(READY_ALL): $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev,servers]'
	command -v postgres >/dev/null || (apt-get update -qq && apt-get install -y -qq postgresql) || true
	touch $(READY_ALL)

demo: $(READY)
	rm -rf gatekeeper-demo
	$(BIN)/gatekeeper demo --out gatekeeper-demo

demo-audit: $(MLFLOW) chromium
	rm -rf gatekeeper-demo-audit
	$(BIN)/gatekeeper demo-audit --out gatekeeper-demo-audit

$(MLFLOW): $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[mlflow]'
	touch $(MLFLOW)

# Two workers of one thread each are faster than one of two.
test test-all: export OMP_NUM_THREADS = 1
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not server and not browser"

test-all: $(READY_ALL) chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/inspect_files.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/screening_time.py
	$(BIN)/python benchmarks/evasion.py
	$(BIN)/python benchmarks/document.py

# The browser tests skip with a reason where Chromium cannot be installed.
chromium:
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium) || true
