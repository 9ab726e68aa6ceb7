# Two commands need nothing prepared: `make demo` and `make test`. Both make .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test quick trackers chaos container faults readers bench check constraints audit clean

help:
	@echo "make demo    the whole job on real images against a Hub on this machine"
	@echo "make test    the whole test suite"
	@echo "make quick   the tests that take seconds, in place of minutes"
	@echo "make trackers  training with Trackio, MLflow and W&B, read back by their own means; needs the package index"
	@echo "make chaos   the long tests that kill, fill, cut and corrupt; hours"
	@echo "make container  build the image, run it, and measure it; needs Docker or Podman and 15 GB of disk"
	@echo "make faults  every request to a Hub under every fault, as the table of docs/hub-failures.md"
	@echo "make readers  releases of timm and transformers load one published model; needs the package index"
	@echo "make bench   hftune beside its peers, in benchmarks/RESULTS.md; ARGS=... as in docs/speed.md"
	@echo "make check   lint, types, floors"
	@echo "make constraints  the newest versions of all that the container installs, in constraints.txt"
	@echo "make audit   known vulnerabilities of the versions in constraints.txt; needs a network"
	@echo "make clean   remove .venv, demo/ and caches"

demo: $(VENV)/.demo
	$(BIN)/hftune demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

quick: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

chaos: $(VENV)/.dev
	$(BIN)/python -m pytest --chaos -m chaos

container: $(VENV)/.dev
	$(BIN)/python -m pytest --container -m container

trackers: $(VENV)/.trackers
	OMP_NUM_THREADS=1 $(VENV)/trackers/bin/python -m pytest tests/train/test_trackers.py -k "trackio or mlflow or wandb"

faults: $(VENV)/.dev
	$(BIN)/python -m tests.hub.fault_table docs/hub-failures.md

readers: $(VENV)/.dev
	$(BIN)/python -m tests.export.readers

bench: $(VENV)/.bench
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The command stands in the head of the file; for every extra that the image can be built with.
constraints: $(VENV)/.audit
	$(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 --no-annotate \
	  --extra demo --extra onnx --extra report --extra serve --extra tensorboard --extra wandb --extra mlflow --extra trackio --extra tune \
	  --output-file constraints.txt

audit: $(VENV)/.audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --desc

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hftune needs Python 3.11 or newer; found: $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

# The marks say which extra was installed, and are renewed when pyproject.toml changes.
$(VENV)/.demo: $(VENV)/.python pyproject.toml
	@echo "installing hftune with its demo extra; the first time this downloads several GB"
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml
	@echo "installing hftune with its dev extra; the first time this downloads several GB"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

# Trackio wants an older Pillow, which the other tests shall not have: an environment over this one.
$(VENV)/.trackers: $(VENV)/.dev
	$(PYTHON) -m venv --clear $(VENV)/trackers
	$(VENV)/trackers/bin/python -c 'import sys, sysconfig; lines = "import site; site.addsitedir({!r})\n".format(sys.argv[1]); \
	  open(sysconfig.get_path("purelib") + "/below.pth", "w").write(lines)' \
	  "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(VENV)/trackers/bin/python -m pip install --quiet --editable '.[trackio,mlflow,wandb]'
	@touch $@

$(VENV)/.bench: $(VENV)/.python pyproject.toml
	@echo "installing hftune with its bench extra; the first time this downloads several GB"
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.audit: $(VENV)/.python
	$(BIN)/python -m pip install --quiet pip-audit uv
	@touch $@
