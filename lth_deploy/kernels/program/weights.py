"""The constants that a program declares: weights, biases and scales."""

import math
from dataclasses import dataclass
from typing import Literal

from lth_deploy.element_types import WEIGHT_TYPES
from lth_deploy.kernels.program.limits import MAX_WEIGHT_ELEMENTS, require
from lth_deploy.kernels.program.values import Pair
from lth_deploy.structures import BLOCKS, INPUTS_FIRST, SINGLE

Coding = Literal["dense", "bitmask", "steps8", "gaps4", "gaps6", "gaps8", "gaps10", "gaps12", "gaps16"]
ValueType = Literal["f32", "f16", "bf16", "s8", "s32"]

CODINGS = ("dense", "bitmask", "steps8", "gaps4", "gaps6", "gaps8", "gaps10", "gaps12", "gaps16")
STORED_BLOCKS = {
    (block.outputs, block.inputs): block.dims for block in (*BLOCKS.values(), *INPUTS_FIRST) if block != SINGLE
}

BLOCKS_SINCE: dict[Pair, int] = {
    (16, 4): 5,
    (32, 4): 5,
    **dict.fromkeys(((block.outputs, block.inputs) for block in INPUTS_FIRST), 6),
}
"""The first version of region programs that has these blocks; others are in all versions."""

BF16_SINCE = 6
"""The first version of region programs that has values of bf16."""

ONNX_TYPES = {kind.program: kind.onnx for kind in WEIGHT_TYPES if kind.program is not None}
"""The element type of ONNX (TensorProto.DataType) that each type of values is stored as."""

FLOAT_TYPES: tuple[ValueType, ...] = ("f32", "f16")

LAYER_TYPES: tuple[ValueType, ...] = (*FLOAT_TYPES, "bf16")
"""Of weights of `conv` and `matmul`: where the weight is of bf16, the input is rounded to bf16 as well."""


@dataclass(frozen=True)
class Weight:
    """A constant: a weight of 2 or 4 dimensions; a bias, or the scales of output channels, of 1; values of channels.

    positions, values: node inputs that hold the arrays; positions is None for the coding `dense`. block: outputs and
    inputs of the blocks that the coding counts instead of single weights.
    """

    coding: Coding
    value_type: ValueType
    dims: tuple[int, ...]
    positions: int | None
    values: int
    block: Pair | None = None

    @property
    def since(self) -> int:
        """The first version of the program that has its blocks and its type."""
        blocks = BLOCKS_SINCE.get(self.block, 1) if self.block is not None else 1
        return max(blocks, BF16_SINCE if self.value_type == "bf16" else 1)

    def check(self) -> None:
        """The rules of a declaration that concern it alone.

        Raises:
            RuleError: one is broken.
        """
        require(self.coding in CODINGS, f"unknown coding '{self.coding}'")
        require(self.value_type in ONNX_TYPES, f"unknown value type '{self.value_type}'")
        require((self.positions is None) == (self.coding == "dense"), "all codings but dense have positions")
        require(1 <= len(self.dims) <= 4, f"{len(self.dims)} dimensions, allowed are 1 to 4")
        require(all(dim >= 1 for dim in self.dims), "a dimension is below 1")
        elements = math.prod(self.dims)
        require(elements <= MAX_WEIGHT_ELEMENTS, f"{elements} elements, at most {MAX_WEIGHT_ELEMENTS}")
        if self.block is not None:
            self._check_block(self.block)
        plain = self.coding == "dense" and len(self.dims) == 1
        require(self.value_type != "s32" or plain, "s32 is for dense biases of one dimension")

    def _check_block(self, block: Pair) -> None:
        allowed = ", ".join(STORED_BLOCKS.values())
        require(block in STORED_BLOCKS, f"unknown blocks of {block[0]}x{block[1]}, allowed are {allowed}")
        require(self.coding != "dense", "dense weights have no blocks")
        whole = len(self.dims) > 1 and all(dim % side == 0 for dim, side in zip(self.dims, block, strict=False))
        require(whole, f"{list(self.dims)} is no whole number of blocks of {block[0]}x{block[1]}")

    def check_type(self, types: tuple[ValueType, ...], name: str) -> None:
        """The type of the values is one of these.

        Raises:
            RuleError: it is another.
        """
        needed = " or ".join(types)
        require(self.value_type in types, f"{name} has values of {self.value_type}, needed are {needed}")
