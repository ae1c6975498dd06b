# What people do often. Each target makes the environment that it needs.
PYTHON ?= python3
LIGHT  := .venv-light
FULL   := .venv
RUN    := runs/default
RUNGS  := configs/experiments/*.yaml
SHIPPED := inference/chatiquette/model

.DEFAULT_GOAL := help
.PHONY: help demo test check model results curve ladder cross-lingual report benchmark conformance clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(LIGHT)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(FULL)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(FULL)
	# torch first and alone, so that nothing pulls a newer build
	$(FULL)/bin/pip install --quiet --constraint constraints.txt torch
	$(FULL)/bin/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: $(LIGHT)/ready  ## Classify a sample chat in each language with the shipped model
	@for language in en ro sk fi; do \
	  $(LIGHT)/bin/chatiquette classify data/samples/$$language.jsonl --language $$language || exit 1; done

test: $(FULL)/ready check  ## Run everything that must pass
	$(FULL)/bin/pytest

check: $(FULL)/ready  ## Lint, types, and the data set
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy
	$(FULL)/bin/chatiquette data validate

# A run that is finished stays; export says where the data has changed since.
runs/%/metrics.json: | $(FULL)/ready
	$(FULL)/bin/chatiquette train configs/$*.yaml $(if $(wildcard runs/$*/config.yaml),--resume)

runs/six-layers/metrics.json: | runs/default/metrics.json

model: $(RUN)/metrics.json  ## Train, calibrate and export the shipped model
	$(FULL)/bin/chatiquette export $(RUN) $(SHIPPED) --slim

results: $(FULL)/ready  ## Score the shipped model on test, changed messages and conversations, into docs/results
	$(FULL)/bin/chatiquette evaluate $(SHIPPED) data/messages/test --baseline data/messages/train --output docs/results
	$(FULL)/bin/chatiquette evaluate $(SHIPPED) data/conversations --output docs/results/conversations
	$(FULL)/bin/chatiquette robustness $(SHIPPED) data --output docs/results

curve: $(FULL)/ready  ## Train on 25 and 50 % of train and plot the learning curve, into docs/results
	$(FULL)/bin/chatiquette learning-curve configs/default.yaml data/messages/test --output docs/results

ladder: $(FULL)/ready  ## Train each of RUNGS (configs/experiments/*.yaml) with three seeds and rank them, into docs/results
	$(FULL)/bin/chatiquette ladder $(RUNGS) --output docs/results

cross-lingual: $(FULL)/ready  ## Train on one, three and all languages and score on each, into docs/results
	$(FULL)/bin/chatiquette cross-lingual configs/cross-lingual.yaml --output docs/results

report: $(FULL)/ready  ## Describe the data set on a page with plots, docs/data/index.html
	$(FULL)/bin/chatiquette data report --output docs/data

benchmark: runs/six-layers/metrics.json  ## Compare both sizes with every other way to run the model, into docs/benchmarks.md
	$(FULL)/bin/pip install --quiet --constraint constraints.txt --editable '.[train,dev,benchmark]'
	for run in default six-layers; do $(FULL)/bin/chatiquette export runs/$$run bundles/$$run || exit 1; done
	$(FULL)/bin/python benchmarks/speed.py bundles/default bundles/six-layers

conformance: $(FULL)/ready  ## Run those recipes of docs/serving that need Node.js or Ray, and compare their answers
	$(FULL)/bin/pip install --quiet --constraint constraints.txt --editable '.[train,dev,conformance]'
	# the CPU needs no CUDA library, which the installation would download
	ONNXRUNTIME_NODE_INSTALL=skip npm install --silent --no-package-lock --prefix tests/conformance
	$(FULL)/bin/pytest -m conformance

clean:  ## Remove environments and caches; runs stay
	rm -rf $(LIGHT) $(FULL) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
