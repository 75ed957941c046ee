"""The roles that fields of instructions have: how each is written, and which tensors and constants it names.

The fields of an operator's dataclass are annotated with these, in the order of the text. Parsing, formatting,
`Instruction.arguments` and `Instruction.constants` follow from them.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.line import Fields, joined, read_float, read_name, read_number, read_pair, read_several
from lth_deploy.kernels.program.values import Act, Linear, Pads, Pair, Quantized, Window


class Role:
    """What a field is. Each role reads and writes the fields of the text that hold the value."""

    def write(self, value: Any) -> list[str]:
        """The fields of the text, in order; none where an optional value is absent."""
        raise NotImplementedError

    def read(self, fields: Fields) -> Any:
        """The value.

        Raises:
            ValueError, IndexError: the text has no such value.
        """
        raise NotImplementedError

    def tensors(self, value: Any) -> tuple[int, ...]:
        """Tensors that the value names."""
        return ()

    def constants(self, value: Any) -> tuple[int, ...]:
        """Weights of the program that the value names."""
        return ()


@dataclass(frozen=True)
class TensorRole(Role):
    """An earlier tensor: `tN`, or `key=tN`, which is left out for None. plane_only: nothing but its size is read."""

    key: str = ""
    plane_only: bool = False

    def write(self, value: int | None) -> list[str]:
        if value is None:
            return []
        return [f"{self.key}=t{value}" if self.key else f"t{value}"]

    def read(self, fields: Fields) -> int | None:
        if not self.key:
            return read_name(fields.next(), "t")
        text = fields.key(self.key) if self.plane_only else fields.optional(self.key)
        return None if text is None else read_name(text, "t")

    def tensors(self, value: int | None) -> tuple[int, ...]:
        return () if value is None else (value,)


class TensorsRole(Role):
    """Several earlier tensors, to the end of the line."""

    def write(self, value: tuple[int, ...]) -> list[str]:
        return [f"t{number}" for number in value]

    def read(self, fields: Fields) -> tuple[int, ...]:
        return tuple(read_name(text, "t") for text in fields.rest())

    def tensors(self, value: tuple[int, ...]) -> tuple[int, ...]:
        return value


@dataclass(frozen=True)
class ConstantRole(Role):
    """A weight of the program: `wN`; where it is optional, `-` for None."""

    optional: bool = False

    def write(self, value: int | None) -> list[str]:
        return ["-" if value is None else f"w{value}"]

    def read(self, fields: Fields) -> int | None:
        text = fields.next()
        return None if self.optional and text == "-" else read_name(text, "w")

    def constants(self, value: int | None) -> tuple[int, ...]:
        return () if value is None else (value,)


@dataclass(frozen=True)
class NumberRole(Role):
    """A whole number: `key=N`, or N alone without a key."""

    key: str = ""

    def write(self, value: int) -> list[str]:
        return [f"{self.key}={value}" if self.key else str(value)]

    def read(self, fields: Fields) -> int:
        return read_number(fields.key(self.key) if self.key else fields.next())


class InputRole(NumberRole):
    """An activation input of the node."""


@dataclass(frozen=True)
class FlagRole(Role):
    """`key=1` or `key=0`."""

    key: str

    def write(self, value: bool) -> list[str]:
        return [f"{self.key}={int(value)}"]

    def read(self, fields: Fields) -> bool:
        text = fields.key(self.key)
        if text not in ("0", "1"):
            raise ValueError(f"{self.key} is 0 or 1, found '{text:.40}'")
        return text == "1"


@dataclass(frozen=True)
class WordRole(Role):
    """`key=WORD`, which is left out for None."""

    key: str

    def write(self, value: str | None) -> list[str]:
        return [] if value is None else [f"{self.key}={value}"]

    def read(self, fields: Fields) -> str | None:
        return fields.optional(self.key)


@dataclass(frozen=True)
class SuffixRole(Role):
    """A flag that is written as an ending of the operator's name, such as `load` and `loadrows`."""

    ending: str

    def write(self, value: bool) -> list[str]:
        return []


