"""Inputs and outputs of a model, by name, type and shape: all that decoders know of a graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Dims = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorType:
    """An input or output. dtype: numpy's name of its type. shape: None for each open size; None of unknown rank."""

    name: str
    dtype: str
    shape: Dims | None

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype} {shape_text(self.shape)}"

    @property
    def is_float(self) -> bool:
        """Whether its values are floats that numpy computes with."""
        return self.dtype in ("float16", "float32", "float64")

    @property
    def is_integer(self) -> bool:
        """Whether its values are integers."""
        return self.dtype in ("int64", "int32", "uint8", "int8", "int16", "uint16", "uint32", "uint64")

    def size(self, axis: int) -> int | None:
        """Its size along an axis; None where that is open."""
        return None if self.shape is None or axis >= len(self.shape) else self.shape[axis]

    def fits(self, *shape: int | None) -> bool:
        """Whether it has the rank of `shape`, and its sizes where both say them."""
        if self.shape is None or len(self.shape) != len(shape):
            return False
        return all(None in (own, other) or own == other for own, other in zip(self.shape, shape, strict=True))


@dataclass(frozen=True)
class Signature:
    """inputs, outputs: in the order of the graph. properties: `metadata_props` of the file.

    center_boxes: whether its NonMaxSuppression, if it has one, takes boxes as center and size.
    """

    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    properties: Mapping[str, str] = field(default_factory=dict)
    center_boxes: bool = False

    def output(self, name: str) -> TensorType | None:
        """The output called `name`, if there is one."""
        return next((output for output in self.outputs if output.name == name), None)

    def described_inputs(self) -> str:
        """All inputs in words, with their types and shapes."""
        return "; ".join(map(str, self.inputs)) or "none"

    def described_outputs(self) -> str:
        """All outputs in words, with their types and shapes."""
        return "; ".join(map(str, self.outputs)) or "none"


def shape_text(shape: Sequence[int | None] | None) -> str:
    """A shape as it is written in messages: [1, 84, ?]."""
    return "of unknown rank" if shape is None else f"[{', '.join('?' if d is None else str(d) for d in shape)}]"
