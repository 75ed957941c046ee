"""The rules of a region program that need neither data nor shapes, and the channels that follow from it."""

import math

import numpy as np

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.instructions import (
    ACT_NUMBERS,
    Act,
    Activate,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Instruction,
    Load,
    MaxPool,
    Program,
    Resize,
    Slice,
    Weight,
    Window,
    arguments,
    constants,
)

MAX_TEXT = 1 << 20
MAX_INSTRUCTIONS = 4096
MAX_WEIGHTS = 4096
MAX_OUTPUTS = 64
MAX_INPUTS = 64
MAX_CHANNELS = 65536
MAX_KERNEL = 15
MAX_STRIDE = 8
MAX_PAD = 14
MAX_DILATION = 8
MAX_WEIGHT_ELEMENTS = 1 << 29
MAX_ALL_ELEMENTS = 1 << 30

CODINGS = ("dense", "bitmask", "steps8", "gaps4", "gaps6", "gaps8", "gaps10", "gaps12", "gaps16")


class RuleError(ArtifactError):
    """A rule that one line breaks. place: `weight` or `t` or `output` and its number, or an empty text."""

    def __init__(self, place: str, rule: str) -> None:
        super().__init__(rule)
        self.place = place


def check(program: Program) -> tuple[int, ...]:
    """Hold a program to every rule that its text alone decides; return the channels of its tensors.

    Raises:
        RuleError: what is wrong, and where.
    """
    _count("inputs", program.inputs, 1, MAX_INPUTS)
    _count("weights", len(program.weights), 0, MAX_WEIGHTS)
    _count("instructions", len(program.instructions), 1, MAX_INSTRUCTIONS)
    _count("outputs", len(program.outputs), 1, MAX_OUTPUTS)
    _weights(program)
    channels: list[int] = []
    rows: list[bool] = []
    for number, step in enumerate(program.instructions):
        place = f"t{number}"
        for argument in arguments(step):
            _need(0 <= argument < number, place, f"t{argument} is no earlier tensor")
        for constant in constants(step):
            _need(0 <= constant < len(program.weights), place, f"w{constant} is no weight of the program")
        made = _channels(program, step, channels, rows, place)
        _need(1 <= made <= MAX_CHANNELS, place, f"{made} channels, allowed are 1 to {MAX_CHANNELS}")
        channels.append(made)
        rows.append(step.rows if isinstance(step, Load) else rows[arguments(step)[0]])
        _need(all(rows[a] == rows[-1] for a in arguments(step)), place, "it mixes rows and planes")
    _outputs(program, rows)
    _all_used(program)
    return tuple(channels)


def _need(holds: bool, place: str, rule: str) -> None:
    if not holds:
        raise RuleError(place, rule)


def _count(what: str, number: int, least: int, most: int) -> None:
    _need(least <= number <= most, "", f"{number} {what}, allowed are {least} to {most}")


def _weights(program: Program) -> None:
    following, total = program.inputs, 0
    for number, weight in enumerate(program.weights):
        place = f"weight {number}"
        _weight(weight, place)
        total += math.prod(weight.dims)
        if weight.coding != "dense":
            _need(weight.positions == following, place, f"its positions must be node input {following}")
            following += 1
        _need(weight.values == following, place, f"its values must be node input {following}")
        following += 1
    _need(total <= MAX_ALL_ELEMENTS, "", f"the weights have {total} elements, at most {MAX_ALL_ELEMENTS}")


def _weight(weight: Weight, place: str) -> None:
    _need(weight.coding in CODINGS, place, f"unknown coding '{weight.coding}'")
    _need(weight.value_type in ("f32", "f16"), place, f"unknown value type '{weight.value_type}'")
    _need((weight.positions is None) == (weight.coding == "dense"), place, "all codings but dense have positions")
    _need(len(weight.dims) in (1, 2, 4), place, f"{len(weight.dims)} dimensions, allowed are 1, 2 and 4")
    _need(all(dim >= 1 for dim in weight.dims), place, "a dimension is below 1")
    elements = math.prod(weight.dims)
    _need(elements <= MAX_WEIGHT_ELEMENTS, place, f"{elements} elements, at most {MAX_WEIGHT_ELEMENTS}")


def _channels(program: Program, step: Instruction, made: list[int], rows: list[bool], place: str) -> int:
    """Channels of the tensor that `step` makes; checks all that concerns this instruction alone."""
    match step:
        case Load():
            _need(0 <= step.source < program.inputs, place, f"node input {step.source} is no activation")
            return step.channels
        case Conv():
            return _conv(program, step, made, rows, place)
        case ConvTranspose():
            return _conv_transpose(program, step, made, rows, place)
        case MaxPool():
            _need(not rows[step.x], place, "rows have no plane")
            _window(step.window, place)
        case Resize():
            _need(not rows[step.x], place, "rows have no plane")
        case Add():
            _need(made[step.a] == made[step.b], place, f"{made[step.a]} and {made[step.b]} channels cannot be added")
            _act(step.act, place)
        case Activate():
            _need(step.act.kind != "none", place, "an instruction of its own needs an activation")
            _act(step.act, place)
        case Concat():
            _need(len(step.parts) >= 2, place, "concat needs two tensors or more")
            return sum(made[part] for part in step.parts)
        case Slice():
            _need(0 <= step.start < step.stop <= made[step.x], place, f"t{step.x} has channels 0 to {made[step.x] - 1}")
            return step.stop - step.start
    return made[arguments(step)[0]]


