# Two commands do all the set-up: `make sweep-fpn` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
DATA ?= toyplus_unc
MODEL ?= tiny
SEEDS ?= 1
EPOCHS ?=
WORKERS ?= 1
RUNS ?= runs
PREPARED ?= data/prepared
REFER ?= ../shared/data/mini-refcoco
PROTOCOL ?= original
OPTIONS ?=
# One more than the processors, since many tests wait for a process of their own.
TEST_WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4)))

V := .venv/bin
READY := .venv/.ready
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true
SWEEPS := fpn decoder fusion components compared backbones framework datasets toys no_target ablations all
WHAT = --data $(DATA) --scale $(MODEL) --workers $(WORKERS) --seeds $(SEEDS) --runs '$(RUNS)' --prepared $(PREPARED) \
       $(if $(EPOCHS),--epochs $(EPOCHS)) $(OPTIONS)

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z%|-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([^:]+):.*## /\1\t/' | \
		awk -F'\t' '{ printf "  make %-22s %s\n", $$1, $$2 }'
	@echo "  Settings: DATA=$(DATA) MODEL=$(MODEL) SEEDS=$(SEEDS) EPOCHS= WORKERS=$(WORKERS) RUNS=$(RUNS) RAY_ADDRESS="
	@echo "  Sweeps:   $(SWEEPS)"