@dataclass(frozen=True)
class RealRole(Role):
    """`key=X`, a real number."""

    key: str

    def write(self, value: float) -> list[str]:
        return [f"{self.key}={value:.9g}"]

    def read(self, fields: Fields) -> float:
        return read_float(fields.key(self.key))


class PadsRole(Role):
    """pads=TOP,LEFT,BOTTOM,RIGHT."""

    def write(self, value: Pads) -> list[str]:
        return [f"pads={joined(value)}"]

    def read(self, fields: Fields) -> Pads:
        top, left, bottom, right = read_several(fields.key("pads"), 4)
        return top, left, bottom, right


class WindowRole(Role):
    """kernel=, stride=, pads= and dilation=."""

    def write(self, value: Window) -> list[str]:
        return [
            f"kernel={joined(value.kernel)}",
            f"stride={joined(value.stride)}",
            f"pads={joined(value.pads)}",
            f"dilation={joined(value.dilation)}",
        ]

    def read(self, fields: Fields) -> Window:
        top, left, bottom, right = read_several(fields.key("pads"), 4)
        kernel, stride, dilation = (read_pair(fields.key(name)) for name in ("kernel", "stride", "dilation"))
        return Window(kernel, stride, (top, left, bottom, right), dilation)


class KernelRole(Role):
    """A kernel that is the stride too: kernel= and stride=."""

    def write(self, value: Pair) -> list[str]:
        return [f"kernel={joined(value)}", f"stride={joined(value)}"]

    def read(self, fields: Fields) -> Pair:
        return read_pair(fields.key("kernel"))


class ActRole(Role):
    """act=NAME, and the numbers of the activation behind colons."""

    def write(self, value: Act) -> list[str]:
        return [f"act={':'.join([value.kind, *(f'{number:.9g}' for number in value.numbers)])}"]

    def read(self, fields: Fields) -> Act:
        kind, *numbers = fields.key("act").split(":", 3)
        if kind not in ACTIVATIONS:
            raise ValueError(f"'{kind:.40}' is no activation")
        return Act(kind, tuple(read_float(number) for number in numbers))


class OutRole(Role):
    """out=u8:SCALE:ZERO, or out=f32 for None."""

    def write(self, value: Quantized | None) -> list[str]:
        return ["out=f32" if value is None else f"out=u8:{value.scale:.9g}:{value.zero}"]

    def read(self, fields: Fields) -> Quantized | None:
        text = fields.key("out")
        if text == "f32":
            return None
        _, scale, zero = text.split(":")
        return Quantized(read_float(scale), read_number(zero))


class QuantizedOutRole(OutRole):
    """out=u8:SCALE:ZERO."""

    def read(self, fields: Fields) -> Quantized:
        out = super().read(fields)
        if out is None:
            raise ValueError("it makes a quantized tensor, and needs out=u8")
        return out


ATensor = Annotated[int, TensorRole()]
Tensors = Annotated[tuple[int, ...], TensorsRole()]
AddedTensor = Annotated[int | None, TensorRole("add")]
PlaneOf = Annotated[int, TensorRole("like", plane_only=True)]
AWeight = Annotated[int, ConstantRole()]
Scales = Annotated[int, ConstantRole()]
Bias = Annotated[int | None, ConstantRole(optional=True)]
NodeInput = Annotated[int, InputRole()]
Channels = Annotated[int, NumberRole("channels")]
Groups = Annotated[int, NumberRole("groups")]
First = Annotated[int, NumberRole("from")]
End = Annotated[int, NumberRole("to")]
Rows = Annotated[bool, SuffixRole("rows")]
HowLinear = Annotated[Linear | None, WordRole("linear")]
AWindow = Annotated[Window, WindowRole()]
Kernel = Annotated[Pair, KernelRole()]
Activated = Annotated[Act, ActRole()]
Out = Annotated[Quantized | None, OutRole()]
QuantizedOut = Annotated[Quantized, QuantizedOutRole()]
