# SPDX-License-Identifier: Apache-2.0
# Everything that a checkout can do. Needs Python 3.11 or newer with venv, g++, make and perl; the
# rest, the simulator included, comes as Python packages into .venv, pinned in requirements.lock.

PYTHON ?= python3
PYTHON39 ?= python3.9
CONFIG ?= core256
BIN := .venv/bin
READY := .venv/.ready

# A recipe's tools must not take part in this make's job server.
unexport MAKEFLAGS MFLAGS

.DEFAULT_GOAL := help
.PHONY: help run generate test long frameworks bench bench-serve serve verilog area asic synth bitstream synthesis zoo docs prove site lint imports fixtures lock clean

help:  ## list the targets
	@echo "Makalu, an open inference accelerator. Targets:"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | \
	  while IFS="$$(printf '\t')" read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

run: $(READY)  ## classify digits on the simulated hardware, and compare with ONNX Runtime
	@$(BIN)/python -m examples.run_digits

generate: $(READY)  ## let a small GPT write on the simulated hardware, and compare with ONNX Runtime token for token
	@$(BIN)/python -m examples.transformers.run_generate

test: $(READY)  ## run the tests, but for those that take many minutes
	@$(BIN)/python -m pytest -q -n auto --dist worksteal --durations 40 -m "not long"

long: $(READY)  ## run the tests that take many minutes
	@$(BIN)/python -m pytest -q -m long

frameworks: build/frameworks/.ready  ## run a network of each framework on the simulated hardware, and their tests: docs/frameworks.md (installs TensorFlow and PyTorch)
	@build/frameworks/bin/python -m examples.frameworks
	@build/frameworks/bin/python -m pytest -q tests/frameworks

prove: $(READY)  ## prove the properties of the blocks formally: docs/verification.md
	@$(BIN)/python -m prove

bench: $(READY)  ## measure networks on the simulated hardware: docs/benchmarks.md (MAKALU_MODELS=folder: more; QUICK=1: only small ones)
	@$(BIN)/makalu bench $(if $(QUICK),--quick)

bench-serve: $(READY)  ## measure serving with stock clients: docs/serving_benchmarks.md (MAKALU_TRITON=python with nvidia-pytriton: beside Triton; QUICK=1: hardly at all)
	@$(BIN)/python -m examples.serving $(if $(QUICK),--quick)

serve: $(READY)  ## serve the shipped digits on the golden model: HTTP on port 8080, gRPC on 8081 (docs/serving.md)
	@mkdir -p build/models/digits/1
	@cp examples/digits_int8.onnx build/models/digits/1/model.onnx
	@$(BIN)/python -m examples.ask_digits > build/models/one_digit.json
	@echo "makalu: when it says ready, in another terminal:"
	@echo "  curl -s localhost:8080/v2/models/digits/infer -d @build/models/one_digit.json"
	@$(BIN)/makalu serve build/models

verilog: $(READY)  ## write build/verilog/$(CONFIG): Verilog, register map, FuseSoC core, Vivado script (CONFIG=tiny, ecp5, core256, … or a .json file)
	@$(BIN)/makalu verilog --config $(CONFIG) --package build/verilog/$(basename $(notdir $(CONFIG)))

area: $(READY)  ## synthesize each block of CONFIG with Yosys: docs/area.md
	@$(BIN)/python -m synth.area --config $(CONFIG)

asic: $(READY)  ## map each block of CONFIG to the cells of LIBERTY=FILE with Yosys: docs/asic.md
	@test -n "$(LIBERTY)" || { echo "makalu: name a Liberty file: make asic LIBERTY=cells.lib" >&2; exit 1; }
	@$(BIN)/python -m synth.asic --liberty $(LIBERTY) --config $(CONFIG)

