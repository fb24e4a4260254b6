# make demo   a keyframed mask on a real clip becomes a generated strip; see demo/out
# make test   every test this machine can run
# Both make the environments they need under .venv, once.

# The first of its arguments that runs: a pyenv shim may be there for a version that is not.
runs = $(shell for python in $(1); do "$$python" -c "" 2>/dev/null && echo "$$python" && break; done)
PYENV_ROOT ?= $(HOME)/.pyenv
PYTHON ?= $(call runs,python3.11 $(wildcard $(PYENV_ROOT)/versions/3.11*/bin/python))
# Blender 5.2 runs on Python 3.13; its tests are skipped where there is none.
PYTHON_52 ?= $(call runs,python3.13 $(wildcard $(PYENV_ROOT)/versions/3.13*/bin/python))
# Where torch comes from, for instance https://download.pytorch.org/whl/cpu for the small CPU build.
TORCH_INDEX ?=

ENGINE  := .venv/engine/bin/python
BPY_45  := .venv/blender-4.5/bin/python
BPY_52  := .venv/blender-5.2/bin/python
PIP     := -m pip install --quiet --disable-pip-version-check --no-warn-script-location
export PYTHONDONTWRITEBYTECODE = 1
# Two processes with a thread each; a file's tests stay together, as some share what is slow to make.
SPREAD  := -n 2 --dist loadfile
test-unit test-engine test-blender: export OMP_NUM_THREADS = 1

.PHONY: farm-env test-farm batch-bench demo test test-unit test-engine test-blender test-window lint build bench campaign nano-report mask-report hygiene-report borrow-report seam-report clean

demo: .venv/engine/.made .venv/blender-4.5/.made
	@$(ENGINE) tools/demo/run.py $(BPY_45)

test: lint test-unit test-engine test-blender test-window

test-unit: .venv/engine/.made
	@echo "== unit: without torch and bpy"
	@$(ENGINE) -m pytest -q -rs $(SPREAD) -p tests.unit.no_torch tests/unit

test-engine: .venv/engine/.made
	@echo "== engine: torch at tiny size, child processes"
	@$(ENGINE) -m pytest -q -rs $(SPREAD) --ignore tests/engine/campaigns tests/engine tests/worker
	@echo "== campaigns: each in a process without threads, since they fork"
	@for file in tests/engine/campaigns/test_*.py; do $(ENGINE) -m pytest -q -rs $$file || exit 1; done

test-blender: .venv/engine/.made .venv/blender-4.5/.made $(if $(PYTHON_52),.venv/blender-5.2/.made)
	@echo "== bpy 4.5"
	@WAN_ENGINE_PYTHON=$(CURDIR)/$(ENGINE) $(BPY_45) -m pytest -q -rs $(SPREAD) tests/blender
ifeq ($(PYTHON_52),)
	@echo "== bpy 5.2: skipped, no Python 3.13 was found (set PYTHON_52 to one)"
else
	@echo "== bpy 5.2"
	@WAN_ENGINE_PYTHON=$(CURDIR)/$(ENGINE) $(BPY_52) -m pytest -q -rs $(SPREAD) tests/blender
endif

test-window: .venv/engine/.made
	@echo "== real Blender window"
	@$(ENGINE) -m pytest -q -rs tests/gui

# Needs no torch: an environment of its own with what tests/requirements-lint.txt names.
farm-env: .venv/farm/.made

test-farm: .venv/farm/.made
	@echo "== farm: Ray nodes on 127.0.0.1"
	@.venv/farm/bin/python -m pytest -q -rs tests/farm

lint: .venv/lint/.made
	@.venv/lint/bin/python -m ruff check --quiet .
	@.venv/lint/bin/python -m ruff format --quiet --check .
	@.venv/lint/bin/python -m mypy --no-error-summary

build: .venv/blender-4.5/.made
	@$(BPY_45) tools/build_extension.py dist

bench: .venv/engine/.made .venv/blender-4.5/.made $(if $(PYTHON_52),.venv/blender-5.2/.made)
	@$(ENGINE) -m benchmarks $(BPY_45) $(if $(PYTHON_52),$(BPY_52))

# Hours; stopped and started again it goes on.
campaign: .venv/engine/.made
	@$(ENGINE) -m campaigns

# ROUNDS=2 for a short form; the kills end after MINUTES, with the number of rounds that were reached.
ROUNDS ?= 20
MINUTES ?= 60
batch-bench: .venv/engine/.made .venv/farm/.made
	@$(ENGINE) -m benchmarks.farm_warm
	@$(ENGINE) -m benchmarks.farm_nodes
	@$(ENGINE) -m benchmarks.farm_sim
	@$(ENGINE) -m benchmarks.farm_kills --local --rounds $(ROUNDS) --minutes $(MINUTES)
	@$(ENGINE) -m benchmarks.farm_kills --rounds $(ROUNDS) --minutes $(MINUTES)

nano-report: .venv/engine/.made
	@$(ENGINE) -m tools.train_nano report --frames 9 --side 128

reference: .venv/engine/.made  ## docs/reference/report.md
	@$(ENGINE) -m tools.report_reference

mask-report: .venv/engine/.made
	@$(ENGINE) tools/mask_report.py

borrow-report: .venv/engine/.made
	@$(ENGINE) -m benchmarks.borrow

seam-report: .venv/engine/.made
	@$(ENGINE) -m benchmarks.seams

hygiene-report: .venv/engine/.made
	@$(ENGINE) -m tools.hygiene_set
	@$(ENGINE) -m benchmarks.hygiene_pairs

clean:
	rm -rf .venv .cache dist demo/out tests/out

.venv/engine/.made: wan_blender/engine/requirements.txt tests/requirements.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 was found; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "== making the engine's environment (torch is the large part)"
	@$(PYTHON) -m venv .venv/engine
	@$(ENGINE) $(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@$(ENGINE) $(PIP) -r wan_blender/engine/requirements.txt -r tests/requirements.txt
	@touch $@

.venv/farm/.made: wan_blender/farm/requirements.txt tests/requirements-farm.txt
	@echo "== making the farm's environment (Ray is the large part)"
	@test -n "$(PYTHON)" || { echo "No Python 3.11 was found; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv .venv/farm
	@.venv/farm/bin/python $(PIP) -r wan_blender/farm/requirements.txt -r tests/requirements-farm.txt
	@touch $@

.venv/lint/.made: tests/requirements-lint.txt
	@$(PYTHON) -m venv .venv/lint
	@.venv/lint/bin/python $(PIP) -r tests/requirements-lint.txt
	@touch $@

.venv/blender-4.5/.made: tests/requirements-bpy.txt
	@echo "== making the Blender 4.5 environment"
	@$(PYTHON) -m venv .venv/blender-4.5
	@$(BPY_45) $(PIP) bpy==4.5.15 -r tests/requirements-bpy.txt
	@touch $@

.venv/blender-5.2/.made: tests/requirements-bpy.txt
	@echo "== making the Blender 5.2 environment"
	@$(PYTHON_52) -m venv .venv/blender-5.2
	@$(BPY_52) $(PIP) bpy==5.2.3 -r tests/requirements-bpy.txt
	@touch $@
