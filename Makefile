# make demo   install, build the default design, prove it, route it, let it read digits, show the report
# make test   the test suite           make check   ruff, mypy on the installed package, import-linter
# make proof  every numeric unit over every input code, or a million samples; what passed is kept by content; attention in volume
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= $(shell nproc)
DESIGN ?= examples/gemm_int8_8x8.yaml
BOARD ?= ulx3s-85f
DEMO ?=

.PHONY: demo test proof check bench clean

demo: $(VENV)/ready
	$(BIN)/tilewright demo $(DESIGN) --board $(BOARD) $(DEMO)

test: $(VENV)/ready
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

proof: $(VENV)/ready
	$(BIN)/tilewright verify --unit all
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/volume_*.py

# Folders are mapped to tilewright.*: only an installed copy looks to static tools as it does to Python.
check: $(VENV)/ready
	$(BIN)/ruff check .
	rm -rf build/types build/lib && mkdir -p build/types
	$(BIN)/python -m pip install --quiet --no-deps --target build/types .
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p tilewright
	PYTHONPATH=build/types $(BIN)/lint-imports

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf build $(VENV)
