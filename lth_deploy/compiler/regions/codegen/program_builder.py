"""From the operators of a region to its program: order, fusion, and the arrays that the node reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.match.region_op import REQUANTIZE, RegionOp
from lth_deploy.compiler.regions.operators import EMITS
from lth_deploy.compiler.regions.partition.grow import same_plane_tensors
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter, origin
from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.activations import IN_REGISTERS
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.values import NONE, Quantized


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


def translate(
    ops: Sequence[RegionOp],
    outputs: Sequence[str],
    info: TensorInfo,
    stored: Mapping[str, StoredWeight],
    *,
    fuse: bool = True,
) -> Translation:
    """The program of a region that returns the tensors `outputs`; without `fuse` every operator is an instruction.

    Raises:
        ArtifactError: a resize makes a plane that no needed tensor of the region has.
    """
    made = {name for op in ops for name in op.outputs}
    renamed = {op.outputs[0]: op.inputs[0] for op in ops if op.kind.renames}
    activations = tuple(dict.fromkeys(name for op in ops for name in op.inputs if name not in made))
    planes = planes_of(ops, outputs, info)
    fused_ops = _fused(ops, outputs, renamed, planes, fuse)
    read = {name for fused in fused_ops for name in (*fused.op.inputs, *([fused.add] if fused.add else []))}
    wanted = {origin(name, renamed) for name in read | set(planes.values())} | set(outputs)
    writer = ProgramWriter(ops, info, stored, renamed, planes, wanted)
    for number, name in enumerate(activations):
        writer.load(number, name)
    for fused in fused_ops:
        EMITS[fused.op.kind](fused, writer)
    program, weights, arrays = writer.program(len(activations), outputs)
    return Translation(program, activations, weights, arrays, tuple(outputs), planes, writer.names())


def planes_of(ops: Sequence[RegionOp], outputs: Sequence[str], info: TensorInfo) -> dict[str, str]:
    """For every operator that takes a plane a tensor that has it, if possible one that is made in any case."""
    uses = Counter(name for op in ops for name in op.inputs)
    made = {name for op in ops for name in op.outputs}
    chosen = {}
    for op in ops:
        if op.kind.takes_plane:
            candidates = same_plane_tensors(op, ops, info)
            if not candidates:
                raise ArtifactError(f"'{op.name}' makes a plane that nothing needed has")
            certain = [name for name in candidates if uses[name] > 1 or name in outputs or name not in made]
            chosen[op.outputs[0]] = (certain or candidates)[-1]
    return chosen


def _fused(
    ops: Sequence[RegionOp], outputs: Sequence[str], renamed: dict[str, str], planes: dict[str, str], fuse: bool
) -> list[FusedOp]:
    """Instructions in order, with additions and activations inside the layer before them where they can be."""
    uses = Counter(origin(name, renamed) for op in ops if not op.kind.renames for name in op.inputs)
    uses.update(origin(name, renamed) for name in [*outputs, *planes.values()])
    open_ops: dict[str, FusedOp] = {}
    fused_ops: list[FusedOp] = []
    for op in ops:
        if op.kind.renames:
            continue
        inputs = [origin(name, renamed) for name in op.inputs]
        fused = _taken_in(op, inputs, [open_ops[name] for name in inputs if name in open_ops and uses[name] == 1])
        if fused is None:
            fused = FusedOp(op, op.place, op.outputs[0], act=op.act, out=op.out)
            fused_ops.append(fused)
        else:
            del open_ops[fused.output]
            fused.act, fused.place, fused.output, fused.out = op.act, op.place, op.outputs[0], op.out
        if fuse and fused.act == NONE and fused.op.kind.fuses and _may_skip_rounding(fused.out):
            open_ops[fused.output] = fused
    return sorted(fused_ops, key=lambda fused: fused.place)


def _taken_in(op: RegionOp, inputs: Sequence[str], candidates: Sequence[FusedOp]) -> FusedOp | None:
    """The operator before an addition or activation that takes it in; None where there is none.

    Of an addition of two layers the later one takes it in; the earlier one is then the residual and made before.
    """
    if op.kind.residual_of:
        candidates = [fused for fused in candidates if fused.op.kind in op.kind.residual_of and fused.add is None]
    elif not op.kind.is_activation or (op.kind is REQUANTIZE and op.act.kind not in IN_REGISTERS):
        # A table is faster than the function, and rounds where the graph does.
        return None
    if not candidates:
        return None
    fused = max(candidates, key=lambda fused: fused.place)
    if op.kind.residual_of:
        fused.add = inputs[0] if inputs[1] == fused.output else inputs[1]
    return fused


def _may_skip_rounding(out: Quantized | None) -> bool:
    """Whether nothing is lost when rounding to this scale is skipped: a zero point at a bound may be an activation."""
    return out is None or 0 < out.zero < 255
