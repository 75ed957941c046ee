"""Function bodies decode what the formats encode, and a stock runtime folds them away."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.decode_functions import body
from lth_deploy.compiler.artifact.domain import DOMAIN, DOMAIN_VERSION, operator_of
from lth_deploy.formats import FORMATS
from lth_deploy.structures import SINGLE, Block
from tests.compiler.onnx_models import sparse

SPARSE = [name for name in FORMATS if name != "dense"]
KINDS = [(name, int8) for name in SPARSE for int8 in (False, True)]
CASES = [((7, 5, 3, 3), 0.9), ((1,), 0.0), ((33, 41), 1.0), ((32, 32, 3, 3), 0.7), ((3,), 0.5)]
BLOCK_CASES = [((6, 8, 3, 3), 0.99), ((2, 4), 0.0), ((34, 44), 1.0), ((32, 32, 3, 3), 0.95), ((32, 32, 3, 3), 0.5)]


def whole(least: tuple[int, ...], block: Block) -> tuple[int, ...]:
    """The smallest shape of whole blocks that is at least as large."""
    return -(-least[0] // block.outputs) * block.outputs, -(-least[1] // block.inputs) * block.inputs, *least[2:]


def decoder(coding: str, opset: int, int8: bool = False) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Weights that are added to an input; int8 ones behind a DequantizeLinear."""
    rng = np.random.default_rng(0)
    nodes, outputs, expected = [], [], {}
    tensors = [numpy_helper.from_array(np.float32(1), "scale")]
    block = FORMATS.get(coding).block
    for number, (least, zeros) in enumerate(CASES if block == SINGLE else BLOCK_CASES):
        shape = least if block == SINGLE else whole(least, block)
        for dtype in (np.int8,) if int8 else (np.float32, np.float16):
            weights = (100 * sparse(rng, shape, zeros)).clip(-128, 127).astype(dtype)
            name = f"w{number}_{np.dtype(dtype).name}"
            arrays = FORMATS.get(coding).encode(weights)
            tensors += [numpy_helper.from_array(array, f"{name}.{key}") for key, array in arrays.items()]
            inputs = [f"{name}.{key}" for key in arrays]
            nodes.append(helper.make_node(operator_of(coding, int8), inputs, [name], domain=DOMAIN, shape=shape))
            added = name
            if int8:
                added = f"{name}.float"
                nodes.append(helper.make_node("DequantizeLinear", [name, "scale"], [added]))
            nodes.append(helper.make_node("Add", [added, "x"], [f"{name}.out"]))
            outputs.append(helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, shape))
            expected[f"{name}.out"] = weights.astype(np.float32)
    graph = helper.make_graph(
        nodes, "decoder", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], outputs, tensors
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    functions = [body(coding, opset, int8=int8)]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8), expected


# A body is one of two: below the opset whose ScatterElements can add, and from there on. Every coding has both, and of
# the opsets between and beyond them one, so that each has its turn with every way to code positions.
OPSETS = [(kind, opset) for number, kind in enumerate(KINDS) for opset in (13, 18, (15, 16, 21)[number // 2 % 3])]


@pytest.mark.parametrize(
    ("kind", "opset"), OPSETS, ids=lambda value: value if isinstance(value, int) else "-".join(map(str, value))
)
def test_body_decodes_exactly_and_nothing_of_it_is_left_after_loading(
    kind: tuple[str, bool], opset: int, tmp_path: Path
) -> None:
    coding, int8 = kind
    model, expected = decoder(coding, opset, int8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    results = session.run(list(expected), {"x": np.zeros(1, np.float32)})
    for (name, weights), found in zip(expected.items(), results, strict=True):
        assert np.array_equal(found, weights), name
    left = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert left == ({"Add", "DequantizeLinear"} if int8 else {"Add"})


@pytest.mark.parametrize("coding", SPARSE)
def test_a_body_costs_less_than_five_kilobytes(coding: str) -> None:
    assert body(coding, 18).ByteSize() < 5120
