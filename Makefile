# make demo    set up .venv and run the demo study
# make test    set up .venv and run the tests
# make help    everything else
PYTHON ?= python3
VENV ?= .venv
CORES ?= all
NAME ?=
PYTHON312 ?= python3.12
FLOORS ?= .venv-floors
# tests, of seconds each, of modules that call torch, timm, the hub, DuckDB, pandas, pyarrow, pydantic or h5py
FLOORS_TESTED := compat install config weights models npz images inference streaming computing random \
	representations interventions intervened_models attacks metrics explore
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test floors resolve lint report rehearse bench gpu-check gpu-wheels train-zoo publish-zoo docs gallery lock clean

help: ## Show this help.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements.lock tests/peers.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r tests/peers.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

install: $(INSTALLED) ## Make .venv and install everything from the lock file.

demo: $(INSTALLED) ## Run the demo study; its results lie in results/demo.
	$(BIN)/snakemake --cores $(CORES)

test: $(INSTALLED) ## Run the tests.
	$(BIN)/python -m pytest --durations=40

$(FLOORS)/.installed: tests/floors.lock
	$(PYTHON312) -m venv $(FLOORS)
	$(FLOORS)/bin/python -m pip install --quiet --require-hashes --no-deps -r tests/floors.lock
	$(FLOORS)/bin/python -m pip check
	touch $@

floors: $(FLOORS)/.installed ## Run the tests that lowest versions touch with those, on Python 3.12 in .venv-floors.
	PYTHONPATH=workflow $(FLOORS)/bin/python -m pytest $(FLOORS_TESTED:%=tests/test_%.py) \
		-k "not finished_study and not cards_of_this_machine"

resolve: $(FLOORS)/.installed ## See that there are libraries for Python 3.13, and for torch 2.10.
	$(FLOORS)/bin/uv pip compile --quiet --no-python-downloads --python-version 3.13 pyproject.toml > /dev/null
	printf 'torch==2.10.*\ntorchvision==0.25.*\n' | \
		$(FLOORS)/bin/uv pip compile --quiet --no-python-downloads --python-version 3.12 pyproject.toml - > /dev/null

lint: $(INSTALLED) ## Check format and style of all code.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

report: $(INSTALLED) ## Bundle the demo's figures, with how they were made, into results/demo/report.zip.
	$(BIN)/snakemake --report results/demo/report.zip

rehearse: $(INSTALLED) ## Run the studies of studies/ in small, with made-up images and weights.
	$(BIN)/withstand rehearse $$(grep -L "^# Rehearsal: no" studies/*.yaml)

bench: $(INSTALLED) ## Run the benchmarks, or one of them: make bench NAME=inference_cpu.
	$(BIN)/python -m benchmarks $(NAME)

# Python 3.12 with torch 2.11 has all but these; no network is needed where they are carried
GPU_PYTHON ?= python3
GPU_WHEELS = pydantic pydantic-core annotated-types typing-inspection typing-extensions foolbox eagerpy GitPython gitdb smmap corrupt-tta scikit-image

gpu-check: ## Check results and speeds on a GPU in four minutes; ONLY="pgd spatial" runs others, REHEARSE=1 all of them on a CPU.
	@if ls .whl/*.whl >/dev/null 2>&1; then $(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target .whl/site .whl/*.whl; fi
	PYTHONPATH=".whl/site:$$PYTHONPATH" $(GPU_PYTHON) -m benchmarks.gpu_check $(if $(REHEARSE),--rehearse) $(if $(ONLY),--only $(ONLY))

gpu-wheels: ## Fetch what gpu-check needs beside torch and timm into .whl, to be carried to a machine without network.
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		$(foreach manylinux,2_28 2_27 2_17,--platform manylinux_$(manylinux)_x86_64) --platform manylinux2014_x86_64 \
		--dest .whl $(GPU_WHEELS)

train-zoo: $(INSTALLED) ## Train the models that come with withstand (an hour and a half on two cores).
	$(BIN)/snakemake weights --cores $(CORES) --configfile studies/train-zoo.yaml

publish-zoo: $(INSTALLED) ## Copy the trained models into the package.
	$(BIN)/withstand publish $$($(BIN)/snakemake weights --configfile studies/train-zoo.yaml --summary 2>/dev/null | awk -F '\t' '$$3 == "train_model" {print $$1}')

docs: $(INSTALLED) ## Write the schema and the reference page of the config.
	$(BIN)/withstand document-config --schema workflow/schemas/config.schema.json --reference docs/config.md

gallery: $(INSTALLED) ## Write docs/gallery.md from the demo and the zoo's study (twenty minutes on two cores).
	$(BIN)/snakemake --cores $(CORES)
	$(BIN)/snakemake --cores $(CORES) --configfile studies/zoo.yaml
	$(BIN)/withstand gallery results/demo results/zoo --output docs/gallery.md

lock: ## Write the lock files anew (needs uv).
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra dev pyproject.toml --output-file requirements.lock
	uv pip compile --python-version 3.12 --resolution lowest-direct --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" pyproject.toml tests/floors.in --output-file tests/floors.lock
	sed -i "s/^# requirements.lock: .*/# requirements.lock: $$(sha256sum requirements.lock | cut -c1-16)/" envs/withstand.yaml

clean: ## Remove the demo's results.
	rm -rf results/demo
