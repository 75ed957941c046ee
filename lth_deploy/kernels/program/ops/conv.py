"""`conv`, `qconv`, `qgrouped`: convolutions; on rows, products, as are `matmul` and `qmatmul`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.activations import activation_of, check_act
from lth_deploy.kernels.program.fields import (
    Activated,
    AddedTensor,
    ATensor,
    AWeight,
    AWindow,
    Bias,
    Groups,
    Out,
    Scales,
)
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import QUAD, require
from lth_deploy.kernels.program.numerics.bounds import (
    SMALLEST,
    Float,
    Tensor,
    activated,
    column,
    gamma,
    rounded_to_bf16,
    same_shape,
)
from lth_deploy.kernels.program.numerics.int8 import accumulated, requantized_accumulators
from lth_deploy.kernels.program.numerics.windows import convolved, integer_accumulators
from lth_deploy.kernels.program.shared_rules import check_bias, check_scales_of, check_window, checked_out
from lth_deploy.kernels.program.values import NONE, ONE_BY_ONE, TensorType
from lth_deploy.kernels.program.weights import FLOAT_TYPES, LAYER_TYPES


@dataclass(frozen=True)
class Conv(Instruction):
    """act(convolution(x) + bias + add)."""

    NAME = "conv"

    x: ATensor
    weight: AWeight
    bias: Bias = None
    window: AWindow = ONE_BY_ONE
    groups: Groups = 1
    add: AddedTensor = None
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        weight = declared.weights[self.weight]
        weight.check_type(LAYER_TYPES, f"w{self.weight}")
        require(weight.value_type != "bf16" or self.groups == 1, "a conv with a weight of bf16 has one group")
        outputs = _outputs(self, given, weight.dims)
        check_bias(self.bias, outputs, declared, FLOAT_TYPES)
        return TensorType(outputs, given[0].rows)

    def oracle(self, operands: Operands) -> Tensor:
        x, weight = _read(self, operands), _with_kernel(operands.weights[self.weight])
        value = convolved(x.value, weight, self.window, self.groups)
        size = convolved(np.abs(x.value) + x.bound, np.abs(weight), self.window, self.groups)
        spread = convolved(x.bound, np.abs(weight), self.window, self.groups)
        terms = np.count_nonzero(weight.reshape(weight.shape[0], -1), axis=1).astype(np.float64)
        return _finished(self, operands, _Sums(value, size, spread, terms))

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class MatMul(Instruction):
    """act(x @ weight + bias + add) on rows, with a weight of [inputs, outputs]."""

    NAME = "matmul"
    SINCE = 4

    x: ATensor
    weight: AWeight
    bias: Bias = None
    add: AddedTensor = None
    act: Activated = NONE

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        x, weight = given[0], declared.weights[self.weight]
        require(x.rows, f"a matmul takes rows, and t{self.x} is planes")
        weight.check_type(LAYER_TYPES, f"w{self.weight}")
        outputs = _product_outputs(self, given, weight.dims)
        check_bias(self.bias, outputs, declared, FLOAT_TYPES)
        return TensorType(outputs, rows=True)

    def oracle(self, operands: Operands) -> Tensor:
        x, weight = _read(self, operands), operands.weights[self.weight]
        value, size, spread = (
            (rows[:, :, 0, 0] @ factors)[:, :, None, None]
            for rows, factors in (
                (x.value, weight),
                (np.abs(x.value) + x.bound, np.abs(weight)),
                (x.bound, np.abs(weight)),
            )
        )
        terms = np.count_nonzero(weight, axis=0).astype(np.float64)
        return _finished(self, operands, _Sums(value, size, spread, terms))

    @property
    def stock_exact(self) -> bool:
        return False


@dataclass(frozen=True)
class QConv(Instruction):
    """act(convolution(x) + bias + add) of quantized tensors with int8 weights, summed in integers.

    scales: float32 scales of the weight's output channels. bias: integers in units of x's scale times the weight's.
    out: None makes float32, and adds nothing.
    """

    NAME = "qconv"
    TAKES = "quantized"

    x: ATensor
    weight: AWeight
    scales: Scales
    bias: Bias = None
    window: AWindow = ONE_BY_ONE
    groups: Groups = 1
    add: AddedTensor = None
    act: Activated = NONE
    out: Out = None

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        weight = declared.weights[self.weight]
        weight.check_type(("s8",), f"w{self.weight}")
        outputs = _outputs(self, given, weight.dims)
        self._check_groups(whole_quads(self.groups, weight.dims))
        require(self.out is not None or self.add is None, "nothing is added where float32 is made")
        check_scales_of(self.scales, outputs, declared)
        check_bias(self.bias, outputs, declared, ("s32",))
        return TensorType(outputs, given[0].rows, None if self.out is None else checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        x, weight = operands.tensors[self.x], _with_kernel(operands.weights[self.weight])
        assert x.quantized is not None
        terms = int(np.count_nonzero(weight.reshape(len(weight), -1), axis=1).max())
        accumulators = accumulated(
            lambda value, factors: integer_accumulators(value, factors, self.window, self.groups),
            x,
            weight,
            None if self.bias is None else column(operands.weights[self.bias]),
            terms if operands.accumulate == "floats" else 0,
        )
        add = None if self.add is None else operands.tensors[self.add]
        scales = operands.weights[self.scales]
        return requantized_accumulators(accumulators, x.quantized, scales, self.act, self.out, add)

    def _check_groups(self, whole: bool) -> None:
        require(whole, "groups of a qconv take and make a multiple of 4 channels; others are those of a qgrouped")

    @property
    def stock_exact(self) -> bool:
        return self.add is None and activation_of(self.act).clamp is not None

    @property
    def stock_sums_floats(self) -> bool:
        return self.out is None or activation_of(self.act).clamp is None


@dataclass(frozen=True)
class QGrouped(QConv):
    """A qconv whose groups do not all begin and end with a quad: depthwise, or of few channels each."""

    NAME = "qgrouped"
    SINCE = 3

    def _check_groups(self, whole: bool) -> None:
        require(not whole, "one group, and groups that take and make a multiple of 4 channels, are those of a qconv")


@dataclass(frozen=True)
class QMatMul(Instruction):
    """act(x @ weight + bias + add) on quantized rows, with an int8 weight of [inputs, outputs]; see QConv."""

    NAME = "qmatmul"
    TAKES = "quantized"
    SINCE = 4

    x: ATensor
    weight: AWeight
    scales: Scales
    bias: Bias = None
    add: AddedTensor = None
    act: Activated = NONE
    out: Out = None

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(given[0].rows, f"a qmatmul takes rows, and t{self.x} is planes")
        weight = declared.weights[self.weight]
        weight.check_type(("s8",), f"w{self.weight}")
        outputs = _product_outputs(self, given, weight.dims)
        require(self.out is not None or self.add is None, "nothing is added where float32 is made")
        check_scales_of(self.scales, outputs, declared)
        check_bias(self.bias, outputs, declared, ("s32",))
        return TensorType(outputs, True, None if self.out is None else checked_out(self.out))

    def oracle(self, operands: Operands) -> Tensor:
        given = list(operands.weights)
        given[self.weight] = given[self.weight].T
        same = QConv(self.x, self.weight, self.scales, self.bias, add=self.add, act=self.act, out=self.out)
        return same.oracle(replace(operands, weights=given))

    @property
    def stock_exact(self) -> bool:
        return self.add is None and activation_of(self.act).clamp is not None

    @property
    def stock_sums_floats(self) -> bool:
        return self.out is None or activation_of(self.act).clamp is None


def whole_quads(groups: int, dims: Sequence[int]) -> bool:
    """Whether the groups of a convolution take and make whole quads. dims: of its weight."""
    return groups == 1 or (dims[1] % QUAD == 0 and dims[0] // groups % QUAD == 0)


def _read(step: Conv | MatMul, operands: Operands) -> Tensor:
    """What a layer multiplies: its input, with a weight of bf16 rounded to it."""
    x = operands.tensors[step.x]
    return rounded_to_bf16(x) if step.weight in operands.bf16 else x


def _with_kernel(weight: Float) -> Float:
    """The weight of a matrix product as that of a convolution of 1x1."""
    return weight.reshape(*weight.shape, *(1, 1)[: 4 - weight.ndim])


def _outputs(step: Conv | QConv, given: Sequence[TensorType], dims: tuple[int, ...]) -> int:
    """The channels that a convolution of either type makes.

    Raises:
        RuleError: it breaks a rule of both.
    """
    x = given[0]
    require(len(dims) == 4 or (len(dims) == 2 and x.rows), f"a weight of {len(dims)} dimensions does not fit")
    outputs, inputs, *kernel = (*dims, 1, 1)[:4]
    check_window(step.window)
    require(tuple(kernel) == step.window.kernel, f"the kernel is not that of w{step.weight}, {kernel}")
    if x.rows:
        require(step.window == ONE_BY_ONE and step.groups == 1, "rows take 1x1, stride 1, no pads and one group")
    groups = step.groups
    divides = groups >= 1 and x.channels % groups == 0 and outputs % groups == 0
    require(divides, f"{groups} groups do not divide {x.channels} channels to {outputs}")
    taken = inputs * groups
    require(taken == x.channels, f"w{step.weight} takes {taken} channels, t{step.x} has {x.channels}")
    if step.add is not None:
        added = given[1].channels
        require(added == outputs, f"t{step.add} has {added} channels, {outputs} are made")
    check_act(step.act)
    return outputs


def _product_outputs(step: MatMul | QMatMul, given: Sequence[TensorType], dims: tuple[int, ...]) -> int:
    """The channels that a product of either type makes.

    Raises:
        RuleError: its operands do not fit together.
    """
    require(len(dims) == 2, f"a weight of {len(dims)} dimensions does not fit")
    inputs, outputs = dims
    require(inputs == given[0].channels, f"w{step.weight} takes {inputs} channels, t{step.x} has {given[0].channels}")
    if step.add is not None:
        added = given[1].channels
        require(added == outputs, f"t{step.add} has {added} channels, {outputs} are made")
    check_act(step.act)
    return outputs


@dataclass(frozen=True)
class _Sums:
    """Sums of products of exact values, of their magnitudes, and of what their operands may be off; terms: of each."""

    value: Float
    size: Float
    spread: Float
    terms: Float


def _finished(step: Conv | MatMul, operands: Operands, sums: _Sums) -> Tensor:
    """The sums with bias and residual added, and the activation of them."""
    value, size, spread, terms = sums.value, sums.size, sums.spread, sums.terms
    if step.bias is not None:
        bias = column(operands.weights[step.bias])
        value, size, terms = value + bias, size + np.abs(bias), terms + 1
    if step.add is not None:
        added = operands.tensors[step.add]
        same_shape(value, added.value)
        value, spread = value + added.value, spread + added.bound
        size, terms = size + np.abs(added.value) + added.bound, terms + 1
    return activated(Tensor(value, spread + column(gamma(terms + 1)) * size + SMALLEST), step.act)
