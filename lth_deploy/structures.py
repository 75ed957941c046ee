"""Structures: which weights of a layer are pruned together.

One table for recipes, masks, file formats and region programs. A new block structure is one line of
`BLOCKS`: recipes, search, one-shot pruning and the formats of stored positions follow from it. The
kernel library needs code of its own to run regions with it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """`outputs` consecutive output channels by `inputs` consecutive input channels at one tap of the kernel.

    They share one mask entry and one stored position. Blocks at the edges of a layer are smaller. A
    block of 1 x 1 is a single weight. In files the sides are those of the first two dimensions.
    """

    outputs: int = 1
    inputs: int = 1

    @property
    def size(self) -> int:
        """Weights of a whole block."""
        return self.outputs * self.inputs

    @property
    def dims(self) -> str:
        """Its name in files and region programs, for instance `2x4`."""
        return f"{self.outputs}x{self.inputs}"

    @property
    def suffix(self) -> str:
        """What it adds to the name of a coding: `:2x4`, and nothing for single weights."""
        return "" if self.size == 1 else f":{self.dims}"


@dataclass(frozen=True)
class Groups:
    """N:M sparsity along the inputs (Mishra et al. 2021): of every `of` input channels, `keep` weights are left.

    A smaller group at the edge keeps as many: hardware pads it with zeros.
    """

    keep: int
    of: int


@dataclass(frozen=True)
class Filters:
    """All weights of an output channel share one mask entry; layers whose outputs are added lose the same channels."""


Structure = Block | Groups | Filters

SINGLE = Block()

# In this order the formats are tried: of codings of the same size the first is taken.
BLOCKS: dict[str, Block] = {
    "single": SINGLE,
    "out2": Block(2, 1),
    "in4": Block(1, 4),
    "2x4": Block(2, 4),
    "16x4": Block(16, 4),
    "32x4": Block(32, 4),
}

INPUTS_FIRST = tuple(Block(block.inputs, block.outputs) for block in BLOCKS.values() if block != SINGLE)
"""The same blocks in files, of weights that are stored as [inputs, outputs, ...]."""

GROUPS: dict[str, Groups] = {
    "1:4": Groups(1, 4),
    "2:4": Groups(2, 4),
    "4:8": Groups(4, 8),
}

STRUCTURES: dict[str, Structure] = {**BLOCKS, **GROUPS, "filter": Filters()}

RECONSTRUCTED: dict[str, Block | Groups] = {**BLOCKS, **GROUPS}
"""The structures that pruning without training can solve for."""
