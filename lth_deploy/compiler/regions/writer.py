"""Numbers tensors, weights and node inputs while the instructions of a region are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo, channel_axis
from lth_deploy.compiler.regions.match.region_op import RegionOp
from lth_deploy.element_types import weight_type
from lth_deploy.formats import FORMATS
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.activate import Requantize
from lth_deploy.kernels.program.ops.load import Load, LoadTokens
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import NONE, Act, Quantized
from lth_deploy.kernels.program.weights import Coding, ValueType, Weight
from lth_deploy.structures import SINGLE


@dataclass
class FusedOp:
    """An operator with what was fused into it. output: what the last of them makes."""

    op: RegionOp
    place: int
    output: str
    add: str | None = None
    act: Act = NONE
    out: Quantized | None = None

    def required_out(self) -> Quantized:
        """The scale and zero point of the result of an operator that always has them."""
        assert self.out is not None, f"the {self.op.kind.name} '{self.op.name}' has no scale for its result"
        return self.out


def origin(name: str, renamed: Mapping[str, str]) -> str:
    """The tensor that a name stands for. renamed: outputs of operators without instruction, to their inputs."""
    while name in renamed:
        name = renamed[name]
    return name


class ProgramWriter:
    """A program that is being written; operators add their instructions.

    info: what is known of the tensors. planes: for the output of every operator that takes the plane of another tensor,
    that tensor. wanted: tensors that somebody reads.
    """

    def __init__(
        self,
        ops: Sequence[RegionOp],
        info: TensorInfo,
        stored: Mapping[str, StoredWeight],
        renamed: Mapping[str, str],
        planes: Mapping[str, str],
        wanted: set[str],
    ) -> None:
        self.wanted = wanted
        self._rows = {name for op in ops if op.rows for name in (*op.inputs, *op.outputs)}
        self.info = info
        self._stored = stored
        self._renamed = renamed
        self._planes = planes
        self._steps: list[Instruction] = []
        self._tensors: dict[str, int] = {}
        self._weights: dict[str, int] = {}
        self._quantized: dict[int, Quantized] = {}

    def load(self, number: int, name: str) -> None:
        """Load the activation input of this number."""
        channels = self.channels(name)
        tokens = len(self.info.shapes[name]) == 3
        self.add(LoadTokens(number, channels) if tokens else Load(number, channels, name in self._rows), name)

    def channels(self, name: str) -> int:
        """The number of channels of a tensor."""
        shape = self.info.shapes[name]
        channels = shape[channel_axis(shape)].known
        assert channels is not None, f"'{name}' was matched without known channels"
        return channels

    def add(self, step: Instruction, output: str, out: Quantized | None = None) -> None:
        """Add an instruction that makes the tensor `output`. out: its scale and zero point, where it is quantized."""
        number = self._tensors[output] = len(self._steps)
        self._steps.append(step)
        if out is not None:
            self._quantized[number] = out

    def tensor(self, name: str) -> int:
        """The number of a tensor."""
        return self._tensors[origin(name, self._renamed)]

    def optional_tensor(self, name: str | None) -> int | None:
        """The number of a tensor, where there is one."""
        return None if name is None else self.tensor(name)

    def plane(self, op: RegionOp) -> int:
        """The tensor whose plane an operator takes."""
        return self.tensor(self._planes[op.outputs[0]])

    def weight(self, name: str | None) -> int:
        """The number of a constant; the first call for a name declares it."""
        assert name is not None, "a layer was matched without its weight"
        return self._weights.setdefault(name, len(self._weights))

    def dims(self, name: str | None) -> tuple[int, ...]:
        """The dimensions of a constant."""
        assert name is not None, "a layer was matched without its weight"
        return tuple(self._stored[name].shape)

    def optional_weight(self, name: str | None) -> int | None:
        """The number of a constant, where there is one."""
        return None if name is None else self.weight(name)

    def moved(self, op: RegionOp) -> list[int]:
        """Tensors that an operator moves; quantized ones with the scale and zero point of what it makes."""
        parts = []
        for name in op.inputs:
            part = self.tensor(name)
            if op.out is not None and self._quantized[part] != op.out:
                self._steps.append(Requantize(part, NONE, op.out))
                part = len(self._steps) - 1
            parts.append(part)
        return parts

    def program(self, inputs: int, outputs: Sequence[str]) -> tuple[Program, tuple[str, ...], tuple[str, ...]]:
        """The program, the names of its weights, and of the arrays that hold them."""
        constants, arrays = self._constants(inputs)
        returned = tuple(Output(self.tensor(name), name in self._rows) for name in outputs)
        return Program(inputs, constants, tuple(self._steps), returned), tuple(self._weights), arrays

    def names(self) -> tuple[str | None, ...]:
        """The name of each tensor in the graph; None of one that only the program has."""
        names = {number: name for name, number in self._tensors.items()}
        return tuple(names.get(number) for number in range(len(self._steps)))

    def _constants(self, first: int) -> tuple[tuple[Weight, ...], tuple[str, ...]]:
        weights: list[Weight] = []
        arrays: list[str] = []
        for name in self._weights:
            stored = self._stored[name]
            positions = None
            # A coding has its positions before its values.
            for key, tensor in stored.tensors.items():
                if key != "values":
                    positions = first + len(arrays)
                arrays.append(tensor.name)
            values = first + len(arrays) - 1
            coding, _, _ = stored.coding.partition(":")
            block = FORMATS.get(stored.coding).block
            blocks = None if block == SINGLE else (block.outputs, block.inputs)
            kind = cast(ValueType, weight_type(stored.value_type).program)
            weights.append(Weight(cast(Coding, coding), kind, tuple(stored.shape), positions, values, blocks))
        return tuple(weights), tuple(arrays)
