"""An entry of the table of region operators; see `operators.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.tensor_info import ShapeRule
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter

Match = Callable[[MatchContext, int, NodeProto], RegionOp | None]
"""The operator that ends in a node; None for a node that is inside another one. Raises NoMatch with the reason."""

Emit = Callable[[FusedOp, ProgramWriter], None]
"""Adds the instructions of an operator to a program."""


@dataclass(frozen=True)
class RegionOperator:
    """What the compiler knows of an operator, from its file in `ops/`.

    emits: how each of its kinds is written. matches, shapes: by the ONNX operator of the node. dequantized: ONNX
    operators of which every one gets DequantizeLinears of its own, since it may be computed on quantized tensors.
    """

    emits: Mapping[Kind, Emit]
    matches: Mapping[str, Match] = field(default_factory=dict)
    shapes: Mapping[str, ShapeRule] = field(default_factory=dict)
    dequantized: tuple[str, ...] = ()
