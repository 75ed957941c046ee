"""A region program as data."""

from dataclasses import dataclass

from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.weights import Weight


@dataclass(frozen=True)
class Output:
    """A tensor that the node returns: [N, C, H, W]; with `rows` [N, C], or [N, T, C] in a program of tokens."""

    tensor: int
    rows: bool = False


@dataclass(frozen=True)
class Program:
    """A region. inputs: number of activations, which are the first inputs of the node.

    Instruction i makes tensor i.
    """

    inputs: int
    weights: tuple[Weight, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Output, ...]

    @property
    def node_inputs(self) -> int:
        """Number of inputs that the node has."""
        return self.inputs + sum(1 if weight.positions is None else 2 for weight in self.weights)

    @property
    def bf16_weights(self) -> frozenset[int]:
        """The weights of bf16, by number: layers with them round what they read."""
        return frozenset(number for number, weight in enumerate(self.weights) if weight.value_type == "bf16")

    @property
    def version(self) -> int:
        """The first version that has all its operators, activations and weights; the first line of its text says it."""
        of_weights = max((weight.since for weight in self.weights), default=1)
        return max(of_weights, max((step.since for step in self.instructions), default=1))
