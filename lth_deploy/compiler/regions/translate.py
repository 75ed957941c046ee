"""From the units of a region to its program: order, fusion, and the arrays that the node reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from onnx import TensorProto

from lth_deploy.compiler.regions.grow import likes
from lth_deploy.compiler.regions.known import Shapes
from lth_deploy.compiler.regions.units import HEAVY, Unit
from lth_deploy.compiler.stored import StoredWeight
from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.instructions import (
    NONE,
    Act,
    Activate,
    Add,
    Coding,
    Concat,
    Conv,
    ConvTranspose,
    Instruction,
    Load,
    MaxPool,
    Output,
    Program,
    Resize,
    Slice,
    Weight,
)


@dataclass(frozen=True)
class Translation:
    """A program with the names of the graph: activations, then arrays, are the inputs of the node.

    weights: names of the stored weights in the order of the program. planes: for the output of every resize a
    tensor with its plane.
    """

    program: Program
    activations: tuple[str, ...]
    weights: tuple[str, ...]
    arrays: tuple[str, ...]
    outputs: tuple[str, ...]
    planes: dict[str, str]


@dataclass
class _Draft:
    """An instruction to be: a unit with what was fused into it. output: what the last of them makes."""

    unit: Unit
    place: int
    output: str
    add: str | None = None
    act: Act = NONE


def translate(
    units: Sequence[Unit], outputs: Sequence[str], shapes: Shapes, stored: dict[str, StoredWeight]
) -> Translation:
    """The program of a region that returns the tensors `outputs`.

    Raises:
        ArtifactError: a resize makes a plane that no needed tensor of the region has.
    """
    made = {name for unit in units for name in unit.outputs}
    same = {unit.outputs[0]: unit.inputs[0] for unit in units if unit.kind == "same"}
    activations = tuple(dict.fromkeys(name for unit in units for name in unit.inputs if name not in made))
    planes = _planes(units, outputs, shapes)
    drafts = _fused(units, outputs, same, planes)
    return _Writer(units, shapes, stored, same, planes).write(drafts, activations, tuple(outputs))


def _planes(units: Sequence[Unit], outputs: Sequence[str], shapes: Shapes) -> dict[str, str]:
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


def _fused(units: Sequence[Unit], outputs: Sequence[str], same: dict[str, str], planes: dict[str, str]) -> list[_Draft]:
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
        if unit.kind == "add":
            able = [draft for draft in able if draft.unit.kind == "conv" and draft.add is None]
        if able and unit.kind in ("add", "act"):
            draft = max(able, key=lambda one: one.place)
            del open_drafts[draft.output]
            if unit.kind == "add":
                draft.add = inputs[0] if inputs[1] == draft.output else inputs[1]
            draft.act, draft.place, draft.output = unit.act, unit.place, unit.outputs[0]
        else:
            draft = _Draft(unit, unit.place, unit.outputs[0], act=unit.act)
            drafts.append(draft)
        if draft.act == NONE and draft.unit.kind in (*HEAVY, "add"):
            open_drafts[draft.output] = draft
    return sorted(drafts, key=lambda draft: draft.place)


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
        return Translation(program, activations, tuple(self.weights), arrays, outputs, self.planes)

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
            case "convtranspose":
                weight, bias = self._constants_of(unit)
                self._add(ConvTranspose(x, weight, bias, unit.window.kernel, draft.act), draft.output)
            case "maxpool":
                self._add(MaxPool(x, unit.window), draft.output)
            case "resize":
                self._add(Resize(x, self._tensor(self.planes[unit.outputs[0]])), draft.output)
            case "add":
                self._add(Add(x, self._tensor(unit.inputs[1]), draft.act), draft.output)
            case "act":
                self._add(Activate(x, draft.act), draft.output)
            case "concat":
                self._add(Concat(tuple(self._tensor(name) for name in unit.inputs)), draft.output)
            case "slice":
                for name, (start, stop) in zip(unit.outputs, unit.pieces, strict=True):
                    if name in wanted:
                        self._add(Slice(x, start, stop), name)

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
            kind = "f16" if stored.value_type == TensorProto.FLOAT16 else "f32"
            values = first + len(arrays) - 1
            weights.append(Weight(cast(Coding, stored.coding), kind, tuple(stored.shape), positions, values))  # type: ignore[arg-type]
        return tuple(weights), tuple(arrays)
