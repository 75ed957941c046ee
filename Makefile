# make quickstart   the whole job on generated data: ticket, export, benchmark, report
# make check        style, types, laws and fast tests: under three minutes on two cores
# make test         all tests: about 25 minutes on two cores
# make lint         style and types
# make bench-torso  whole backbones: the kernels against dense fp32, INT8 and OpenVINO; into runs/
# make bench-kernels  single layers
# make wheels       dist/*.whl for x86-64 and 64-bit ARM that need no compiler (Debian: g++-aarch64-linux-gnu)
VENV   ?= .venv
PYTHON ?= python3
RUN    ?= runs/quickstart
BIN    := $(VENV)/bin
# What the kernel library and the programs for boards are built from; installing compiles them.
KERNELS := $(shell find lth_deploy/kernels/CMakeLists.txt lth_deploy/kernels/src export/consumers/cpp -type f)

# What `make check` runs, without the tests marked slow: every law, and the parts whose tests take milliseconds.
FAST := $(wildcard tests/test_*.py) $(addprefix tests/,cli config disk run formats data evaluation measure \
    reconstruction pruning training decoders compiler/one_shot compiler/planning compiler/importing \
    kernels/test_program.py kernels/test_reference.py hostile/test_corpus.py)

.PHONY: quickstart check test test-failed lint wheels bench-torso bench-kernels clean
.DELETE_ON_ERROR:

# The stamp is newer than pyproject.toml once everything that it asks for is installed.
$(VENV)/.installed: pyproject.toml $(KERNELS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[train,openvino,int8,sign,zoo,transformers,slurm,s3,tensorboard,dev]'
	touch $@

quickstart: $(VENV)/.installed
	rm -rf $(RUN)
	$(BIN)/lth-deploy find-ticket quickstart --out $(RUN)
	$(BIN)/lth-deploy export $(RUN)
	$(BIN)/lth-deploy benchmark $(RUN)/export/model.onnx --baseline $(RUN)/export/dense.onnx \
	    --data $(RUN)/data/test.json --images $(RUN)/data/test --time 3s --json $(RUN)/benchmark.json
	$(BIN)/lth-deploy report $(RUN) --out $(RUN)/report.html

# Two processes with one thread each: a small network gains nothing from a second thread.
PYTEST := PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: lint
	$(PYTEST) -m "not slow" $(FAST)

test: $(VENV)/.installed
	$(PYTEST) --durations=60

# The tests that failed in the last `make test`, one after another.
test-failed: $(VENV)/.installed
	$(PYTEST) -n 0 --last-failed --last-failed-no-failures none

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheels: $(VENV)/.installed
	.ci/wheels $(abspath $(BIN))/python

bench-torso: $(VENV)/.installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.torso --openvino --out runs/torso.json

bench-kernels: $(VENV)/.installed
	mkdir -p runs
	$(BIN)/python -m benchmarks.kernels benchmarks/layers/*.txt --out runs/kernels.json

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
