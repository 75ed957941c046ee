"""Region programs for tests: one that uses every instruction, and a strategy that draws sound ones."""

from collections.abc import Sequence

from hypothesis import strategies as st

from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.activate import Activate
from lth_deploy.kernels.program.ops.add import Add
from lth_deploy.kernels.program.ops.average_pool import AveragePool
from lth_deploy.kernels.program.ops.concat import Concat
from lth_deploy.kernels.program.ops.conv import Conv
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.max_pool import MaxPool
from lth_deploy.kernels.program.ops.resize import Resize
from lth_deploy.kernels.program.ops.slice import Slice
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import NONE, Act, Window
from lth_deploy.kernels.program.weights import FLOAT_TYPES, LAYER_TYPES, Weight

EVERY_INSTRUCTION = """\
lth_region 1
inputs 2
weight dense f32 8,3,7,7 at 2
weight gaps4 f16 8,8,3,3 at 3,4
weight dense f32 8 at 5
weight bitmask f32 4,2,2,2 at 6,7
weight dense f16 2 at 8
weight steps8 f32 6,16 at 9,10
t0 = load 0 channels=3
t1 = conv t0 w0 w2 kernel=7,7 stride=2,2 pads=3,3,3,3 dilation=1,1 groups=1 act=relu
t2 = maxpool t1 kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1
t3 = conv t2 w1 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 add=t2 act=relu
t4 = resize t3 like=t1
t5 = add t4 t1 act=none
t6 = act t5 act=leaky:0.1
t7 = concat t5 t6
t8 = slice t7 from=0 to=4
t9 = convtranspose t8 w3 w4 kernel=2,2 stride=2,2 act=clip:-1:6
t10 = loadrows 1 channels=16
t11 = conv t10 w5 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=silu
output t9
output t11 rows
"""

_PADDED = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
_STRIDED = Window((3, 3), (2, 2), (1, 1, 1, 1), (1, 1))
_ONE = Window()


@st.composite
def acts(draw: st.DrawFn) -> Act:
    kind = draw(st.sampled_from(["none", "relu", "leaky", "clip", "silu", "hardswish"]))
    number = st.floats(-8, 8, width=32).map(lambda value: float(f"{value:.9g}"))
    if kind == "leaky":
        return Act("leaky", (draw(number),))
    if kind == "clip":
        low, high = sorted((draw(number), draw(number)))
        return Act("clip", (low, high))
    return Act(kind)  # type: ignore[arg-type]


@st.composite
def programs(draw: st.DrawFn, *, bf16: bool = True) -> Program:
    """Sound programs on planes; tensors of one "scale" have one plane. bf16: whether layers may multiply in it."""
    weights: list[Weight] = []
    at = 1
    steps: list[Instruction] = [Load(0, draw(st.integers(1, 3)))]
    made = [(steps[0].channels, 0)]  # type: ignore[union-attr]

    def weight(*dims: int, types: Sequence[str] = FLOAT_TYPES) -> int:
        nonlocal at
        coding = "dense" if len(dims) == 1 else draw(st.sampled_from(["dense", "bitmask", "steps8", "gaps4", "gaps12"]))
        positions = None if coding == "dense" else at
        at += 1 + (coding != "dense")
        weights.append(Weight(coding, draw(st.sampled_from(types)), dims, positions, at - 1))  # type: ignore[arg-type]
        return len(weights) - 1

    def pick(same_as: int | None = None, channels: int | None = None) -> int:
        able = [
            i
            for i, (c, s) in enumerate(made)
            if (same_as is None or s == made[same_as][1]) and (channels is None or c == channels)
        ]
        return draw(st.sampled_from(able))

    for _ in range(draw(st.integers(1, 8))):
        kind = draw(
            st.sampled_from(["conv", "conv", "pool", "average", "add", "act", "concat", "slice", "up", "resize"])
        )
        x = pick()
        channels, scale = made[x]
        if kind == "conv":
            outputs = draw(st.integers(1, 4))
            window = draw(st.sampled_from([_PADDED, _STRIDED, _ONE]))
            kernel = window.kernel
            bias = weight(outputs) if draw(st.booleans()) else None
            after = scale + (window.stride == (2, 2))
            able = [i for i, tensor in enumerate(made) if tensor == (outputs, after)]
            add = draw(st.sampled_from(able)) if able and draw(st.booleans()) else None
            filters = weight(outputs, channels, *kernel, types=LAYER_TYPES if bf16 else FLOAT_TYPES)
            step: Instruction = Conv(x, filters, bias, window, 1, add, draw(acts()))
            made.append((outputs, after))
        elif kind == "up":
            outputs = draw(st.integers(1, 3))
            step = ConvTranspose(x, weight(channels, outputs, 2, 2), None, (2, 2), draw(acts()))
            made.append((outputs, 100 * len(made)))  # more than strides can add
        elif kind == "pool":
            step = MaxPool(x, _STRIDED)
            made.append((channels, scale + 1))
        elif kind == "average":
            step = AveragePool(x, _STRIDED, draw(st.booleans()))
            made.append((channels, scale + 1))
        elif kind == "add":
            step = Add(x, pick(x, channels), draw(acts()))
            made.append((channels, scale))
        elif kind == "act":
            act = draw(acts())
            step = Activate(x, act if act != NONE else Act("relu"))
            made.append((channels, scale))
        elif kind == "concat":
            other = pick(x)
            step = Concat((x, other))
            made.append((channels + made[other][0], scale))
        elif kind == "slice":
            start = draw(st.integers(0, channels - 1))
            stop = draw(st.integers(start + 1, channels))
            step = Slice(x, start, stop)
            made.append((stop - start, scale))
        else:
            like = pick()
            step = Resize(x, like, draw(st.sampled_from([None, None, "half_pixel", "asymmetric"])))
            made.append((channels, made[like][1]))
        steps.append(step)
    read = {argument for step in steps for argument in step.arguments}
    outputs_of = tuple(Output(number) for number in range(len(steps)) if number not in read)
    return Program(1, tuple(weights), tuple(steps), outputs_of)