synth: $(READY) .venv/.fpga  ## place and route CONFIG (BLOCK=name: that block alone) on an ECP5 (FREQ=80 MHz)
	@$(BIN)/python -m synth.place --config $(CONFIG) $(if $(BLOCK),--block $(BLOCK)) $(if $(FREQ),--freq $(FREQ))

bitstream: $(READY) .venv/.fpga  ## make the bitstream of BOARD (ulx3s) in build/bitstream (CONFIG=name or .json file, FREQ=25 MHz, SEED=1)
	@$(BIN)/python -m synth.bitstream $(if $(BOARD),--board $(BOARD)) $(if $(filter command line environment,$(origin CONFIG)),--config $(CONFIG)) $(if $(FREQ),--freq $(FREQ)) $(if $(SEED),--seed $(SEED))

synthesis: $(READY) .venv/.fpga  ## measure blocks of CONFIG (tiny; BLOCK=name: that one alone) on FPGA families: docs/synthesis.md (CHECK=1: compare with it)
	@$(BIN)/python -m synth.report $(if $(filter command line environment,$(origin CONFIG)),--config $(CONFIG)) $(if $(BLOCK),--block $(BLOCK)) $(if $(CHECK),--check)

zoo: $(READY)  ## compile and check every network in the folder MAKALU_MODELS against ONNX Runtime
	@$(BIN)/makalu zoo $(MAKALU_MODELS)

docs: $(READY)  ## write docs/isa.md, registers.md, configurations.md, operators.md and supported.md
	@$(BIN)/python -m makalu.pages.isa_pages
	@$(BIN)/python -m makalu.pages.operators
	@$(BIN)/python -m makalu.pages.supported

site: build/site/.ready  ## write the documentation site, with the API from the docstrings: build/site/html/index.html
	@build/site/bin/sphinx-build -q -W --keep-going -j auto -c site docs build/site/html
	@echo "build/site/html/index.html"

lint: $(READY)  ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/mypy

imports: $(READY)  ## print the graph of imports between folders, and check that it has no circle
	@$(BIN)/python -m tests.import_graph

fixtures:  ## make the fixtures of the Caffe2 tests anew with PYTHON39=interpreter, which has Caffe2
	@command -v $(PYTHON39) > /dev/null || { echo "makalu: there is no $(PYTHON39): make fixtures PYTHON39=/path/to/python3.9" >&2; exit 1; }
	@$(PYTHON39) tests/fixtures/caffe2/make.py

lock: ## pin what pyproject.toml asks for anew, in requirements.lock
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet --upgrade setuptools && build/lock/bin/pip install --quiet '.[dev]'
	@{ sed -n '1,2p' requirements.lock; build/lock/bin/pip freeze --all --exclude pip --exclude makalu; } \
	  > build/requirements.lock && mv build/requirements.lock requirements.lock

clean:  ## remove everything that was built, the environment included
	@rm -rf build .venv *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache

.venv/.fpga: requirements-fpga.lock $(READY)
	@echo "makalu: installing place and route into .venv, once" >&2
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps -r requirements-fpga.lock
	@touch $@

build/frameworks/.ready: requirements.lock requirements-frameworks.lock pyproject.toml
	@echo "makalu: installing TensorFlow and PyTorch into build/frameworks, once; some gigabytes" >&2
	@$(PYTHON) -m venv build/frameworks
	@build/frameworks/bin/pip install -qq --disable-pip-version-check -r requirements.lock
	@build/frameworks/bin/pip install -qq --disable-pip-version-check --no-deps -r requirements-frameworks.lock
	@build/frameworks/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

build/site/.ready: requirements-site.lock
	@echo "makalu: installing Sphinx into build/site, once" >&2
	@$(PYTHON) -m venv build/site
	@build/site/bin/pip install -qq --disable-pip-version-check --no-deps -r requirements-site.lock
	@touch $@

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Makalu needs Python 3.11 or newer; $(PYTHON) is older. Try make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "makalu: installing the Python packages of requirements.lock into .venv, once" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
