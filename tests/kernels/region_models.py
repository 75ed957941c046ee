"""One-node models: a region program with its constants, for sessions that have the kernel library."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.model.tensor_types import numpy_type
from lth_deploy.formats import FORMATS
from lth_deploy.kernels.program.ops.conv import QConv, QMatMul
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.ops.load import AnyLoad
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import text
from lth_deploy.kernels.program.weights import Weight

Array = npt.NDArray[np.floating]
Constant = npt.NDArray[np.generic]
BF16 = numpy_type(TensorProto.BFLOAT16)
STORED = {
    "f32": np.float32,
    "f16": np.float16,
    "bf16": BF16,
    "s8": np.int8,
    "s32": np.int32,
}


def arrays_of(program: Program, weights: Sequence[Constant]) -> dict[int, npt.NDArray[np.generic]]:
    """What each input of the node from the first constant on holds."""
    arrays: dict[int, npt.NDArray[np.generic]] = {}
    for declared, weight in zip(program.weights, weights, strict=True):
        stored = weight.astype(STORED[declared.value_type])
        if declared.coding == "dense":
            arrays[declared.values] = stored
            continue
        blocks = blocks_of(stored, declared.block or (1, 1))
        encoded = FORMATS.get(declared.coding).encode(blocks.any(axis=1).astype(np.float32))
        kept = encoded["values"] != 0  # all but the fillers of steps8
        values = np.zeros((kept.size, blocks.shape[1]), stored.dtype)
        values[kept] = blocks[blocks.any(axis=1)]
        arrays[declared.values] = values.reshape(-1)
        assert declared.positions is not None
        (arrays[declared.positions],) = (array for name, array in encoded.items() if name != "values")
    return arrays


def blocks_of(weight: Constant, sides: tuple[int, int]) -> Constant:
    """[blocks, outputs * inputs of a block] in the order of export/FORMAT.md."""
    (rows, columns), dims = sides, (*weight.shape, 1, 1, 1)[:4]
    parts = weight.reshape(dims[0] // rows, rows, dims[1] // columns, columns, *dims[2:])
    return parts.transpose(0, 2, 4, 5, 1, 3).reshape(-1, rows * columns)


def random_constants(program: Program, rng: np.random.Generator, zeros: float, paired: bool = False) -> list[Constant]:
    """Constants exact in their stored type, with whole blocks of zeros; `paired`: rows 2 i and 2 i + 1 share them."""
    scales = {step.scales for step in program.instructions if isinstance(step, QConv | QConvTranspose | QMatMul)}
    return [
        rng.uniform(0.0005, 0.003, weight.dims).astype(np.float32)
        if number in scales
        else _random_constant(weight, rng, zeros, paired)
        for number, weight in enumerate(program.weights)
    ]


def _random_constant(weight: Weight, rng: np.random.Generator, zeros: float, paired: bool) -> Constant:
    if weight.value_type == "s32":
        return rng.integers(-20_000, 20_000, weight.dims, np.int32)
    if weight.value_type == "s8":
        values: Constant = rng.integers(-127, 128, weight.dims, np.int8)
    else:
        stored = np.float16 if weight.value_type != "bf16" else BF16
        values = rng.standard_normal(weight.dims).astype(stored).astype(np.float32)
    if len(weight.dims) == 1:
        return values
    rows, columns = weight.block or (1, 1)
    coarse = rng.random((-(-weight.dims[0] // rows), -(-weight.dims[1] // columns), *weight.dims[2:])) >= zeros
    kept = coarse.repeat(rows, axis=0).repeat(columns, axis=1)[: weight.dims[0], : weight.dims[1]]
    if paired:
        kept[1::2] = kept[: 2 * (weight.dims[0] // 2) : 2]
    return np.where(kept, values, 0).astype(values.dtype)


def model_of(program: Program, weights: Sequence[Constant]) -> bytes:
    """A model whose only node is Region0 with this program."""
    arrays = arrays_of(program, weights)
    ranks = {step.source: step.rank for step in program.instructions if isinstance(step, AnyLoad)}
    sources = [f"x{number}" for number in range(program.inputs)]
    constants = [f"c{number}" for number in range(program.inputs, program.node_inputs)]
    outputs = [f"y{number}" for number in range(len(program.outputs))]
    node = helper.make_node("Region0", sources + constants, outputs, domain=DOMAIN, program=text(program))
    graph = helper.make_graph(
        [node],
        "region",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}d{axis}" for axis in range(ranks[number])])
            for number, name in enumerate(sources)
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(np.ascontiguousarray(arrays[number]), f"c{number}")
            for number in range(program.inputs, program.node_inputs)
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def open_model(model: bytes, library: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session whose Region nodes are run by the library."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_model(session: onnxruntime.InferenceSession, inputs: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
    """All outputs for these inputs."""
    feeds: Mapping[str, Array] = {f"x{number}": array for number, array in enumerate(inputs)}
    return list(session.run(None, dict(feeds)))
