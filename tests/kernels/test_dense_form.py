"""Layers of bytes in dense form: which take it, every shape of it against the oracle, and what happens without AMX."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lth_deploy.kernels import ops_library
from lth_deploy.kernels.program.ops.activate import Activate
from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Act, Quantized, Window
from tests.kernels.dense_programs import DENSE, layer, window
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, random_constants, run_model

# Columns shared by three taps; whole windows; lines read where they lie; cells that fill no tile; windows apart.
SHAPES = [
    (64, 48, window(3, 1)),
    (64, 20, window(3, 2)),
    (100, 33, window(3, 1)),
    (3, 64, window(7, 2)),
    (12, 24, window(3, 1)),
    (64, 40, window(1, 1)),
    (72, 16, window(1, 1)),
    (64, 32, window(1, 2)),
    (32, 16, window(5, 1)),
    (40, 19, Window((2, 3), (3, 1), (1, 0, 0, 2))),
]


@pytest.mark.parametrize("size", [(41, 67), (16, 48), (5, 3)])
@pytest.mark.parametrize("number", range(len(SHAPES)))
@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_every_shape_of_the_dense_form(kernels: Path, number: int, size: tuple[int, int]) -> None:
    program = layer(*SHAPES[number], residual=True)
    rng = np.random.default_rng(number)
    weights = random_constants(program, rng, 0.0)
    hold(program, weights, [rng.standard_normal((2, SHAPES[number][0], *size)).astype(np.float32)], kernels)


@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_float_results_that_something_reads_and_planes_wider_than_a_tile(kernels: Path) -> None:
    weights = layer(64, 33, window(3, 1)).weights
    floats = QConv(1, 0, 1, 2, window(3, 1), 1, None, Act("relu"), None)
    steps = (Load(0, 64), Quantize(0, Quantized(0.02, 120)), floats, Activate(2, Act("silu")), floats)
    program = Program(1, weights, steps, (Output(2), Output(3), Output(4)))
    rng = np.random.default_rng(8)
    constants = random_constants(program, rng, 0.0)
    hold(program, constants, [rng.standard_normal((1, 64, 5, 300)).astype(np.float32)], kernels)


def weight_bytes(library: Path, zeros: float, folder: Path) -> int:
    """Bytes of the packed weights of a layer of 64 channels, blocks of 2x4 kept at random."""
    program = layer(64, 64, window(3, 1))
    rng = np.random.default_rng(0)
    weights = random_constants(program, rng, 0.0)
    kept = rng.random((32, 16, 3, 3)) >= zeros
    weights[0] = weights[0] * kept.repeat(2, axis=0).repeat(4, axis=1)
    profile = folder / f"{zeros}.jsonl"
    with mock.patch.dict(os.environ, LTH_PROFILE=str(profile)):
        session = open_model(model_of(program, weights), library)
        run_model(session, [np.zeros((1, 64, 16, 16), np.float32)])
        del session
    return int(json.loads(profile.read_text())["weight_bytes"])


@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_a_layer_with_few_weights_keeps_the_form_that_skips_zeros(kernels: Path, tmp_path: Path) -> None:
    tiles = 64 * 64 * 9
    assert tiles < weight_bytes(kernels, 0.0, tmp_path) < 1.1 * tiles
    assert tiles < weight_bytes(kernels, 0.8, tmp_path) < 1.1 * tiles
    assert weight_bytes(kernels, 0.95, tmp_path) < 0.2 * tiles


@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_threads_and_pictures_change_nothing(kernels: Path) -> None:
    program = layer(64, 80, window(3, 1), residual=True)
    rng = np.random.default_rng(3)
    model = model_of(program, random_constants(program, rng, 0.0))
    x = rng.standard_normal((3, 64, 20, 30)).astype(np.float32)
    together = open_model(model, kernels, threads=4)
    first = run_model(open_model(model, kernels), [x])
    for _ in range(3):  # the first call of four threads divides the work as one does
        for one, other in zip(first, run_model(together, [x]), strict=True):
            assert np.array_equal(one, other)


SMALL_STACK = """\
import ctypes, sys, threading
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
memory = ctypes.create_string_buffer(8192)
ready, done = threading.Event(), threading.Event()
def hold():
    stack = Stack(ctypes.addressof(memory), 0, len(memory))
    assert libc.sigaltstack(ctypes.byref(stack), None) == 0
    ready.set()
    done.wait()
thread = threading.Thread(target=hold, daemon=True)
thread.start()
assert ready.wait(300), "the thread has not got its stack"
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.register_custom_ops_library(sys.argv[1])
import numpy as np
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
x = np.load(sys.argv[3])
np.savez(sys.argv[4], *session.run(None, {session.get_inputs()[0].name: x}))
"""


@pytest.mark.parametrize("kernels", ["amx"], indirect=True)
def test_without_permission_the_kernels_for_avx512_run(kernels: Path, tmp_path: Path) -> None:
    """Linux refuses matrix tiles to a process that has a thread with a small stack for signals."""
    program = layer(64, 48, window(3, 1))
    rng = np.random.default_rng(5)
    model = model_of(program, random_constants(program, rng, 0.0))
    x = rng.standard_normal((1, 64, 20, 30)).astype(np.float32)
    (tmp_path / "model.onnx").write_bytes(model)
    np.save(tmp_path / "x.npy", x)
    files = [str(tmp_path / name) for name in ("model.onnx", "x.npy", "out.npz")]
    command = [sys.executable, "-c", SMALL_STACK, str(kernels), *files]
    others = {key: value for key, value in os.environ.items() if key != "LTH_ISA"}
    subprocess.run(command, check=True, timeout=300, env=others)
    found = np.load(tmp_path / "out.npz")
    for one, other in zip(found.values(), run_model(open_model(model, kernels), [x]), strict=True):
        assert np.array_equal(one, other)
    refused = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**others, "LTH_ISA": "amx"})
    assert refused.returncode != 0
    assert "instruction set 'amx' is not available on this machine; use one of: avx512vnni" in refused.stderr


def test_the_best_is_never_the_emulation(instruction_sets: dict[str, Path]) -> None:
    program = layer(4, 4, window(1, 1))
    model = model_of(program, random_constants(program, np.random.default_rng(0), 0.0))
    names = {}
    for kind, library in (("installed", ops_library()), ("built with the host", instruction_sets.get("amx_emulated"))):
        if library is not None:
            with mock.patch.dict(os.environ, LTH_ISA="none"), pytest.raises(Exception, match="use one of: ") as refused:
                open_model(model, library)
            names[kind] = str(refused.value).split("use one of: ")[1].strip().split(", ")
    assert "amx_emulated" not in names["installed"]
    for known in names.values():
        assert "amx_emulated" not in known[: known.index("portable") + 1]
