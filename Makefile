# Two commands do all: `make demo` and `make test`. Both are repeatable and finish what an interrupted run left.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# A CPU-only index for torch where a user wants one: make demo TORCH_INDEX=URL
TORCH_INDEX ?=
PORT ?= 8000
EXTRA_DEMO := train,demo
EXTRA_TEST := train,demo,dev

# What an installation is made of, beside plain Python.
DECLARED := pyproject.toml constraints.txt setup.sh setup.py quiet.pth \
	$(wildcard features/*.c models/*.c models/*.h service/decisions/*.c)

# Not the benchmarks: make looks for no pattern rule of what is phony.
.PHONY: demo test check lint types contracts clean

demo: $(VENV)/installed-demo
	$(VENV)/bin/opportune demo --port $(PORT) $(DEMO_ARGS)

test: $(VENV)/installed-test check
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

check: lint types contracts

lint: $(VENV)/installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/installed-test
	$(PY) -m mypy

contracts: $(VENV)/installed-test
	$(VENV)/bin/lint-imports

bench-%: $(VENV)/installed-test
	$(PY) -m tests.bench.bench_$* $(BENCH_ARGS)

# The marker files are written last, so that an interrupted installation is taken up again.
$(VENV)/installed-demo: $(DECLARED)
	PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH_INDEX="$(TORCH_INDEX)" sh setup.sh "$(EXTRA_DEMO)"
	touch $@

$(VENV)/installed-test: $(DECLARED)
	PYTHON="$(PYTHON)" VENV="$(VENV)" TORCH_INDEX="$(TORCH_INDEX)" sh setup.sh "$(EXTRA_TEST)"
	touch $@ $(VENV)/installed-demo

clean:
	rm -rf $(VENV) build features/_rows*.so models/_*.so service/decisions/_weigh*.so
	rm -rf *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
