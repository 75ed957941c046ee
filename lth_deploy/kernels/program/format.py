"""The lines of a region program, as `text.py` writes them."""

from lth_deploy.kernels.program.instructions import (
    Act,
    Activate,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Instruction,
    Load,
    MaxPool,
    Program,
    QAdd,
    QConv,
    QConvTranspose,
    Quantize,
    Quantized,
    Requantize,
    Resize,
    Slice,
    Weight,
    Window,
)

HEADER = "lth_region 1"


def lines_of(program: Program) -> list[str]:
    """The lines of a program, whether or not it keeps the rules."""
    weights = [_weight_line(weight) for weight in program.weights]
    steps = [f"t{number} = {_step_line(step)}" for number, step in enumerate(program.instructions)]
    outputs = [f"output t{output.tensor}{' rows' if output.rows else ''}" for output in program.outputs]
    return [HEADER, f"inputs {program.inputs}", *weights, *steps, *outputs]


def _weight_line(weight: Weight) -> str:
    inputs = str(weight.values) if weight.positions is None else f"{weight.positions},{weight.values}"
    coding = weight.coding if weight.block is None else f"{weight.coding}:{weight.block[0]}x{weight.block[1]}"
    return f"weight {coding} {weight.value_type} {_joined(weight.dims)} at {inputs}"


def _step_line(step: Instruction) -> str:
    match step:
        case Load():
            return f"{'loadrows' if step.rows else 'load'} {step.source} channels={step.channels}"
        case Conv():
            return f"conv t{step.x} w{step.weight} {_bias_text(step.bias)} {_sum_text(step)}"
        case QConv():
            weights = f"w{step.weight} w{step.scales} {_bias_text(step.bias)}"
            return f"qconv t{step.x} {weights} {_sum_text(step)} {_out_text(step.out)}"
        case ConvTranspose():
            return f"convtranspose t{step.x} w{step.weight} {_bias_text(step.bias)} {_spread_text(step)}"
        case QConvTranspose():
            weights = f"w{step.weight} w{step.scales} {_bias_text(step.bias)}"
            return f"qconvtranspose t{step.x} {weights} {_spread_text(step)} {_out_text(step.out)}"
        case MaxPool():
            return f"maxpool t{step.x} {_window_text(step.window)}"
        case Resize():
            return f"resize t{step.x} like=t{step.like}{'' if step.linear is None else f' linear={step.linear}'}"
        case Add():
            return f"add t{step.a} t{step.b} act={_act_text(step.act)}"
        case Activate():
            return f"act t{step.x} act={_act_text(step.act)}"
        case Concat():
            return f"concat {' '.join(f't{part}' for part in step.parts)}"
        case Slice():
            return f"slice t{step.x} from={step.start} to={step.stop}"
        case Quantize():
            return f"quantize t{step.x} {_out_text(step.out)}"
        case QAdd():
            return f"qadd t{step.a} t{step.b} act={_act_text(step.act)} {_out_text(step.out)}"
        case Requantize():
            return f"requantize t{step.x} act={_act_text(step.act)} {_out_text(step.out)}"
        case Dequantize():
            return f"dequantize t{step.x}"


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _bias_text(bias: int | None) -> str:
    return "-" if bias is None else f"w{bias}"


def _act_text(act: Act) -> str:
    return ":".join([act.kind, *(f"{number:.9g}" for number in act.numbers)])


def _sum_text(step: Conv | QConv) -> str:
    added = "" if step.add is None else f" add=t{step.add}"
    return f"{_window_text(step.window)} groups={step.groups}{added} act={_act_text(step.act)}"


def _spread_text(step: ConvTranspose | QConvTranspose) -> str:
    kernel = _joined(step.kernel)
    return f"kernel={kernel} stride={kernel} act={_act_text(step.act)}"


def _out_text(out: Quantized | None) -> str:
    return "out=f32" if out is None else f"out=u8:{out.scale:.9g}:{out.zero}"


def _window_text(window: Window) -> str:
    parts = (("kernel", window.kernel), ("stride", window.stride), ("pads", window.pads), ("dilation", window.dilation))
    return " ".join(f"{name}={_joined(values)}" for name, values in parts)
