# make demo   from a fresh machine to the finished main job
# make test   everything that must hold: lint, types, layers, tests, the base install
# make model  the shipped model from nothing, in stages: an interrupted call goes on where it stopped

PYTHON ?= python3
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo model test lint clean
.DELETE_ON_ERROR:

demo: .venv/installed
	.venv/bin/slicewise demo --output demo

model: .venv/installed
	.venv/bin/python recipes/retrain.py model

test: lint .venv-base/installed
	SLICEWISE_BASE_PYTHON=$(CURDIR)/.venv-base/bin/python .venv-test/bin/python -m pytest --cov --cov-report=term

lint: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "slicewise needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) -e '.[train,phantom]'
	touch $@

.venv-test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP_INSTALL) -e '.[dev]'
	touch $@

# The base install alone: no torch, no matplotlib. Built like a user's, from the sources as they are now.
.venv-base/installed: pyproject.toml constraints.txt $(shell find src -type f -not -path '*/__pycache__/*')
	$(PYTHON) -m venv .venv-base
	.venv-base/bin/python $(PIP_INSTALL) --force-reinstall --no-deps .
	.venv-base/bin/python $(PIP_INSTALL) .
	touch $@

clean:
	rm -rf .venv .venv-test .venv-base build demo
