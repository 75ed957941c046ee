"""Region programs on bytes for tests: one that uses every instruction, and a strategy that draws sound ones."""

from hypothesis import strategies as st

from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.activate import Requantize
from lth_deploy.kernels.program.ops.add import QAdd
from lth_deploy.kernels.program.ops.concat import Concat
from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.max_pool import MaxPool
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.resize import Resize
from lth_deploy.kernels.program.ops.slice import Slice
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Quantized, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.region_programs import acts

EVERY_QUANTIZED = """\
lth_region 1
inputs 2
weight dense s8 8,3,7,7 at 2
weight dense f32 8 at 3
weight dense s32 8 at 4
weight gaps4 s8 8,8,3,3 at 5,6
weight bitmask:2x4 s8 8,8,3,3 at 7,8
weight steps8:1x4 s8 6,16 at 9,10
weight dense f32 6 at 11
weight gaps4:2x1 f32 8,3,1,1 at 12,13
weight bitmask s8 8,6,2,3 at 14,15
weight dense s32 6 at 16
t0 = load 0 channels=3
t1 = quantize t0 out=u8:0.0171:128
t2 = qconv t1 w0 w1 w2 kernel=7,7 stride=2,2 pads=3,3,3,3 dilation=1,1 groups=1 act=relu out=u8:0.02:0
t3 = maxpool t2 kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1
t4 = qconv t3 w3 w1 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 add=t3 act=relu out=u8:0.0313:3
t5 = resize t4 like=t2
t6 = requantize t5 act=leaky:0.1 out=u8:0.02:0
t7 = concat t2 t6
t8 = slice t7 from=4 to=12
t9 = qconv t8 w4 w1 w2 kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=clip:-1:3 out=u8:0.0151:100
t10 = qadd t9 t2 act=none out=u8:0.0337:90
t11 = dequantize t10
t12 = qconv t10 w4 w1 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=hardswish out=f32
t13 = conv t0 w7 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none
t14 = qconvtranspose t10 w8 w6 w9 kernel=2,3 stride=2,3 act=relu out=u8:0.0151:9
t15 = dequantize t14
t16 = qconvtranspose t10 w8 w6 - kernel=2,3 stride=2,3 act=leaky:0.1 out=f32
t17 = loadrows 1 channels=16
t18 = quantize t17 out=u8:0.0171:128
t19 = qconv t18 w5 w6 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=none out=f32
output t11
output t12
output t13
output t15
output t16
output t19 rows
"""


def numbered(*parts: tuple[str, str, tuple[int, ...], tuple[int, int] | None], first: int = 1) -> tuple[Weight, ...]:
    """Constants (coding, type, dims, block) whose node inputs are counted upwards from `first`."""
    constants: list[Weight] = []
    for coding, value_type, dims, block in parts:
        positions = None if coding == "dense" else first
        first += 1 + (coding != "dense")
        constants.append(Weight(coding, value_type, dims, positions, first - 1, block))  # type: ignore[arg-type]
    return tuple(constants)


_PADDED = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
_STRIDED = Window((3, 3), (2, 2), (1, 1, 1, 1), (1, 1))
_ONE = Window()


@st.composite
def quantized(draw: st.DrawFn) -> Quantized:
    scale = draw(st.integers(5, 100).map(lambda value: value / 997))
    return Quantized(float(f"{scale:.9g}"), draw(st.sampled_from([0, 0, 128, 255, 7])))


