"""From the ops of a region to its program: order, fusion, and the arrays that the node reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from onnx import TensorProto

from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.match.region_op import HEAVY, RegionOp
from lth_deploy.compiler.regions.partition.grow import same_plane_tensors
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.activate import Activate, Requantize
from lth_deploy.kernels.program.ops.add import Add, QAdd
from lth_deploy.kernels.program.ops.concat import Concat
from lth_deploy.kernels.program.ops.conv import Conv, QConv
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose, QConvTranspose
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.max_pool import MaxPool
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.resize import Resize
from lth_deploy.kernels.program.ops.slice import Slice
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import NONE, Act, Quantized
from lth_deploy.kernels.program.weights import Coding, ValueType, Weight
from lth_deploy.structures import SINGLE

_TYPES: dict[int, ValueType] = {
    TensorProto.FLOAT: "f32",
    TensorProto.FLOAT16: "f16",
    TensorProto.INT8: "s8",
    TensorProto.INT32: "s32",
}

_ADDITIONS = {"add": "conv", "qadd": "qconv"}
"""Kinds of additions, and of the layers that take them in."""


@dataclass(frozen=True)
class Translation:
    """A program with the names of the graph: activations, then arrays, are the inputs of the node.

    weights: names of the stored weights in the order of the program. planes: for the output of every resize a
    tensor with its plane. tensors: name in the graph of each tensor of the program; None of one that only it has.
    """

    program: Program
    activations: tuple[str, ...]
    weights: tuple[str, ...]
    arrays: tuple[str, ...]
    outputs: tuple[str, ...]
    planes: dict[str, str]
    tensors: tuple[str | None, ...] = ()


@dataclass
class _Draft:
    """An instruction to be: an operator with what was fused into it. output: what the last of them makes."""

    op: RegionOp
    place: int
    output: str
    add: str | None = None
    act: Act = NONE
    out: Quantized | None = None


def translate(
    ops: Sequence[RegionOp],
    outputs: Sequence[str],
    shapes: TensorInfo,
    stored: dict[str, StoredWeight],
    *,
    fuse: bool = True,
) -> Translation:
    """The program of a region that returns the tensors `outputs`; without `fuse` every op is an instruction.

    Raises:
        ArtifactError: a resize makes a plane that no needed tensor of the region has.
    """
    made = {name for op in ops for name in op.outputs}
    same = {op.outputs[0]: op.inputs[0] for op in ops if op.kind == "same"}
    activations = tuple(dict.fromkeys(name for op in ops for name in op.inputs if name not in made))
    planes = planes_of(ops, outputs, shapes)
    drafts = _fused(ops, outputs, same, planes, fuse)
    return _Writer(ops, shapes, stored, same, planes).write(drafts, activations, tuple(outputs))


def planes_of(ops: Sequence[RegionOp], outputs: Sequence[str], shapes: TensorInfo) -> dict[str, str]:
    """For every resize a tensor with the plane that it makes: best one that is made in any case."""
    uses = Counter(name for op in ops for name in op.inputs)
    made = {name for op in ops for name in op.outputs}
    chosen = {}
    for op in ops:
        if op.kind == "resize":
            able = same_plane_tensors(op, ops, shapes)
            if not able:
                raise ArtifactError(f"'{op.name}' makes a plane that nothing needed has")
            sure = [name for name in able if uses[name] > 1 or name in outputs or name not in made]
            chosen[op.outputs[0]] = (sure or able)[-1]
    return chosen


def _fused(
    ops: Sequence[RegionOp], outputs: Sequence[str], same: dict[str, str], planes: dict[str, str], fuse: bool
) -> list[_Draft]:
    """Instructions in order, with additions and activations inside the layer before them where they can be.

    Of an addition of two layers the later one takes it in; the earlier one is then the residual and made before.
    """
    uses = Counter(_origin(name, same) for op in ops if op.kind != "same" for name in op.inputs)
    uses.update(_origin(name, same) for name in [*outputs, *planes.values()])
    open_drafts: dict[str, _Draft] = {}
    drafts: list[_Draft] = []
    for op in ops:
        if op.kind == "same":
            continue
        inputs = [_origin(name, same) for name in op.inputs]
        able = [open_drafts[name] for name in inputs if name in open_drafts and uses[name] == 1]
        if op.kind in _ADDITIONS:
            able = [draft for draft in able if draft.op.kind == _ADDITIONS[op.kind] and draft.add is None]
        if able and op.kind in (*_ADDITIONS, "act", "requantize"):
            draft = max(able, key=lambda one: one.place)
            del open_drafts[draft.output]
            if op.kind in _ADDITIONS:
                draft.add = inputs[0] if inputs[1] == draft.output else inputs[1]
            draft.act, draft.place, draft.output, draft.out = op.act, op.place, op.outputs[0], op.out
        else:
            draft = _Draft(op, op.place, op.outputs[0], act=op.act, out=op.out)
            drafts.append(draft)
        if fuse and draft.act == NONE and draft.op.kind in (*HEAVY, "add", "qadd") and _is_open(draft.out):
            open_drafts[draft.output] = draft
    return sorted(drafts, key=lambda draft: draft.place)


def _is_open(out: Quantized | None) -> bool:
    """Whether nothing is lost when the rounding to these bytes is skipped: a bound at zero may be an activation."""
    return out is None or 0 < out.zero < 255


def _origin(name: str, same: dict[str, str]) -> str:
    while name in same:
        name = same[name]
    return name


class _Writer:
    """Numbers tensors, weights and inputs while instructions are written."""

    def __init__(
        self,
        ops: Sequence[RegionOp],
        shapes: TensorInfo,
        stored: dict[str, StoredWeight],
        same: dict[str, str],
        planes: dict[str, str],
    ) -> None:
        self.rows = {name for op in ops if op.rows for name in (*op.inputs, *op.outputs)}
        self.shapes = shapes
        self.stored = stored
        self.same = same
        self.planes = planes
        self.steps: list[Instruction] = []
        self.tensors: dict[str, int] = {}
        self.weights: dict[str, int] = {}
        self.quantized: dict[int, Quantized] = {}

    def write(self, drafts: list[_Draft], activations: tuple[str, ...], outputs: tuple[str, ...]) -> Translation:
        for number, name in enumerate(activations):
            channels = self.shapes.of[name][1].known
            assert channels is not None, f"classify let '{name}' pass without channels"
            self._add(Load(number, channels, name in self.rows), name)
        wanted = {name for draft in drafts for name in self._read(draft)} | set(outputs)
        for draft in drafts:
            self._instruction(draft, wanted)
        constants, arrays = self._constants(len(activations))
        returned = tuple(Output(self._tensor(name), name in self.rows) for name in outputs)
        program = Program(len(activations), constants, tuple(self.steps), returned)
        names = {number: name for name, number in self.tensors.items()}
        tensors = tuple(names.get(number) for number in range(len(self.steps)))
        return Translation(program, activations, tuple(self.weights), arrays, outputs, self.planes, tensors)

    def _read(self, draft: _Draft) -> list[str]:
        names = [*draft.op.inputs, *([draft.add] if draft.add else []), *self.planes.values()]
        return [_origin(name, self.same) for name in names]

    def _add(self, step: Instruction, output: str) -> None:
        self.tensors[output] = len(self.steps)
        self.steps.append(step)

    def _tensor(self, name: str) -> int:
        return self.tensors[_origin(name, self.same)]

    def _weight(self, name: str) -> int:
        return self.weights.setdefault(name, len(self.weights))

    def _instruction(self, draft: _Draft, wanted: set[str]) -> None:
        op = draft.op
        x = self._tensor(op.inputs[0])
        match op.kind:
            case "conv":
                self._add(self._conv(draft, x), draft.output)
            case "qconv":
                self._add(self._qconv(draft, x), draft.output)
            case "convtranspose":
                weight, bias = self._constants_of(op)
                self._add(ConvTranspose(x, weight, bias, op.window.kernel, draft.act), draft.output)
            case "qconvtranspose":
                constants = self._constants_of_bytes(op)
                step = QConvTranspose(x, *constants, op.window.kernel, draft.act, draft.out)
                self._add(step, draft.output)
            case "maxpool":
                self._add(MaxPool(self._parts(op)[0], op.window), draft.output)
            case "resize":
                part = self._parts(op)[0]
                plane = self._tensor(self.planes[op.outputs[0]])
                self._add(Resize(part, plane, op.linear), draft.output)
            case "add":
                self._add(Add(x, self._tensor(op.inputs[1]), draft.act), draft.output)
            case "act":
                self._add(Activate(x, draft.act), draft.output)
            case "concat":
                self._add(Concat(tuple(self._parts(op))), draft.output)
            case "slice":
                part = self._parts(op)[0]
                for name, (start, stop) in zip(op.outputs, op.pieces, strict=True):
                    if name in wanted:
                        self._add(Slice(part, start, stop), name)
            case "dequantize":
                self._add(Dequantize(x), draft.output)
            case "quantize" | "requantize" | "qadd":
                self._add(self._bytes(draft, x), draft.output)
        if draft.out is not None:
            self.quantized[self.tensors[draft.output]] = draft.out

    def _parts(self, op: RegionOp) -> list[int]:
        """Tensors that an operator moves, bytes with the scale and zero point of what it makes."""
        parts = []
        for name in op.inputs:
            part = self._tensor(name)
            if op.out is not None and self.quantized[part] != op.out:
                self.steps.append(Requantize(part, NONE, op.out))
                part = len(self.steps) - 1
            parts.append(part)
        return parts

    def _bytes(self, draft: _Draft, x: int) -> Instruction:
        assert draft.out is not None, f"the {draft.op.kind} '{draft.op.name}' makes no bytes"
        if draft.op.kind == "quantize":
            return Quantize(x, draft.out)
        if draft.op.kind == "requantize":
            return Requantize(x, draft.act, draft.out)
        return QAdd(x, self._tensor(draft.op.inputs[1]), draft.act, draft.out)

    def _qconv(self, draft: _Draft, x: int) -> QConv:
        constants = self._constants_of_bytes(draft.op)
        add = None if draft.add is None else self._tensor(draft.add)
        return QConv(x, *constants, draft.op.window, draft.op.groups, add, draft.act, draft.out)

    def _constants_of_bytes(self, op: RegionOp) -> tuple[int, int, int | None]:
        """Weight, scales and bias."""
        assert op.scales is not None, f"'{op.name}' has no scales"
        weight = self._weight(str(op.weight))
        scales = self._weight(op.scales)
        return weight, scales, None if op.bias is None else self._weight(op.bias)

    def _conv(self, draft: _Draft, x: int) -> Conv:
        weight, bias = self._constants_of(draft.op)
        add = None if draft.add is None else self._tensor(draft.add)
        return Conv(x, weight, bias, draft.op.window, draft.op.groups, add, draft.act)

    def _constants_of(self, op: RegionOp) -> tuple[int, int | None]:
        assert op.weight is not None, f"the {op.kind} '{op.name}' has no weight"
        weight = self._weight(op.weight)
        return weight, None if op.bias is None else self._weight(op.bias)

    def _constants(self, first: int) -> tuple[tuple[Weight, ...], tuple[str, ...]]:
        weights: list[Weight] = []
        arrays: list[str] = []
        for name in self.weights:
            stored = self.stored[name]
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
            kind = _TYPES[stored.value_type]
            weights.append(Weight(cast(Coding, coding), kind, tuple(stored.shape), positions, values, blocks))
        return tuple(weights), tuple(arrays)
