"""Conversions between floats and quantized tensors; `match/qdq_groups.py` finds them."""

from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE, QUANTIZE
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize


def _emit_quantize(fused: FusedOp, writer: ProgramWriter) -> None:
    step = Quantize(writer.tensor(fused.op.inputs[0]), fused.required_out())
    writer.add(step, fused.output, fused.out)


def _emit_dequantize(fused: FusedOp, writer: ProgramWriter) -> None:
    writer.add(Dequantize(writer.tensor(fused.op.inputs[0])), fused.output)


OPERATOR = RegionOperator(emits={QUANTIZE: _emit_quantize, DEQUANTIZE: _emit_dequantize})
