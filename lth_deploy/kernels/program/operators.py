"""The table of operators. A new one is a file in `ops/` and a line here; see docs/extending.md."""

from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.activate import Activate, Requantize
from lth_deploy.kernels.program.ops.add import Add, QAdd, QResidual
from lth_deploy.kernels.program.ops.average_pool import AveragePool, QAveragePool
from lth_deploy.kernels.program.ops.bin_mean import BinMean
from lth_deploy.kernels.program.ops.concat import Concat, QConcat
from lth_deploy.kernels.program.ops.conv import Conv, MatMul, QConv, QGrouped, QMatMul
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose, QConvTranspose
from lth_deploy.kernels.program.ops.global_average_pool import GlobalAveragePool, QGlobalAveragePool
from lth_deploy.kernels.program.ops.layer_norm import LayerNorm
from lth_deploy.kernels.program.ops.load import Load, LoadTokens
from lth_deploy.kernels.program.ops.max_pool import MaxPool, ZeroMaxPool
from lth_deploy.kernels.program.ops.multiply import Multiply, QGate, QMultiply
from lth_deploy.kernels.program.ops.pad import Pad, QPad
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.resize import Resize, Upsample
from lth_deploy.kernels.program.ops.scale import BatchNorm, Scale
from lth_deploy.kernels.program.ops.shuffle import Shuffle
from lth_deploy.kernels.program.ops.slice import QSlice, Slice
from lth_deploy.kernels.program.ops.space_to_depth import SpaceToDepth
from lth_deploy.kernels.program.ops.subtract import Subtract
from lth_deploy.kernels.program.weights import BF16_SINCE, BLOCKS_SINCE

_OPERATORS: tuple[type[Instruction], ...] = (
    *(
        Load,
        LoadTokens,
        Conv,
        MatMul,
        ConvTranspose,
        MaxPool,
        ZeroMaxPool,
        AveragePool,
        GlobalAveragePool,
        Resize,
        Add,
        Subtract,
        Multiply,
        Scale,
        BatchNorm,
        LayerNorm,
    ),
    *(Activate, Concat, Slice, Shuffle, Pad, SpaceToDepth, BinMean),
    *(Quantize, QConv, QGrouped, QMatMul, QConvTranspose, QAdd, QResidual, Requantize, Dequantize, QConcat, QSlice),
    *(QMultiply, QGate, QGlobalAveragePool, QAveragePool, QPad, Upsample),
)

OPERATORS: dict[str, tuple[type[Instruction], dict[str, bool]]] = {
    name: (operator, values) for operator in _OPERATORS for name, values in operator.names().items()
}
"""Every operator by its names in a text, with the values of fields that the name says."""

VERSION = max(
    *(operator.SINCE for operator in _OPERATORS),
    *(act.since for act in ACTIVATIONS.values()),
    *BLOCKS_SINCE.values(),
    BF16_SINCE,
)
"""The newest version of region programs that is known here."""
