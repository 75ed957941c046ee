"""What ONNX Runtime computes for one node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]


def stock(op: str, inputs: Sequence[Array], *, outputs: int = 1, opset: int = 18, **attributes: object) -> list[Array]:
    """The outputs of a node; its first input is given at run time, the others are initializers."""
    import onnxruntime

    names = [f"x{number}" for number in range(len(inputs))]
    made = [f"y{number}" for number in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, made, **attributes)],
        "one",
        [helper.make_tensor_value_info(names[0], 1, list(inputs[0].shape))],
        [helper.make_tensor_value_info(name, 1, None) for name in made],
        [numpy_helper.from_array(value, name) for name, value in zip(names[1:], inputs[1:], strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {names[0]: inputs[0]})]
