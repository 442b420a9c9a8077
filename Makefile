# make demo   set up .venv and restore a picture; says where the before/after picture is
# make test   set up .venv if needed and run the tests (make test-slow: those that take minutes)
# make lint   check the style
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := runs/demo

# PyPI's torch for Linux brings gigabytes of CUDA. Without an NVIDIA GPU its CPU builds are taken from here, if the
# address answers; otherwise from wherever pip is configured to look.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test test-slow lint

demo: $(READY)
	$(BIN)/invsolve run sr4x --input skimage:astronaut --simulate --output $(DEMO)
	@echo "The true picture, what was measured of it, and what was restored: $(DEMO)/astronaut_comparison.png"

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("invsolve needs Python 3.10 or newer: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	@index=""; \
	if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && \
	   $(BIN)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/torch/", timeout=5)' \
	       "$(TORCH_CPU_INDEX)" 2>/dev/null; then index="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	set -x; $(BIN)/python -m pip install --quiet $$index -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@
