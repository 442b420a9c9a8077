# make demo   set up .venv and restore a picture; says where the before/after picture is (make demo LPIPS=1: measures
#             LPIPS too, for which AlexNet's weights are downloaded once)
# make test   set up .venv if needed and run the tests (make test-slow: those that take minutes)
# make lint   check the style
# make docs   build docs/_build/html, with the pictures of all examples: minutes at first, then what has changed
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := runs/demo
MEASURE := $(if $(LPIPS),,--no-lpips)
WORDS := README.md CHANGELOG.md CONTRIBUTING.md checkpoints docs examples invsolve operators tasks benchmarks/*.py

# PyPI's torch for Linux brings gigabytes of CUDA. Without an NVIDIA GPU its CPU builds are taken from here, if the
# address answers; otherwise from wherever pip is configured to look.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test test-slow lint docs

demo: $(READY)
	$(BIN)/invsolve run sr4x --input skimage:astronaut --simulate --output $(DEMO) $(MEASURE)
	@echo "The true picture, what was measured of it, and what was restored: $(DEMO)/astronaut_comparison.png"
	@echo "Try next:"
	@echo "  $(BIN)/invsolve run sr4x --input YOUR.jpg       your own picture, 4 times larger"
	@echo "  $(BIN)/invsolve app                             the same and more on a page in the browser"
	@echo "  $(BIN)/python examples/01_first_restoration.py  in Python; make docs has a gallery of such scripts"

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

docs: $(READY)
	$(BIN)/codespell $(WORDS)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Read docs/_build/html/index.html"

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
