"""Single quantized operators in ONNX Runtime, as its own optimizer writes them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.values import Quantized
from tests.kernels.region_models import Constant

Bytes = npt.NDArray[np.uint8]


def stock_quantize(x: npt.NDArray[np.float32], out: Quantized, back: bool = False) -> npt.NDArray[np.generic]:
    """QuantizeLinear; with `back`, DequantizeLinear behind it."""
    nodes = [("QuantizeLinear", ["x", "scale", "zero"], "y")]
    if back:
        nodes.append(("DequantizeLinear", ["y", "scale", "zero"], "z"))
    return _run(nodes, x, _of(out, "scale", "zero"))


def stock_qconv(x: Bytes, of_x: Quantized, weights: Sequence[Constant], conv: QConv) -> Bytes:
    """QLinearConv of the weight, scales and bias of `conv`; its activation must be the output's own clamp."""
    assert conv.out is not None
    assert conv.act.kind == "none" or (conv.act.kind == "relu" and conv.out.zero == 0)
    constants = {
        **_of(of_x, "xs", "xz"),
        "w": weights[conv.weight],
        "ws": weights[conv.scales],
        "wz": np.zeros(len(weights[conv.scales]), np.int8),
        **_of(conv.out, "ys", "yz"),
    }
    names = ["x", *constants]
    if conv.bias is not None:
        constants["b"] = weights[conv.bias]
        names.append("b")
    window = conv.window
    attributes = {
        "pads": window.pads,
        "strides": window.stride,
        "dilations": window.dilation,
        "kernel_shape": window.kernel,
        "group": conv.groups,
    }
    return _run([("QLinearConv", names, "y")], x, constants, attributes)  # type: ignore[return-value]


def stock_qadd(a: Bytes, of_a: Quantized, b: Bytes, of_b: Quantized, out: Quantized) -> Bytes:
    """QLinearAdd of ONNX Runtime's own domain."""
    constants = {**_of(of_a, "as", "az"), "b": b, **_of(of_b, "bs", "bz"), **_of(out, "ys", "yz")}
    return _run([("QLinearAdd", ["x", *constants], "y")], a, constants, {}, "com.microsoft")  # type: ignore[return-value]


def _made(operator: str) -> int:
    return int(TensorProto.FLOAT if operator == "DequantizeLinear" else TensorProto.UINT8)


def _of(quantized: Quantized, scale: str, zero: str) -> dict[str, Constant]:
    return {scale: np.float32(quantized.scale).reshape(()), zero: np.uint8(quantized.zero).reshape(())}


def _run(
    nodes: Sequence[tuple[str, list[str], str]],
    x: Constant,
    constants: dict[str, Constant],
    attributes: dict[str, object] | None = None,
    domain: str = "",
) -> npt.NDArray[np.generic]:
    graph = helper.make_graph(
        [helper.make_node(name, given, [made], domain=domain, **(attributes or {})) for name, given, made in nodes],
        "one",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), list(x.shape))],
        [helper.make_tensor_value_info(nodes[-1][2], _made(nodes[-1][0]), None)],
        [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])
