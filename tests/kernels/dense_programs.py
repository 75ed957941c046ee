"""Programs of single layers of bytes, for the forms that matrix tiles compute."""

from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Act, Quantized, Window
from tests.kernels.quantized_programs import numbered

DENSE = ("amx", "amx_emulated", "amx_emulated without AVX-512")
OUT = Quantized(0.05, 0)


def window(kernel: int, stride: int) -> Window:
    pad = kernel // 2
    return Window((kernel, kernel), (stride, stride), (pad, pad, pad, pad))


def layer(inputs: int, outputs: int, shape: Window, *, residual: bool = False) -> Program:
    """One convolution to bytes and to floats; with a residual, a second one that adds the first."""
    constants = numbered(
        ("dense", "s8", (outputs, inputs, *shape.kernel), None),
        ("dense", "f32", (outputs,), None),
        ("dense", "s32", (outputs,), None),
    )
    conv = QConv(1, 0, 1, 2, shape, 1, None, Act("relu"), OUT)
    second = QConv(1, 0, 1, 2, shape, 1, 2 if residual else None, Act("silu"), Quantized(0.07, 131))
    floats = QConv(1, 0, 1, 2, shape, 1, None, Act("leaky", (0.1,)))
    steps = (Load(0, inputs), Quantize(0, Quantized(0.02, 120)), conv, second, floats, Dequantize(2), Dequantize(3))
    return Program(1, constants, steps, (Output(4), Output(5), Output(6)))
