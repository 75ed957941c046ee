"""One-node models: a region program with its constants, for sessions that have the kernel library."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.compiler.domain import DOMAIN
from lth_deploy.formats import FORMATS
from lth_deploy.kernels.instructions import Load, Program
from lth_deploy.kernels.program import text

Array = npt.NDArray[np.floating]


def arrays_of(program: Program, weights: Sequence[Array]) -> dict[int, npt.NDArray[np.generic]]:
    """What each input of the node from the first constant on holds."""
    arrays: dict[int, npt.NDArray[np.generic]] = {}
    for declared, weight in zip(program.weights, weights, strict=True):
        stored = weight.astype(np.float16 if declared.value_type == "f16" else np.float32)
        if declared.coding == "dense":
            arrays[declared.values] = stored
            continue
        encoded = FORMATS.get(declared.coding).encode(stored)
        arrays[declared.values] = encoded["values"]
        assert declared.positions is not None
        (arrays[declared.positions],) = (array for name, array in encoded.items() if name != "values")
    return arrays


def model_of(program: Program, weights: Sequence[Array]) -> bytes:
    """A model whose only node is Region0 with this program."""
    arrays = arrays_of(program, weights)
    ranks = {step.source: 2 if step.rows else 4 for step in program.instructions if isinstance(step, Load)}
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
