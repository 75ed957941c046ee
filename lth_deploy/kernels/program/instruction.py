"""What all operators have in common: their text, what they read, their rule and their oracle."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.activations import activation_of
from lth_deploy.kernels.program.fields import ActRole, Role, SuffixRole
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.line import Fields
from lth_deploy.kernels.program.numerics.bounds import Float, Tensor
from lth_deploy.kernels.program.values import TensorType
from lth_deploy.kernels.program.weights import Weight

AnyFloat = npt.NDArray[np.floating]
Accumulate = Literal["integers", "floats"]
"""How products of quantized tensors are summed: exactly, as kernels do, or in float32, as a stock runtime may."""


@dataclass(frozen=True)
class Declarations:
    """What stands before the instructions of a program. inputs: number of activations."""

    inputs: int
    weights: Sequence[Weight]


@dataclass(frozen=True)
class Operands:
    """What an instruction computes with.

    tensors: those of earlier instructions, by number. weights: decoded, in their dims. inputs: activations of the node.
    bf16: the weights of this type, by number.
    """

    tensors: Sequence[Tensor]
    weights: Sequence[Float]
    inputs: Sequence[AnyFloat]
    accumulate: Accumulate = "integers"
    bf16: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Instruction(ABC):
    """One line of a program; each subclass is an operator, and annotates its fields with the roles of `fields.py`.

    NAME: as the text has it. TAKES: the type of the tensors that it reads. NEEDS_PLANE: whether it refuses rows.
    SINCE: the first version of the program that has it.
    """

    NAME: ClassVar[str]
    TAKES: ClassVar[Literal["float32", "quantized", "any"]] = "float32"
    NEEDS_PLANE: ClassVar[bool] = False
    SINCE: ClassVar[int] = 1

    @abstractmethod
    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        """The type of the tensor that it makes of its arguments; see `checked_result`.

        Raises:
            RuleError: a rule of this operator is broken.
        """

    @abstractmethod
    def oracle(self, operands: Operands) -> Tensor:
        """The exact result, and how far that of a kernel may be from it.

        Raises:
            ValueError: shapes do not fit.
        """

    @property
    def stock_exact(self) -> bool:
        """Whether a stock runtime makes the same bits of the same arguments."""
        return True

    @property
    def stock_sums_floats(self) -> bool:
        """Whether a stock runtime sums a quantized layer in floats, since it has no int8 kernel for it."""
        return False

    def checked_result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        """`result`, after the rules that follow from the traits.

        Raises:
            RuleError: a rule is broken.
        """
        require(not (self.NEEDS_PLANE and given[0].rows), "rows have no plane")
        if self.TAKES == "float32":
            require(all(t.quantized is None for t in given), "it takes float32, an argument is quantized")
        if self.TAKES == "quantized":
            require(all(t.quantized is not None for t in given), "it takes quantized tensors, an argument is float32")
        return self.result(given, declared)

    @cached_property
    def arguments(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return tuple(n for role, value in self.values() for n in role.tensors(value))

    @cached_property
    def constants(self) -> tuple[int, ...]:
        """Weights, scales and biases that it reads."""
        return tuple(n for role, value in self.values() for n in role.constants(value))

    @cached_property
    def since(self) -> int:
        """The first version of the program that has its operator and its activation."""
        acts = [activation_of(value).since for role, value in self.values() if isinstance(role, ActRole)]
        return max([self.SINCE, *acts])

    def values(self) -> Iterator[tuple[Role, Any]]:
        """Each field's role and value."""
        return ((role, getattr(self, name)) for name, role in roles_of(type(self)))

    def text(self) -> str:
        """The operator and its fields, as they stand behind `tN = `."""
        endings = "".join(role.ending for role, value in self.values() if isinstance(role, SuffixRole) and value)
        return " ".join([self.NAME + endings, *(text for role, value in self.values() for text in role.write(value))])

    @classmethod
    def names(cls) -> dict[str, dict[str, bool]]:
        """Every name of the operator in a text, with the values of fields that it says."""
        found: dict[str, dict[str, bool]] = {cls.NAME: {}}
        for name, role in roles_of(cls):
            if isinstance(role, SuffixRole):
                longer = {text + role.ending: {**values, name: True} for text, values in found.items()}
                found = {text: {**values, name: False} for text, values in found.items()} | longer
        return found

    @classmethod
    def read(cls, texts: Sequence[str], named: dict[str, bool]) -> Self:
        """The instruction with these fields; read loosely, the caller compares its text with the one that was read.

        Raises:
            ValueError, IndexError: a field is missing or malformed.
        """
        source = Fields(texts)
        return cls(**named, **{name: role.read(source) for name, role in roles_of(cls) if name not in named})


@cache
def roles_of(operator: type[Instruction]) -> tuple[tuple[str, Role], ...]:
    """The fields of an operator with their roles, in the order of the text."""
    return tuple((field.name, field.type.__metadata__[0]) for field in fields(operator))  # type: ignore[union-attr]
