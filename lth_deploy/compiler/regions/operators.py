"""The table of region operators. A new one is a file in `ops/` and a line here; see docs/extending.md."""

from lth_deploy.compiler.regions.analysis.shape_rules import OUTSIDE_RULES
from lth_deploy.compiler.regions.analysis.tensor_info import ShapeRule
from lth_deploy.compiler.regions.entry import Emit, Match
from lth_deploy.compiler.regions.match.region_op import Kind
from lth_deploy.compiler.regions.ops import (
    act,
    add,
    concat,
    conv,
    conv_transpose,
    max_pool,
    quantize,
    resize,
    same,
    slice,
)

OPERATORS = tuple(
    module.OPERATOR for module in (conv, conv_transpose, max_pool, resize, add, act, concat, slice, same, quantize)
)

MATCHES: dict[str, Match] = {name: rule for entry in OPERATORS for name, rule in entry.matches.items()}
"""How a node of each ONNX operator becomes an operator of a region."""

SHAPE_RULES: dict[str, ShapeRule] = OUTSIDE_RULES | {
    name: rule for entry in OPERATORS for name, rule in entry.shapes.items()
}
"""The shapes of what a node of each ONNX operator makes."""

EMITS: dict[Kind, Emit] = {kind: emit for entry in OPERATORS for kind, emit in entry.emits.items()}
"""How each kind of operator is written into a program."""

DEQUANTIZED = frozenset(name for entry in OPERATORS for name in entry.dequantized)
"""ONNX operators that a runtime or the kernels compute on quantized tensors, with the nodes around them."""