# In the package of `ray job submit` nothing is built: the job runs in the environment in which `ray start` was called.
ifneq ($(findstring /runtime_resources/,$(CURDIR)),)
V := $(patsubst %/,%,$(dir $(shell command -v sharedris)))
READY := in-job
.PHONY: in-job
in-job:
	@test -n '$(V)' || { echo "sharedris is not on the job's PATH: activate its environment before ray start" >&2; exit 2; }
	@case '$(RUNS)' in /*|*://*) ;; *) \
		echo "RUNS=$(RUNS) is inside the job's package, which Ray deletes; name a lasting folder: RUNS=/shared/runs" >&2; \
		exit 2;; esac
endif

.venv/.ready: pyproject.toml constraints.txt
	@echo "making .venv (some minutes the first time)"
	@test -x $(V)/python || $(PYTHON) -m venv .venv
	@$(V)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,cluster,export,docs]'
	@touch $(READY)

.PHONY: venv
venv: $(READY) ## Make the virtual environment .venv

.PHONY: data
data: $(PREPARED)/$(DATA)/dataset.json ## Make or prepare the set DATA= (REFER= names the folder of a real one)

$(PREPARED)/toy%/dataset.json: | $(READY)
	@$(V)/sharedris data synthesize --data toy$* --out data/refer
	@$(V)/sharedris data prepare refer --root data/refer --data toy$* --out $(PREPARED)

$(PREPARED)/refcoco%/dataset.json: | $(READY)
	@$(V)/sharedris data prepare refer --root $(REFER) --data refcoco$* --out $(PREPARED)

# Sets that one model is trained on or compared over share a tokenizer, so the three synthetic ones are prepared anew.
TOYS := toy_unc toyplus_unc toyg_umd
.PHONY: toys
toys: | $(READY)
	@for set in $(TOYS); do \
		test -e data/refer-toys/$$set.ready || { \
			$(V)/sharedris data synthesize --data $$set --out data/refer-toys && touch data/refer-toys/$$set.ready; }; \
	done
	@for set in $(TOYS); do $(V)/sharedris data prepare refer --root data/refer-toys --data $$set --out data/prepared-toys \
		--tokenizer-sets toy_unc,toyplus_unc,toyg_umd; done

.PHONY: $(addprefix sweep-,$(SWEEPS))
$(addprefix sweep-,$(filter-out toys datasets,$(SWEEPS))): sweep-%: $(READY) data
	@$(V)/sharedris sweep run $* $(WHAT)
	@$(V)/sharedris report $* --runs '$(RUNS)' --data $(DATA) --split val --scale $(MODEL) \
		--protocol $(PROTOCOL) --out '$(RUNS)/report' --mlflow-run "sweep:$* $(MODEL) $(DATA)"
sweep-toys: PREPARED := data/prepared-toys
sweep-toys: toys
sweep-toys sweep-datasets: sweep-%: $(READY)
	@$(V)/sharedris sweep run $* $(WHAT)
	@$(V)/sharedris report I IX --runs '$(RUNS)' --protocol $(PROTOCOL) --out '$(RUNS)/report'
sweep-fpn: ## Run the ablation of table VII (a), resume it, or show its table; likewise the other sweeps

# Sends the code of this folder, which has no .git there, and the commit. RAY_ADDRESS: http://HOST:8265 of the head.
.PHONY: $(addprefix job-,$(SWEEPS))
$(addprefix job-,$(SWEEPS)): job-%: $(READY)
	@$(V)/ray job submit --working-dir . --runtime-env-json \
		"{\"env_vars\": {\"SHAREDRIS_COMMIT\": \"$$(git describe --always --abbrev=40 --dirty --exclude '*')\"}}" -- \
		make sweep-$* $(foreach name,DATA MODEL SEEDS EPOCHS WORKERS RUNS PREPARED PROTOCOL OPTIONS,\
			$(if $(filter command line environment,$(origin $(name))),"$(name)=$($(name))"))
job-fpn: ## Submit sweep-fpn as a job of a cluster (RAY_ADDRESS=http://HOST:8265 RUNS=/shared/runs); likewise the others

.PHONY: plan
plan: $(READY) data ## Show what every sweep would run, start nothing
	@$(V)/sharedris sweep plan all $(WHAT)

.PHONY: report
report: $(READY) ## Write tables, figures and the page from what is recorded
	@$(V)/sharedris sweep costs --runs '$(RUNS)'
	@$(V)/sharedris report all --prepared $(PREPARED) --runs '$(RUNS)' --out '$(RUNS)/report' \
		$(if $(wildcard $(RUNS)/mlflow.db),--mlflow-run sweep:)

# The sweep of the reference in its own recipe: what has a record is not trained again.
REFERENCE ?= benchmarks/reference/fpn-tiny
REQUIRE_REFERENCE = test -e '$(REFERENCE)/expected.json' || { \
	echo "no reference: $(REFERENCE)/expected.json does not exist;" \
	"make one: $(V)/sharedris report reference make --runs RUNS --out $(REFERENCE)" >&2; exit 2; }
.PHONY: check-reference demo-report
check-reference: $(READY) data ## Run or read the sweep of the reference (fpn, tiny, 3 seeds, 12 epochs) and compare it
	@$(REQUIRE_REFERENCE)
	@$(V)/sharedris sweep run fpn --data toyplus_unc --scale tiny --seeds 3 --epochs 12 --workers $(WORKERS) \
		--runs '$(RUNS)' --prepared $(PREPARED) $(OPTIONS)
	@$(V)/sharedris report reference check '$(REFERENCE)' --runs '$(RUNS)'

demo-report: $(READY) ## Write the whole page from the reference's records to build/demo-report: no training, no data
	@$(REQUIRE_REFERENCE)
	@$(V)/sharedris report all --runs '$(REFERENCE)' --prepared $(PREPARED) --out build/demo-report

.PHONY: ui
ui: $(READY) ## Show the runs in MLflow on 127.0.0.1:5000
	@$(V)/sharedris ui --runs '$(RUNS)'

.PHONY: test
test: $(READY) ## Run the tests: a plain clone is enough, no GPU, no data set (about 6 minutes on 2 cores)
	@$(V)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: test-slow
test-slow: $(READY) ## Run the slow tests: kills and resumes, numbers of workers, every compared row
	@$(V)/python -m pytest -m slow --timeout 3600 -rP

# On a machine with a GPU and no network, GPU_PYTHON is a Python that has torch and the packages (docs/gpu.md).
GPU_PYTHON ?= $(V)/python
GPU_READY = $(if $(filter $(V)/python,$(GPU_PYTHON)),$(READY))
NEEDS_GPU = $(GPU_PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
	{ echo "no GPU here: $@ did nothing; run it on a machine with one (docs/gpu.md)"; exit 0; }
.PHONY: test-gpu bench-gpu
test-gpu: $(GPU_READY) ## Run the tests that need a GPU: parity, kernels, memory, DDP, evaluation (one GPU)
	@$(NEEDS_GPU); $(GPU_PYTHON) -m pytest -m gpu tests/gpu --timeout 600 -rP -p no:cacheprovider

bench-gpu: $(GPU_READY) ## Measure the GPU: steps, MFU, memory, kernels, loader; writes benchmarks/results/gpu.md
	@$(NEEDS_GPU); $(GPU_PYTHON) benchmarks/bench_gpu.py --write

GPU_PACKAGES = pytest pytest-timeout numpy pandas pyarrow pydantic pillow sentencepiece safetensors simplejpeg \
	pycocotools psutil filelock fvcore
.PHONY: gpu-wheels
gpu-wheels: ## Collect what test-gpu needs beside torch in build/gpu-wheels, for a machine without a network
	@$(PYTHON) -m pip wheel -qq --disable-pip-version-check -w build/gpu-wheels -c constraints.txt $(GPU_PACKAGES)

.PHONY: fuzz
fuzz: $(READY) ## Give every reader of a file broken files for FUZZ_SECONDS (600)
	@$(V)/python -m pytest -m slow tests/fuzz --timeout 7200

.PHONY: test-cluster
test-cluster: $(READY) ## Run the tests on several hosts, simulated by network namespaces (needs root)
	@$(V)/python -m pytest -m cluster --timeout 1800 -rP

.PHONY: docs
docs: $(READY) ## Write the documentation as a site that opens from disk to build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(V)/python -m mkdocs build --strict
	@echo "open build/site/index.html"

.PHONY: test-chaos
FAULTS ?= 200
test-chaos: $(READY) ## Let FAULTS=200 faults strike a run and a sweep, and write benchmarks/results/chaos.md (root: disk full too)
	@CHAOS_FAULTS=$(FAULTS) CHAOS_RESULTS=benchmarks/results/chaos.md $(V)/python -m pytest -m chaos tests/chaos -s

.PHONY: lint
lint: $(READY) ## Check style and types (what the pre-commit hook runs)
	@$(V)/ruff check .
	@$(V)/ruff format --check .
	@$(V)/mypy

BENCHES := $(addprefix bench-,roofline model train data sweep report explorer score compared)
.PHONY: bench $(BENCHES)
bench: $(BENCHES) ## Run every benchmark (bench-roofline, bench-model, bench-train, bench-data, bench-sweep, bench-report, bench-explorer, bench-score, bench-compared)
$(BENCHES): bench-%: $(READY)
	@$(V)/python benchmarks/bench_$*.py
bench-model: bench-compared # the compared modules beside ours

# Keeps the pins that still fit; UPGRADE=1 takes the newest versions that pyproject.toml allows. Needs no .venv.
.PHONY: constraints
constraints: ## Renew constraints.txt and constraints-hashes.txt after a change of pyproject.toml (UPGRADE=1: newest)
	@test -x build/uv/bin/uv || { $(PYTHON) -m venv build/uv; build/uv/bin/python -m pip install -qq uv; }
	@build/uv/bin/uv pip compile pyproject.toml --extra dev --extra cluster --extra export --extra docs --universal --python-version 3.11 --generate-hashes \
		--no-annotate --custom-compile-command "make constraints" --quiet $(if $(UPGRADE),--upgrade) \
		--output-file constraints-hashes.txt
	@{ echo "# Versions this project was built and tested with (Python 3.11). make venv installs under these."; \
		echo "# Made by make constraints from constraints-hashes.txt, which has the hash of each file too."; \
		grep -E '^[a-zA-Z0-9]' constraints-hashes.txt | sed -E 's/ *\\$$//'; } > build/constraints.txt
	@cmp -s build/constraints.txt constraints.txt || cp build/constraints.txt constraints.txt

.PHONY: clean clean-runs
clean: ## Remove caches: what is compiled and what tools keep; no run and no data set
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

clean-runs: ## Remove all runs below RUNS=, after a question (YES=1 answers it)
	@test -d '$(RUNS)' || { echo "no runs: $(RUNS) does not exist"; exit 0; }; \
	echo "this removes $(RUNS): $$(find '$(RUNS)/records' -name '*.parquet' 2>/dev/null | wc -l) records," \
		"$$(find '$(RUNS)/models' -mindepth 1 -maxdepth 1 2>/dev/null | wc -l) models," \
		"$$(du -sh '$(RUNS)' | cut -f1) in all"; \
	if [ "$(YES)" != 1 ]; then \
		test -t 0 || { echo "nothing is removed without a question or YES=1" >&2; exit 2; }; \
		read -r -p "Remove it? [y/N] " answer; test "$$answer" = y || { echo "nothing is removed"; exit 1; }; \
	fi; \
	rm -rf -- '$(RUNS)'
