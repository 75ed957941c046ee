"""The compiler's half of the table of operators: what the files in `ops/` say of each.

The table itself is that of region programs, `lth_deploy/kernels/program/operators.py`. The file of an operator has the
same name in both folders; see docs/extending.md.
"""

from importlib import import_module

from lth_deploy.compiler.regions.analysis.shape_rules import OUTSIDE_RULES
from lth_deploy.compiler.regions.analysis.tensor_info import ShapeRule
from lth_deploy.compiler.regions.entry import Emit, Match, RegionOperator
from lth_deploy.compiler.regions.match.region_op import Kind
from lth_deploy.compiler.regions.ops import same
from lth_deploy.kernels.program.operators import OPERATORS as PROGRAM_OPERATORS

_LOAD = "load"
"""The compiler loads the activations of a region itself: no node stands for it."""


def _entries() -> tuple[RegionOperator, ...]:
    files = dict.fromkeys(operator.__module__.rpartition(".")[2] for operator, _ in PROGRAM_OPERATORS.values())
    modules = [import_module(f"{same.__package__}.{file}") for file in files if file != _LOAD]
    return (*(module.OPERATOR for module in modules), same.OPERATOR)


OPERATORS = _entries()

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
