# Two commands do everything: `make demo` and `make test`. Each makes the environment it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INTEROP := .venv-interop
DOCCANO := .venv-doccano

export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export PREFECT_HOME := $(CURDIR)/.prefect
export OMP_NUM_THREADS := 1

.PHONY: setup demo test test-slow test-all test-interop lint bench pictures clean

setup: $(STAMP)

# uv installs fastest; where it cannot, pip does the same.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed uv \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	       --constraints constraints.txt --editable '.[all]' --group dev \
	  || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' \
	       $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['dev'], sep='\n')" | tr -d ' ')
	touch $(STAMP)

demo: setup  ## the whole study, offline, in ./demo
	$(BIN)/nanmine demo --out demo

test: setup  ## every test that a change should not wait minutes for, in parallel
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow"

test-slow: setup  ## the slow ones: real data where it lies beside the clone, a browser, a database server
	$(BIN)/pytest -n 2 --dist loadgroup --timeout 600 -m slow

test-all: test test-slow

test-interop: setup $(INTEROP)/.installed $(DOCCANO)/.installed  ## our files in other people's tools; PyTorch
	NANMINE_INTEROP=1 NANMINE_DOCCANO=$(CURDIR)/$(DOCCANO)/bin/python \
	  $(INTEROP)/bin/pytest -n 2 -W ignore::DeprecationWarning tests/test_interop.py

# PyTorch comes by pip, which takes a CPU build where one lies on the machine.
$(INTEROP)/.installed: pyproject.toml constraints.txt $(STAMP)
	$(PYTHON) -m venv $(INTEROP)
	$(BIN)/uv pip install --quiet --python $(INTEROP)/bin/python --constraints constraints.txt \
	  --editable '.[figures]' --group dev --group interop
	$(INTEROP)/bin/python -m pip install --quiet --constraint constraints.txt torch
	touch $@

# doccano's requirements are of 2023 and contradict ours.
$(DOCCANO)/.installed: $(STAMP)
	$(PYTHON) -m venv $(DOCCANO)
	$(BIN)/uv pip install --quiet --python $(DOCCANO)/bin/python \
	  'doccano==1.8.4' 'marshmallow<4' 'numpy<2' 'setuptools<81'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## requests, speed and memory; BENCHMARK=…/dl-bug-posts.csv adds the published mark, LABELLED=sqlite:///… active order
	$(BIN)/python tests/bench/crawl.py
	$(BIN)/python tests/bench/tables.py
	$(BIN)/python tests/bench/proposals.py
	$(BIN)/python tests/bench/label_screen.py
	$(if $(BENCHMARK),$(BIN)/python tests/bench/dl_bug_posts.py $(BENCHMARK))
	$(if $(LABELLED),$(BIN)/python tests/bench/active_order.py $(LABELLED))

pictures: setup  ## the README's pictures of the annotation screen, from the running program
	$(BIN)/python tests/bench/screenshots.py labeling/screens

clean:
	rm -rf $(VENV) $(INTEROP) $(DOCCANO) .prefect demo .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
