# Every target prepares what it needs: the virtual environment from the lock file, then the generated code.
# Ports, data and log levels are settings: see docs/configuration.md.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON_IN_VENV := .venv/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/clients/python/src
export PYTHONUTF8 := 1
export BUF_CACHE_DIR := $(CURDIR)/build/buf-cache

# The longest first, so that the last process to end has little left.
SUITES := $(wildcard tests/conformance tests/e2e tests/gateway tests/unit tests/contract)
# The suites mostly wait for processes and disks. WORKERS=0 runs them one after the other, in one process.
WORKERS ?= 3
# One short run of each server in the benches of the inference server, to see that they work: make bench QUICK=1
QUICK ?=
# More options for pytest: make test ARGS="-k plates"
ARGS ?=

.PHONY: help run client-ts test test-long lint format generate bench bench-env top models token trace admin restart backup restore reset doctor lock release clean torch venv-run venv-dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: venv-run generate ## start the whole mesh; Ctrl-C stops it
	@exec $(PYTHON_IN_VENV) -m supervisor run

top: venv-run generate ## watch the running mesh; one look without a screen: make top ONCE=1
	@exec $(PYTHON_IN_VENV) -m supervisor top $(if $(ONCE),--once)

# NAME=… shows one model, LOAD=… and UNLOAD=… change what is loaded, MEASURE=1 measures batch invariance, JSON=1 for programs.
models: venv-run generate ## show the models of the running mesh, or one: make models NAME=…
	@exec $(PYTHON_IN_VENV) -m supervisor models $(if $(JSON),--json) $(if $(MEASURE),--measure) \
		$(if $(LOAD),--load "$(LOAD)") $(if $(UNLOAD),--unload "$(UNLOAD)") $(if $(NAME),"$(NAME)")

# For clients of the Open Inference Protocol, grpcurl and the like: see docs/oip.md.
token: venv-run generate ## print a service token for five minutes: make token FOR=inference
	@exec $(PYTHON_IN_VENV) -m supervisor token $(if $(FOR),--to "$(FOR)")

trace: venv-run generate ## print recent traces, or one: make trace ID=…
	@exec $(PYTHON_IN_VENV) -m supervisor trace $(if $(ID),"$(ID)")

# One of the three says who; the mesh may run or be stopped.
EMAIL ?=
PHONE ?=
USERNAME ?=
admin: venv-run generate ## make somebody who registered an admin: make admin EMAIL=… (or PHONE=…, USERNAME=…)
	@who="$(or $(EMAIL),$(PHONE),$(USERNAME))"; \
	if [ -z "$$who" ]; then echo 'say who: make admin EMAIL=ada@example.com' >&2; exit 2; fi; \
	exec $(PYTHON_IN_VENV) -m services.user.main make-admin "$$who"

restart: venv-run generate ## restart every process of the running mesh but Redis, one after the other
	@exec $(PYTHON_IN_VENV) -m supervisor restart

backup: venv-run generate ## write a backup while the mesh runs, or not: make backup TO=…
	@exec $(PYTHON_IN_VENV) -m supervisor backup $(if $(TO),"$(TO)")

restore: venv-run generate ## put a backup in place: make restore FROM=… (FORCE=1 moves aside what is there)
	@if [ -z "$(FROM)" ]; then echo 'say from what: make restore FROM=…' >&2; exit 2; fi; \
	exec $(PYTHON_IN_VENV) -m supervisor restore $(if $(FORCE),--force) "$(FROM)"

reset: venv-run generate ## begin with an empty data directory; the old one is moved aside (YES=1 does not ask)
	@exec $(PYTHON_IN_VENV) -m supervisor reset $(if $(YES),--yes)

doctor: venv-run generate ## check this machine, the settings and the data directory
	@exec $(PYTHON_IN_VENV) -m supervisor doctor

generate: build/.generated ## make code and descriptor sets from protos/
	@:

# A directory is newer when a file in it came or went.
build/.generated: $(shell find protos -name '*.proto' -o -type d) buf.yaml buf.gen.yaml requirements/run.txt \
		scripts/generate.py scripts/protoc_gen_grpc_python.py $(wildcard scripts/client/*.py openapi/*.py) | venv-run
	@touch $@.begun # what changes while it runs is newer than this
	@$(PYTHON_IN_VENV) -m scripts.generate
	@$(PYTHON_IN_VENV) -m openapi build
	@mv $@.begun $@

lint: venv-dev generate ## ruff, mypy --strict, buf lint/format/breaking, import contracts
	@$(PYTHON_IN_VENV) -m scripts.lint

format: venv-dev ## bring Python and proto files into their one layout
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format --quiet .
	@for module in protos/public protos/internal; do .venv/bin/buf format --write "$$module"; done

client-ts: venv-dev generate ## build the TypeScript client in clients/typescript
	@$(PYTHON_IN_VENV) -m scripts.client_ts

test: lint ## lint, then unit, contract, gateway, conformance and end-to-end tests
	@scripts/debian.sh test
	@scripts/torch.sh --if-possible
	@$(PYTHON_IN_VENV) -m scripts.client_ts --if-possible
	@$(PYTHON_IN_VENV) -m scripts.tritonclient --if-possible
	@$(PYTHON_IN_VENV) -m pytest $(SUITES) -m "not long and not bench" -n $(WORKERS) $(ARGS)

test-long: venv-dev generate ## the suites that take long: soak, chaos, large inputs
	@scripts/debian.sh test
	@scripts/debian.sh long
	@scripts/torch.sh --if-possible
	@$(PYTHON_IN_VENV) -m scripts.client_ts --if-possible
	@$(PYTHON_IN_VENV) -m scripts.tritonclient --if-possible
	@$(PYTHON_IN_VENV) -m pytest tests -m long $(ARGS)

bench: venv-dev generate ## measure what is promised (about 50 minutes), or some of it: make bench ONLY=memory,start
	@$(if $(findstring inference,$(or $(ONLY),inference)),$(MAKE) bench-env)
	@$(if $(QUICK),CANDELA_BENCH_QUICK=1) $(PYTHON_IN_VENV) -m tests.bench $(if $(ONLY),"$(ONLY)")

bench-env: venv-dev ## install the servers that the inference server is compared with, each in an environment of its own
	@scripts/debian.sh bench
	@scripts/bench_env.sh

torch: venv-run ## install PyTorch's CPU build, for models that need it; with a GPU install your own
	@scripts/torch.sh

lock: venv-run ## resolve requirements/*.in into requirements/*.txt again
	@scripts/lock.sh

release: venv-dev generate ## say what breaks, make this contract the one to compare with, then test
	@$(PYTHON_IN_VENV) -m scripts.baseline
	@$(MAKE) test

clean: ## remove what commands made; the data directory and .venv stay
	@rm -rf build dist clients/typescript/dist clients/typescript/src/gen .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find clients/python/src -mindepth 2 -name .gitignore -printf '%h\0' | xargs -0 rm -rf
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

venv-run:
	@scripts/bootstrap.sh run

venv-dev:
	@scripts/bootstrap.sh dev
