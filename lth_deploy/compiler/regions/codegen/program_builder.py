"""From the units of a region to its program: order, fusion, and the arrays that the node reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from onnx import TensorProto

from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.regions.analysis.tensor_info import Shapes
from lth_deploy.compiler.regions.match.region_op import HEAVY, Unit
from lth_deploy.compiler.regions.partition.grow import likes
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS, SINGLE
from lth_deploy.kernels.program.instructions import (
    NONE,
    Act,
    Activate,
    Add,
    Coding,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Instruction,
    Load,
    MaxPool,
    Output,
    Program,
    QAdd,
    QConv,
    QConvTranspose,
    Quantize,
    Quantized,
    Requantize,
    Resize,
    Slice,
    ValueType,
    Weight,
)

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
    """An instruction to be: a unit with what was fused into it. output: what the last of them makes."""

    unit: Unit
    place: int
    output: str
    add: str | None = None
    act: Act = NONE
    out: Quantized | None = None


def translate(
    units: Sequence[Unit],
    outputs: Sequence[str],
    shapes: Shapes,
    stored: dict[str, StoredWeight],
    *,
    fuse: bool = True,
) -> Translation:
    """The program of a region that returns the tensors `outputs`; without `fuse` every unit is an instruction.

    Raises:
        ArtifactError: a resize makes a plane that no needed tensor of the region has.
    """
    made = {name for unit in units for name in unit.outputs}
    same = {unit.outputs[0]: unit.inputs[0] for unit in units if unit.kind == "same"}
    activations = tuple(dict.fromkeys(name for unit in units for name in unit.inputs if name not in made))
    planes = planes_of(units, outputs, shapes)
    drafts = _fused(units, outputs, same, planes, fuse)
    return _Writer(units, shapes, stored, same, planes).write(drafts, activations, tuple(outputs))


def planes_of(units: Sequence[Unit], outputs: Sequence[str], shapes: Shapes) -> dict[str, str]:
    """For every resize a tensor with the plane that it makes: best one that is made in any case."""
    uses = Counter(name for unit in units for name in unit.inputs)
    made = {name for unit in units for name in unit.outputs}
    chosen = {}
    for unit in units:
        if unit.kind == "resize":
            able = likes(unit, units, shapes)
            if not able:
                raise ArtifactError(f"'{unit.name}' makes a plane that nothing needed has")
            sure = [name for name in able if uses[name] > 1 or name in outputs or name not in made]
            chosen[unit.outputs[0]] = (sure or able)[-1]
    return chosen


def _fused(
    units: Sequence[Unit], outputs: Sequence[str], same: dict[str, str], planes: dict[str, str], fuse: bool
) -> list[_Draft]:
    """Instructions in order, with additions and activations inside the layer before them where they can be.

    Of an addition of two layers the later one takes it in; the earlier one is then the residual and made before.
    """
    uses = Counter(_origin(name, same) for unit in units if unit.kind != "same" for name in unit.inputs)
    uses.update(_origin(name, same) for name in [*outputs, *planes.values()])
    open_drafts: dict[str, _Draft] = {}
    drafts: list[_Draft] = []
    for unit in units:
        if unit.kind == "same":
            continue
        inputs = [_origin(name, same) for name in unit.inputs]
        able = [open_drafts[name] for name in inputs if name in open_drafts and uses[name] == 1]
        if unit.kind in _ADDITIONS:
            able = [draft for draft in able if draft.unit.kind == _ADDITIONS[unit.kind] and draft.add is None]
        if able and unit.kind in (*_ADDITIONS, "act", "requantize"):
            draft = max(able, key=lambda one: one.place)
            del open_drafts[draft.output]
            if unit.kind in _ADDITIONS:
                draft.add = inputs[0] if inputs[1] == draft.output else inputs[1]
            draft.act, draft.place, draft.output, draft.out = unit.act, unit.place, unit.outputs[0], unit.out
        else:
            draft = _Draft(unit, unit.place, unit.outputs[0], act=unit.act, out=unit.out)
            drafts.append(draft)
        if fuse and draft.act == NONE and draft.unit.kind in (*HEAVY, "add", "qadd") and _is_open(draft.out):
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
        units: Sequence[Unit],
        shapes: Shapes,
        stored: dict[str, StoredWeight],
        same: dict[str, str],
        planes: dict[str, str],
    ) -> None:
        self.rows = {name for unit in units if unit.rows for name in (*unit.inputs, *unit.outputs)}
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
        names = [*draft.unit.inputs, *([draft.add] if draft.add else []), *self.planes.values()]
        return [_origin(name, self.same) for name in names]

    def _add(self, step: Instruction, output: str) -> None:
        self.tensors[output] = len(self.steps)
        self.steps.append(step)

    def _tensor(self, name: str) -> int:
        return self.tensors[_origin(name, self.same)]

    def _weight(self, name: str) -> int:
        return self.weights.setdefault(name, len(self.weights))

    def _instruction(self, draft: _Draft, wanted: set[str]) -> None:
        unit = draft.unit
        x = self._tensor(unit.inputs[0])
        match unit.kind:
            case "conv":
                self._add(self._conv(draft, x), draft.output)
            case "qconv":
                self._add(self._qconv(draft, x), draft.output)
            case "convtranspose":
                weight, bias = self._constants_of(unit)
                self._add(ConvTranspose(x, weight, bias, unit.window.kernel, draft.act), draft.output)
            case "qconvtranspose":
                constants = self._constants_of_bytes(unit)
                step = QConvTranspose(x, *constants, unit.window.kernel, draft.act, draft.out)
                self._add(step, draft.output)
            case "maxpool":
                self._add(MaxPool(self._parts(unit)[0], unit.window), draft.output)
            case "resize":
                part = self._parts(unit)[0]
                plane = self._tensor(self.planes[unit.outputs[0]])
                self._add(Resize(part, plane, unit.linear), draft.output)
            case "add":
                self._add(Add(x, self._tensor(unit.inputs[1]), draft.act), draft.output)
            case "act":
                self._add(Activate(x, draft.act), draft.output)
            case "concat":
                self._add(Concat(tuple(self._parts(unit))), draft.output)
            case "slice":
                part = self._parts(unit)[0]
                for name, (start, stop) in zip(unit.outputs, unit.pieces, strict=True):
                    if name in wanted:
                        self._add(Slice(part, start, stop), name)
            case "dequantize":
                self._add(Dequantize(x), draft.output)
            case "quantize" | "requantize" | "qadd":
                self._add(self._bytes(draft, x), draft.output)
        if draft.out is not None:
            self.quantized[self.tensors[draft.output]] = draft.out

    def _parts(self, unit: Unit) -> list[int]:
        """Tensors that a unit moves, bytes with the scale and zero point of what it makes."""
        parts = []
        for name in unit.inputs:
            part = self._tensor(name)
            if unit.out is not None and self.quantized[part] != unit.out:
                self.steps.append(Requantize(part, NONE, unit.out))
                part = len(self.steps) - 1
            parts.append(part)
        return parts

    def _bytes(self, draft: _Draft, x: int) -> Instruction:
        assert draft.out is not None, f"the {draft.unit.kind} '{draft.unit.name}' makes no bytes"
        if draft.unit.kind == "quantize":
            return Quantize(x, draft.out)
        if draft.unit.kind == "requantize":
            return Requantize(x, draft.act, draft.out)
        return QAdd(x, self._tensor(draft.unit.inputs[1]), draft.act, draft.out)

    def _qconv(self, draft: _Draft, x: int) -> QConv:
        constants = self._constants_of_bytes(draft.unit)
        add = None if draft.add is None else self._tensor(draft.add)
        return QConv(x, *constants, draft.unit.window, draft.unit.groups, add, draft.act, draft.out)

    def _constants_of_bytes(self, unit: Unit) -> tuple[int, int, int | None]:
        """Weight, scales and bias."""
        assert unit.scales is not None, f"'{unit.name}' has no scales"
        weight = self._weight(str(unit.weight))
        scales = self._weight(unit.scales)
        return weight, scales, None if unit.bias is None else self._weight(unit.bias)

    def _conv(self, draft: _Draft, x: int) -> Conv:
        weight, bias = self._constants_of(draft.unit)
        add = None if draft.add is None else self._tensor(draft.add)
        return Conv(x, weight, bias, draft.unit.window, draft.unit.groups, add, draft.act)

    def _constants_of(self, unit: Unit) -> tuple[int, int | None]:
        assert unit.weight is not None, f"the {unit.kind} '{unit.name}' has no weight"
        weight = self._weight(unit.weight)
        return weight, None if unit.bias is None else self._weight(unit.bias)

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