def _conv(program: Program, step: Conv, made: list[int], rows: list[bool], place: str) -> int:
    dims = program.weights[step.weight].dims
    fits = len(dims) == 4 or (len(dims) == 2 and rows[step.x])
    _need(fits, place, f"a weight of {len(dims)} dimensions does not fit")
    outputs, inputs, *kernel = (*dims, 1, 1)[:4]
    _window(step.window, place)
    _need(tuple(kernel) == step.window.kernel, place, f"the kernel is not that of w{step.weight}, {kernel}")
    if rows[step.x]:
        _need(step.window == Window() and step.groups == 1, place, "rows take 1x1, stride 1, no pads and one group")
    groups = step.groups
    _need(groups >= 1 and made[step.x] % groups == 0 and outputs % groups == 0, place, f"{groups} groups do not divide")
    _need(
        inputs * groups == made[step.x],
        place,
        f"w{step.weight} takes {inputs * groups} channels, t{step.x} has {made[step.x]}",
    )
    if step.add is not None:
        _need(made[step.add] == outputs, place, f"t{step.add} has {made[step.add]} channels, {outputs} are made")
    _bias(program, step.bias, outputs, place)
    _act(step.act, place)
    return outputs


def _conv_transpose(program: Program, step: ConvTranspose, made: list[int], rows: list[bool], place: str) -> int:
    dims = program.weights[step.weight].dims
    _need(not rows[step.x], place, "rows have no plane")
    _need(len(dims) == 4 and dims[2:] == step.kernel, place, f"the kernel is not that of w{step.weight}")
    _window(Window(step.kernel, step.kernel), place)
    _need(dims[0] == made[step.x], place, f"w{step.weight} takes {dims[0]} channels, t{step.x} has {made[step.x]}")
    _bias(program, step.bias, dims[1], place)
    _act(step.act, place)
    return dims[1]


def _bias(program: Program, bias: int | None, channels: int, place: str) -> None:
    if bias is not None:
        dims = program.weights[bias].dims
        _need(dims == (channels,), place, f"the bias w{bias} has the shape {list(dims)}, needed is [{channels}]")


def _window(window: Window, place: str) -> None:
    for name, values, least, most in (
        ("kernel", window.kernel, 1, MAX_KERNEL),
        ("stride", window.stride, 1, MAX_STRIDE),
        ("pads", window.pads, 0, MAX_PAD),
        ("dilation", window.dilation, 1, MAX_DILATION),
    ):
        _need(all(least <= value <= most for value in values), place, f"{name} {values}, allowed are {least} to {most}")
    reach = [k * d for k, d in zip(window.kernel, window.dilation, strict=True)] * 2
    _need(all(pad < most for pad, most in zip(window.pads, reach, strict=True)), place, "pads reach past the kernel")


def _act(act: Act, place: str) -> None:
    _need(act.kind in ACT_NUMBERS and len(act.numbers) == ACT_NUMBERS[act.kind], place, "the activation is malformed")
    with np.errstate(over="ignore"):
        finite = all(bool(np.isfinite(np.float32(number))) for number in act.numbers)
    _need(finite, place, "a number of the activation is not finite")
    _need(act.kind != "clip" or act.numbers[0] <= act.numbers[1], place, "the bounds of clip are the wrong way round")


def _outputs(program: Program, rows: list[bool]) -> None:
    seen: set[int] = set()
    for number, output in enumerate(program.outputs):
        place = f"output {number}"
        _need(0 <= output.tensor < len(rows), place, f"t{output.tensor} does not exist")
        _need(output.rows == rows[output.tensor], place, "`rows` belongs to tensors that come from loadrows, only")
        _need(output.tensor not in seen, place, f"t{output.tensor} is an output twice")
        seen.add(output.tensor)


def _all_used(program: Program) -> None:
    read = {argument for step in program.instructions for argument in arguments(step)}
    read |= {output.tensor for output in program.outputs}
    for number in range(len(program.instructions)):
        _need(number in read, f"t{number}", "nobody uses this tensor")
    used = {constant for step in program.instructions for constant in constants(step)}
    for number in range(len(program.weights)):
        _need(number in used, f"weight {number}", "nobody uses this weight")
    loaded = [step.source for step in program.instructions if isinstance(step, Load)]
    _need(sorted(loaded) == list(range(program.inputs)), "", "every activation input must be loaded, once")