@st.composite
def quantized_programs(draw: st.DrawFn) -> Program:
    """Sound programs on planes of bytes; tensors of one "scale" have one plane."""
    weights: list[Weight] = []
    at = 1
    channels = draw(st.integers(1, 6))
    out = draw(quantized())
    steps: list[Instruction] = [Load(0, channels), Quantize(0, out)]
    made: list[tuple[int, int, Quantized | None]] = [(channels, 0, None), (channels, 0, out)]

    def weight(value_type: str, *dims: int) -> int:
        nonlocal at
        coding, block = "dense", None
        if value_type == "s8":
            coding = draw(st.sampled_from(["dense", "bitmask", "steps8", "gaps4"]))
        if coding != "dense":
            blocks = [b for b in ((2, 1), (1, 4), (2, 4)) if dims[0] % b[0] == 0 and dims[1] % b[1] == 0]
            block = draw(st.sampled_from([None, *blocks]))
        positions = None if coding == "dense" else at
        at += 1 + (coding != "dense")
        weights.append(Weight(coding, value_type, dims, positions, at - 1, block))  # type: ignore[arg-type]
        return len(weights) - 1

    def pick(plane: int | None = None, channels: int | None = None, like: Quantized | None = None) -> int:
        able = [
            i
            for i, (c, p, q) in enumerate(made)
            if q is not None
            and (plane is None or p == plane)
            and (channels is None or c == channels)
            and (like is None or q == like)
        ]
        return draw(st.sampled_from(able))

    for _ in range(draw(st.integers(1, 7))):
        kind = draw(
            st.sampled_from(["conv", "conv", "conv", "up", "pool", "add", "re", "concat", "slice", "resize", "float"])
        )
        x = pick()
        channels, plane, of_x = made[x]
        out = draw(quantized())
        if kind == "conv":
            outputs = draw(st.sampled_from([1, 2, 3, 4, 5, 8]))
            window = draw(st.sampled_from([_PADDED, _STRIDED, _ONE]))
            bias = weight("s32", outputs) if draw(st.booleans()) else None
            after = plane + (window.stride == (2, 2))
            able = [i for i, (c, p, q) in enumerate(made) if (c, p) == (outputs, after) and q is not None]
            add = draw(st.sampled_from(able)) if able and draw(st.booleans()) else None
            constants = weight("s8", outputs, channels, *window.kernel), weight("f32", outputs)
            step: Instruction = QConv(x, *constants, bias, window, 1, add, draw(acts()), out)
            made.append((outputs, after, out))
        elif kind == "up":
            outputs = draw(st.integers(1, 9))
            kernel = draw(st.sampled_from([(2, 2), (1, 2), (3, 3)]))
            constants = weight("s8", channels, outputs, *kernel), weight("f32", outputs)
            bias = weight("s32", outputs) if draw(st.booleans()) else None
            step = QConvTranspose(x, *constants, bias, kernel, draw(acts()), out)
            made.append((outputs, 100 * len(made), out))
        elif kind == "pool":
            step = MaxPool(x, _STRIDED)
            made.append((channels, plane + 1, of_x))
        elif kind == "add":
            step = QAdd(x, pick(plane, channels), draw(acts()), out)
            made.append((channels, plane, out))
        elif kind == "re":
            step = Requantize(x, draw(acts()), out)
            made.append((channels, plane, out))
        elif kind == "concat" and channels % 4 == 0:
            other = pick(plane, None, of_x)
            step = Concat((x, other))
            made.append((channels + made[other][0], plane, of_x))
        elif kind == "slice":
            start = 4 * draw(st.integers(0, (channels - 1) // 4))
            stop = draw(st.integers(start + 1, channels))
            step = Slice(x, start, stop)
            made.append((stop - start, plane, of_x))
        elif kind == "float":
            outputs = draw(st.integers(1, 5))
            constants = weight("s8", outputs, channels, 1, 1), weight("f32", outputs)
            step = QConv(x, *constants, None, _ONE, 1, None, draw(acts()))
            made.append((outputs, plane, None))
        else:
            like = pick()
            step = Resize(x, like)
            made.append((channels, made[like][1], of_x))
        steps.append(step)
    read = {argument for step in steps for argument in step.arguments}
    outputs_of: list[Output] = []
    for number in [number for number in range(len(steps)) if number not in read]:
        if made[number][2] is not None:
            steps.append(Dequantize(number))
        outputs_of.append(Output(number if made[number][2] is None else len(steps) - 1))
    return Program(1, tuple(weights), tuple(steps), tuple(outputs_of))
